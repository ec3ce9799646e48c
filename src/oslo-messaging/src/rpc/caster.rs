//! One-way messages.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tracing::debug;

use super::Serializer;
use super::declare::declare_exchange;
use super::topology::request_exchange;
use crate::transport::{Lane, Publication, PublishError, Session, Transport};
use crate::wire::{Map, RemoteError, encode_request, unique_id};

const RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// A message nobody answers.
#[derive(Clone, Debug, Default)]
pub struct Cast {
    /// Request exchange.
    pub exchange: String,
    /// Topic of the receiver.
    pub routing_key: String,
    /// Method to run there.
    pub method: String,
    /// Version of the interface.
    pub version: String,
    /// Named arguments, in clear.
    pub args: Map,
    /// Context, in clear.
    pub context: Map,
}

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
pub enum CastError {
    /// The broker did not confirm in time. The message may still arrive if it
    /// was on its way already.
    #[error("not confirmed within {} s: {last}", .limit.as_secs_f64())]
    Timeout {
        /// The caller's limit.
        limit: Duration,
        /// What stood in the way.
        last: String,
    },
    /// The serializer refused.
    #[error(transparent)]
    Seal(RemoteError),
    /// The transport is closed.
    #[error("the transport is closed")]
    Closed,
    /// AMQP cannot carry the message.
    #[error("{0}")]
    Invalid(String),
}

impl CastError {
    /// Whether sending the same message again cannot help.
    pub fn is_permanent(&self) -> bool {
        !matches!(self, Self::Timeout { .. })
    }
}

/// Sends messages nobody answers, each confirmed by the broker.
#[derive(Clone)]
pub struct Caster {
    transport: Transport,
    serializer: Arc<dyn Serializer>,
}

impl Caster {
    /// A caster on `transport`.
    pub fn new(transport: &Transport, serializer: Arc<dyn Serializer>) -> Self {
        Self {
            transport: transport.clone(),
            serializer,
        }
    }

    /// Sends `cast` and waits for the broker's confirm, through breaks of the
    /// connection and while the broker takes no messages, `limit` at most. A
    /// message sent twice because of a break has the same identity both times,
    /// so that the receiver drops the second.
    ///
    /// # Errors
    /// [`CastError`]. A message nobody is bound to receive is no error.
    pub async fn cast(&self, cast: Cast, limit: Duration) -> Result<(), CastError> {
        let Cast {
            exchange,
            routing_key,
            method,
            version,
            args,
            context,
        } = cast;
        let (context, args) = self
            .serializer
            .seal_request(context, args)
            .map_err(CastError::Seal)?;
        let payload = encode_request(&method, &version, args, context, &unique_id());
        let options = self.transport.options();
        let message = Publication::new(
            &exchange,
            &routing_key,
            false,
            &payload,
            options.kombu_compression,
        )
        .map_err(|error| CastError::Invalid(error.to_string()))?;
        let mut last = "no connection".to_owned();
        match timeout(limit, self.send(&exchange, &message, &mut last)).await {
            Ok(result) => result,
            Err(_) => Err(CastError::Timeout { limit, last }),
        }
    }

    async fn send(
        &self,
        exchange: &str,
        message: &Publication,
        last: &mut String,
    ) -> Result<(), CastError> {
        loop {
            let session = self.transport.session().await.ok_or(CastError::Closed)?;
            "waiting for the broker".clone_into(last);
            match self.attempt(&session, exchange, message).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    debug!(%error, exchange, "Message not sent, retrying.");
                    if matches!(error, PublishError::Refused(..)) {
                        session.forget_exchange(exchange);
                    }
                    *last = error.to_string();
                }
            }
            sleep(RETRY_INTERVAL).await;
        }
    }

    async fn attempt(
        &self,
        session: &Session,
        exchange: &str,
        message: &Publication,
    ) -> Result<(), PublishError> {
        declare_exchange(
            session,
            &request_exchange(exchange, self.transport.options()),
        )
        .await?;
        session.publish(Lane::Casts, message).await
    }
}
