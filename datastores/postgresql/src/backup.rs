//! Backups of the running server: which way one is made.
//!
//! A full backup is one of `pg_basebackup`. What is added to it is either WAL
//! of the archive, which every guest agent of Trove can restore, or the blocks
//! that have changed, which takes PostgreSQL 17.

use datastore::{BackupMetadata, BackupRequest, BackupStream, Error, ErrorKind, Result};
use tracing::{info, warn};

use crate::errors::sql_error;
use crate::label::End;
use crate::place::{Cut, Lsn};
use crate::session::{Session, SqlResult};
use crate::settings::Increments;
use crate::sql::Text;
use crate::{Server, restore};

/// The first release series that knows which blocks have changed.
pub(crate) const BLOCKS_SINCE: u32 = 17;

/// What the server says before a backup.
#[derive(Debug)]
pub(crate) struct Facts {
    /// How its WAL is cut.
    pub(crate) cut: Cut,
    /// Bytes of data and WAL.
    pub(crate) size: u64,
    /// Whether it follows another server.
    pub(crate) replica: bool,
    /// Directories of the tenant's outside of the data directory.
    tablespaces: Vec<String>,
}

impl Facts {
    pub(crate) async fn of(session: &Session) -> SqlResult<Self> {
        let query = "SELECT setting::int8, pg_is_in_recovery(), \
             (SELECT sum(pg_database_size(oid)) FROM pg_database)::int8 + \
             (SELECT coalesce(sum(size), 0) FROM pg_ls_waldir())::int8 \
             FROM pg_settings WHERE name = 'wal_segment_size'";
        let mut facts = Self {
            // The default of the server.
            cut: Cut::DEFAULT,
            size: 0,
            replica: false,
            tablespaces: Vec::new(),
        };
        if let Some(row) = session.first(query, &[]).await? {
            let (cut, size): (i64, i64) = (row.try_get(0)?, row.try_get(2)?);
            facts.cut = u64::try_from(cut)
                .ok()
                .and_then(Cut::of)
                .unwrap_or(facts.cut);
            facts.size = u64::try_from(size).unwrap_or_default();
            facts.replica = row.try_get(1)?;
        }
        let query = "SELECT spcname FROM pg_tablespace \
             WHERE spcname NOT IN ('pg_default', 'pg_global') ORDER BY 1";
        for row in session.rows(query, &[]).await? {
            let Text(name) = row.try_get(0)?;
            facts.tablespaces.push(name);
        }
        Ok(facts)
    }

    /// A stream has one directory; what is elsewhere would be missing.
    fn refuse_tablespaces(&self) -> Result<()> {
        match self.tablespaces.is_empty() {
            true => Ok(()),
            false => Err(Error::new(
                ErrorKind::NotSupported,
                format!(
                    "Databases with tablespaces cannot be backed up, and this one has {}: move \
                     what is in them to pg_default and drop them",
                    self.tablespaces.join(", ")
                ),
            )),
        }
    }
}

impl Server {
    /// See [`Datastore::start_backup`](datastore::Datastore::start_backup).
    pub(crate) async fn begin_backup(
        &self,
        request: &BackupRequest,
    ) -> Result<Box<dyn BackupStream>> {
        check_id(&request.id)?;
        let parent = request.parent.as_ref().map(end_of_parent).transpose()?;
        restore::sweep(&self.settings.layout.mount_point)?;
        let blocks = match self.settings.increments {
            Increments::Blocks => self.summarize_wal().await?,
            Increments::Wal => false,
        };
        let session = self.session().await?;
        let facts = Facts::of(&session)
            .await
            .map_err(|error| sql_error("examine the server", error))?;
        facts.refuse_tablespaces()?;
        let Some((metadata, parent)) = request.parent.as_ref().zip(parent) else {
            return Ok(Box::new(
                self.base_backup(request, session, facts, None, blocks)
                    .await?,
            ));
        };
        if blocks && let Some(manifest) = self.manifest_of_parent(&session, metadata).await? {
            let manifest = Some(manifest);
            return Ok(Box::new(
                self.base_backup(request, session, facts, manifest, true)
                    .await?,
            ));
        }
        let backup = self.wal_backup(request, &session, facts, parent).await?;
        session.close().await;
        Ok(Box::new(backup))
    }

    /// Lets the server remember which blocks change; whether it does now.
    async fn summarize_wal(&self) -> Result<bool> {
        let session = self.session().await?;
        let major = session.version().major;
        session.close().await;
        if major < BLOCKS_SINCE {
            info!(
                major,
                "Increments are made of WAL: this version knows no others."
            );
            return Ok(false);
        }
        if let Err(error) = self.switch_summaries_on().await {
            warn!(%error, "WAL summaries are not switched on.");
        }
        let session = self.session().await?;
        let query = "SELECT 1 FROM pg_settings WHERE name = 'summarize_wal' AND setting = 'on'";
        let on = session.finds(query, &[]).await;
        session.close().await;
        let on = on.map_err(|error| sql_error("look for WAL summaries", error))?;
        if !on {
            warn!("Increments are made of WAL: summarize_wal is off.");
        }
        Ok(on)
    }

    /// The manifest that an increment of changed blocks begins at, if the
    /// server still knows what has changed since.
    async fn manifest_of_parent(
        &self,
        session: &Session,
        parent: &BackupMetadata,
    ) -> Result<Option<std::path::PathBuf>> {
        let label = parent.get("label").map_or("", String::as_str);
        let Some(manifest) = self.manifest_of(label) else {
            warn!(
                parent = label,
                "The increment is made of WAL: there is no manifest of its parent."
            );
            return Ok(None);
        };
        let start = parent
            .get("start_segment")
            .and_then(|text| Lsn::parse(text));
        let start = start.map_or_else(String::new, |place| place.to_string());
        let query = "SELECT 1 FROM pg_available_wal_summaries() \
             WHERE start_lsn <= $1::text::pg_lsn LIMIT 1";
        let known = session.finds(query, &[&start]).await;
        match known.map_err(|error| sql_error("look for WAL summaries", error))? {
            true => Ok(Some(manifest)),
            false => {
                warn!(
                    parent = label,
                    "The increment is made of WAL: summaries since its parent are missing."
                );
                Ok(None)
            }
        }
    }
}

/// An id names files and the backup in the server.
fn check_id(id: &str) -> Result<()> {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
    match !id.is_empty() && !id.starts_with('.') && id.bytes().all(plain) {
        true => Ok(()),
        false => Err(Error::bad_request(format!("{id:?} is no id of a backup"))),
    }
}

/// Where an increment begins.
fn end_of_parent(parent: &BackupMetadata) -> Result<End> {
    End::of(parent)?.ok_or_else(|| {
        Error::bad_request(
            "The metadata of the parent backup does not tell where it ends: nothing can be added \
             to it; make a full backup",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_plain() {
        for id in ["b-1", "22222222-bbbb-4000-8000-000000000001", "nightly_2.x"] {
            check_id(id).unwrap();
        }
        for id in ["", "../x", "a/b", ".hidden", "a'b", "a b"] {
            assert!(check_id(id).is_err(), "{id}");
        }
    }

    #[test]
    fn increments_need_a_place_to_begin() {
        let error = end_of_parent(&BackupMetadata::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadRequest);
        assert!(error.to_string().contains("make a full backup"), "{error}");
    }
}
