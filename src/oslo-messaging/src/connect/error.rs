//! One error type that says which hop of a connection failed.

use std::fmt;

use lapin::ErrorKind;

/// The hop that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectErrorKind {
    /// TLS files that cannot be read or do not fit together.
    Config,
    /// The broker's name does not resolve.
    Dns,
    /// No TCP connection.
    Tcp,
    /// The TLS handshake failed or the certificate is not accepted.
    Tls,
    /// The broker does not accept the login.
    Auth,
    /// The virtual host does not exist or is not open to this user.
    Vhost,
    /// The peer does not speak AMQP 0-9-1 as expected, or hung up on us.
    Protocol,
    /// An exchange or queue does not exist or is not open to this user; only a
    /// probe reports this.
    Lookup,
}

impl ConnectErrorKind {
    /// Whether retrying cannot help until somebody changes a configuration.
    /// The connection is retried all the same, because the change may be made
    /// at the broker.
    pub fn is_permanent(self) -> bool {
        matches!(self, Self::Config | Self::Auth | Self::Vhost)
    }

    /// What to look at, in one sentence.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Config => "check ssl_ca_file, ssl_cert_file and ssl_key_file",
            Self::Dns => "check the host names in transport_url and the guest's resolver",
            Self::Tcp => {
                "check the address and port in transport_url, the route, security groups and that the broker runs"
            }
            Self::Tls => {
                "check ssl, ssl_ca_file and ssl_version, and the names in the broker's certificate (ssl_enforce_hostname_verification)"
            }
            Self::Auth => "check user and password in transport_url, and rabbit_login_method",
            Self::Vhost => {
                "check the virtual host in transport_url and the user's permissions on it"
            }
            Self::Lookup => {
                "check control_exchange, that the other side has declared it, and the user's permissions"
            }
            Self::Protocol => {
                "check that the port speaks AMQP 0-9-1, whether it expects TLS (ssl), and whether the broker wants another client certificate (ssl_cert_file)"
            }
        }
    }
}

/// Why a broker could not be reached, with the broker's `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectError {
    /// The hop.
    pub kind: ConnectErrorKind,
    /// `host:port`.
    pub broker: String,
    /// What the system or the broker said.
    pub detail: String,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            broker,
            detail,
        } = self;
        match kind {
            ConnectErrorKind::Config => write!(f, "TLS settings for {broker}: {detail}"),
            ConnectErrorKind::Dns => write!(f, "resolve {broker}: {detail}"),
            ConnectErrorKind::Tcp => write!(f, "connect to {broker}: {detail}"),
            ConnectErrorKind::Tls => write!(f, "TLS handshake with {broker}: {detail}"),
            ConnectErrorKind::Auth => write!(f, "log in to {broker}: {detail}"),
            ConnectErrorKind::Vhost => write!(f, "open virtual host on {broker}: {detail}"),
            ConnectErrorKind::Lookup => write!(f, "look up on {broker}: {detail}"),
            ConnectErrorKind::Protocol => write!(f, "speak AMQP with {broker}: {detail}"),
        }
    }
}

impl std::error::Error for ConnectError {}

impl ConnectError {
    pub(crate) fn new(kind: ConnectErrorKind, broker: &str, detail: impl fmt::Display) -> Self {
        Self {
            kind,
            broker: broker.to_owned(),
            detail: detail.to_string(),
        }
    }

    /// Sorts what lapin reports while the connection is being opened. Reply
    /// codes: AMQP 0-9-1 §1.7; 403 for a refused login is RabbitMQ's extension
    /// `authentication_failure_close`, 530 is what it answers for virtual hosts.
    pub(crate) fn from_handshake(broker: &str, error: &lapin::Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::ProtocolError(refusal) => match refusal.get_id() {
                403 => ConnectErrorKind::Auth,
                530 => ConnectErrorKind::Vhost,
                _ => ConnectErrorKind::Protocol,
            },
            ErrorKind::AuthProviderError(_) => ConnectErrorKind::Auth,
            _ => ConnectErrorKind::Protocol,
        };
        let detail = match error.kind() {
            ErrorKind::ProtocolError(refusal) => refusal.get_message().to_string(),
            ErrorKind::IOError(cause) => {
                format!("the broker hung up during the handshake ({cause})")
            }
            ErrorKind::ParsingError(_) => "the peer does not answer in AMQP 0-9-1".to_owned(),
            _ => error.to_string(),
        };
        Self {
            kind,
            broker: broker.to_owned(),
            detail,
        }
    }
}
