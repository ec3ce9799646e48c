//! Binary logs: what servers that have one need, and how much of it is kept.
//!
//! A binary log is kept for replicas that are away or being made, up to a part
//! of the volume: servers themselves keep it for a month (MySQL) or for ever
//! (MariaDB), and stop when the volume is full.

use datastore::Result;
use tracing::{info, warn};

use super::kept::Kept;
use crate::cnf::Document;
use crate::errors::sql_error;
use crate::overrides::SERVER_SECTION;
use crate::scratch::io_failed;
use crate::session::{Session, SqlResult};
use crate::{Flavor, Server, Vendor, sql};

/// The part of the volume that the binary log may take, and how much that is at
/// least.
const SHARE: u64 = 5;
const LEAST: u64 = 256 << 20;
/// Into how many files that is split, at least: whole files are removed.
const FILES: u64 = 8;
/// The largest file there is; also the servers' default.
const LARGEST_FILE: u64 = 1 << 30;
/// Seconds of silence after which a replica takes the connection to its source
/// for broken. The default is a minute.
const SILENCE: &str = "20";

impl<F: Flavor> Server<F> {
    /// Options that tenants may set otherwise.
    pub(super) async fn keep_common_override(&self) -> Result<()> {
        let version = self.installed_version().await?;
        let mut document = Document::default();
        let mut set = |name: &str, value: &str| document.set(SERVER_SECTION, name, Some(value));
        let largest = (self.binlog_share()? / FILES).min(LARGEST_FILE);
        set("max_binlog_size", &format!("{}M", largest >> 20));
        // MariaDB's default is 0: a power failure takes acknowledged
        // transactions away.
        set("sync_binlog", "1");
        match version.is_at_least(Vendor::MySql, (8, 0, 26)) {
            true => set("replica_net_timeout", SILENCE),
            false => set("slave_net_timeout", SILENCE),
        }
        self.keep_override(Kept::Common, &document)
    }

    /// Bytes that the binary log may take.
    fn binlog_share(&self) -> Result<u64> {
        let volume = &self.settings.layout.mount_point;
        let stats =
            guest::filesystem_stats(volume).map_err(|error| io_failed("examine", volume, error))?;
        let size = stats.block_size.saturating_mul(stats.total_blocks);
        Ok((size / SHARE).max(LEAST))
    }

    /// Removes the oldest files of the binary log beyond its share. A file that
    /// is being sent to a replica stays, and all after it.
    pub(super) async fn bound_binlogs(&self, session: &mut Session) -> Result<()> {
        if self.kept_override(Kept::Common)?.options().next().is_none() {
            return Ok(());
        }
        let share = self.binlog_share()?;
        let failed = |error| sql_error("remove old binary logs", error);
        let files = files(session).await.map_err(failed)?;
        let Some(first) = first_to_stay(&files, share) else {
            return Ok(());
        };
        let purge = format!("PURGE BINARY LOGS TO {}", sql::literal(first));
        session.run(&purge).await.map_err(failed)?;
        warn!(
            share_mib = share >> 20,
            "Binary logs beyond their share of the volume removed: replicas that are away for as \
             long have to be made anew."
        );
        info!(first, "Binary logs kept.");
        Ok(())
    }
}

/// Names and sizes, oldest first.
async fn files(session: &mut Session) -> SqlResult<Vec<(String, u64)>> {
    let on: Option<bool> = session.first("SELECT @@GLOBAL.log_bin", ()).await?;
    if on != Some(true) {
        return Ok(Vec::new());
    }
    let rows = session.text_rows("SHOW BINARY LOGS").await?;
    let file = |row: &mysql_async::Row| Some((row.get("Log_name")?, row.get("File_size")?));
    Ok(rows.iter().filter_map(file).collect())
}

/// The oldest file that fits into the share with all after it; `None` if all do.
/// The last one is in use.
fn first_to_stay(files: &[(String, u64)], share: u64) -> Option<&str> {
    let mut total = 0;
    let beyond = files.iter().rposition(|(_, size)| {
        total += size;
        total > share
    })?;
    let first = (beyond + 1).min(files.len() - 1);
    (first > 0).then(|| files[first].0.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_files_go() {
        let files: Vec<(String, u64)> = [("a", 30), ("b", 40), ("c", 50)]
            .map(|(name, size)| (name.to_owned(), size))
            .into();
        for (share, first) in [
            (200, None),
            (120, None),
            (119, Some("b")),
            (90, Some("b")),
            (89, Some("c")),
            (1, Some("c")),
        ] {
            assert_eq!(first_to_stay(&files, share), first, "{share}");
        }
        assert_eq!(first_to_stay(&files[..1], 1), None);
        assert_eq!(first_to_stay(&[], 1), None);
    }
}
