//! `[oslo_messaging_rabbit]` (`oslo_messaging/_drivers/impl_rabbit.py` 18.3.1).
//!
//! Bounds are upstream's, so a few numbers may be negative where that means
//! "off". The query of transport_url sets the same options.

use std::collections::BTreeMap;

use oslo_config::{Expected, Kind, Value};

use super::options::Row;

const G: &str = "oslo_messaging_rabbit";

/// Every option of the section, with the names of releases before 16.0.
pub(super) const OPTIONS: [Row; 38] = [
    Row::native(G, "amqp_durable_queues", Kind::Bool).default("false"),
    Row::native(G, "amqp_auto_delete", Kind::Bool).default("false"),
    Row::native(G, "rabbit_quorum_queue", Kind::Bool).default("false"),
    Row::native(G, "rabbit_transient_quorum_queue", Kind::Bool).default("false"),
    Row::native(G, "rabbit_quorum_delivery_limit", Kind::INT).default("0"),
    Row::native(G, "rabbit_quorum_max_memory_length", Kind::INT)
        .default("0")
        .deprecated(&[(G, "rabbit_quroum_max_memory_length")]),
    Row::native(G, "rabbit_quorum_max_memory_bytes", Kind::INT)
        .default("0")
        .deprecated(&[(G, "rabbit_quroum_max_memory_bytes")]),
    Row::native(G, "rabbit_ha_queues", Kind::Bool).default("false"),
    Row::native(G, "rabbit_transient_queues_ttl", Kind::at_least(0)).default("1800"),
    Row::native(G, "rabbit_stream_fanout", Kind::Bool).default("false"),
    Row::native(G, "use_queue_manager", Kind::Bool).default("false"),
    Row::native(G, "hostname", Kind::Str),
    Row::native(G, "processname", Kind::Str),
    Row::native(G, "rabbit_qos_prefetch_count", Kind::INT).default("0"),
    Row::native(G, "heartbeat_timeout_threshold", Kind::INT).default("60"),
    Row::native(G, "heartbeat_rate", Kind::INT).default("3"),
    Row::native(G, "heartbeat_in_pthread", Kind::Bool).default("false"),
    Row::native(
        G,
        "kombu_reconnect_delay",
        Kind::Float {
            min: Some(0.0),
            max: Some(4.5),
        },
    )
    .default("1.0"),
    Row::native(
        G,
        "kombu_reconnect_splay",
        Kind::Float {
            min: Some(0.0),
            max: None,
        },
    )
    .default("0.0"),
    Row::native(
        G,
        "kombu_failover_strategy",
        Kind::one_of(&["round-robin", "shuffle"]),
    )
    .default("round-robin"),
    Row::native(G, "kombu_compression", Kind::Str),
    Row::native(G, "kombu_missing_consumer_retry_timeout", Kind::INT)
        .default("60")
        .deprecated(&[(G, "kombu_reconnect_timeout")]),
    Row::native(G, "rabbit_retry_interval", Kind::at_least(1)).default("1"),
    Row::native(G, "rabbit_retry_backoff", Kind::at_least(0)).default("2"),
    Row::native(G, "rabbit_interval_max", Kind::at_least(1)).default("30"),
    Row::native(
        G,
        "rabbit_login_method",
        Kind::one_of(&["PLAIN", "AMQPLAIN", "EXTERNAL", "RABBIT-CR-DEMO"]),
    )
    .default("AMQPLAIN"),
    Row::native(G, "direct_mandatory_flag", Kind::Bool).default("true"),
    Row::native(G, "enable_cancel_on_failover", Kind::Bool).default("false"),
    Row::native(G, "ssl", Kind::Bool)
        .default("false")
        .deprecated(&[(G, "rabbit_use_ssl")]),
    Row::native(G, "ssl_version", Kind::Str)
        .default("")
        .deprecated(&[(G, "kombu_ssl_version")]),
    Row::native(G, "ssl_key_file", Kind::Str)
        .default("")
        .deprecated(&[(G, "kombu_ssl_keyfile")]),
    Row::native(G, "ssl_cert_file", Kind::Str)
        .default("")
        .deprecated(&[(G, "kombu_ssl_certfile")]),
    Row::native(G, "ssl_ca_file", Kind::Str)
        .default("")
        .deprecated(&[(G, "kombu_ssl_ca_certs")]),
    Row::native(G, "ssl_enforce_hostname_verification", Kind::Bool).default("true"),
    Row::native(G, "ssl_enforce_fips_mode", Kind::Bool).default("false"),
    Row::native(G, "rpc_conn_pool_size", Kind::at_least(1)).default("30"),
    Row::native(G, "conn_pool_min_size", Kind::INT).default("2"),
    Row::native(G, "conn_pool_ttl", Kind::INT).default("1200"),
];

/// The values of the section by option name; unset options are absent.
#[derive(Debug, Clone, Default)]
pub(crate) struct RabbitValues(pub(super) BTreeMap<&'static str, Value>);

impl RabbitValues {
    /// The value of an option; `None` when it is unset (`hostname`,
    /// `processname`, `kombu_compression`) or no such option exists.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }
}

/// Why a query parameter of transport_url cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RabbitOptionError {
    /// The section has no such option; upstream ignores such parameters.
    #[error("there is no option {0} in [oslo_messaging_rabbit]")]
    Unknown(String),
    /// The value is not of the option's type.
    #[error("{name} = {value:?} must be {expected}")]
    NotAllowed {
        /// Option.
        name: String,
        /// Text given.
        value: String,
        /// What would have been allowed.
        expected: Expected,
    },
}

/// Converts text as the option of `[oslo_messaging_rabbit]` called `name`
/// would; an empty number gives the option's default.
pub(crate) fn parse_rabbit_option(name: &str, text: &str) -> Result<Value, RabbitOptionError> {
    let opt = OPTIONS
        .iter()
        .map(|row| row.opt)
        .find(|opt| opt.name == name);
    let opt = opt.ok_or_else(|| RabbitOptionError::Unknown(name.to_owned()))?;
    let refuse = |expected| RabbitOptionError::NotAllowed {
        name: name.to_owned(),
        value: text.to_owned(),
        expected,
    };
    let value = opt.kind.convert(text).map_err(refuse)?;
    let default = || {
        opt.kind
            .convert(opt.default.unwrap_or_default())
            .ok()
            .flatten()
    };
    value
        .or_else(default)
        .ok_or_else(|| refuse(opt.kind.expected()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_parameters_use_the_same_types() {
        assert_eq!(parse_rabbit_option("ssl", "1"), Ok(Value::Bool(true)));
        assert_eq!(
            parse_rabbit_option("heartbeat_timeout_threshold", ""),
            Ok(Value::Int(60))
        );
        assert_eq!(
            parse_rabbit_option("nope", "1").unwrap_err(),
            RabbitOptionError::Unknown("nope".into())
        );
        assert_eq!(
            parse_rabbit_option("rabbit_retry_interval", "0")
                .unwrap_err()
                .to_string(),
            "rabbit_retry_interval = \"0\" must be a whole number of at least 1"
        );
    }
}
