//! One short connection to the server.
//!
//! An operation opens a connection to the database it works in, and closes it
//! at its end: an idle guest then costs its server nothing, no state leaks
//! from one request to the next, and two requests never share one. Everything
//! is bounded in time, so a server that hangs cannot hang the agent.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Row};

use crate::ServerVersion;

/// How long a connection may take. The socket is local.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a statement may take. Callers of the agent wait 15 s for most
/// answers, but dropping a large database is cast and takes its time.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(120);
/// How long saying goodbye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Settings of a session, stronger than those of databases and roles.
///
/// Names are resolved in the system's schema only: in others a tenant could
/// have put a function that a superuser must not run. Statements are kept out
/// of the logs, which tenants may read. The server gives up before we do: on
/// locks after 100 s, on statements after 110 s.
const OPTIONS: &str = "-c search_path=pg_catalog -c standard_conforming_strings=on \
     -c default_transaction_read_only=off -c idle_in_transaction_session_timeout=0 \
     -c lock_timeout=100000 -c statement_timeout=110000 \
     -c log_statement=none -c log_min_duration_statement=-1 -c log_duration=off \
     -c log_min_error_statement=panic -c debug_print_parse=off -c debug_print_rewritten=off \
     -c debug_print_plan=off";

/// Why a statement or a connection failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SqlError {
    /// The server answered with an error.
    #[error("the server answered: {message} (SQLSTATE {})", state.code())]
    Server {
        /// SQLSTATE.
        state: SqlState,
        /// Text of the server.
        message: String,
    },
    /// No answer in time.
    #[error("the server did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The socket could not be connected to.
    #[error("connect to {}: {source}", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// From the kernel.
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("no connection to the server: {0}")]
    Connection(#[source] tokio_postgres::Error),
    /// An answer makes no sense.
    #[error("the server does not tell {0}")]
    Nonsense(&'static str),
    /// The server's version is no version.
    #[error("the server reports its version as {reported:?}")]
    UnknownVersion {
        /// What it said.
        reported: Option<String>,
    },
}

impl SqlError {
    /// The server's SQLSTATE, if it was the server that refused.
    pub(crate) fn state(&self) -> Option<&SqlState> {
        match self {
            Self::Server { state, .. } => Some(state),
            _ => None,
        }
    }
}

impl From<tokio_postgres::Error> for SqlError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(refusal) = error.as_db_error() else {
            return Self::Connection(error);
        };
        let state = refusal.code().clone();
        // The text of a syntax error quotes the statement.
        let message = match state {
            SqlState::SYNTAX_ERROR => "the statement is not understood by this version".to_owned(),
            _ => [Some(refusal.message()), refusal.detail()]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(": "),
        };
        Self::Server { state, message }
    }
}

/// What a statement or a connection comes to.
pub(crate) type SqlResult<T> = Result<T, SqlError>;

/// A parameter of a query.
pub(crate) type Parameter<'a> = &'a (dyn ToSql + Sync);

/// A connection to one database.
pub(crate) struct Session {
    client: Client,
    driver: JoinHandle<()>,
    version: ServerVersion,
}

impl Session {
    /// Logs in as `user`, by the identity of this process.
    pub(crate) async fn open(socket: &Path, user: &str, database: &str) -> SqlResult<Self> {
        Self::open_within(CONNECT_TIMEOUT, socket, user, database).await
    }

    async fn open_within(
        limit: Duration,
        socket: &Path,
        user: &str,
        database: &str,
    ) -> SqlResult<Self> {
        let attempt = async {
            let stream = UnixStream::connect(socket)
                .await
                .map_err(|source| SqlError::Socket {
                    path: socket.to_owned(),
                    source,
                })?;
            let (client, connection) = Config::new()
                .user(user)
                .dbname(database)
                .application_name("trove-guestagent")
                .options(OPTIONS)
                .connect_raw(stream, NoTls)
                .await?;
            let reported = connection.parameter("server_version").map(str::to_owned);
            let version = reported
                .as_deref()
                .and_then(ServerVersion::parse)
                .ok_or(SqlError::UnknownVersion { reported })?;
            // Whoever waits for an answer is told of a broken connection.
            let driver = tokio::spawn(async move {
                let _told = connection.await;
            });
            Ok(Self {
                client,
                driver,
                version,
            })
        };
        timeout(limit, attempt)
            .await
            .unwrap_or(Err(SqlError::Timeout(limit)))
    }

