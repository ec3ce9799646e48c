//! One short connection to the server.
//!
//! An operation opens a connection, works and closes it: an idle guest then
//! costs its server nothing, and no state leaks from one request to the next.
//! Everything is bounded in time, so a server that hangs cannot hang the
//! agent.

use std::path::Path;
use std::time::Duration;

use mysql_async::prelude::{FromRow, Queryable};
use mysql_async::{Conn, OptsBuilder, Params};
use tokio::time::timeout;

use crate::credentials::Login;
use crate::{ServerVersion, Vendor};

/// How long a connection may take. The socket is local.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a statement may take. Callers of the agent wait 15 s for most
/// answers, but dropping a large database is cast and takes its time.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(120);
/// How long the server lets a statement wait for a lock, in seconds: less
/// than [`STATEMENT_TIMEOUT`], so that it is the server that gives up. Its own
/// default is a year.
const LOCK_WAIT_TIMEOUT: u32 = 100;
/// How long saying goodbye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a statement or a connection failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SqlError {
    /// The server answered with an error.
    #[error("the server answered with error {code} ({state}): {message}")]
    Server {
        /// Error number, see the manuals' error references.
        code: u16,
        /// SQLSTATE.
        state: String,
        /// Text of the server.
        message: String,
    },
    /// No answer in time.
    #[error("the server did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The connection could not be made or broke.
    #[error("no connection to the server: {0}")]
    Connection(#[source] mysql_async::Error),
    /// The server's answer makes no sense.
    #[error("the server answers with {0}")]
    Nonsense(String),
    /// The server's version is no version.
    #[error("the server reports its version as {reported:?}")]
    UnknownVersion {
        /// What it said.
        reported: Option<String>,
    },
}

impl SqlError {
    /// The server's error number, if it was the server that refused.
    pub(crate) fn code(&self) -> Option<u16> {
        match self {
            Self::Server { code, .. } => Some(*code),
            _ => None,
        }
    }
}

impl From<mysql_async::Error> for SqlError {
    fn from(error: mysql_async::Error) -> Self {
        match error {
            // The text of a parse error quotes the statement, which may hold
            // a password.
            mysql_async::Error::Server(error) if matches!(error.code, 1064 | 1149) => {
                Self::Server {
                    code: error.code,
                    state: error.state,
                    message: "the statement is not understood by this version".into(),
                }
            }
            mysql_async::Error::Server(error) => Self::Server {
                code: error.code,
                state: error.state,
                message: error.message,
            },
            error => Self::Connection(error),
        }
    }
}

/// What a statement or a connection comes to.
pub(crate) type SqlResult<T> = Result<T, SqlError>;

/// A connection with a known SQL mode.
pub(crate) struct Session {
    connection: Conn,
    version: ServerVersion,
    read_only: bool,
}

impl Session {
    /// Logs in and prepares the session: a SQL mode that makes quoting
    /// unambiguous and keeps GRANT from creating users; the general and slow
    /// logs, which tenants may read, left out; waits for locks bounded. What is
    /// done on a read-only server is this server's own and not for its binary
    /// log: a replica with transactions of its own cannot follow others.
    pub(crate) async fn open(socket: &Path, login: &Login) -> SqlResult<Self> {
        let mut connection = connect(socket, login).await?;
        let about: Option<(String, String)> = bounded(
            STATEMENT_TIMEOUT,
            connection.query_first("SELECT VERSION(), @@GLOBAL.read_only"),
        )
        .await?;
        let (version, read_only) = about.unzip();
        let version = version
            .as_deref()
            .and_then(ServerVersion::parse)
            .ok_or(SqlError::UnknownVersion { reported: version })?;
        // MariaDB 12 has words for more than on and off.
        let read_only = read_only.is_some_and(|text| !matches!(&*text, "0" | "OFF"));
        // MySQL 8 has dropped NO_AUTO_CREATE_USER and never creates users.
        let mode = match version.is_at_least(Vendor::MySql, (8, 0, 0)) {
            true => "NO_BACKSLASH_ESCAPES",
            false => "NO_BACKSLASH_ESCAPES,NO_AUTO_CREATE_USER",
        };
        // Else PASSWORD() may give the hash of before 4.1.
        let hashes = if version.vendor == Vendor::MariaDb {
            ", old_passwords = 0"
        } else {
            ""
        };
        let unlogged = if read_only { ", sql_log_bin = 0" } else { "" };
        let mut session = Self {
            connection,
            version,
            read_only,
        };
        let settings = format!(
            "SET SESSION sql_mode = '{mode}', sql_log_off = 1, long_query_time = 31536000, \
             lock_wait_timeout = {LOCK_WAIT_TIMEOUT}{hashes}{unlogged}"
        );
        session.run(&settings).await?;
        Ok(session)
    }

