//! `[oslo_messaging_rabbit]`: every option that touches a server or a caster.

use crate::option_text::Text;
use crate::wire::Compression;

/// How the next broker is chosen when several are configured
/// (`kombu_failover_strategy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailoverStrategy {
    /// One after the other, in the order shuffled at start.
    RoundRobin,
    /// A random one each time.
    Shuffle,
}

/// SASL mechanism (`rabbit_login_method`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginMethod {
    /// User and password, RFC 4616.
    Plain,
    /// User and password as an AMQP table; the default of oslo.messaging.
    AmqPlain,
    /// The client certificate is the identity.
    External,
    /// RabbitMQ's demonstration of a challenge.
    RabbitCrDemo,
}

/// Why an option was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// No release of oslo.messaging this crate follows has such an option.
    #[error("unknown option {0}")]
    Unknown(String),
    /// The value does not parse or is out of range.
    #[error("{name} = {value}: {expected}")]
    Value {
        /// Option name as given.
        name: String,
        /// Offending text.
        value: String,
        /// What would be accepted.
        expected: String,
    },
    /// Options that exclude or need one another.
    #[error("{0}")]
    Conflict(&'static str),
}

/// Values of `[oslo_messaging_rabbit]`; names, units and defaults are those of
/// oslo.messaging 18.3 (`oslo_messaging/_drivers/impl_rabbit.py`, `amqp.py`).
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::struct_excessive_bools)]
pub struct RabbitOptions {
    /// Request exchange, topic and server queue survive a broker restart.
    pub amqp_durable_queues: bool,
    /// Request exchange and queues vanish with their last user.
    pub amqp_auto_delete: bool,
    /// Quorum queues; implies durable.
    pub rabbit_quorum_queue: bool,
    /// Quorum queues for the fanout queue, too.
    pub rabbit_transient_quorum_queue: bool,
    /// `x-delivery-limit`; 0 = none.
    pub rabbit_quorum_delivery_limit: u32,
    /// `x-max-in-memory-length`; 0 = none.
    pub rabbit_quorum_max_memory_length: u32,
    /// `x-max-in-memory-bytes`; 0 = none.
    pub rabbit_quorum_max_memory_bytes: u64,
    /// `x-ha-policy: all` (ignored by brokers since 3.0 but part of the
    /// queue's identity).
    pub rabbit_ha_queues: bool,
    /// Seconds until an unused fanout queue is dropped; 0 = never.
    pub rabbit_transient_queues_ttl: u32,
    /// One stream instead of a fanout queue per listener.
    pub rabbit_stream_fanout: bool,
    /// Stable fanout queue name made of `hostname` and `processname`.
    pub use_queue_manager: bool,
    /// Host part of stable queue names.
    pub hostname: String,
    /// Process part of stable queue names.
    pub processname: String,
    /// `basic.qos` of the listening channel; 0 = unlimited.
    pub rabbit_qos_prefetch_count: u16,
    /// Seconds of silence after which the broker counts as down; 0 = never.
    pub heartbeat_timeout_threshold: u16,
    /// How often per threshold the heartbeat is checked.
    pub heartbeat_rate: u16,
    /// Seconds added before reconnecting.
    pub kombu_reconnect_delay: f64,
    /// Random 0..n seconds added before reconnecting.
    pub kombu_reconnect_splay: f64,
    /// Choice of the next broker.
    pub kombu_failover_strategy: FailoverStrategy,
    /// Compression of what we send; what we receive says so itself.
    pub kombu_compression: Option<Compression>,
    /// Seconds a reply is retried while its queue does not exist.
    pub kombu_missing_consumer_retry_timeout: u32,
    /// Seconds before the first retry of a failed connection, at least 1.
    pub rabbit_retry_interval: u32,
    /// Seconds added to the interval after each failure.
    pub rabbit_retry_backoff: u32,
    /// Longest interval in seconds, at least 1.
    pub rabbit_interval_max: u32,
    /// SASL mechanism.
    pub rabbit_login_method: LoginMethod,
    /// Ask the broker to return replies that cannot be routed.
    pub direct_mandatory_flag: bool,
    /// Let a mirrored queue's failover cancel the consumer.
    pub enable_cancel_on_failover: bool,
    /// TLS to the broker; the port stays what the URL says.
    pub ssl: bool,
    /// Python's name of a protocol version; empty = best.
    pub ssl_version: String,
    /// Client key, PEM file; empty = none.
    pub ssl_key_file: String,
    /// Client certificate chain, PEM file; empty = none.
    pub ssl_cert_file: String,
    /// Certification authorities, PEM file; empty = the broker is not verified.
    pub ssl_ca_file: String,
    /// Compare the broker's name with its certificate (needs `ssl_ca_file`).
    pub ssl_enforce_hostname_verification: bool,
}

