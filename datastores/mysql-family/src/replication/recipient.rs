//! A replica whose data is cloned from its running source (MySQL manual,
//! "Cloning Remote Data").
//!
//! An empty server is started that nobody reaches from outside, and told to
//! clone. When it has, it ends, and the next start is the one of any restored
//! data: the accounts are the source's, and those of the agent get new
//! passwords. The files that see to that are there before the clone begins and
//! stay when it fails: whatever becomes of the agent, no half of a replica is
//! ever open to anybody.

use std::pin::Pin;
use std::time::{Duration, Instant};

use datastore::{Error, ErrorKind, PrepareRequest, ReplicaContext, Restored, Result};
use tracing::info;

use super::donor::PACKET;
use crate::clone::load_plugin;
use crate::errors::{code, sql_error};
use crate::marker::Marker;
use crate::session::{Session, SqlError, SqlResult};
use crate::{Flavor, Server, Vendor, sql};

/// Terabytes take hours, and one replica waits for the other.
const LIMIT: Duration = Duration::from_secs(48 * 3600);
/// A source serves one clone at a time. Between two attempts to be the next.
const BUSY: Duration = Duration::from_secs(5);
/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_secs(5);
/// Between two lines in the log about it.
const TELL: Duration = Duration::from_secs(30);
/// A server that has lost its source tries for five minutes to reach it again,
/// and has been seen to wait for ever.
const STALL: Duration = Duration::from_secs(900);

impl<F: Flavor> Server<F> {
    /// See [`Datastore::restore_clone`](datastore::Datastore::restore_clone).
    ///
    /// Not `async`: so the binary has none of it for the product that cannot.
    pub(crate) fn cloning<'a>(
        &'a self,
        request: &'a PrepareRequest,
    ) -> Pin<Box<dyn Future<Output = Result<Restored>> + Send + 'a>> {
        match self.flavor.vendor() {
            Vendor::MySql => Box::pin(self.clone_source(request)),
            Vendor::MariaDb => {
                let refused = Error::not_supported("Cloning a source of MariaDB");
                Box::pin(std::future::ready(Err(refused)))
            }
        }
    }

    async fn clone_source(&self, request: &PrepareRequest) -> Result<Restored> {
        let Some(replica) = &request.replica else {
            return Err(Error::bad_request("Only replicas clone another server"));
        };
        self.service.keep_down().await?;
        self.meet_source(request).await?;
        self.install_for(request, Marker::Cloning).await?;
        let options = format!(
            "skip_networking\nloose_mysqlx = 0\nmax_allowed_packet = {PACKET}\n\
             loose_super_read_only = 0\nloose_skip_replica_start\n"
        );
        self.arm_start_of_copy(&options).await?.keep();
        let cloned = self.fetch(&replica.context).await;
        self.down_unless(cloned).await?;
        // It has ended to be started again: not before all is ready for that.
        self.service.take_down().await?;
        self.start_as_asked(request).await
    }

    async fn fetch(&self, context: &ReplicaContext) -> Result<()> {
        self.bring_up(false).await?;
        // A boot must not start what is not complete.
        self.service.not_at_boot().await?;
        let tls = self.source_offers_tls(&context.source).await?;
        let mut session = self.session().await?;
        load_plugin(&mut session, &self.settings.layout).await?;
        let mut watch = self.session().await?;
        clone_from(&mut session, &mut watch, context, tls).await
    }
}

/// Clones the source when it is this replica's turn; `watch` is another session.
async fn clone_from(
    session: &mut Session,
    watch: &mut Session,
    context: &ReplicaContext,
    tls: bool,
) -> Result<()> {
    let source = format!("{}:{}", context.source.host, context.source.port);
    let failed = |error| sql_error(format!("clone the source {source}"), error);
    let source_text = sql::literal(&source);
    let allow = format!("SET GLOBAL clone_valid_donor_list = {source_text}");
    session.run(&allow).await.map_err(failed)?;
    info!(source, tls, "Cloning the source.");
    let begun = Instant::now();
    let statement = statement(context, tls);
    let mut told = false;
    while let Err(error) = run_watched(session, watch, &statement).await? {
        if ends_with_the_server(&error) {
            break;
        }
        if !is_busy(&error) || begun.elapsed() >= LIMIT {
            return Err(failed(error));
        }
        if !std::mem::replace(&mut told, true) {
            info!("The source is being cloned by others: waiting.");
        }
        tokio::time::sleep(BUSY).await;
    }
    info!(elapsed_s = begun.elapsed().as_secs(), "Source cloned.");
    Ok(())
}