    /// The server's version.
    pub(crate) fn version(&self) -> &ServerVersion {
        &self.version
    }

    /// Whether the server was read only when this session began.
    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// The server's number for this connection.
    pub(crate) fn id(&self) -> u32 {
        self.connection.id()
    }

    /// Runs a statement that may take as long as `limit`.
    pub(crate) async fn run_within(&mut self, limit: Duration, statement: &str) -> SqlResult<()> {
        bounded(limit, self.connection.query_drop(statement)).await
    }

    /// Runs a statement without result rows, as text.
    pub(crate) async fn run(&mut self, statement: &str) -> SqlResult<()> {
        bounded(STATEMENT_TIMEOUT, self.connection.query_drop(statement)).await
    }

    /// All rows of a query with `?` parameters.
    pub(crate) async fn rows<T>(
        &mut self,
        query: &str,
        parameters: impl Into<Params> + Send,
    ) -> SqlResult<Vec<T>>
    where
        T: FromRow + Send + 'static,
    {
        let parameters = parameters.into();
        bounded(STATEMENT_TIMEOUT, self.connection.exec(query, parameters)).await
    }

    /// The first row of a query with `?` parameters.
    pub(crate) async fn first<T>(
        &mut self,
        query: &str,
        parameters: impl Into<Params> + Send,
    ) -> SqlResult<Option<T>>
    where
        T: FromRow + Send + 'static,
    {
        let parameters = parameters.into();
        bounded(
            STATEMENT_TIMEOUT,
            self.connection.exec_first(query, parameters),
        )
        .await
    }

    /// All rows of a statement that cannot be prepared, such as SHOW.
    pub(crate) async fn text_rows(&mut self, query: &str) -> SqlResult<Vec<mysql_async::Row>> {
        bounded(STATEMENT_TIMEOUT, self.connection.query(query)).await
    }

    /// The text of the warning `code` that the last statement has left. Asking
    /// keeps the warnings.
    pub(crate) async fn warning(&mut self, code: u16) -> Option<String> {
        let warnings = self.text_rows("SHOW WARNINGS").await.ok()?;
        let warning = warnings
            .into_iter()
            .find(|row| row.get::<u16, _>("Code") == Some(code))?;
        warning.get("Message")
    }

    /// Says goodbye, so that the server does not count an aborted client.
    pub(crate) async fn close(self) {
        // What is lost here is the farewell only; the socket closes anyway.
        let _ = timeout(CLOSE_TIMEOUT, self.connection.disconnect()).await;
    }
}

/// Whether the server answers a query of `login` within `limit`.
pub(crate) async fn probe(socket: &Path, login: &Login, limit: Duration) -> SqlResult<()> {
    let attempt = async {
        let mut connection = connect(socket, login).await?;
        connection.query_drop("SELECT 1").await?;
        let _ = timeout(CLOSE_TIMEOUT, connection.disconnect()).await;
        Ok(())
    };
    timeout(limit, attempt)
        .await
        .unwrap_or(Err(SqlError::Timeout(limit)))
}

async fn connect(socket: &Path, login: &Login) -> SqlResult<Conn> {
    let options = OptsBuilder::default()
        .socket(socket.to_str())
        .user(Some(&login.user))
        .pass(Some(login.password.expose()))
        // Given here, so that the client does not ask the server for them.
        .prefer_socket(false)
        .max_allowed_packet(Some(64 << 20))
        .wait_timeout(Some(28_800));
    bounded(CONNECT_TIMEOUT, Conn::new(options)).await
}

async fn bounded<T>(
    limit: Duration,
    work: impl Future<Output = mysql_async::Result<T>>,
) -> SqlResult<T> {
    match timeout(limit, work).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(SqlError::Timeout(limit)),
    }
}
