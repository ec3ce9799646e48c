//! Publishing with confirms.

use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Confirmation, ErrorKind};

use super::session::{Lane, Session};
use crate::wire::{Compression, Map, encode_body};

/// A message ready to go.
pub(crate) struct Publication {
    exchange: ShortString,
    routing_key: ShortString,
    mandatory: bool,
    body: Vec<u8>,
    properties: BasicProperties,
}

/// Why a message did not get into the broker's hands.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum PublishError {
    /// The connection or channel broke: it may or may not have arrived.
    #[error("{0}")]
    Lost(String),
    /// The broker refused with a reply code.
    #[error("{1}")]
    Refused(u16, String),
    /// Nobody is bound to the routing key (mandatory messages only).
    #[error("the broker returned the message: {0}")]
    Unroutable(String),
    /// The broker could not take responsibility for it.
    #[error("the broker did not accept the message")]
    NotConfirmed,
    /// AMQP cannot carry a name this long.
    #[error("{0} is longer than 255 bytes")]
    NameTooLong(&'static str),
}

impl From<&lapin::Error> for PublishError {
    fn from(error: &lapin::Error) -> Self {
        match error.kind() {
            ErrorKind::ProtocolError(refusal) => {
                Self::Refused(refusal.get_id(), refusal.get_message().to_string())
            }
            _ => Self::Lost(error.to_string()),
        }
    }
}

impl Publication {
    /// Puts `payload` into an envelope with the properties kombu sends:
    /// persistent, priority 0, JSON in UTF-8.
    pub(crate) fn new(
        exchange: &str,
        routing_key: &str,
        mandatory: bool,
        payload: &Map,
        compression: Option<Compression>,
    ) -> Result<Self, PublishError> {
        let mut body = encode_body(payload);
        let mut headers = FieldTable::default();
        if let Some(compression) = compression {
            body = compression
                .compress(&body)
                .map_err(|error| PublishError::Lost(error.to_string()))?;
            let content_type = AMQPValue::LongString(compression.content_type().into());
            headers.insert("compression".into(), content_type);
        }
        Ok(Self {
            exchange: short(exchange, "exchange name")?,
            routing_key: short(routing_key, "routing key")?,
            mandatory,
            body,
            properties: BasicProperties::default()
                .with_content_type("application/json".into())
                .with_content_encoding("utf-8".into())
                .with_delivery_mode(2)
                .with_priority(0)
                .with_headers(headers),
        })
    }
}

pub(crate) fn short(text: &str, what: &'static str) -> Result<ShortString, PublishError> {
    ShortString::try_new(text).map_err(|_| PublishError::NameTooLong(what))
}

impl Session {
    /// Publishes and waits for the broker's confirm; waits first while the
    /// broker takes no messages.
    pub(crate) async fn publish(
        &self,
        lane: Lane,
        message: &Publication,
    ) -> Result<(), PublishError> {
        self.unblocked().await?;
        let channel = self.publisher(lane).await?;
        let options = BasicPublishOptions {
            mandatory: message.mandatory,
            immediate: false,
        };
        let confirm = self
            .guard(channel.basic_publish(
                message.exchange.clone(),
                message.routing_key.clone(),
                options,
                &message.body,
                message.properties.clone(),
            ))
            .await?;
        match self.guard(confirm).await? {
            Confirmation::Ack(None) => {
                self.mark_useful();
                Ok(())
            }
            Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)) => {
                Err(PublishError::Unroutable(returned.reply_text.to_string()))
            }
            Confirmation::Nack(None) | Confirmation::NotRequested => {
                Err(PublishError::NotConfirmed)
            }
        }
    }
}
