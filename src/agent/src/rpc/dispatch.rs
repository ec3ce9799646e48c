//! From a delivered request to its result.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use oslo_messaging::{Handler, IncomingRequest, Pool, RemoteError};
use serde_json::Value;
use tracing::{Span, debug, info, warn};

use super::args::Args;
use super::context::Context;
use super::failure::CallError;
use super::methods;
use super::security::Security;
use crate::operations::Operations;
use crate::state_file::Counters;

/// RPC version of the guest API this agent implements
/// (`trove/guestagent/api.py`, 26.0.0). Older control planes send lower ones.
pub const VERSION: &str = "1.3";

/// Ping of any oslo.messaging server (`oslo_messaging/rpc/dispatcher.py`); it
/// has no arguments and its answer is never sealed.
const PING: &str = "oslo_rpc_server_ping";

/// Answers the control plane.
pub struct Dispatcher {
    operations: Arc<Operations>,
    security: Arc<Security>,
    counters: Arc<Counters>,
    ping_enabled: bool,
}

impl Dispatcher {
    /// A dispatcher over `operations`. `ping_enabled` (`rpc_ping_enabled`)
    /// answers oslo.messaging's own ping, too.
    pub fn new(
        operations: Arc<Operations>,
        security: Arc<Security>,
        counters: Arc<Counters>,
        ping_enabled: bool,
    ) -> Self {
        Self {
            operations,
            security,
            counters,
            ping_enabled,
        }
    }

    async fn run(&self, request: IncomingRequest) -> Result<Value, CallError> {
        let opened = self.security.open(request.args, request.context)?;
        let context = Context::new(opened.context);
        // In clear it is in the span already.
        if opened.sealed
            && let Some(request_id) = context.request_id()
        {
            Span::current().record("request_id", request_id);
        }
        let args = Args::new(opened.args);
        let result = methods::call(&self.operations, &request.method, args, &context).await;
        if methods::notifies(&request.method)
            && let Some(notification) = context.notification().cloned()
        {
            let notification = Some(notification);
            match &result {
                Ok(_) => {
                    self.operations
                        .notify_end(notification, context.for_conductor())
                        .await
                }
                Err(error) => {
                    let message = error.to_string();
                    self.operations
                        .notify_failure(notification, context.for_conductor(), &message)
                        .await;
                }
            }
        }
        Ok(self.security.seal_result(result?, opened.sealed))
    }
}

#[async_trait]
impl Handler for Dispatcher {
    async fn handle(&self, request: IncomingRequest) -> Result<Value, RemoteError> {
        let method = request.method.clone();
        if !oslo_messaging::check_version(&request.version, VERSION) {
            warn!(
                version = request.version,
                "Request for a version this agent does not implement."
            );
            return Err(RemoteError::unsupported_version(&request.version, &method));
        }
        if self.ping_enabled && method == PING {
            return Ok("pong".into());
        }
        let started = Instant::now();
        let result = self.run(request).await;
        let elapsed_ms = started.elapsed().as_millis();
        match result {
            Ok(value) if methods::routine(&method) => {
                debug!(elapsed_ms, "Call done.");
                Ok(value)
            }
            Ok(value) => {
                info!(elapsed_ms, "Call done.");
                Ok(value)
            }
            Err(error) => {
                if matches!(error, CallError::Refused(_)) {
                    self.counters.refuse();
                }
                warn!(%error, elapsed_ms, "Call failed.");
                Err(error.to_remote(&method))
            }
        }
    }

    fn pool(&self, method: &str) -> Pool {
        if methods::quick(method) {
            Pool::Quick
        } else {
            Pool::Work
        }
    }
}
