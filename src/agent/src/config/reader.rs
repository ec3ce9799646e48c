//! Reads options out of a [`Config`] and collects what is wrong with them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use oslo_config::{Config, Expected, Kind, Opt, Origin, Resolved, Value, ValueError};
use secrecy::SecretString;

use super::Problem;
use super::options::{Class, Row};
use super::settings::DatastoreManager;

/// Typed access that never fails: a bad value is recorded once and read as the
/// default, so that one pass finds every problem.
pub(super) struct Reader<'a> {
    pub(super) config: &'a Config,
    pub(super) problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(config: &'a Config) -> Self {
        Self {
            config,
            problems: Vec::new(),
        }
    }

    /// Records the problems of all options that `in_scope` picks.
    pub(super) fn validate(&mut self, rows: &[Row], manager: Option<DatastoreManager>) {
        for row in rows.iter().filter(|row| in_scope(row, manager)) {
            if let Err(error) = self.config.resolve(&row.opt) {
                self.problems.push(error.into());
            }
        }
    }

    fn resolved(&self, group: &str, name: &str) -> Option<(&'a Opt, Resolved)> {
        let opt = self.config.option(group, name)?;
        Some((opt, self.config.resolve(opt).ok()?))
    }

    /// The value; an empty number reads as its default. `None` when unset, or
    /// when the value is bad, which [`Reader::validate`] has recorded.
    pub(super) fn value(&self, group: &str, name: &str) -> Option<Value> {
        let (opt, resolved) = self.resolved(group, name)?;
        let default = || opt.kind.convert(opt.default?).ok().flatten();
        resolved.value.or_else(default)
    }

    /// Where an option's value comes from.
    pub(super) fn origin(&self, group: &str, name: &str) -> Origin {
        self.resolved(group, name)
            .map_or(Origin::Default, |(_, resolved)| resolved.origin)
    }

    /// Text; empty when unset.
    pub(super) fn text(&self, group: &str, name: &str) -> String {
        let value = self.value(group, name);
        value
            .and_then(|value| value.as_str().map(str::to_owned))
            .unwrap_or_default()
    }

    /// Text that is set: empty text and a literal `None`, which the control
    /// plane writes for values it doesn't have, count as unset.
    pub(super) fn optional(&self, group: &str, name: &str) -> Option<String> {
        let text = self.text(group, name);
        (!text.is_empty() && text != "None").then_some(text)
    }

    pub(super) fn secret(&self, group: &str, name: &str) -> Option<SecretString> {
        self.optional(group, name).map(SecretString::from)
    }

    pub(super) fn flag(&self, group: &str, name: &str) -> bool {
        self.value(group, name)
            .and_then(|value| value.as_bool())
            .unwrap_or_default()
    }

    pub(super) fn list(&self, group: &str, name: &str) -> Vec<String> {
        let value = self.value(group, name);
        value
            .and_then(|value| value.as_list().map(<[_]>::to_vec))
            .unwrap_or_default()
    }

    /// A number that its option's bounds keep positive and within `T`.
    pub(super) fn number<T: TryFrom<i64> + Default>(&self, group: &str, name: &str) -> T {
        let value = self.value(group, name).and_then(|value| value.as_int());
        value
            .and_then(|value| T::try_from(value).ok())
            .unwrap_or_default()
    }

    pub(super) fn seconds(&self, group: &str, name: &str) -> Duration {
        Duration::from_secs(self.number(group, name))
    }

    /// An absolute path other than `/`, without `..` and control characters.
    pub(super) fn path(&mut self, group: &str, name: &str) -> PathBuf {
        let text = self.text(group, name);
        let path = Path::new(&text);
        let parts = || path.components().skip(1);
        let plain = parts().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !path.is_absolute()
            || parts().next().is_none()
            || !plain
            || text.contains(char::is_control)
        {
            self.refuse(group, name, "an absolute path other than /, without ..");
        }
        path.to_owned()
    }

    /// Records that a value, though of its type, cannot be used.
    pub(super) fn refuse(&mut self, group: &str, name: &str, expected: &str) {
        let Some((opt, resolved)) = self.resolved(group, name) else {
            return;
        };
        let (group, name) = resolved.deprecated.unwrap_or((opt.group, opt.name));
        let value = resolved.value.filter(|_| !resolved.secret);
        self.problems.push(Problem::Value(Box::new(ValueError {
            origin: resolved.origin,
            group: group.to_owned(),
            name: name.to_owned(),
            value: value.map(|value| value.render()),
            problem: oslo_config::Problem::NotAllowed(Expected(expected.to_owned())),
        })));
    }
}

/// Whether a bad value of the option keeps the agent from starting: upstream
/// reads options when it needs them, so those of the control plane and of other
/// datastores may hold anything.
pub(super) fn in_scope(row: &Row, manager: Option<DatastoreManager>) -> bool {
    let datastore = DatastoreManager::ALL
        .into_iter()
        .find(|m| m.as_str() == row.opt.group);
    matches!(row.class, Class::Native | Class::Later)
        && (datastore.is_none() || datastore == manager)
        && row.opt.kind != Kind::Multi
}
