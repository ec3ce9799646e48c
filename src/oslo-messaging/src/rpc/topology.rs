//! Names and arguments of exchanges and queues
//! (`impl_rabbit.py`: `Consumer`, `_get_queue_arguments`, `declare_*_consumer`).

use lapin::ExchangeKind;
use lapin::types::{AMQPValue, FieldTable};

use crate::RabbitOptions;
use crate::wire::unique_id;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Request exchange (`control_exchange`).
    pub exchange: String,
    /// Topic: the queue every server of this topic shares.
    pub topic: String,
    /// Name of this server within the topic.
    pub server: String,
}

impl Target {
    /// A target of the three names.
    pub fn new(
        exchange: impl Into<String>,
        topic: impl Into<String>,
        server: impl Into<String>,
    ) -> Self {
        Self {
            exchange: exchange.into(),
            topic: topic.into(),
            server: server.into(),
        }
    }
}

/// An exchange to declare.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ExchangeSpec {
    pub(super) name: String,
    pub(super) kind: ExchangeKind,
    pub(super) durable: bool,
    pub(super) auto_delete: bool,
}

/// A queue to declare, bind and consume.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct QueueSpec {
    pub(super) name: String,
    pub(super) exchange: ExchangeSpec,
    pub(super) routing_key: String,
    pub(super) durable: bool,
    pub(super) auto_delete: bool,
    pub(super) arguments: FieldTable,
    pub(super) consumer_arguments: FieldTable,
    /// Without it there is no server; the others only complete the picture.
    pub(super) essential: bool,
    /// Dropped on a clean close, because its random name is of no use later.
    pub(super) delete_on_close: bool,
}

/// The request exchange.
pub(super) fn request_exchange(name: &str, options: &RabbitOptions) -> ExchangeSpec {
    ExchangeSpec {
        name: name.to_owned(),
        kind: ExchangeKind::Topic,
        durable: options.durable(),
        auto_delete: options.amqp_auto_delete,
    }
}

/// The queues of `target`, in the order oslo.messaging declares them.
pub(super) fn queues(target: &Target, options: &RabbitOptions) -> Vec<QueueSpec> {
    let Target {
        exchange,
        topic,
        server,
    } = target;
    let exchange = request_exchange(exchange, options);
    let request = |name: String, essential| QueueSpec {
        routing_key: name.clone(),
        name,
        exchange: exchange.clone(),
        durable: options.durable(),
        auto_delete: options.amqp_auto_delete,
        arguments: arguments(options, options.rabbit_quorum_queue, 0),
        consumer_arguments: consumer_arguments(options, false),
        essential,
        delete_on_close: false,
    };
    vec![
        request(topic.clone(), true),
        request(format!("{topic}.{server}"), false),
        fanout(topic, options),
    ]
}

fn fanout(topic: &str, options: &RabbitOptions) -> QueueSpec {
    let durable = options.rabbit_transient_quorum_queue || options.rabbit_stream_fanout;
    let random = !options.use_queue_manager && !options.rabbit_stream_fanout;
    let name = if options.rabbit_stream_fanout {
        format!("{topic}_fanout")
    } else if options.use_queue_manager {
        // One listener per process: its counter in the queue manager is always 1.
        format!(
            "{topic}_fanout_{}:{}:1",
            options.hostname, options.processname
        )
    } else {
        format!("{topic}_fanout_{}", unique_id())
    };
    QueueSpec {
        name,
        exchange: ExchangeSpec {
            name: format!("{topic}_fanout"),
            kind: ExchangeKind::Fanout,
            durable,
            auto_delete: true,
        },
        routing_key: topic.to_owned(),
        durable,
        auto_delete: false,
        arguments: fanout_arguments(options),
        consumer_arguments: consumer_arguments(options, options.rabbit_stream_fanout),
        essential: false,
        delete_on_close: random,
    }
}

fn fanout_arguments(options: &RabbitOptions) -> FieldTable {
    let ttl = options.rabbit_transient_queues_ttl;
    if !options.rabbit_stream_fanout {
        return arguments(options, options.rabbit_transient_quorum_queue, ttl);
    }
    let mut table = FieldTable::default();
    table.insert("x-queue-type".into(), text("stream"));
    if ttl > 0 {
        table.insert("x-max-age".into(), text(&format!("{ttl}s")));
    }
    table
}

fn arguments(options: &RabbitOptions, quorum: bool, ttl_seconds: u32) -> FieldTable {
    let mut table = FieldTable::default();
    if options.rabbit_ha_queues {
        table.insert("x-ha-policy".into(), text("all"));
    }
    if quorum {
        table.insert("x-queue-type".into(), text("quorum"));
        let limits = [
            (
                "x-delivery-limit",
                u64::from(options.rabbit_quorum_delivery_limit),
            ),
            (
                "x-max-in-memory-length",
                u64::from(options.rabbit_quorum_max_memory_length),
            ),
            (
                "x-max-in-memory-bytes",
                options.rabbit_quorum_max_memory_bytes,
            ),
        ];
        for (name, limit) in limits.into_iter().filter(|(_, limit)| *limit > 0) {
            table.insert(name.into(), number(limit));
        }
    }
    if ttl_seconds > 0 {
        table.insert("x-expires".into(), number(u64::from(ttl_seconds) * 1000));
    }
    table
}

fn consumer_arguments(options: &RabbitOptions, stream: bool) -> FieldTable {
    let mut table = FieldTable::default();
    if stream {
        table.insert("x-stream-offset".into(), text("last"));
    } else if options.enable_cancel_on_failover {
        table.insert("x-cancel-on-ha-failover".into(), AMQPValue::Boolean(true));
    }
    table
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

/// py-amqp's choice: a signed 32-bit integer if it fits, 64 bits otherwise.
fn number(value: u64) -> AMQPValue {
    match i32::try_from(value) {
        Ok(value) => AMQPValue::LongInt(value),
        Err(_) => AMQPValue::LongLongInt(i64::try_from(value).unwrap_or(i64::MAX)),
    }
}

#[cfg(test)]
#[path = "topology_tests.rs"]
mod tests;
