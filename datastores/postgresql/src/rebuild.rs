//! A new root disk below the data of a server: all that was on the old one is
//! made anew, and the data stays what it is, whoever has made it.
//!
//! Nothing here initialises anything, and everything can be repeated.

use std::time::Duration;

use datastore::{Error, ErrorKind, PrepareRequest, Result, TlsMode};
use guest::{Attributes, Kept};
use tracing::{info, warn};

use crate::conf::Document;
use crate::errors::{os_error, sql_error};
use crate::marker::{self, Marker};
use crate::recovered::AUTO_CONF;
use crate::sql::Text;
use crate::{Server, restore};

/// The old guest may have lost power: recovery takes what it takes.
const START_LIMIT: Duration = Duration::from_secs(3600);
/// What images of some versions have left in the data.
const LEFT_BEHIND: &str = "max_connections";

impl Server {
    /// See [`Datastore::rebuild`](datastore::Datastore::rebuild).
    pub(crate) async fn take_over_volume(
        &self,
        request: &PrepareRequest,
        tls: Option<TlsMode>,
    ) -> Result<()> {
        let layout = &self.settings.layout;
        // A rebuild that was interrupted may have started it.
        self.service.keep_down().await?;
        self.put_old_data_back().await?;
        self.check_data()?;
        restore::sweep(&layout.mount_point)?;
        self.ensure_directories()?;
        let account = &self.settings.account;
        let private = Attributes {
            mode: 0o700,
            owner: Some((account.uid, account.gid)),
        };
        guest::ensure_directory(&layout.wal_archive(), &private).map_err(os_error)?;
        self.finish_data_dir().await?;
        self.install_configuration(request).await?;
        self.put_tls_on(tls)?;
        self.start_taken_over().await?;
        if let Err(insecure) = self.check_secured().await {
            // Better no server than an open one.
            self.service.keep_down().await?;
            return Err(insecure);
        }
        self.warn_of_collations().await;
        info!("Data on the volume taken over.");
        Ok(())
    }

    /// Refuses a volume without data, with half of it, or with data that no
    /// installed server reads, before anything is written.
    fn check_data(&self) -> Result<()> {
        let layout = &self.settings.layout;
        let data = layout.data_dir();
        marker::ensure_complete(layout)?;
        let whole = data.join("global/pg_control").is_file();
        managed::ensure_data(&data, whole && !Marker::Initialising.is_set(layout))?;
        match self.data_major()? {
            Some(_) => self.programs(None).map(drop),
            None => Err(Error::failed(format!(
                "{} has no PG_VERSION: it is not known which server can read it",
                data.display()
            ))),
        }
    }

    /// The start, with the data's own `max_connections` if it can be: it is
    /// stronger than every file of ours, and what somebody has asked for.
    async fn start_taken_over(&self) -> Result<()> {
        let refusal = match self.bring_up_within(false, START_LIMIT).await {
            Err(error) if error.kind() == ErrorKind::Failed => error,
            done => return done,
        };
        let path = self.settings.layout.data_dir().join(AUTO_CONF);
        let kept = Kept::of(&path).map_err(os_error)?;
        let text = guest::read_optional(&path).map_err(os_error)?;
        let mut document = Document::parse(&text.unwrap_or_default());
        if document.get(LEFT_BEHIND).is_none() {
            return Err(refusal);
        }
        document.remove(LEFT_BEHIND);
        self.write_data_file(AUTO_CONF, &document.to_string())?;
        match self.bring_up_within(false, START_LIMIT).await {
            Ok(()) => {
                warn!(%refusal, "{LEFT_BEHIND} in {AUTO_CONF} kept the server down: dropped.");
                Ok(())
            }
            Err(_) => {
                kept.put_back().map_err(os_error)?;
                Err(refusal)
            }
        }
    }

    /// Another C library may sort texts in another order than indexes have.
    pub(crate) async fn warn_of_collations(&self) {
        match self.changed_collations().await {
            Ok(databases) if databases.is_empty() => {}
            Ok(databases) => warn!(
                databases = databases.join(", "),
                "This system may sort texts in another order than the one before: REINDEX \
                 DATABASE, then ALTER DATABASE ... REFRESH COLLATION VERSION."
            ),
            Err(error) => warn!(%error, "Versions of collations not known."),
        }
    }

    async fn changed_collations(&self) -> Result<Vec<String>> {
        let session = self.session().await?;
        // Earlier versions do not know what they were made with.
        if session.version().major < 15 {
            session.close().await;
            return Ok(Vec::new());
        }
        let query = "SELECT datname FROM pg_database WHERE datcollversion <> \
                     pg_database_collation_actual_version(oid) ORDER BY 1";
        let rows = session.rows(query, &[]).await;
        session.close().await;
        let read = |rows: Vec<tokio_postgres::Row>| {
            rows.iter()
                .map(|row| Ok(row.try_get(0).map(|Text(name)| name)?))
                .collect()
        };
        rows.and_then(read)
            .map_err(|error| sql_error("look for changed collations", error))
    }
}
