//! Parameters of the attached configuration group, while the server runs.
//!
//! All of them or none: what the server has been given is taken back when it
//! refuses one, and the group in the files is what it was.

use std::collections::BTreeMap;

use datastore::{Error, ErrorKind, Result};
use serde_json::Value;
use tracing::{error, info};

use crate::cnf::{Document, same_name};
use crate::errors::{code, sql_error};
use crate::overrides::{COMMON, Group, Overrides, SERVER_SECTION, document_of};
use crate::session::{Session, SqlError};
use crate::variable::{self, Variable};
use crate::{Flavor, Server};

/// What is to become of a parameter.
#[derive(Debug)]
struct Wanted {
    /// As the group has it.
    name: String,
    /// As it stands in a file; without one the server's own default is meant.
    value: Option<String>,
}

/// What has been done.
#[derive(Debug, Default)]
struct Applied {
    undo: Vec<variable::Undo>,
    /// Parameters that only a start changes.
    waiting: Vec<String>,
}

/// What has become of a parameter.
enum Outcome {
    /// The server has it now, in the place of what it had.
    Applied(variable::Undo),
    /// The server has it already.
    Same,
    /// Only a start changes it.
    Waits,
}

impl<F: Flavor> Server<F> {
    /// Replaces the parameters of the configuration group by those given, or
    /// by none. What the server would refuse is refused here, and nothing
    /// changes then.
    pub(crate) async fn replace_user_parameters(
        &self,
        parameters: &BTreeMap<String, Value>,
    ) -> Result<()> {
        let user = document_of(parameters)?;
        let version = self.installed_version().await?;
        let base = self.present_base()?;
        self.check_user_parameters(&base, &user, &version).await?;
        self.configurations().replace_group(&user)?;
        info!(
            parameters = parameters.len(),
            "Configuration group written."
        );
        Ok(())
    }

    /// Gives the running server these parameters, and those that have left the
    /// group what the other files have. Tells whether one waits for a start.
    pub(crate) async fn apply_group(&self, parameters: &BTreeMap<String, Value>) -> Result<bool> {
        let applied = self.apply_live(parameters).await;
        self.configurations().settle(applied)
    }

    async fn apply_live(&self, parameters: &BTreeMap<String, Value>) -> Result<bool> {
        let wanted = self.wanted(parameters)?;
        let mut session = self.session().await?;
        let mut applied = Applied::default();
        let done = apply_all(&mut session, &wanted, &mut applied).await;
        if done.is_err() {
            applied.take_back(&mut session).await;
        }
        session.close().await;
        done?;
        info!(
            applied = applied.undo.len(),
            waiting_for_restart = applied.waiting.join(", "),
            "Configuration group applied."
        );
        Ok(!applied.waiting.is_empty())
    }

    /// Everything that changes. What the agent has decided is stronger than
    /// the group, in the files and here.
    fn wanted(&self, parameters: &BTreeMap<String, Value>) -> Result<Vec<Wanted>> {
        let overrides = Overrides::new(&self.settings.layout.include_dir);
        let present = overrides.read(Group::User, COMMON)?;
        let replaced = self.configurations().replaced_group()?.unwrap_or_default();
        let asked = document_of(parameters)?;
        let mut weaker = vec![self.present_base()?];
        weaker.extend(overrides.read_all(Group::SystemEarly)?);
        let sets = |document: &Document, name: &str| {
            document
                .options()
                .any(|option| same_name(option.name, name))
        };
        let as_written = |value: Option<&str>| Some(value.unwrap_or("1").to_owned());
        let removed = replaced
            .options()
            .filter(|old| !sets(&present, old.name) && !sets(&asked, old.name))
            .map(|old| Wanted {
                name: old.name.to_owned(),
                value: weaker
                    .iter()
                    .rev()
                    .find_map(|document| document.get(SERVER_SECTION, old.name))
                    .and_then(as_written),
            });
        let asked = asked.options().map(|option| Wanted {
            name: option.name.to_owned(),
            value: as_written(option.value),
        });
        let stronger = overrides.read_all(Group::SystemLate)?;
        Ok(removed
            .chain(asked)
            .filter(|wanted| !stronger.iter().any(|own| sets(own, &wanted.name)))
            .collect())
    }
}

impl Applied {
    async fn take_back(&self, session: &mut Session) {
        for before in self.undo.iter().rev() {
            if let Err(error) = before.run(session).await {
                error!(%error, variable = before.name(), "Parameter not taken back.");
            }
        }
    }
}

/// Gives the server all of `wanted`. One that depends on another may only fit
/// when that has been changed.
async fn apply_all(session: &mut Session, wanted: &[Wanted], applied: &mut Applied) -> Result<()> {
    let mut pending: Vec<&Wanted> = wanted.iter().collect();
    while !pending.is_empty() {
        let (mut refused, mut refusal) = (Vec::new(), None);
        for &parameter in &pending {
            match apply(session, parameter).await {
                Ok(Outcome::Applied(before)) => applied.undo.push(before),
                Ok(Outcome::Same) => {}
                Ok(Outcome::Waits) => applied.waiting.push(parameter.name.clone()),
                Err(error) if error.kind() == ErrorKind::BadRequest => {
                    refused.push(parameter);
                    refusal.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        match refusal {
            Some(refusal) if refused.len() == pending.len() => return Err(refusal),
            _ => pending = refused,
        }
    }
    Ok(())
}

/// Gives the server one parameter, and looks whether it has it.
async fn apply(session: &mut Session, wanted: &Wanted) -> Result<Outcome> {
    let failed = |error| sql_error(format!("apply parameter {}", wanted.name), error);
    let Some(variable) = Variable::read(session, &wanted.name)
        .await
        .map_err(failed)?
    else {
        // An option that only a start reads.
        return Ok(Outcome::Waits);
    };
    let value = wanted.value.as_deref();
    if value.is_some_and(|value| variable.has(value)) {
        return Ok(Outcome::Same);
    }
    match variable.set(session, value).await {
        Ok(()) => {}
        Err(SqlError::Server {
            code: code::READ_ONLY_VARIABLE | code::SESSION_VARIABLE | code::NO_DEFAULT,
            ..
        }) => return Ok(Outcome::Waits),
        Err(error) => return Err(failed(error)),
    }
    let undo = variable.undo();
    let Some(wanted_value) = value else {
        return Ok(Outcome::Applied(undo));
    };
    let now = Variable::read(session, &wanted.name).await;
    match now.map_err(failed)? {
        Some(now) if now.took(wanted_value, &variable) => Ok(Outcome::Applied(undo)),
        now => {
            undo.run(session).await.map_err(failed)?;
            Err(Error::bad_request(format!(
                "The server does not take {wanted_value} for parameter {}: it makes {} of it",
                wanted.name,
                now.map_or_else(|| "nothing".to_owned(), |now| now.text())
            )))
        }
    }
}
