//! What is removed from the archive when it has grown too large.
//!
//! Only incremental backups need it, from the backup on that they add to. So
//! what is older than the last two backups goes first, then what is older than
//! the last one. WAL since then stays, until the archive takes half of the
//! volume: a volume that fills up stops the database, while all that is lost
//! here is the chance to add to a backup, which says so then. What the server
//! itself would need to recover is never removed.

use std::path::{Path, PathBuf};

use datastore::{Error, Result};
use tokio_postgres::Row;
use tracing::{info, warn};

use super::segment::Segment;
use crate::Server;
use crate::errors::{io_failed, sql_error};
use crate::session::{Session, SqlResult};
use crate::sql::Text;

/// How many times `max_wal_size` an archive may have.
const WAL_SIZES: u64 = 5;
/// Tenants who look after the archive themselves put this into the command
/// (`trove/guestagent/datastore/postgres/manager.py`).
const HANDS_OFF: &str = "DISABLE_TROVE_WAL_CLEANUP";

/// A file of the archive.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    name: String,
    size: u64,
}

/// Bytes from which on something is removed.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// What no backup needs.
    soft: u64,
    /// What only the next incremental backup needs.
    hard: u64,
}

/// What is to be removed.
#[derive(Debug, Default, PartialEq)]
struct Plan {
    names: Vec<String>,
    bytes: u64,
    /// Whether no incremental backup can follow the last backup any more.
    breaks_chain: bool,
}

impl Server {
    /// Removes archived WAL that has become too much. A server that does not
    /// run archives nothing.
    pub(crate) async fn clean_archive(&self) -> Result<()> {
        if !self.settings.clean_wal_archive {
            return Ok(());
        }
        // Somebody is reading it: the next time will do.
        let Ok(_alone) = self.archive.0.clone().try_write_owned() else {
            return Ok(());
        };
        let Ok(session) = self.session().await else {
            return Ok(());
        };
        let facts = Facts::of(&session).await;
        session.close().await;
        let facts = facts.map_err(|error| sql_error("examine the WAL archive", error))?;
        if facts.hands_off {
            return Ok(());
        }
        let limits = self.limits(facts.max_wal_size)?;
        let archive = self.settings.layout.wal_archive();
        let work = tokio::task::spawn_blocking(move || clean(&archive, facts.redo, limits));
        work.await
            .map_err(|error| Error::failed(format!("The WAL archive is not cleaned: {error}")))?
    }

    fn limits(&self, max_wal_size: u64) -> Result<Limits> {
        let mount_point = &self.settings.layout.mount_point;
        let volume = guest::filesystem_stats(mount_point)
            .map_err(|error| io_failed("examine", mount_point, error))?;
        let hard = volume.block_size.saturating_mul(volume.total_blocks) / 2;
        Ok(Limits {
            soft: hard.min(max_wal_size.saturating_mul(WAL_SIZES)),
            hard,
        })
    }
}

/// What the server says about its WAL.
struct Facts {
    hands_off: bool,
    max_wal_size: u64,
    /// Recovery would begin here, were it to crash now.
    redo: Option<Segment>,
}

impl Facts {
    async fn of(session: &Session) -> SqlResult<Self> {
        let query = "SELECT current_setting('archive_command'), \
                     pg_size_bytes(current_setting('max_wal_size')), redo_wal_file \
                     FROM pg_control_checkpoint()";
        let read = |row: Row| {
            let (Text(command), Text(redo)) = (row.try_get(0)?, row.try_get(2)?);
            let max_wal_size: i64 = row.try_get(1)?;
            Ok(Self {
                hands_off: command.contains(HANDS_OFF),
                max_wal_size: u64::try_from(max_wal_size).unwrap_or_default(),
                redo: Segment::of(&redo),
            })
        };
        match session.first(query, &[]).await? {
            Some(row) => read(row),
            // It has one row; without it nothing is known to be superfluous.
            None => Ok(Self {
                hands_off: true,
                max_wal_size: 0,
                redo: None,
            }),
        }
    }
}

fn clean(archive: &Path, redo: Option<Segment>, limits: Limits) -> Result<()> {
    let Some(redo) = redo else {
        return Ok(());
    };
    let entries = entries_of(archive).map_err(|error| io_failed("read", archive, error))?;
    let plan = plan(&entries, redo, limits);
    if plan.names.is_empty() {
        return Ok(());
    }
    let files = plan.names.len();
    info!(files, bytes = plan.bytes, "Removing archived WAL.");
    if plan.breaks_chain {
        warn!(
            limit = limits.hard,
            "The WAL archive takes half of the volume: WAL since the last backup goes, and the \
             next backup must be a full one."
        );
    }
    for name in plan.names {
        let path: PathBuf = archive.join(name);
        guest::remove_if_exists(&path).map_err(crate::errors::os_error)?;
    }
    Ok(())
}

