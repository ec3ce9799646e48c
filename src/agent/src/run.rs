//! The agent's life: assemble, run, drain.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use oslo_messaging::{
    Caster, ConnectionState, PlainSerializer, RpcServer, ServerConfig, Target, Transport,
};
use serde_json::{Map, Value};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::assemble::Assembly;
use crate::clock::SentClock;
use crate::conductor::{Cast, CastError, Conductor};
use crate::config::Settings;
use crate::host::Host;
use crate::journal::Journal;
use crate::markers::Markers;
use crate::operations::Operations;
use crate::operations::backup::Backups;
use crate::operations::recovery::phase_on_disk;
use crate::operations::turns::Turns;
use crate::rpc::dispatch::Dispatcher;
use crate::rpc::seal::SealKey;
use crate::rpc::security::Security;
use crate::state_file::Counters;
use crate::status::Status;
use crate::{assemble, supervise};

/// How long requests may go on after SIGTERM. The unit's stop timeout is longer.
const DRAIN: Duration = Duration::from_secs(20);

/// How long one cast waits for the broker before it counts as not delivered.
const CAST_LIMIT: Duration = Duration::from_secs(15);

/// RPC version of the conductor's interface (`trove/conductor/api.py`).
const CONDUCTOR_VERSION: &str = "1.0";

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot be assembled from its settings.
pub async fn run(settings: Settings, assembly: Assembly) -> Result<()> {
    let cancel = CancellationToken::new();
    let tasks = TaskTracker::new();
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;

    let state_path = settings.state_path.clone();
    guest::ensure_directory(
        &state_path,
        &guest::Attributes {
            mode: 0o700,
            owner: None,
        },
    )?;
    let transport = Transport::start(&assembly.transport)?;
    let security = Arc::new(security(&settings));
    let conductor = Arc::new(Conductor::new(
        Arc::new(Out::new(&transport, &settings)),
        security.clone(),
        settings.guest_id.clone(),
        SentClock::load(state_path.join("sent.json")),
    ));
    let journal = Journal::new(state_path.join("operation.json"));
    let unfinished = journal.read();
    let markers = Markers::default();
    let status = Status::new(
        phase_on_disk(unfinished.as_ref(), &markers),
        settings.report_interval.unwrap_or_default(),
    );
    let datastore = assembly.datastore;
    let host = Arc::new(Host::default());
    let operations = Arc::new(Operations {
        datastore: datastore.clone(),
        conductor: conductor.clone(),
        status: status.clone(),
        host: host.clone(),
        journal,
        markers,
        volume: assemble::volume(&settings),
        backups: Backups::new(Arc::new(settings.clone())),
        logs: crate::logs::Logs::default(),
        modules: assemble::modules(&settings),
        tls: crate::tls::Tls::new(assemble::tls_mode(&settings)),
        turns: Turns::default(),
    });

    let stopping = operations.backups.cancel.clone();
    tasks.spawn({
        let (spec, cancel) = (assemble::host(&settings), cancel.clone());
        let host = host.clone();
        async move { host.run(spec, cancel).await }
    });
    tasks.spawn(status.clone().run(datastore, conductor, cancel.clone()));
    tasks.spawn({
        let operations = operations.clone();
        async move {
            operations.recover_frozen().await;
            operations.recover(unfinished).await;
            operations.resume().await;
            // Last: it waits for a broker that may be away.
            operations.recover_backup().await;
        }
    });
    tasks.spawn({
        let (operations, cancel) = (operations.clone(), cancel.clone());
        async move { operations.keep_house(cancel).await }
    });
    let counters = Arc::new(Counters::default());
    let dispatcher = Dispatcher::new(
        operations.clone(),
        security,
        counters.clone(),
        settings.rpc_ping_enabled,
    );
    let server = RpcServer::start(
        &transport,
        Target::new(
            &settings.control_exchange,
            format!("guestagent.{}", settings.guest_id),
            &settings.guest_id,
        ),
        ServerConfig {
            pool_size: settings.executor_thread_pool_size,
            ..ServerConfig::new(Arc::new(dispatcher))
        },
    );
    tasks.spawn(
        supervise::Supervisor {
            settings,
            transport: transport.clone(),
            listener: server.progress(),
            operations,
            host,
            status,
            counters,
        }
        .run(server.state(), cancel.clone()),
    );
    guest::notify::ready();
    info!(name: "agent_started", version = env!("CARGO_PKG_VERSION"), "Agent started.");

    let received = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    info!(signal = received, "Stopping.");
    guest::notify::stopping();
    stopping.cancel();
    let unfinished = server.shutdown(DRAIN).await;
    if unfinished > 0 {
        warn!(
            unfinished,
            "Stopping in the middle of requests; the next start reports what they were."
        );
    }
    cancel.cancel();
    tasks.close();
    if tokio::time::timeout(CAST_LIMIT, tasks.wait())
        .await
        .is_err()
    {
        warn!("Background tasks did not end in time.");
    }
    transport.close().await;
    info!("Stopped.");
    Ok(())
}

fn security(settings: &Settings) -> Security {
    let key = settings.rpc_key.as_ref().map(SealKey::derive);
    if key.is_none() {
        warn!("No instance_rpc_encr_key: requests and replies travel in clear.");
    } else if settings.allow_clear_text_rpc {
        warn!("allow_clear_text_rpc is set: requests in clear are executed.");
    }
    Security::new(&settings.guest_id, key, settings.allow_clear_text_rpc)
}

/// The conductor's queue behind the broker connection.
struct Out {
    caster: Caster,
    exchange: String,
    topic: String,
}

impl Out {
    fn new(transport: &Transport, settings: &Settings) -> Self {
        Self {
            // Sealing depends on the receiver and is done before.
            caster: Caster::new(transport, Arc::new(PlainSerializer)),
            exchange: settings.control_exchange.clone(),
            topic: settings.conductor_queue.clone(),
        }
    }
}

#[async_trait]
impl Cast for Out {
    async fn cast(
        &self,
        method: &str,
        args: Map<String, Value>,
        context: Map<String, Value>,
    ) -> Result<(), CastError> {
        let cast = oslo_messaging::Cast {
            exchange: self.exchange.clone(),
            routing_key: self.topic.clone(),
            method: method.to_owned(),
            version: CONDUCTOR_VERSION.to_owned(),
            args,
            context,
        };
        self.caster
            .cast(cast, CAST_LIMIT)
            .await
            .map_err(|error| CastError {
                method: method.to_owned(),
                reason: error.to_string(),
            })
    }
}

/// The broker connection in words, for the unit's status line and `status`.
pub fn describe(state: &ConnectionState) -> String {
    match state {
        ConnectionState::Connecting { last_error: None } => "connecting".to_owned(),
        ConnectionState::Connecting {
            last_error: Some(error),
        } => format!("not connected: {error}"),
        ConnectionState::Connected { host } => format!("connected to {host}"),
        ConnectionState::Blocked { host, reason } => format!("{host} takes no messages: {reason}"),
        ConnectionState::Closed => "closed".to_owned(),
    }
}
