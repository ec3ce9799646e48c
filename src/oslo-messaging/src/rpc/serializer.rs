//! Where messages are opened and sealed.

use serde_json::Value;

use crate::wire::{Map, RemoteError};

/// Turns what is on the wire into what handlers see, and back. The parts that
/// route a message (method, version, identities) are not its business.
pub trait Serializer: Send + Sync + 'static {
    /// Opens context and arguments of a request, in this order.
    ///
    /// # Errors
    /// A request that does not open is refused: never run, for calls answered
    /// with this failure, for casts logged.
    fn open_request(&self, context: Map, args: Map) -> Result<(Map, Map), RemoteError>;

    /// Seals the result of a call.
    ///
    /// # Errors
    /// The caller gets this failure instead of the result.
    fn seal_result(&self, result: Value) -> Result<Value, RemoteError>;

    /// Seals context and arguments of a message we send.
    ///
    /// # Errors
    /// The message is not sent.
    fn seal_request(&self, context: Map, args: Map) -> Result<(Map, Map), RemoteError>;
}

/// Everything in clear.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainSerializer;

impl Serializer for PlainSerializer {
    fn open_request(&self, context: Map, args: Map) -> Result<(Map, Map), RemoteError> {
        Ok((context, args))
    }

    fn seal_result(&self, result: Value) -> Result<Value, RemoteError> {
        Ok(result)
    }

    fn seal_request(&self, context: Map, args: Map) -> Result<(Map, Map), RemoteError> {
        Ok((context, args))
    }
}
