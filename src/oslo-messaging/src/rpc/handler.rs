//! The seam to whoever does the work.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use crate::wire::{Map, RemoteError};

/// A request, opened and ready to run.
#[derive(Clone, Debug)]
pub struct IncomingRequest {
    /// Method name, as the caller wrote it.
    pub method: String,
    /// Version asked for; see [`crate::check_version`].
    pub version: String,
    /// Endpoint namespace, if any.
    pub namespace: Option<String>,
    /// Named arguments.
    pub args: Map,
    /// The caller's context.
    pub context: Map,
    /// Present if the caller waits for an answer, absent for casts.
    pub msg_id: Option<String>,
    /// The sender's identity of this message.
    pub unique_id: Option<String>,
    /// How long the caller was going to wait when it sent the request, as far
    /// as the message says so.
    pub caller_timeout: Option<Duration>,
    /// Whether the broker delivered it before and never saw an acknowledgement.
    pub redelivered: bool,
}

impl IncomingRequest {
    /// Whether nobody waits for an answer.
    pub fn is_cast(&self) -> bool {
        self.msg_id.is_none()
    }
}

/// Which of the two pools of workers a method runs in, each
/// [`crate::ServerConfig::pool_size`] strong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// Methods that may take long.
    Work,
    /// Short methods that must be answered even when all workers are busy.
    Quick,
}

/// What runs requests.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Runs one request. For casts the result goes nowhere and an error is
    /// only logged. Runs inside a span with `method`, `request_id` and `msg_id`.
    ///
    /// # Errors
    /// [`RemoteError`], which the caller gets to see.
    async fn handle(&self, request: IncomingRequest) -> Result<Value, RemoteError>;

    /// The pool for `method`.
    fn pool(&self, method: &str) -> Pool {
        let _ = method;
        Pool::Work
    }
}
