//! The AMQP handshake, and the runtime that lets lapin use our socket.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_rs::traits::Reactor;
use async_rs::util::{DummyIO, RuntimeParts};
use async_rs::{Runtime, Tokio};
use futures_util::Stream as FuturesStream;
use lapin::tcp::AsyncTcpStream;
use lapin::uri::{
    AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo, SASLMechanism,
};
use lapin::{Connection, ConnectionProperties};
use rustls::pki_types::ServerName;
use secrecy::ExposeSecret;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::stream::{Control, Stream};
use super::{ConnectError, ConnectErrorKind, Resolve, tcp, tls};
use crate::{BrokerAddress, LoginMethod, RabbitOptions};

/// Largest AMQP frame we ask for. lapin keeps two buffers of 32 frames, so
/// this, not the size of messages, decides how much memory a connection costs.
const FRAME_MAX: u32 = 16 * 1024;
/// RabbitMQ gives a client 10 s (`handshake_timeout`); twice that is silence.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);

/// The supervisor's hold on an open connection's socket.
#[derive(Clone)]
pub(crate) struct Link(pub(super) Arc<Control>);

impl Link {
    fn new() -> Self {
        Self(Arc::new(Control::new()))
    }

    /// Time since the last byte arrived.
    pub(crate) fn silence(&self) -> Duration {
        self.0.silence()
    }

    /// Ends the connection without a word.
    pub(crate) fn cut(&self) {
        self.0.cut();
    }

    /// Fires when the socket is gone, whoever closed it.
    pub(crate) fn closed(&self) -> &CancellationToken {
        self.0.closed()
    }
}

/// Cuts the connection unless the handshake came to its end.
struct CutOnDrop(Option<Link>);

impl Drop for CutOnDrop {
    fn drop(&mut self) {
        if let Some(link) = &self.0 {
            link.cut();
        }
    }
}

/// Everything needed to open a connection to one of the brokers.
#[derive(Clone)]
pub(crate) struct Dialer {
    pub(crate) options: RabbitOptions,
    pub(crate) virtual_host: String,
    pub(crate) connection_name: String,
    pub(crate) resolver: Arc<dyn Resolve>,
}

/// A connection on which the handshake is complete.
pub(crate) struct Opened {
    pub(crate) connection: Connection,
    pub(crate) link: Link,
}

impl Dialer {
    /// All hops in one go.
    pub(crate) async fn open(&self, broker: &BrokerAddress) -> Result<Opened, ConnectError> {
        let addresses = self.resolve(broker).await?;
        let socket = self.connect(broker, &addresses).await?;
        let stream = self.secure(broker, socket).await?;
        self.log_in(broker, stream).await
    }

    pub(crate) async fn resolve(
        &self,
        broker: &BrokerAddress,
    ) -> Result<Vec<SocketAddr>, ConnectError> {
        let fail =
            |detail: String| ConnectError::new(ConnectErrorKind::Dns, &broker.endpoint(), detail);
        match timeout(
            HANDSHAKE_TIMEOUT,
            self.resolver.resolve(&broker.host, broker.port),
        )
        .await
        {
            Ok(result) => result.map_err(|error| fail(error.to_string())),
            Err(_) => Err(fail(format!(
                "no answer within {} s",
                HANDSHAKE_TIMEOUT.as_secs()
            ))),
        }
    }

    pub(crate) async fn connect(
        &self,
        broker: &BrokerAddress,
        addresses: &[SocketAddr],
    ) -> Result<TcpStream, ConnectError> {
        let threshold = self.options.heartbeat_timeout_threshold;
        let user_timeout = (threshold > 0).then(|| Duration::from_secs(threshold.into()));
        tcp::connect(addresses, user_timeout)
            .await
            .map_err(|error| ConnectError::new(ConnectErrorKind::Tcp, &broker.endpoint(), error))
    }

