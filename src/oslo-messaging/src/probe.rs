//! Testing each hop to the brokers, one after the other, for a diagnosis.

use crate::connect::{ConnectError, ConnectErrorKind, Link};
use crate::transport::Session;
use crate::{BrokerAddress, TransportConfig, rpc};

/// One hop on the way to the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// Name to addresses.
    Dns,
    /// TCP connection.
    Tcp,
    /// TLS handshake and certificate.
    Tls,
    /// User and password.
    Login,
    /// Virtual host.
    VirtualHost,
    /// The request exchange exists.
    Exchange,
    /// The queue exists.
    Queue,
}

/// What to look for once connected.
#[derive(Clone, Debug, Default)]
pub struct ProbeTarget {
    /// Exchange that should exist.
    pub exchange: Option<String>,
    /// Queue that should exist.
    pub queue: Option<String>,
}

/// Outcome of one hop at one broker. After a failure the hops behind it are
/// not tried.
#[derive(Clone, Debug)]
pub struct ProbeStep {
    /// `host:port`.
    pub broker: String,
    /// The hop.
    pub hop: Hop,
    /// What was found, or why it failed.
    pub outcome: Result<String, ConnectError>,
}

/// Tests all hops at every broker of `config`, without retries and without
/// changing anything: exchange and queue are only looked up.
pub async fn probe(config: &TransportConfig, target: &ProbeTarget) -> Vec<ProbeStep> {
    let mut steps = Vec::new();
    for broker in &config.url.hosts {
        probe_broker(config, broker, target, &mut steps).await;
    }
    steps
}

async fn probe_broker(
    config: &TransportConfig,
    broker: &BrokerAddress,
    target: &ProbeTarget,
    steps: &mut Vec<ProbeStep>,
) {
    let mut log = Log {
        broker: broker.endpoint(),
        steps,
    };
    let dialer = config.dialer();
    let resolved = dialer.resolve(broker).await;
    let Some(addresses) = log.step(Hop::Dns, resolved, |found| format!("{found:?}")) else {
        return;
    };
    let connected = dialer.connect(broker, &addresses).await;
    let Some(socket) = log.step(Hop::Tcp, connected, |socket| {
        socket
            .peer_addr()
            .map_or_else(|error| error.to_string(), |peer| peer.to_string())
    }) else {
        return;
    };
    let secured = dialer.secure(broker, socket).await;
    let stream = if config.options.ssl {
        let verified = match &config.options {
            options if options.ssl_ca_file.is_empty() => "encrypted, broker NOT verified",
            options if options.ssl_enforce_hostname_verification => "certificate and name verified",
            _ => "certificate verified, name not",
        };
        log.step(Hop::Tls, secured, |_| verified.to_owned())
    } else {
        secured.ok()
    };
    let Some(stream) = stream else { return };
    let opened = match dialer.log_in(broker, stream).await {
        Ok(opened) => opened,
        Err(error) => return log.refused(error),
    };
    log.ok(Hop::Login, format!("user {}", broker.username));
    log.ok(Hop::VirtualHost, config.url.virtual_host.clone());
    let _cut = Cut(opened.link.clone());
    let session = Session::new(opened.connection, opened.link, broker.endpoint());
    if let Some(exchange) = &target.exchange {
        let found = rpc::exists(&session, Some(exchange), None).await;
        log.lookup(
            Hop::Exchange,
            exchange,
            found.map_err(|error| error.to_string()),
        );
    }
    if let Some(queue) = &target.queue {
        let found = rpc::exists(&session, None, Some(queue)).await;
        log.lookup(Hop::Queue, queue, found.map_err(|error| error.to_string()));
    }
    session.close().await;
}

struct Cut(Link);

impl Drop for Cut {
    fn drop(&mut self) {
        self.0.cut();
    }
}

struct Log<'a> {
    broker: String,
    steps: &'a mut Vec<ProbeStep>,
}

impl Log<'_> {
    fn push(&mut self, hop: Hop, outcome: Result<String, ConnectError>) {
        self.steps.push(ProbeStep {
            broker: self.broker.clone(),
            hop,
            outcome,
        });
    }

    fn ok(&mut self, hop: Hop, detail: String) {
        self.push(hop, Ok(detail));
    }

    fn step<T>(
        &mut self,
        hop: Hop,
        result: Result<T, ConnectError>,
        detail: impl FnOnce(&T) -> String,
    ) -> Option<T> {
        match result {
            Ok(value) => {
                self.ok(hop, detail(&value));
                Some(value)
            }
            Err(error) => {
                self.push(hop, Err(error));
                None
            }
        }
    }

    /// The login and the virtual host share one handshake.
    fn refused(&mut self, error: ConnectError) {
        if error.kind == ConnectErrorKind::Vhost {
            self.ok(Hop::Login, "accepted".to_owned());
            self.push(Hop::VirtualHost, Err(error));
        } else {
            self.push(Hop::Login, Err(error));
        }
    }

    fn lookup(&mut self, hop: Hop, name: &str, found: Result<(), String>) {
        let outcome = match found {
            Ok(()) => Ok(name.to_owned()),
            Err(text) => Err(ConnectError::new(
                ConnectErrorKind::Lookup,
                &self.broker,
                text,
            )),
        };
        self.push(hop, outcome);
    }
}
