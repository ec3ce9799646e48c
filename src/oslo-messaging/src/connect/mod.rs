//! From a URL to an open AMQP connection: names, TCP, TLS, login.

mod amqp;
mod error;
mod resolve;
mod schedule;
mod stream;
mod tcp;
mod tls;
mod verifier;

pub(crate) use amqp::{Dialer, Link};
pub use error::{ConnectError, ConnectErrorKind};
pub use resolve::{Resolve, SystemResolver};
pub(crate) use schedule::Schedule;
