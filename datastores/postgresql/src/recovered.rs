//! Data that came from elsewhere: what it must not bring along, and the first
//! start on it.

use std::time::Duration;

use datastore::{Error, Restored, Result};
use guest::Attributes;
use managed::Modes;
use tracing::{error, info, warn};

use crate::conf::Document;
use crate::errors::{os_error, sql_error};
use crate::label::MANIFEST_FILE;
use crate::marker::Marker;
use crate::overrides::{Group, Overrides};
use crate::place::Lsn;
use crate::restore::Recovery;
use crate::server::REPLICATOR;
use crate::session::{Session, SqlError, SqlResult};
use crate::sql::Text;
use crate::{Server, sql, wal};

/// Files that make the server recover from the archive: and then be a server
/// of its own, or go on for ever.
const RECOVERY_SIGNAL: &str = "recovery.signal";
pub(crate) const STANDBY_SIGNAL: &str = "standby.signal";
/// What belongs to the server the data was taken from: its role, its process,
/// its TLS identity, the password of its replicas as upstream keeps it.
const NOT_OURS: [&str; 9] = [
    RECOVERY_SIGNAL,
    STANDBY_SIGNAL,
    "postmaster.pid",
    "postmaster.opts",
    ".replpass",
    "server.key",
    "server.crt",
    "ca.crt",
    MANIFEST_FILE,
];
/// What `ALTER SYSTEM` has left in the data, stronger than every file of ours.
pub(crate) const AUTO_CONF: &str = "postgresql.auto.conf";
/// Parameters there that belong to the other server or end a recovery early.
/// All others are the tenant's.
const NOT_OUR_PARAMETERS: [&str; 25] = [
    "primary_conninfo",
    "primary_slot_name",
    "promote_trigger_file",
    "restore_command",
    "archive_cleanup_command",
    "recovery_end_command",
    "recovery_min_apply_delay",
    "recovery_target",
    "recovery_target_action",
    "recovery_target_inclusive",
    "recovery_target_lsn",
    "recovery_target_name",
    "recovery_target_time",
    "recovery_target_timeline",
    "recovery_target_xid",
    "hot_standby",
    "hba_file",
    "ident_file",
    "external_pid_file",
    "port",
    "unix_socket_directories",
    "ssl",
    "ssl_ca_file",
    "ssl_cert_file",
    "ssl_key_file",
];
/// The override that holds during recovery.
const OVERRIDE: &str = "recovery";
/// Trove gives a restore this long (`restore_usage_timeout`).
const RECOVERY_LIMIT: Duration = Duration::from_secs(36_000);
/// Modes that the server insists on for its data, and for keys in it.
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

impl Server {
    /// Takes away what belongs to the server the data comes from, and tells
    /// the server what to do at its start.
    pub(crate) fn make_own(&self, replica: bool, recover: bool) -> Result<()> {
        let data = self.settings.layout.data_dir();
        for name in NOT_OURS {
            guest::remove_if_exists(&data.join(name)).map_err(os_error)?;
        }
        let path = data.join(AUTO_CONF);
        if let Some(text) = guest::read_optional(&path).map_err(os_error)? {
            let mut document = Document::parse(&text);
            for name in NOT_OUR_PARAMETERS {
                document.remove(name);
            }
            self.write_data_file(AUTO_CONF, &document.to_string())?;
        }
        match (replica, recover) {
            (true, _) => self.write_data_file(STANDBY_SIGNAL, ""),
            (false, true) => self.write_data_file(RECOVERY_SIGNAL, ""),
            (false, false) => Ok(()),
        }
    }

    pub(crate) fn write_data_file(&self, name: &str, text: &str) -> Result<()> {
        let account = &self.settings.account;
        let attributes = Attributes {
            mode: FILE_MODE,
            owner: Some((account.uid, account.gid)),
        };
        let path = self.settings.layout.data_dir().join(name);
        guest::write_atomic(&path, text.as_bytes(), &attributes).map_err(os_error)
    }

    /// The last work on the volume, whoever filled it.
    pub(crate) async fn finish_data_dir(&self) -> Result<()> {
        let (layout, account) = (&self.settings.layout, &self.settings.account);
        let owner = (account.uid, account.gid);
        let modes = Modes {
            directory: DIRECTORY_MODE,
            file: FILE_MODE,
        };
        for dir in [layout.data_dir(), layout.wal_archive()] {
            managed::own(&dir, owner, modes).await?;
        }
        managed::sync_file_system(&layout.mount_point).await
    }

    /// The first start; on failure the server stays down.
    pub(crate) async fn start_restored(&self, recovery: Recovery) -> Result<Restored> {
        self.arm_recovery(&recovery)?;
        let checked = match self.bring_up_within(false, RECOVERY_LIMIT).await {
            Ok(()) => self.check_restored(&recovery).await,
            Err(error) => Err(error),
        };
        if checked.is_err()
            && let Err(error) = self.service.keep_down().await
        {
            error!(%error, "Server on incomplete data not stopped.");
        }
        checked
    }