/// Runs the statement and tells how far it is; fails when it goes no further.
async fn run_watched(
    session: &mut Session,
    watch: &mut Session,
    statement: &str,
) -> Result<SqlResult<()>> {
    // Also lest the server ends that session while this replica waits.
    let mut last = stage(watch).await.ok().flatten();
    let (mut moved, mut told) = (Instant::now(), Instant::now());
    let running = session.run_within(LIMIT, statement);
    tokio::pin!(running);
    loop {
        tokio::select! {
            ended = &mut running => return Ok(ended),
            () = tokio::time::sleep(LOOK) => {}
        }
        // A server that is ending does not answer.
        let seen = stage(watch).await.ok().flatten();
        if seen != last {
            moved = Instant::now();
        }
        last = seen;
        if told.elapsed() >= TELL {
            told = Instant::now();
            info!(stage = last, "Cloning the source.");
        }
        if moved.elapsed() >= STALL {
            let text = format!(
                "The clone of the source has not gone on for {} s ({})",
                STALL.as_secs(),
                last.unwrap_or_default()
            );
            return Err(Error::new(ErrorKind::Timeout, text));
        }
    }
}

/// What is being done, and bytes done and to be done in it.
async fn stage(session: &mut Session) -> SqlResult<Option<String>> {
    let query = "SELECT CONCAT(STAGE, ' ', DATA, ' of ', ESTIMATE, ' bytes') \
         FROM performance_schema.clone_progress WHERE STATE = 'In Progress'";
    session.first(query, ()).await
}

/// The source is named by what it offers, as its channel is.
fn statement(context: &ReplicaContext, tls: bool) -> String {
    let account = &context.account;
    format!(
        "CLONE INSTANCE FROM {}:{} IDENTIFIED BY {} REQUIRE {}SSL",
        sql::account(&account.name, &context.source.host),
        context.source.port,
        sql::literal(account.password.expose()),
        if tls { "" } else { "NO " }
    )
}

/// The server ends itself after a clone, and its connections with it. Whether it
/// was one, the next start tells.
fn ends_with_the_server(error: &SqlError) -> bool {
    matches!(error, SqlError::Connection(_)) || error.code() == Some(code::NO_SUPERVISOR)
}

/// The source serves somebody else: its error is in the text of ours.
fn is_busy(error: &SqlError) -> bool {
    matches!(error, SqlError::Server { code: code::CLONE_DONOR, message, .. }
        if message.contains(&format!(" {} ", code::TOO_MANY_CLONES)))
}

/// The server that runs on cloned data knows whether it is whole.
pub(crate) async fn check_cloned(session: &mut Session) -> Result<()> {
    let query = "SELECT CONCAT(STATE, ' ', ERROR_MESSAGE) FROM performance_schema.clone_status";
    let status: SqlResult<Option<String>> = session.first(query, ()).await;
    let status = status.map_err(|error| sql_error("ask how the clone ended", error))?;
    let status = status.unwrap_or_default();
    match status.starts_with("Completed ") {
        true => Ok(()),
        false => Err(Error::failed(format!(
            "The clone of the source is not complete: {status}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use datastore::{Endpoint, ReplicationAccount, Secret};
    use serde_json::Map;

    use super::*;

    #[test]
    fn the_statement_is_quoted() {
        let context = ReplicaContext {
            source: Endpoint {
                host: "192.0.2.7".into(),
                port: 3307,
            },
            account: ReplicationAccount {
                name: "slave_1".into(),
                password: Secret::new(r"it's\"),
            },
            position: Map::new(),
            dataset: Map::new(),
            tls: None,
        };
        assert_eq!(
            statement(&context, true),
            r"CLONE INSTANCE FROM 'slave_1'@'192.0.2.7':3307 IDENTIFIED BY 'it''s\' REQUIRE SSL"
        );
        assert!(statement(&context, false).ends_with(" REQUIRE NO SSL"));
    }

    #[test]
    fn errors_of_real_servers() {
        let error = |code, message: &str| SqlError::Server {
            code,
            state: "HY000".into(),
            message: message.into(),
        };
        let busy = "Clone Donor Error: 3634 : Too many concurrent clone operations. \
             Maximum allowed - 1..";
        assert!(is_busy(&error(3862, busy)));
        let gone = "Clone Donor Error: 1815 : Internal error: Innodb Clone Restart could not \
             find existing clone.";
        assert!(!is_busy(&error(3862, gone)) && !ends_with_the_server(&error(3862, gone)));
        let alone = "Restart server failed (mysqld is not managed by supervisor process).";
        assert!(ends_with_the_server(&error(3707, alone)));
        assert!(!ends_with_the_server(&SqlError::Timeout(LIMIT)));
    }
}
