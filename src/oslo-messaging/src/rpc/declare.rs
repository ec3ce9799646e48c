//! Declaring without ever losing to a mismatch: look first, create only what is
//! missing. A queue somebody declared with other arguments is used as it is.

use lapin::options::{
    ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{FieldTable, ShortString};
use tracing::{debug, info, warn};

use super::topology::{ExchangeSpec, QueueSpec};
use crate::transport::{PublishError, Session, short};

const NOT_FOUND: u16 = 404;
const PRECONDITION_FAILED: u16 = 406;

/// Makes sure the queue, its exchange and the binding exist.
pub(super) async fn declare_queue(session: &Session, spec: &QueueSpec) -> Result<(), PublishError> {
    declare_exchange(session, &spec.exchange).await?;
    let name = short(&spec.name, "queue name")?;
    match queue(session, spec, true).await {
        Ok(()) => debug!(queue = spec.name, "Queue exists."),
        Err(PublishError::Refused(NOT_FOUND, _)) => create_queue(session, spec, &name).await?,
        Err(error) => return Err(error),
    }
    let channel = session.channel().await?;
    let bound = session
        .guard(channel.queue_bind(
            name,
            short(&spec.exchange.name, "exchange name")?,
            short(&spec.routing_key, "routing key")?,
            QueueBindOptions::default(),
            FieldTable::default(),
        ))
        .await;
    finish(session, &channel, bound).await
}

async fn create_queue(
    session: &Session,
    spec: &QueueSpec,
    name: &ShortString,
) -> Result<(), PublishError> {
    match queue(session, spec, false).await {
        Ok(()) => {
            info!(queue = spec.name, durable = spec.durable, "Queue declared.");
            Ok(())
        }
        // Somebody else was quicker, with other arguments.
        Err(PublishError::Refused(PRECONDITION_FAILED, text)) => {
            warn!(
                queue = spec.name,
                error = text,
                "Queue was declared with other arguments; using it as it is."
            );
            queue(session, spec, true).await
        }
        // It lived on a node that is down: only deleting it makes room for a
        // new one (https://bugs.launchpad.net/oslo.messaging/+bug/2068630).
        Err(PublishError::Refused(NOT_FOUND, text)) => {
            warn!(
                queue = spec.name,
                error = text,
                "Queue is stuck on a node that is down; replacing it."
            );
            let channel = session.channel().await?;
            let deleted = session
                .guard(channel.queue_delete(name.clone(), QueueDeleteOptions::default()))
                .await;
            if let Err(error) = finish(session, &channel, deleted.map(drop)).await {
                warn!(queue = spec.name, %error, "Stuck queue could not be deleted.");
            }
            queue(session, spec, false).await
        }
        Err(error) => Err(error),
    }
}

/// Makes sure the exchange exists, whatever its arguments.
pub(super) async fn declare_exchange(
    session: &Session,
    spec: &ExchangeSpec,
) -> Result<(), PublishError> {
    if session.knows_exchange(&spec.name) {
        return Ok(());
    }
    match exchange(session, spec, true).await {
        Ok(()) => {}
        Err(PublishError::Refused(NOT_FOUND, _)) => match exchange(session, spec, false).await {
            Ok(()) => info!(
                exchange = spec.name,
                durable = spec.durable,
                "Exchange declared."
            ),
            Err(PublishError::Refused(PRECONDITION_FAILED, text)) => {
                warn!(
                    exchange = spec.name,
                    error = text,
                    "Exchange was declared with other arguments; using it as it is."
                );
                exchange(session, spec, true).await?;
            }
            Err(error) => return Err(error),
        },
        Err(error) => return Err(error),
    }
    session.remember_exchange(&spec.name);
    Ok(())
}

/// Whether an exchange or queue exists, without touching it.
pub(crate) async fn exists(
    session: &Session,
    exchange_name: Option<&str>,
    queue_name: Option<&str>,
) -> Result<(), PublishError> {
    if let Some(name) = exchange_name {
        let spec = ExchangeSpec {
            name: name.to_owned(),
            kind: lapin::ExchangeKind::Topic,
            durable: false,
            auto_delete: false,
        };
        exchange(session, &spec, true).await?;
    }
    if let Some(name) = queue_name {
        let channel = session.channel().await?;
        let options = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let found = session
            .guard(channel.queue_declare(
                short(name, "queue name")?,
                options,
                FieldTable::default(),
            ))
            .await;
        finish(session, &channel, found.map(drop)).await?;
    }
    Ok(())
}

/// A refused declaration closes its channel, so each has one of its own.
async fn queue(session: &Session, spec: &QueueSpec, passive: bool) -> Result<(), PublishError> {
    let channel = session.channel().await?;
    let options = QueueDeclareOptions {
        passive,
        durable: spec.durable,
        exclusive: false,
        auto_delete: spec.auto_delete,
        nowait: false,
    };
    let arguments = if passive {
        FieldTable::default()
    } else {
        spec.arguments.clone()
    };
    let declared = session
        .guard(channel.queue_declare(short(&spec.name, "queue name")?, options, arguments))
        .await;
    finish(session, &channel, declared.map(drop)).await
}

async fn exchange(
    session: &Session,
    spec: &ExchangeSpec,
    passive: bool,
) -> Result<(), PublishError> {
    let channel = session.channel().await?;
    let options = ExchangeDeclareOptions {
        passive,
        durable: spec.durable,
        auto_delete: spec.auto_delete,
        internal: false,
        nowait: false,
    };
    let declared = session
        .guard(channel.exchange_declare(
            short(&spec.name, "exchange name")?,
            spec.kind.clone(),
            options,
            FieldTable::default(),
        ))
        .await;
    finish(session, &channel, declared).await
}

/// Closes a channel that served its purpose and passes its result on.
async fn finish(
    session: &Session,
    channel: &lapin::Channel,
    result: Result<(), PublishError>,
) -> Result<(), PublishError> {
    if channel.status().connected()
        && let Err(error) = session.guard(channel.close(200, "OK".into())).await
    {
        debug!(%error, "Channel did not close cleanly.");
    }
    result
}
