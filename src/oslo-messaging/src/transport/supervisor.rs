//! The task that owns the connection: connect, watch, drop, connect again.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt};
use lapin::Event;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::state::Shared;
use super::{ConnectionState, PROGRESS_INTERVAL, PublishError, Session, TransportConfig};
use crate::connect::{ConnectError, ConnectErrorKind, Dialer, Schedule};
use crate::{BrokerAddress, RabbitOptions};

/// How long the reason of a break may lag behind the break itself.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_millis(100);
/// A cause of failure is repeated in the log at most this often.
const REPEAT_INTERVAL: Duration = Duration::from_secs(60);

struct Supervisor {
    dialer: Dialer,
    brokers: Vec<BrokerAddress>,
    schedule: Schedule,
    shared: Arc<Shared>,
    stop: CancellationToken,
    logged: HashMap<(ConnectErrorKind, String), Instant>,
}

pub(super) fn spawn(
    config: &TransportConfig,
    shared: Arc<Shared>,
    stop: CancellationToken,
) -> JoinHandle<()> {
    warn_once(config);
    let supervisor = Supervisor {
        dialer: config.dialer(),
        brokers: config.url.hosts.clone(),
        schedule: Schedule::new(&config.options, config.url.hosts.len()),
        shared,
        stop,
        logged: HashMap::new(),
    };
    tokio::spawn(supervisor.run())
}

fn warn_once(config: &TransportConfig) {
    let RabbitOptions {
        ssl,
        ssl_ca_file,
        ssl_version,
        ..
    } = &config.options;
    if *ssl && ssl_ca_file.is_empty() {
        warn!(
            "TLS without ssl_ca_file: the broker is NOT verified, anybody in between can read and forge messages."
        );
    }
    if *ssl
        && matches!(
            ssl_version.to_ascii_lowercase().as_str(),
            "tlsv1" | "tlsv1_1"
        )
    {
        warn!(
            ssl_version,
            "This TLS version is too old to be safe; TLS 1.2 or newer is used."
        );
    }
    let bare = config.url.hosts_without_credentials();
    if !bare.is_empty() {
        warn!(
            hosts = bare.join(","),
            "Hosts in transport_url without credentials of their own; they are not inherited."
        );
    }
}

impl Supervisor {
    async fn run(mut self) {
        while !self.stop.is_cancelled() {
            let broker = self.brokers[self.schedule.host()].clone();
            let stop = self.stop.clone();
            let opened = tokio::select! {
                () = stop.cancelled() => break,
                opened = ticking(&self.shared, self.dialer.open(&broker)) => opened,
            };
            let pause = match opened {
                Ok(opened) => {
                    let session = Arc::new(Session::new(
                        opened.connection,
                        opened.link,
                        broker.endpoint(),
                    ));
                    let why = self.supervise(&session).await;
                    if self.stop.is_cancelled() {
                        break;
                    }
                    self.lost(&session, why)
                }
                Err(error) => self.failed(error),
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = ticking(&self.shared, tokio::time::sleep(pause)) => {}
            }
        }
        self.shared.state.send_replace(ConnectionState::Closed);
    }

    fn failed(&mut self, error: ConnectError) -> Duration {
        let reachable = error.kind.is_permanent() || error.kind == ConnectErrorKind::Tls;
        let pause = self.schedule.failed(reachable);
        let key = (error.kind, error.broker.clone());
        if self
            .logged
            .get(&key)
            .is_none_or(|at| at.elapsed() > REPEAT_INTERVAL)
        {
            self.logged.insert(key, Instant::now());
            warn!(
                name: "broker_unreachable",
                host = error.broker,
                kind = ?error.kind,
                error = %error,
                hint = error.kind.hint(),
                "No connection to the broker, retrying."
            );
        } else {
            debug!(%error, ?pause, "No connection to the broker.");
        }
        let last_error = Some(error.to_string());
        self.shared
            .state
            .send_replace(ConnectionState::Connecting { last_error });
        pause
    }

