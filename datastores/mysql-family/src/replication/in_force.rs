//! Whether the running server needs a restart for what its configuration says
//! of replication.

use std::path::Path;

use datastore::Result;

use crate::cnf::{Document, same_name};
use crate::errors::sql_error;
use crate::overrides::SERVER_SECTION;
use crate::session::{Session, SqlResult};
use crate::{Flavor, Server};

/// Options that hold from a start on, how to ask for what they are now, and how
/// to compare. All others can wait for the next start.
const STATIC: [(&str, &str, Kind); 5] = [
    ("log_bin", "log_bin_basename", Kind::File),
    ("relay_log", "relay_log_basename", Kind::File),
    ("log_slave_updates", "log_slave_updates", Kind::Flag),
    ("gtid_mode", "gtid_mode", Kind::Word),
    (
        "enforce_gtid_consistency",
        "enforce_gtid_consistency",
        Kind::Word,
    ),
];

#[derive(Clone, Copy)]
enum Kind {
    /// The name of files, without the number at its end.
    File,
    Flag,
    Word,
}

impl Kind {
    fn same(self, wanted: Option<&str>, now: &str, data_dir: &Path) -> bool {
        match self {
            Self::Word => wanted.is_some_and(|wanted| wanted.eq_ignore_ascii_case(now)),
            Self::Flag => is_on(wanted) == is_on(Some(now)),
            // The server has chosen a name if it was given none.
            Self::File => match wanted {
                None => !now.is_empty(),
                Some(wanted) => data_dir.join(wanted).with_extension("") == Path::new(now),
            },
        }
    }
}

fn is_on(value: Option<&str>) -> bool {
    // A bare name means yes.
    value.is_none_or(|value| {
        value == "1" || value.eq_ignore_ascii_case("on") || value.eq_ignore_ascii_case("true")
    })
}

impl<F: Flavor> Server<F> {
    /// Restarts the server if it does not have the static options of `wanted`;
    /// a session with the server as it is then.
    pub(super) async fn put_in_force(
        &self,
        mut session: Session,
        wanted: &Document,
    ) -> Result<Session> {
        let data_dir = self.settings.layout.data_dir();
        let found = is_in_force(&mut session, wanted, &data_dir).await;
        match found.map_err(|error| sql_error("look at the settings of replication", error))? {
            true => Ok(session),
            false => {
                session.close().await;
                self.bring_up(true).await?;
                self.session().await
            }
        }
    }
}

async fn is_in_force(session: &mut Session, wanted: &Document, data_dir: &Path) -> SqlResult<bool> {
    for (option, variable, kind) in STATIC {
        let all = wanted.options();
        let ours =
            all.filter(|entry| entry.group == SERVER_SECTION && same_name(entry.name, option));
        let Some(entry) = ours.last() else {
            continue;
        };
        let query = format!("SELECT CAST(@@GLOBAL.{variable} AS CHAR)");
        let now: Option<Option<String>> = session.first(&query, ()).await?;
        if !kind.same(entry.value, &now.flatten().unwrap_or_default(), data_dir) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_needs_a_restart() {
        let dir = Path::new("/data");
        let same = |kind: Kind, wanted, now| kind.same(wanted, now, dir);
        assert!(same(
            Kind::File,
            Some("/data/mysql-bin.log"),
            "/data/mysql-bin"
        ));
        assert!(same(Kind::File, Some("mysql-bin"), "/data/mysql-bin"));
        assert!(same(Kind::File, None, "/data/binlog"));
        assert!(!same(Kind::File, None, ""));
        assert!(!same(
            Kind::File,
            Some("/data/mysql-bin.log"),
            "/data/binlog"
        ));
        assert!(same(Kind::Flag, Some("ON"), "1"));
        assert!(same(Kind::Flag, None, "1"));
        assert!(!same(Kind::Flag, Some("true"), "0"));
        assert!(same(Kind::Word, Some("on"), "ON"));
        assert!(!same(Kind::Word, Some("ON"), "OFF_PERMISSIVE"));
    }
}
