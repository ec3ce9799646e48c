//! Parameters of the attached configuration group, while the server runs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use datastore::{Error, ErrorKind, Result};
use serde_json::Value;
use tokio_postgres::Row;
use tracing::info;

use crate::Server;
use crate::errors::sql_error;
use crate::overrides::document_of;
use crate::session::SqlResult;
use crate::sql::Text;

/// How long the server may take to read its files again.
const RELOAD_LIMIT: Duration = Duration::from_secs(30);
/// Pause between two looks at it.
const LOOK: Duration = Duration::from_millis(50);

impl Server {
    /// Replaces the parameters of the configuration group by those given, or
    /// by none. What the server would refuse is refused here, and nothing
    /// changes then.
    pub(crate) async fn replace_user_parameters(
        &self,
        parameters: &BTreeMap<String, Value>,
    ) -> Result<()> {
        let user = document_of(parameters)?;
        let programs = self.programs(None)?;
        let base = self.present_base()?;
        self.check_user_parameters(&base, &user, &programs).await?;
        self.configurations().replace_group(&user)?;
        info!(
            parameters = parameters.len(),
            "Configuration group written."
        );
        Ok(())
    }

    /// Applies the configuration group that has just been written; tells
    /// whether some of it waits for a start. After an error it is what it was.
    pub(crate) async fn apply_group(&self, parameters: &BTreeMap<String, Value>) -> Result<bool> {
        let applied = self.reload(parameters).await;
        self.configurations().settle(applied)
    }

    /// Lets the server read its files, and checks that it does what they say.
    /// Tells whether one of `parameters` waits for a start.
    pub(crate) async fn reload(&self, parameters: &BTreeMap<String, Value>) -> Result<bool> {
        let failed = |error| sql_error("apply the configuration group", error);
        // The server would say it in its log only.
        let refused = self.refused().await.map_err(failed)?;
        if !refused.is_empty() {
            return Err(Error::bad_request(format!(
                "The server does not accept its configuration: {refused}"
            )));
        }
        let before = self.loaded_at().await.map_err(failed)?;
        let session = self.session().await?;
        let asked = session.run("SELECT pg_reload_conf()").await;
        session.close().await;
        asked.map_err(failed)?;
        let started = Instant::now();
        while self.loaded_at().await.map_err(failed)? <= before {
            if started.elapsed() > RELOAD_LIMIT {
                return Err(Error::new(
                    ErrorKind::Timeout,
                    format!(
                        "The server has not read its configuration after {} s",
                        RELOAD_LIMIT.as_secs()
                    ),
                ));
            }
            tokio::time::sleep(LOOK).await;
        }
        let waiting = self.waiting(parameters).await.map_err(failed)?;
        info!(
            waiting_for_restart = waiting.join(", "),
            "Configuration reloaded."
        );
        Ok(!waiting.is_empty())
    }

    /// When the server last read its files, in seconds. Only new sessions know:
    /// they are born with what the server knows.
    async fn loaded_at(&self) -> SqlResult<f64> {
        let session = self.session_in(crate::server::MAINTENANCE).await?;
        let query = "SELECT extract(epoch FROM pg_conf_load_time())::float8";
        let row = session.first(query, &[]).await;
        session.close().await;
        row?.map_or(Ok(0.0), |row| Ok(row.try_get(0)?))
    }

    /// Lines of the files that the server does not apply, other than those
    /// that wait for a start. What was removed and waits for one has no line.
    async fn refused(&self) -> SqlResult<String> {
        let session = self.session_in(crate::server::MAINTENANCE).await?;
        let query = "SELECT COALESCE(f.name || ' in ', '') || f.sourcefile || ': ' || error \
                     FROM pg_file_settings f LEFT JOIN pg_settings s ON lower(s.name) = lower(f.name) \
                     WHERE error IS NOT NULL AND s.context IS DISTINCT FROM 'postmaster' \
                     AND f.sourcefile IS NOT NULL";
        let rows = session.rows(query, &[]).await;
        session.close().await;
        Ok(texts(rows?)?.join("; "))
    }

    /// Which of `parameters` wait for a start.
    async fn waiting(&self, parameters: &BTreeMap<String, Value>) -> SqlResult<Vec<String>> {
        let names: Vec<String> = parameters.keys().map(|name| name.to_lowercase()).collect();
        let session = self.session_in(crate::server::MAINTENANCE).await?;
        let query = "SELECT name FROM pg_settings \
                     WHERE pending_restart AND lower(name) = ANY ($1) ORDER BY name";
        let rows = session.rows(query, &[&names]).await;
        session.close().await;
        texts(rows?)
    }
}

fn texts(rows: Vec<Row>) -> SqlResult<Vec<String>> {
    rows.into_iter()
        .map(|row| {
            let Text(text) = row.try_get(0)?;
            Ok(text)
        })
        .collect()
}