impl Default for RabbitOptions {
    fn default() -> Self {
        Self {
            amqp_durable_queues: false,
            amqp_auto_delete: false,
            rabbit_quorum_queue: false,
            rabbit_transient_quorum_queue: false,
            rabbit_quorum_delivery_limit: 0,
            rabbit_quorum_max_memory_length: 0,
            rabbit_quorum_max_memory_bytes: 0,
            rabbit_ha_queues: false,
            rabbit_transient_queues_ttl: 1800,
            rabbit_stream_fanout: false,
            use_queue_manager: false,
            hostname: default_hostname(),
            processname: default_processname(),
            rabbit_qos_prefetch_count: 0,
            heartbeat_timeout_threshold: 60,
            heartbeat_rate: 3,
            kombu_reconnect_delay: 1.0,
            kombu_reconnect_splay: 0.0,
            kombu_failover_strategy: FailoverStrategy::RoundRobin,
            kombu_compression: None,
            kombu_missing_consumer_retry_timeout: 60,
            rabbit_retry_interval: 1,
            rabbit_retry_backoff: 2,
            rabbit_interval_max: 30,
            rabbit_login_method: LoginMethod::AmqPlain,
            direct_mandatory_flag: true,
            enable_cancel_on_failover: false,
            ssl: false,
            ssl_version: String::new(),
            ssl_key_file: String::new(),
            ssl_cert_file: String::new(),
            ssl_ca_file: String::new(),
            ssl_enforce_hostname_verification: true,
        }
    }
}

/// Names of the options with an effect, newest spelling.
pub const OPTION_NAMES: &[&str] = &[
    "amqp_durable_queues",
    "amqp_auto_delete",
    "rabbit_quorum_queue",
    "rabbit_transient_quorum_queue",
    "rabbit_quorum_delivery_limit",
    "rabbit_quorum_max_memory_length",
    "rabbit_quorum_max_memory_bytes",
    "rabbit_ha_queues",
    "rabbit_transient_queues_ttl",
    "rabbit_stream_fanout",
    "use_queue_manager",
    "hostname",
    "processname",
    "rabbit_qos_prefetch_count",
    "heartbeat_timeout_threshold",
    "heartbeat_rate",
    "kombu_reconnect_delay",
    "kombu_reconnect_splay",
    "kombu_failover_strategy",
    "kombu_compression",
    "kombu_missing_consumer_retry_timeout",
    "rabbit_retry_interval",
    "rabbit_retry_backoff",
    "rabbit_interval_max",
    "rabbit_login_method",
    "direct_mandatory_flag",
    "enable_cancel_on_failover",
    "ssl",
    "ssl_version",
    "ssl_key_file",
    "ssl_cert_file",
    "ssl_ca_file",
    "ssl_enforce_hostname_verification",
];

/// Options oslo.messaging knows but that mean nothing here: there is one
/// connection instead of a pool, and no native thread for heartbeats.
pub const IGNORED_OPTION_NAMES: &[&str] = &[
    "rpc_conn_pool_size",
    "conn_pool_min_size",
    "conn_pool_ttl",
    "heartbeat_in_pthread",
    "ssl_enforce_fips_mode",
];

/// Older spellings and what they are called today.
const ALIASES: &[(&str, &str)] = &[
    ("rabbit_use_ssl", "ssl"),
    ("kombu_ssl_version", "ssl_version"),
    ("kombu_ssl_keyfile", "ssl_key_file"),
    ("kombu_ssl_certfile", "ssl_cert_file"),
    ("kombu_ssl_ca_certs", "ssl_ca_file"),
    (
        "kombu_reconnect_timeout",
        "kombu_missing_consumer_retry_timeout",
    ),
    ("rabbit_durable_queues", "amqp_durable_queues"),
    ("rabbit_auto_delete", "amqp_auto_delete"),
    (
        "rabbit_quroum_max_memory_length",
        "rabbit_quorum_max_memory_length",
    ),
    (
        "rabbit_quroum_max_memory_bytes",
        "rabbit_quorum_max_memory_bytes",
    ),
];

