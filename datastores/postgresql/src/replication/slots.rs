//! Replication slots: WAL that a source keeps for its replicas.
//!
//! Every replica has a slot, named after its instance. One more slot keeps the
//! WAL for replicas that are still being made of a backup. A slot may hold back
//! only a part of the volume: a replica that is away for longer has to be made
//! anew, and a dead one does not stop its source.

use std::time::{Duration, SystemTime};

use datastore::Result;
use tracing::{info, warn};

use crate::Server;
use crate::conf::Document;
use crate::errors::{io_failed, os_error, sql_error};
use crate::marker::Marker;
use crate::overrides::{Group, Overrides};
use crate::session::{Session, SqlResult};
use crate::sql::Text;

/// How the names of our slots begin.
const PREFIX: &str = "trove_";
/// The slot for replicas that are being made.
const NURSERY: &str = "trove_new_replicas";
/// How long a replica may take to be made; Trove gives a restore 10 h
/// (`restore_usage_timeout`).
const NURSERY_LIMIT: Duration = Duration::from_secs(12 * 3600);
/// Characters of a name that the server allows.
const NAME_LIMIT: usize = 63;
/// The part of the volume that slots may hold back, and how much it is at
/// least, in MiB.
const SHARE: u64 = 5;
const LEAST_MIB: u64 = 256;
/// The override of a source.
const OVERRIDE: &str = "source";
const BOUND: &str = "max_slot_wal_keep_size";

/// Which slots are dropped.
const THIS: &str = "slot_name = $1::text";
const ALL: &str = "starts_with(slot_name::text, $1::text)";
const LOST: &str = "starts_with(slot_name::text, $1::text) AND wal_status = 'lost'";

/// The slot of the replica on an instance.
pub(super) fn name_of(instance: &str) -> String {
    let plain = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_lowercase() || c.is_ascii_digit() => c,
        _ => '_',
    };
    let name = PREFIX.chars().chain(instance.chars().map(plain));
    name.take(NAME_LIMIT).collect()
}

impl Server {
    /// Keeps WAL from now on for replicas that are being made, instead of from
    /// an earlier moment.
    pub(super) async fn open_nursery(&self) -> Result<()> {
        Marker::Nursery.set(&self.settings.layout)?;
        let session = self.session().await?;
        let work = async {
            drop_slots(&session, THIS, NURSERY).await?;
            let query = "SELECT pg_create_physical_replication_slot($1::text::name, true) \
                 WHERE NOT EXISTS (SELECT 1 FROM pg_replication_slots WHERE slot_name = $1::text)";
            session.rows(query, &[&NURSERY]).await.map(drop)
        };
        let result = work.await;
        session.close().await;
        result.map_err(|error| sql_error("keep WAL for new replicas", error))
    }

    /// Bounds what slots hold back by the size of the volume; whether that is
    /// another bound than before.
    pub(super) fn bound_slots(&self) -> Result<bool> {
        let layout = &self.settings.layout;
        let volume = guest::filesystem_stats(&layout.mount_point)
            .map_err(|error| io_failed("examine", &layout.mount_point, error))?;
        let size = volume.block_size.saturating_mul(volume.total_blocks);
        let bound = format!("{}MB", ((size / SHARE) >> 20).max(LEAST_MIB));
        let overrides = Overrides::new(&layout.include_dir);
        let mut document = overrides.read(Group::SystemEarly, OVERRIDE)?;
        if document.get(BOUND) == Some(&bound) {
            return Ok(false);
        }
        document.set(BOUND, &bound);
        overrides.write(Group::SystemEarly, OVERRIDE, &document)?;
        Ok(true)
    }

    /// Whether this server has ever been a source.
    pub(super) fn bounds_slots(&self) -> Result<bool> {
        let overrides = Overrides::new(&self.settings.layout.include_dir);
        let document: Document = overrides.read(Group::SystemEarly, OVERRIDE)?;
        Ok(document.get(BOUND).is_some())
    }

    /// Drops every slot of replicas that nobody uses: after this server has
    /// become a replica itself, or with data that has brought them along.
    pub(super) async fn drop_own_slots(&self) -> Result<()> {
        let session = self.session().await?;
        let dropped = drop_slots(&session, ALL, PREFIX).await;
        session.close().await;
        let dropped = dropped.map_err(|error| sql_error("drop slots of replicas", error))?;
        Marker::Nursery.remove(&self.settings.layout)?;
        if !dropped.is_empty() {
            info!(slots = dropped.join(", "), "Slots of replicas dropped.");
        }
        Ok(())
    }

    /// Drops slots that are of no use any more.
    pub(super) async fn sweep_slots(&self) -> Result<()> {
        let layout = &self.settings.layout;
        let opened = Marker::Nursery.since(layout).map_err(os_error)?;
        let is_over = |opened: SystemTime| {
            let age = SystemTime::now().duration_since(opened);
            age.unwrap_or_default() > NURSERY_LIMIT
        };
        let session = self.session().await?;
        let work = async {
            let lost = drop_slots(&session, LOST, PREFIX).await?;
            let grown = match opened.is_some_and(is_over) {
                true => drop_slots(&session, THIS, NURSERY).await?,
                false => Vec::new(),
            };
            SqlResult::Ok((lost, grown))
        };
        let result = work.await;
        session.close().await;
        let (lost, grown) = result.map_err(|error| sql_error("look after slots", error))?;
        if !lost.is_empty() {
            warn!(
                slots = lost.join(", "),
                "Replicas were away for longer than WAL can be kept for them: their slots are \
                 dropped, and they have to be made anew."
            );
        }
        if !grown.is_empty() {
            Marker::Nursery.remove(layout)?;
            info!("WAL is no longer kept for new replicas.");
        }
        Ok(())
    }
}

/// Drops the slots that fit and that nobody uses; their names.
async fn drop_slots(session: &Session, which: &str, name: &str) -> SqlResult<Vec<String>> {
    let query = format!(
        "SELECT slot_name, pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
         WHERE slot_type = 'physical' AND NOT active AND {which}"
    );
    let rows = session.rows(&query, &[&name]).await?;
    rows.into_iter()
        .map(|row| row.try_get(0).map(|Text(name)| name).map_err(Into::into))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::tests::server_in;

    #[test]
    fn names_are_what_the_server_allows() {
        assert_eq!(
            name_of("1b2C3d4e-0000-4111-8222-333344445555"),
            "trove_1b2c3d4e_0000_4111_8222_333344445555"
        );
        assert_eq!(name_of("ä'x"), "trove___x");
        assert_eq!(name_of(&"x".repeat(90)).len(), NAME_LIMIT);
    }

    #[test]
    fn slots_are_bounded_once() {
        let dir = tempfile::tempdir().unwrap();
        let server = server_in(dir.path());
        let layout = &server.settings.layout;
        for dir in [&layout.include_dir, &layout.mount_point] {
            std::fs::create_dir_all(dir).unwrap();
        }
        assert!(!server.bounds_slots().unwrap());
        assert!(server.bound_slots().unwrap());
        assert!(!server.bound_slots().unwrap());
        assert!(server.bounds_slots().unwrap());
    }
}