    fn lost(&mut self, session: &Session, why: String) -> Duration {
        let pause = if session.was_useful() {
            self.schedule.lost()
        } else {
            self.schedule.failed(true)
        };
        warn!(name: "broker_lost", host = session.broker, error = why, retry_in = ?pause, "Connection lost.");
        let last_error = Some(format!("connection to {} lost: {why}", session.broker));
        self.shared
            .state
            .send_replace(ConnectionState::Connecting { last_error });
        pause
    }

    /// Watches over an open connection; returns why it ended.
    async fn supervise(&mut self, session: &Arc<Session>) -> String {
        let mut events = std::pin::pin!(session.connection.events_listener());
        let heartbeat = session.heartbeat();
        info!(host = session.broker, heartbeat = ?heartbeat.unwrap_or_default(), "Connected to the broker.");
        self.logged.clear();
        self.shared.state.send_replace(connected(session));
        self.shared.session.send_replace(Some(session.clone()));
        let why = self.watch(session, heartbeat, &mut events).await;
        self.shared.session.send_replace(None);
        session.cut();
        why
    }

    async fn watch(
        &self,
        session: &Arc<Session>,
        heartbeat: Option<Duration>,
        events: &mut (impl Stream<Item = Event> + Unpin),
    ) -> String {
        let mut check = interval(check_interval(heartbeat));
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => {
                    session.close().await;
                    return "closed".to_owned();
                }
                () = session.closed() => return last_words(events).await,
                Some(event) = events.next() => {
                    if let Some(why) = self.on_event(session, event) {
                        return why;
                    }
                }
                _ = check.tick() => {
                    self.shared.progress.fetch_add(1, Ordering::Relaxed);
                    let silence = session.link.silence();
                    if heartbeat.is_some_and(|limit| silence > limit) {
                        return format!("nothing heard from the broker for {} s", silence.as_secs());
                    }
                }
            }
        }
    }

    fn on_event(&self, session: &Arc<Session>, event: Event) -> Option<String> {
        match event {
            Event::ConnectionBlocked(reason) => {
                warn!(
                    host = session.broker,
                    reason, "Broker takes no messages; replies and casts wait."
                );
                session.blocked.send_replace(Some(reason.clone()));
                let host = session.broker.clone();
                self.shared
                    .state
                    .send_replace(ConnectionState::Blocked { host, reason });
                None
            }
            Event::ConnectionUnblocked => {
                info!(host = session.broker, "Broker takes messages again.");
                session.blocked.send_replace(None);
                self.shared.state.send_replace(connected(session));
                None
            }
            // A refused channel operation is reported here, too; its caller has
            // the error, and the connection lives on.
            Event::Error(error) => {
                let broken = !session.connection.status().connected();
                broken.then(|| PublishError::from(&error).to_string())
            }
            _ => None,
        }
    }
}

fn connected(session: &Session) -> ConnectionState {
    ConnectionState::Connected {
        host: session.broker.clone(),
    }
}

/// RabbitMQ sends something at least every half interval, so a silence of one
/// whole interval means two missed heartbeats. The check runs often enough to
/// notice soon, and always often enough for the watchdog.
fn check_interval(heartbeat: Option<Duration>) -> Duration {
    let fraction = heartbeat.map_or(PROGRESS_INTERVAL, |interval| interval / 8);
    fraction.clamp(Duration::from_millis(250), PROGRESS_INTERVAL / 2)
}

/// The error behind a socket that is already gone: lapin's event of it comes
/// from another task, a moment later.
async fn last_words(events: &mut (impl Stream<Item = Event> + Unpin)) -> String {
    let error = async {
        while let Some(event) = events.next().await {
            if let Event::Error(error) = event {
                return Some(PublishError::from(&error).to_string());
            }
        }
        None
    };
    match timeout(LAST_WORDS_TIMEOUT, error).await {
        Ok(Some(error)) => error,
        _ => "the connection was closed".to_owned(),
    }
}

/// Runs `future`, counting progress meanwhile.
async fn ticking<T>(shared: &Shared, future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut tick = interval(PROGRESS_INTERVAL / 2);
    loop {
        tokio::select! {
            result = &mut future => return result,
            _ = tick.tick() => {
                shared.progress.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
