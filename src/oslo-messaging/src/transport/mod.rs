//! One connection, owned and rebuilt by a supervisor.

mod publish;
mod session;
mod state;
mod supervisor;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use publish::{Publication, PublishError, short};
pub(crate) use session::{Lane, Session};
pub use state::ConnectionState;
use state::Shared;

use crate::connect::{Dialer, Resolve, SystemResolver};
use crate::{OptionError, RabbitOptions, TransportUrl};

/// Longest time between two increments of [`Transport::progress`].
pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// What a [`Transport`] needs to know.
#[derive(Clone)]
pub struct TransportConfig {
    /// Brokers, credentials and virtual host. Overrides in the query are the
    /// caller's to apply to `options`.
    pub url: TransportUrl,
    /// `[oslo_messaging_rabbit]`.
    pub options: RabbitOptions,
    /// Name shown by the broker, by convention `program:pid:uuid`.
    pub connection_name: String,
    /// How broker names become addresses.
    pub resolver: Arc<dyn Resolve>,
}

impl TransportConfig {
    /// A configuration with the C library's resolver.
    pub fn new(
        url: TransportUrl,
        options: RabbitOptions,
        connection_name: impl Into<String>,
    ) -> Self {
        Self {
            url,
            options,
            connection_name: connection_name.into(),
            resolver: Arc::new(SystemResolver),
        }
    }

    pub(crate) fn dialer(&self) -> Dialer {
        Dialer {
            options: self.options.clone(),
            virtual_host: self.url.virtual_host.clone(),
            connection_name: self.connection_name.clone(),
            resolver: self.resolver.clone(),
        }
    }
}

/// The connection to the brokers: started once, reconnected for ever.
///
/// Cheap to clone; servers and casters share it. Nothing is sent before
/// [`Transport::start`] has found a broker, and everything waits out a break.
#[derive(Clone)]
pub struct Transport {
    shared: Arc<Shared>,
    options: Arc<RabbitOptions>,
    stop: CancellationToken,
    supervisor: Arc<tokio::sync::Mutex<Option<JoinHandle<()>>>>,
}

impl Transport {
    /// Starts connecting in the background; must be called inside a tokio
    /// runtime.
    ///
    /// # Errors
    /// [`OptionError::Conflict`] for options that exclude one another. A broker
    /// that cannot be reached is no error, see [`Transport::state`].
    pub fn start(config: &TransportConfig) -> Result<Self, OptionError> {
        config.options.validate()?;
        let shared = Arc::new(Shared::new());
        let stop = CancellationToken::new();
        let supervisor = supervisor::spawn(config, shared.clone(), stop.clone());
        Ok(Self {
            shared,
            options: Arc::new(config.options.clone()),
            stop,
            supervisor: Arc::new(tokio::sync::Mutex::new(Some(supervisor))),
        })
    }

    /// State of the connection and its changes.
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.shared.state.subscribe()
    }

    /// A counter that grows at least every [`PROGRESS_INTERVAL`] while the
    /// supervisor is alive, connected or not. A value that stands still means
    /// that the program hangs.
    pub fn progress(&self) -> u64 {
        self.shared.progress.load(Ordering::Relaxed)
    }

    /// Closes the connection politely, at most two seconds long, and stops
    /// reconnecting. Servers should be shut down before.
    pub async fn close(&self) {
        self.stop.cancel();
        if let Some(supervisor) = self.supervisor.lock().await.take()
            && let Err(error) = supervisor.await
        {
            tracing::error!(%error, "Connection supervisor ended abnormally.");
        }
    }

    pub(crate) fn options(&self) -> &Arc<RabbitOptions> {
        &self.options
    }

    /// Waits for a session; `None` once the transport is closed.
    pub(crate) async fn session(&self) -> Option<Arc<Session>> {
        let mut sessions = self.shared.session.subscribe();
        tokio::select! {
            () = self.stop.cancelled() => None,
            found = sessions.wait_for(Option::is_some) => found.ok()?.clone(),
        }
    }
}