    /// Wraps the socket in TLS if `ssl` is on.
    pub(crate) async fn secure(
        &self,
        broker: &BrokerAddress,
        socket: TcpStream,
    ) -> Result<Stream, ConnectError> {
        if !self.options.ssl {
            return Ok(Stream::plain(socket, Link::new()));
        }
        let fail = |kind, detail: String| ConnectError::new(kind, &broker.endpoint(), detail);
        // Read anew for each connection: certificates get renewed.
        let config = tls::client_config(&self.options)
            .map_err(|text| fail(ConnectErrorKind::Config, text))?;
        let name = ServerName::try_from(broker.host.clone())
            .map_err(|error| fail(ConnectErrorKind::Tls, error.to_string()))?;
        let handshake = TlsConnector::from(config).connect(name, socket);
        match timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(Ok(stream)) => Ok(Stream::tls(stream, Link::new())),
            Ok(Err(error)) => Err(fail(ConnectErrorKind::Tls, tls::explain(&error))),
            Err(_) => Err(fail(
                ConnectErrorKind::Tls,
                format!("no answer within {} s", HANDSHAKE_TIMEOUT.as_secs()),
            )),
        }
    }

    /// Logs in and opens the virtual host.
    pub(crate) async fn log_in(
        &self,
        broker: &BrokerAddress,
        stream: Stream,
    ) -> Result<Opened, ConnectError> {
        let link = stream.link();
        let mut guard = CutOnDrop(Some(link.clone()));
        let slot = Mutex::new(Some(stream));
        let connect = async move |_: AMQPUri, _: Runtime<Kit>| {
            let stream = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
            stream
                .map(AsyncTcpStream::Plain)
                .ok_or_else(|| lapin::Error::from(io::Error::from(io::ErrorKind::NotConnected)))
        };
        let runtime = Runtime::new(Kit::new(Tokio::current(), SocketReactor));
        let handshake =
            Connection::connector(self.uri(broker), runtime, connect, self.properties());
        match timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(Ok(connection)) => {
                guard.0 = None;
                Ok(Opened { connection, link })
            }
            Ok(Err(error)) => Err(ConnectError::from_handshake(&broker.endpoint(), &error)),
            Err(_) => Err(ConnectError::new(
                ConnectErrorKind::Protocol,
                &broker.endpoint(),
                format!("no answer within {} s", HANDSHAKE_TIMEOUT.as_secs()),
            )),
        }
    }

    fn uri(&self, broker: &BrokerAddress) -> AMQPUri {
        let mechanism = match self.options.rabbit_login_method {
            LoginMethod::Plain => SASLMechanism::Plain,
            LoginMethod::AmqPlain => SASLMechanism::AMQPlain,
            LoginMethod::External => SASLMechanism::External,
            LoginMethod::RabbitCrDemo => SASLMechanism::RabbitCrDemo,
        };
        AMQPUri {
            scheme: AMQPScheme::AMQP,
            authority: AMQPAuthority {
                userinfo: AMQPUserInfo {
                    username: broker.username.clone(),
                    password: broker.password.expose_secret().to_owned(),
                },
                host: broker.host.clone(),
                port: broker.port,
            },
            vhost: self.virtual_host.clone(),
            query: AMQPQueryString {
                frame_max: Some(FRAME_MAX),
                heartbeat: Some(self.options.heartbeat_timeout_threshold),
                auth_mechanism: Some(mechanism),
                ..AMQPQueryString::default()
            },
        }
    }

    /// lapin adds the capabilities oslo.messaging announces
    /// (`authentication_failure_close`, `connection.blocked`,
    /// `consumer_cancel_notify`) and more of its own.
    fn properties(&self) -> ConnectionProperties {
        ConnectionProperties::default()
            .with_connection_name(self.connection_name.as_str().into())
            .with_client_property("product".into(), env!("CARGO_PKG_NAME").into())
            .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into())
    }
}

/// lapin's runtime: tokio for tasks and timers, [`Stream`] for the socket.
type Kit = RuntimeParts<Tokio, SocketReactor>;

/// A reactor whose sockets are made elsewhere and handed over connected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketReactor;

fn unsupported<T>() -> io::Result<T> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "sockets are handed over connected",
    ))
}

impl Reactor for SocketReactor {
    type TcpStream = Stream;
    type Sleep = tokio::time::Sleep;

    fn register<H: Read + Write + AsFd + AsRawFd + Send + 'static>(
        &self,
        _socket: H,
    ) -> io::Result<impl futures_io::AsyncRead + futures_io::AsyncWrite + Send + Unpin + 'static>
    {
        unsupported::<DummyIO>()
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        tokio::time::sleep(duration)
    }

    fn interval(
        &self,
        duration: Duration,
    ) -> impl FuturesStream<Item = std::time::Instant> + Send + 'static {
        futures_util::stream::unfold(Duration::ZERO, move |pause| async move {
            tokio::time::sleep(pause).await;
            Some((std::time::Instant::now(), duration))
        })
    }

    fn tcp_connect_addr(
        &self,
        _address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        std::future::ready(unsupported())
    }
}