    /// What holds during recovery, whatever the configuration says: it goes to
    /// the end of the WAL, and nobody comes in before. Without readers the
    /// server also does not mind that it may be smaller than the other was.
    pub fn arm_recovery(&self, recovery: &Recovery) -> Result<()> {
        let overrides = Overrides::new(&self.settings.layout.include_dir);
        if recovery.replica {
            return overrides.remove(Group::SystemLate, OVERRIDE);
        }
        let mut document = Document::default();
        document.set("hot_standby", "off");
        let command = wal::restore_command(&self.settings.layout);
        document.set("restore_command", &command);
        for name in [
            "recovery_target",
            "recovery_target_lsn",
            "recovery_target_name",
            "recovery_target_time",
            "recovery_target_xid",
            "archive_cleanup_command",
            "recovery_end_command",
        ] {
            document.set(name, "");
        }
        document.set("recovery_min_apply_delay", "0");
        let timeline = match recovery.end {
            Some(end) => end.timeline.to_string(),
            None => "latest".to_owned(),
        };
        document.set("recovery_target_timeline", &timeline);
        overrides.write(Group::SystemLate, OVERRIDE, &document)
    }

    /// Checks that the server has recovered to the end of the chain, ends what
    /// the data brought along, and takes the mark of the restore away.
    pub async fn check_restored(&self, recovery: &Recovery) -> Result<Restored> {
        let layout = &self.settings.layout;
        let session = self.session().await?;
        let failed = |error| sql_error("look how far the data has recovered", error);
        let (recovering, reached) = progress(&session).await.map_err(failed)?;
        if recovering != recovery.replica {
            let what = match recovering {
                true => "is still recovering",
                false => "is no replica",
            };
            return Err(Error::failed(format!(
                "The server on the restored data {what}"
            )));
        }
        if let Some(end) = recovery.end
            && reached.is_none_or(|reached| reached < end.place)
        {
            let reached = reached.map_or_else(|| "the start".to_owned(), |place| place.to_string());
            return Err(Error::failed(format!(
                "The restored data is incomplete: recovery ended at {reached}, and the backup \
                 ends at {}",
                end.place
            )));
        }
        if !recovering {
            let drop_role = format!("DROP ROLE IF EXISTS {}", sql::identifier(REPLICATOR));
            if let Err(error) = session.run(&drop_role).await {
                warn!(%error, "The account for replicas of the other server stays.");
            }
            for path in &recovery.archived {
                guest::remove_if_exists(path).map_err(os_error)?;
            }
            Overrides::new(&layout.include_dir).remove(Group::SystemLate, OVERRIDE)?;
        }
        session.close().await;
        let root_enabled = self.is_root_unlocked().await?;
        for marker in [Marker::Restoring, Marker::TakingOver] {
            marker.remove(layout)?;
        }
        info!(root_enabled, "Data restored.");
        Ok(Restored { root_enabled })
    }
}

/// Whether the server is still recovering, and how far it has come.
async fn progress(session: &Session) -> SqlResult<(bool, Option<Lsn>)> {
    let query = "SELECT pg_is_in_recovery(), coalesce(pg_last_wal_replay_lsn()::text, '')";
    let row = session.first(query, &[]).await?;
    let row = row.ok_or(SqlError::Nonsense("whether it is recovering"))?;
    let Text(reached) = row.try_get(1)?;
    Ok((row.try_get(0)?, Lsn::parse(&reached)))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::label::End;
    use crate::server::tests::server_in;

    #[test]
    fn what_is_another_servers_goes() {
        let dir = tempfile::tempdir().unwrap();
        let server = server_in(dir.path());
        let data = server.settings.layout.data_dir();
        std::fs::create_dir_all(&data).unwrap();
        for name in NOT_OURS {
            std::fs::write(data.join(name), "x").unwrap();
        }
        let text = "# comment\nwork_mem = '9MB'\nPrimary_ConnInfo = 'password=x'\nport = 1\n";
        std::fs::write(data.join(AUTO_CONF), text).unwrap();
        let left = || {
            let entries = std::fs::read_dir(&data).unwrap();
            let name = |entry: io::Result<std::fs::DirEntry>| {
                entry.unwrap().file_name().into_string().unwrap()
            };
            let mut names: Vec<_> = entries.map(name).collect();
            names.sort();
            names
        };
        server.make_own(false, true).unwrap();
        assert_eq!(left(), [AUTO_CONF, RECOVERY_SIGNAL]);
        let text = std::fs::read_to_string(data.join(AUTO_CONF)).unwrap();
        assert_eq!(text, "# comment\nwork_mem = '9MB'\n");
        server.make_own(true, true).unwrap();
        assert_eq!(left(), [AUTO_CONF, STANDBY_SIGNAL]);
        server.make_own(false, false).unwrap();
        assert_eq!(left(), [AUTO_CONF]);
    }

    #[test]
    fn recovery_goes_to_the_end_of_the_chain() {
        let dir = tempfile::tempdir().unwrap();
        let server = server_in(dir.path());
        let overrides = Overrides::new(&server.settings.layout.include_dir);
        std::fs::create_dir_all(&server.settings.layout.include_dir).unwrap();
        let mut recovery = Recovery {
            end: Some(End {
                timeline: 26,
                place: Lsn(7),
            }),
            replica: false,
            archived: Vec::new(),
        };
        server.arm_recovery(&recovery).unwrap();
        let document = overrides.read(Group::SystemLate, OVERRIDE).unwrap();
        assert_eq!(document.get("recovery_target_timeline"), Some("26"));
        assert_eq!(document.get("hot_standby"), Some("off"));
        recovery.replica = true;
        server.arm_recovery(&recovery).unwrap();
        let document = overrides.read(Group::SystemLate, OVERRIDE).unwrap();
        assert_eq!(document.settings().next(), None);
    }
}