    /// The server's version.
    pub(crate) fn version(&self) -> &ServerVersion {
        &self.version
    }

    /// Runs a statement that may take as long as `limit`, its own limit in the
    /// server included.
    pub(crate) async fn run_within(&self, limit: Duration, statement: &str) -> SqlResult<()> {
        let patience = format!("SET statement_timeout = {}", limit.as_millis());
        self.run(&patience).await?;
        let grace = limit + CONNECT_TIMEOUT;
        bounded(grace, self.client.batch_execute(statement)).await?;
        self.run("RESET statement_timeout").await
    }

    /// The first row of a query that may take as long as `limit`, its own limit
    /// in the server included.
    pub(crate) async fn first_within(
        &self,
        limit: Duration,
        query: &str,
        parameters: &[Parameter<'_>],
    ) -> SqlResult<Option<Row>> {
        let patience = format!("SET statement_timeout = {}", limit.as_millis());
        self.run(&patience).await?;
        let grace = limit + CONNECT_TIMEOUT;
        let rows = bounded(grace, self.client.query(query, parameters)).await?;
        self.run("RESET statement_timeout").await?;
        Ok(rows.into_iter().next())
    }

    /// Keeps the server from ending a session that waits.
    pub(crate) async fn stay(&self) -> SqlResult<()> {
        match self.version.major >= 14 {
            true => self.run("SET idle_session_timeout = 0").await,
            false => Ok(()),
        }
    }

    /// Runs a statement without result rows, or several in one transaction.
    pub(crate) async fn run(&self, statement: &str) -> SqlResult<()> {
        bounded(STATEMENT_TIMEOUT, self.client.batch_execute(statement)).await
    }

    /// All rows of a query with `$1` parameters.
    pub(crate) async fn rows(
        &self,
        query: &str,
        parameters: &[Parameter<'_>],
    ) -> SqlResult<Vec<Row>> {
        bounded(STATEMENT_TIMEOUT, self.client.query(query, parameters)).await
    }

    /// The first row of a query with `$1` parameters.
    pub(crate) async fn first(
        &self,
        query: &str,
        parameters: &[Parameter<'_>],
    ) -> SqlResult<Option<Row>> {
        Ok(self.rows(query, parameters).await?.into_iter().next())
    }

    /// Whether a query finds anything.
    pub(crate) async fn finds(&self, query: &str, parameters: &[Parameter<'_>]) -> SqlResult<bool> {
        Ok(self.first(query, parameters).await?.is_some())
    }

    /// Whether this server follows another, or is still recovering.
    pub(crate) async fn is_in_recovery(&self) -> SqlResult<bool> {
        let row = self.first("SELECT pg_is_in_recovery()", &[]).await?;
        row.map_or(Ok(false), |row| Ok(row.try_get(0)?))
    }

    /// Says goodbye and waits until the server has been told.
    pub(crate) async fn close(self) {
        let Self { client, driver, .. } = self;
        // Its end is what makes the driver say it.
        drop(client);
        // What is lost here is the farewell only; the socket closes anyway.
        let _ = timeout(CLOSE_TIMEOUT, driver).await;
    }
}

/// Whether the server answers a query within `limit`.
pub(crate) async fn probe(socket: &Path, user: &str, limit: Duration) -> SqlResult<()> {
    let attempt = async {
        let session = Session::open_within(limit, socket, user, user).await?;
        session.run("SELECT 1").await?;
        session.close().await;
        Ok(())
    };
    timeout(limit, attempt)
        .await
        .unwrap_or(Err(SqlError::Timeout(limit)))
}

async fn bounded<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> SqlResult<T> {
    match timeout(limit, work).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(SqlError::Timeout(limit)),
    }
}