fn entries_of(archive: &Path) -> std::io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(archive)? {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string() {
            let size = entry.metadata()?.len();
            entries.push(Entry { name, size });
        }
    }
    Ok(entries)
}

/// What of `entries` is to go.
fn plan(entries: &[Entry], redo: Segment, limits: Limits) -> Plan {
    let mut backups: Vec<Segment> = entries
        .iter()
        .filter_map(|entry| Segment::of_backup(&entry.name))
        .collect();
    backups.sort_unstable();
    backups.dedup();
    let total: u64 = entries.iter().map(|entry| entry.size).sum();
    let last_two = backups.len().saturating_sub(2);
    let mut plan = Plan::default();
    for &backup in &backups[last_two..] {
        if total - plan.bytes <= limits.soft {
            return plan;
        }
        plan = before(entries, backup.min(redo));
    }
    let limit = if backups.is_empty() {
        limits.soft
    } else {
        limits.hard
    };
    if total - plan.bytes > limit {
        let removed = plan.names.len();
        plan = before(entries, redo);
        plan.breaks_chain = !backups.is_empty() && plan.names.len() > removed;
    }
    plan
}

/// Everything older than `first`.
fn before(entries: &[Entry], first: Segment) -> Plan {
    let mut plan = Plan::default();
    for entry in entries {
        if Segment::of(&entry.name).is_some_and(|segment| segment < first) {
            plan.names.push(entry.name.clone());
            plan.bytes += entry.size;
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segment(number: u32) -> Segment {
        Segment::of(&name(number)).unwrap()
    }

    fn name(number: u32) -> String {
        format!("0000000100000000{number:08X}")
    }

    /// Ten segments of 16 bytes, backups that began at these.
    fn archive(backups: &[u32]) -> Vec<Entry> {
        let file = |name: String, size| Entry { name, size };
        (1..=10)
            .map(|number| file(name(number), 16))
            .chain(
                backups
                    .iter()
                    .map(|&number| file(format!("{}.00000028.backup", name(number)), 0)),
            )
            .chain([file("00000002.history".into(), 1)])
            .collect()
    }

    /// Numbers of the segments that stay.
    fn kept(entries: &[Entry], plan: &Plan) -> Vec<u32> {
        (1..=10)
            .filter(|&number| {
                let name = name(number);
                entries.iter().any(|entry| entry.name == name) && !plan.names.contains(&name)
            })
            .collect()
    }

    #[test]
    fn what_no_backup_needs_goes_first() {
        let entries = archive(&[2, 4, 7]);
        let redo = segment(9);
        let limits = |soft, hard| Limits { soft, hard };
        for (limits, first, breaks_chain) in [
            (limits(1000, 2000), 1, false),
            // The last two backups, the last one, the server's own need.
            (limits(120, 2000), 4, false),
            (limits(80, 2000), 7, false),
            (limits(1, 100), 7, false),
            (limits(1, 10), 9, true),
        ] {
            let plan = plan(&entries, redo, limits);
            assert_eq!(kept(&entries, &plan)[0], first, "{limits:?}");
            assert_eq!(plan.breaks_chain, breaks_chain, "{limits:?}");
        }
    }

    #[test]
    fn without_backups_nothing_but_recovery_needs_it() {
        let entries = archive(&[]);
        let limits = Limits {
            soft: 10,
            hard: 1000,
        };
        let plan = plan(&entries, segment(6), limits);
        assert_eq!(kept(&entries, &plan)[0], 6);
        assert!(!plan.breaks_chain);
        assert!(!plan.names.contains(&"00000002.history".to_owned()));
    }

    proptest! {
        #[test]
        fn recovery_and_the_last_backup_are_safe(
            backups in proptest::collection::vec(1u32..=10, 0..4),
            redo in 1u32..=10,
            soft in 0u64..200,
            more in 0u64..200,
        ) {
            let entries = archive(&backups);
            let hard = soft + more;
            let plan = plan(&entries, segment(redo), Limits { soft, hard });
            let kept = kept(&entries, &plan);
            prop_assert!((redo..=10).all(|number| kept.contains(&number)));
            if let Some(&last) = backups.iter().max() && !plan.breaks_chain {
                prop_assert!((last..=10).all(|number| kept.contains(&number)));
            }
            // Above the limit only what is needed is left.
            let size = 16 * kept.len() as u64 + 1;
            prop_assert!(size <= hard.max(1) || kept.iter().all(|&number| number >= redo));
        }
    }
}
