//! What users may do with databases.

use std::collections::HashMap;

use datastore::{Database, Error, Result};
use mysql_async::Value;
use tracing::info;

use crate::errors::{code, sql_error};
use crate::session::{Session, SqlError, SqlResult};
use crate::users::UserId;
use crate::{Flavor, Server, Vendor, names, sql};

/// More users than this on a page, and all grants are read instead of theirs.
const MANY_USERS: usize = 500;

/// How this server reads the database of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patterns {
    /// `_` and `%` are wildcards, the backslash escapes.
    Wildcards,
    /// Every character means itself.
    Literal,
}

impl Patterns {
    /// With `partial_revokes`, MySQL takes names literally (MySQL manual,
    /// "Privilege Restriction Using Partial Revokes").
    pub(crate) async fn of(session: &mut Session) -> SqlResult<Self> {
        if !session.version().is_at_least(Vendor::MySql, (8, 0, 16)) {
            return Ok(Self::Wildcards);
        }
        match session
            .first::<bool>("SELECT @@GLOBAL.partial_revokes", ())
            .await
        {
            Ok(Some(true)) => Ok(Self::Literal),
            Ok(_) => Ok(Self::Wildcards),
            Err(error) if error.code() == Some(code::UNKNOWN_VARIABLE) => Ok(Self::Wildcards),
            Err(error) => Err(error),
        }
    }

    fn pattern(self, database: &str) -> String {
        match self {
            Self::Wildcards => sql::grant_pattern(database),
            Self::Literal => database.to_owned(),
        }
    }

    fn database(self, pattern: &str) -> String {
        match self {
            Self::Wildcards => sql::database_of_pattern(pattern),
            Self::Literal => pattern.to_owned(),
        }
    }
}

/// Databases granted to each of `users`, by name.
pub(crate) async fn databases_of(
    session: &mut Session,
    users: &[UserId],
) -> SqlResult<HashMap<UserId, Vec<Database>>> {
    let mut granted: HashMap<UserId, Vec<Database>> = HashMap::new();
    if users.is_empty() {
        return Ok(granted);
    }
    let patterns = Patterns::of(session).await?;
    let mut query = "SELECT User, Host, Db FROM mysql.db".to_owned();
    let mut parameters: Vec<Value> = Vec::new();
    if users.len() <= MANY_USERS {
        let pairs = vec!["(?, ?)"; users.len()].join(", ");
        query += &format!(" WHERE (User, Host) IN ({pairs})");
        parameters.extend(
            users
                .iter()
                .flat_map(|user| [(&user.name).into(), (&user.host).into()]),
        );
    }
    query += " ORDER BY CAST(Db AS BINARY)";
    for (name, host, pattern) in session
        .rows::<(String, String, String)>(&query, parameters)
        .await?
    {
        let databases = granted.entry(UserId { name, host }).or_default();
        let database = Database::named(patterns.database(&pattern));
        // An older guest's grant and ours may name the same database.
        if !databases.contains(&database) {
            databases.push(database);
        }
    }
    Ok(granted)
}

/// Gives `user` all privileges on `databases`.
pub(crate) async fn grant_all(
    session: &mut Session,
    user: &UserId,
    databases: &[&str],
) -> Result<()> {
    if databases.is_empty() {
        return Ok(());
    }
    let what = |database: &str| format!("grant access to database {database} to {user}");
    let patterns = Patterns::of(session)
        .await
        .map_err(|error| sql_error(what(""), error))?;
    for database in databases {
        let statement = format!(
            "GRANT ALL PRIVILEGES ON {}.* TO {}",
            sql::identifier(&patterns.pattern(database)),
            user.quoted()
        );
        session
            .run(&statement)
            .await
            .map_err(|error| sql_error(what(database), error))?;
        info!(%user, database, "Access granted.");
    }
    Ok(())
}

impl<F: Flavor> Server<F> {
    /// Gives an existing user all privileges on databases. Every name is
    /// checked before the first is granted.
    pub(crate) async fn grant(
        &self,
        name: &str,
        host: Option<&str>,
        databases: &[String],
    ) -> Result<()> {
        let user = self.user_id(name, host)?;
        for database in databases {
            names::check_database(database, &self.settings.ignore_dbs)?;
        }
        let databases: Vec<&str> = databases.iter().map(String::as_str).collect();
        let mut session = self.writing_session().await?;
        let result = match user.must_exist(&mut session).await {
            Ok(()) => grant_all(&mut session, &user, &databases).await,
            Err(error) => Err(error),
        };
        session.close().await;
        result
    }

    /// Takes a user's privileges on a database away, under whatever spelling
    /// they were granted.
    pub(crate) async fn revoke(
        &self,
        name: &str,
        host: Option<&str>,
        database: &str,
    ) -> Result<()> {
        let user = self.user_id(name, host)?;
        names::check_database(database, &self.settings.ignore_dbs)?;
        let mut session = self.writing_session().await?;
        let result = revoke_all(&mut session, &user, database).await;
        session.close().await;
        result
    }

    /// Databases a user has been granted.
    pub(crate) async fn access_of(&self, name: &str, host: Option<&str>) -> Result<Vec<Database>> {
        let user = self.user_id(name, host)?;
        let mut session = self.session().await?;
        let result = match user.must_exist(&mut session).await {
            Ok(()) => databases_of(&mut session, std::slice::from_ref(&user))
                .await
                .map_err(|error| sql_error(format!("list the databases of {user}"), error)),
            Err(error) => Err(error),
        };
        session.close().await;
        Ok(result?.remove(&user).unwrap_or_default())
    }
}

async fn revoke_all(session: &mut Session, user: &UserId, database: &str) -> Result<()> {
    let what = format!("revoke access to database {database} from {user}");
    let failed = |error: SqlError| sql_error(&what, error);
    user.must_exist(session).await?;
    let patterns = Patterns::of(session).await.map_err(failed)?;
    let rows: Vec<(String, String)> = session
        .rows(
            "SELECT Db, Grant_priv FROM mysql.db \
             WHERE CAST(User AS BINARY) = CAST(? AS BINARY) AND Host = ?",
            (&user.name, &user.host),
        )
        .await
        .map_err(failed)?;
    let mut found = false;
    for (pattern, may_grant) in rows {
        if patterns.database(&pattern) != database {
            continue;
        }
        found = true;
        let on = format!("ON {}.* FROM {}", sql::identifier(&pattern), user.quoted());
        if may_grant == "Y" {
            session
                .run(&format!("REVOKE GRANT OPTION {on}"))
                .await
                .map_err(failed)?;
        }
        // The row of a mere GRANT OPTION is gone by now.
        match session.run(&format!("REVOKE ALL PRIVILEGES {on}")).await {
            Err(error) if error.code() != Some(code::NONEXISTING_GRANT) => {
                return Err(failed(error));
            }
            _ => {}
        }
    }
    if !found {
        return Err(Error::not_found(format!(
            "{user} has no access to database {database}"
        )));
    }
    info!(%user, database, "Access revoked.");
    Ok(())
}
