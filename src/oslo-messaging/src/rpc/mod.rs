//! Requests in, replies and casts out.

mod caster;
mod declare;
mod dispatch;
mod duplicates;
mod handler;
mod reply;
mod serializer;
mod server;
mod topology;

pub use caster::{Cast, CastError, Caster};
pub(crate) use declare::exists;
pub use handler::{Handler, IncomingRequest, Pool};
pub use serializer::{PlainSerializer, Serializer};
pub use server::{Progress, RpcServer, ServerConfig, ServerState};
pub use topology::Target;
