//! RPC over AMQP 0-9-1, wire compatible with oslo.messaging's rabbit driver:
//! a server that runs requests, and a caster for one-way messages.
//!
//! ```no_run
//! # use std::{sync::Arc, time::Duration};
//! # use oslo_messaging::*;
//! # struct Echo;
//! # #[async_trait::async_trait]
//! # impl Handler for Echo {
//! #     async fn handle(&self, request: IncomingRequest) -> Result<serde_json::Value, RemoteError> {
//! #         Ok(request.args.into())
//! #     }
//! # }
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let url = TransportUrl::parse("rabbit://guest:guest@localhost/?ssl=0", |name| {
//!     RabbitOptions::canonical_name(name).is_some()
//! })?;
//! let mut options = RabbitOptions::default();
//! for (name, value) in &url.overrides {
//!     options.set(name, value)?;
//! }
//! let transport = Transport::start(&TransportConfig::new(url, options, "echo:1:x"))?;
//! let target = Target::new("openstack", "echo", "host1");
//! let server = RpcServer::start(&transport, target, ServerConfig::new(Arc::new(Echo)));
//! tokio::signal::ctrl_c().await?;
//! server.shutdown(Duration::from_secs(10)).await;
//! transport.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! There is one AMQP connection. A supervisor owns it: when it breaks, all of it
//! is dropped and built anew, and whoever had something to send waits.
//! Requests are acknowledged on receipt, before they run (at most once).
//!
//! lapin logs what it sees with targets starting with [`LAPIN_TARGET`], among it
//! credentials at level TRACE; a subscriber should leave those out, because
//! every event that matters is reported by this crate.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod connect;
mod option_text;
mod options;
mod probe;
mod rpc;
mod transport;
mod url;
pub mod wire;

pub use connect::{ConnectError, ConnectErrorKind, Resolve, SystemResolver};
pub use options::{
    FailoverStrategy, IGNORED_OPTION_NAMES, LoginMethod, OPTION_NAMES, OptionError, RabbitOptions,
};
pub use probe::{Hop, ProbeStep, ProbeTarget, probe};
pub use rpc::{
    Cast, CastError, Caster, Handler, IncomingRequest, PlainSerializer, Pool, Progress, RpcServer,
    Serializer, ServerConfig, ServerState, Target,
};
pub use transport::{ConnectionState, PROGRESS_INTERVAL, Transport, TransportConfig};
pub use url::{BrokerAddress, DEFAULT_PORT, TransportUrl, UrlError};
pub use wire::{Map, RemoteError, check_version};

/// Prefix of the tracing targets of the AMQP library underneath.
pub const LAPIN_TARGET: &str = "lapin";
