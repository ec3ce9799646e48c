use super::*;

#[test]
fn every_name_can_be_set() {
    let mut options = RabbitOptions::default();
    for name in OPTION_NAMES {
        let value = match *name {
            "kombu_failover_strategy" => "shuffle",
            "kombu_compression" => "bz2",
            "rabbit_login_method" => "EXTERNAL",
            "ssl_version" => "TLSv1_2",
            _ => "1",
        };
        options.set(name, value).unwrap();
    }
    let defaults = format!("{:?}", RabbitOptions::default());
    let set = format!("{options:?}");
    for (before, after) in defaults.split(", ").zip(set.split(", ")) {
        let same = [
            "direct_mandatory_flag",
            "ssl_enforce_hostname",
            "rabbit_retry_interval",
            "kombu_reconnect_delay",
        ];
        if !same.iter().any(|name| before.contains(name)) {
            assert_ne!(before, after);
        }
    }
}

#[test]
fn aliases_reach_the_same_field() {
    let mut options = RabbitOptions::default();
    options.set("kombu_ssl_ca_certs", "/etc/ca.pem").unwrap();
    options.set("rabbit_use_ssl", "Yes").unwrap();
    options.set("kombu_reconnect_timeout", "7").unwrap();
    options.set("rabbit_quroum_max_memory_bytes", "9").unwrap();
    options.set("heartbeat_in_pthread", "whatever").unwrap();
    assert_eq!(options.ssl_ca_file, "/etc/ca.pem");
    assert!(options.ssl);
    assert_eq!(options.kombu_missing_consumer_retry_timeout, 7);
    assert_eq!(options.rabbit_quorum_max_memory_bytes, 9);
}

#[test]
fn bad_values_say_what_is_allowed() {
    let mut options = RabbitOptions::default();
    let error = options.set("rabbit_retry_interval", "0").unwrap_err();
    assert_eq!(
        error.to_string(),
        "rabbit_retry_interval = 0: expected a whole number of at least 1"
    );
    assert!(matches!(
        options.set("rabbit_hosts", "x"),
        Err(OptionError::Unknown(_))
    ));
    assert!(options.set("ssl", "maybe").is_err());
    assert!(options.set("kombu_reconnect_delay", "NaN").is_err());
}

#[test]
fn conflicts_are_refused() {
    let quorum_and_ha = RabbitOptions {
        rabbit_ha_queues: true,
        rabbit_quorum_queue: true,
        ..RabbitOptions::default()
    };
    assert!(quorum_and_ha.validate().is_err());
    let stream = RabbitOptions {
        rabbit_stream_fanout: true,
        ..RabbitOptions::default()
    };
    assert!(stream.validate().is_err());
    assert!(RabbitOptions::default().validate().is_ok());
}