impl RabbitOptions {
    /// Today's spelling of an option, or `None` if it is unknown.
    pub fn canonical_name(name: &str) -> Option<&'static str> {
        let name = ALIASES
            .iter()
            .find(|(old, _)| *old == name)
            .map_or(name, |(_, new)| new);
        OPTION_NAMES
            .iter()
            .chain(IGNORED_OPTION_NAMES)
            .copied()
            .find(|known| *known == name)
    }

    /// Sets one option from text, as a configuration file or the query of a
    /// transport URL gives it. Older spellings are accepted; options without
    /// an effect are accepted and dropped.
    ///
    /// # Errors
    /// [`OptionError::Unknown`] or [`OptionError::Value`].
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), OptionError> {
        let known =
            Self::canonical_name(name).ok_or_else(|| OptionError::Unknown(name.to_owned()))?;
        let text = Text {
            name,
            value: value.trim(),
        };
        match known {
            "amqp_durable_queues" => self.amqp_durable_queues = text.boolean()?,
            "amqp_auto_delete" => self.amqp_auto_delete = text.boolean()?,
            "rabbit_quorum_queue" => self.rabbit_quorum_queue = text.boolean()?,
            "rabbit_transient_quorum_queue" => {
                self.rabbit_transient_quorum_queue = text.boolean()?
            }
            "rabbit_quorum_delivery_limit" => {
                self.rabbit_quorum_delivery_limit = text.integer(0)?
            }
            "rabbit_quorum_max_memory_length" => {
                self.rabbit_quorum_max_memory_length = text.integer(0)?
            }
            "rabbit_quorum_max_memory_bytes" => {
                self.rabbit_quorum_max_memory_bytes = text.integer(0)?
            }
            "rabbit_ha_queues" => self.rabbit_ha_queues = text.boolean()?,
            "rabbit_transient_queues_ttl" => self.rabbit_transient_queues_ttl = text.integer(0)?,
            "rabbit_stream_fanout" => self.rabbit_stream_fanout = text.boolean()?,
            "use_queue_manager" => self.use_queue_manager = text.boolean()?,
            "hostname" => text.value.clone_into(&mut self.hostname),
            "processname" => text.value.clone_into(&mut self.processname),
            "rabbit_qos_prefetch_count" => self.rabbit_qos_prefetch_count = text.integer(0)?,
            "heartbeat_timeout_threshold" => self.heartbeat_timeout_threshold = text.integer(0)?,
            "heartbeat_rate" => self.heartbeat_rate = text.integer(1)?,
            "kombu_reconnect_delay" => self.kombu_reconnect_delay = text.seconds()?,
            "kombu_reconnect_splay" => self.kombu_reconnect_splay = text.seconds()?,
            "kombu_failover_strategy" => self.kombu_failover_strategy = text.failover()?,
            "kombu_compression" => self.kombu_compression = text.compression()?,
            "kombu_missing_consumer_retry_timeout" => {
                self.kombu_missing_consumer_retry_timeout = text.integer(0)?;
            }
            "rabbit_retry_interval" => self.rabbit_retry_interval = text.integer(1)?,
            "rabbit_retry_backoff" => self.rabbit_retry_backoff = text.integer(0)?,
            "rabbit_interval_max" => self.rabbit_interval_max = text.integer(1)?,
            "rabbit_login_method" => self.rabbit_login_method = text.login_method()?,
            "direct_mandatory_flag" => self.direct_mandatory_flag = text.boolean()?,
            "enable_cancel_on_failover" => self.enable_cancel_on_failover = text.boolean()?,
            "ssl" => self.ssl = text.boolean()?,
            "ssl_version" => self.ssl_version = text.ssl_version()?,
            "ssl_key_file" => text.value.clone_into(&mut self.ssl_key_file),
            "ssl_cert_file" => text.value.clone_into(&mut self.ssl_cert_file),
            "ssl_ca_file" => text.value.clone_into(&mut self.ssl_ca_file),
            "ssl_enforce_hostname_verification" => {
                self.ssl_enforce_hostname_verification = text.boolean()?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether the request exchange and the topic queues are durable.
    pub fn durable(&self) -> bool {
        self.amqp_durable_queues || self.rabbit_quorum_queue
    }

    /// Checks what no single option can tell.
    ///
    /// # Errors
    /// [`OptionError::Conflict`], for the combinations oslo.messaging refuses.
    pub fn validate(&self) -> Result<(), OptionError> {
        if self.rabbit_ha_queues && (self.rabbit_quorum_queue || self.rabbit_transient_quorum_queue)
        {
            return Err(OptionError::Conflict(
                "rabbit_ha_queues excludes rabbit_quorum_queue and rabbit_transient_quorum_queue",
            ));
        }
        if self.rabbit_stream_fanout && self.rabbit_qos_prefetch_count == 0 {
            return Err(OptionError::Conflict(
                "rabbit_stream_fanout needs rabbit_qos_prefetch_count greater than 0",
            ));
        }
        if self.rabbit_stream_fanout && !self.rabbit_transient_quorum_queue {
            return Err(OptionError::Conflict(
                "rabbit_stream_fanout needs rabbit_transient_quorum_queue",
            ));
        }
        Ok(())
    }
}

fn default_hostname() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_else(|| "localhost".to_owned())
}

fn default_processname() -> String {
    std::env::args()
        .next()
        .and_then(|path| path.rsplit('/').next().map(str::to_owned))
        .unwrap_or_default()
}

#[cfg(test)]
#[path = "options_tests.rs"]
mod tests;
