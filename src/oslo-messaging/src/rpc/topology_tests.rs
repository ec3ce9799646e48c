use super::*;

fn of(options: RabbitOptions) -> [QueueSpec; 3] {
    queues(&Target::new("trove", "guestagent.ID", "ID"), &options)
        .try_into()
        .unwrap()
}

fn table(queue: &QueueSpec) -> Vec<(String, AMQPValue)> {
    queue
        .arguments
        .inner()
        .iter()
        .map(|(k, v)| (k.to_string(), v.clone()))
        .collect()
}

#[test]
fn defaults_are_those_recorded_from_upstream() {
    let [topic, server, fanout] = of(RabbitOptions::default());
    for (queue, name) in [(&topic, "guestagent.ID"), (&server, "guestagent.ID.ID")] {
        assert_eq!(
            (queue.name.as_str(), queue.routing_key.as_str()),
            (name, name)
        );
        assert_eq!(queue.exchange.name, "trove");
        assert_eq!(queue.exchange.kind, ExchangeKind::Topic);
        assert!(
            !queue.durable
                && !queue.auto_delete
                && !queue.exchange.durable
                && !queue.exchange.auto_delete
        );
        assert!(table(queue).is_empty() && !queue.delete_on_close);
    }
    assert!(topic.essential && !server.essential && !fanout.essential);
    let random = fanout.name.strip_prefix("guestagent.ID_fanout_").unwrap();
    assert!(random.len() == 32 && random.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(fanout.routing_key, "guestagent.ID");
    assert_eq!(fanout.exchange.name, "guestagent.ID_fanout");
    assert!(
        fanout.exchange.auto_delete
            && !fanout.durable
            && !fanout.auto_delete
            && fanout.delete_on_close
    );
    assert_eq!(
        table(&fanout),
        [("x-expires".to_owned(), AMQPValue::LongInt(1_800_000))]
    );
}

#[test]
fn quorum_queues_are_durable_and_limited() {
    let [topic, _, fanout] = of(RabbitOptions {
        rabbit_quorum_queue: true,
        rabbit_quorum_delivery_limit: 5,
        rabbit_quorum_max_memory_bytes: 1 << 33,
        rabbit_transient_queues_ttl: 0,
        ..RabbitOptions::default()
    });
    assert!(topic.durable && topic.exchange.durable && !fanout.durable);
    let expected = [
        ("x-delivery-limit".to_owned(), AMQPValue::LongInt(5)),
        (
            "x-max-in-memory-bytes".to_owned(),
            AMQPValue::LongLongInt(1 << 33),
        ),
        ("x-queue-type".to_owned(), text("quorum")),
    ];
    assert_eq!(table(&topic), expected);
    assert!(table(&fanout).is_empty());
}

#[test]
fn transient_quorum_and_streams() {
    let options = RabbitOptions {
        rabbit_transient_quorum_queue: true,
        rabbit_qos_prefetch_count: 10,
        enable_cancel_on_failover: true,
        ..RabbitOptions::default()
    };
    let [topic, _, fanout] = of(options.clone());
    assert!(!topic.durable && fanout.durable && fanout.exchange.durable);
    assert_eq!(topic.consumer_arguments.inner().len(), 1);
    assert!(
        table(&fanout)
            .iter()
            .any(|(name, _)| name == "x-queue-type")
    );
    let [_, _, fanout] = of(RabbitOptions {
        rabbit_stream_fanout: true,
        ..options
    });
    assert_eq!(fanout.name, "guestagent.ID_fanout");
    assert!(!fanout.delete_on_close);
    let expected = [
        ("x-max-age".to_owned(), text("1800s")),
        ("x-queue-type".to_owned(), text("stream")),
    ];
    assert_eq!(table(&fanout), expected);
    assert!(
        fanout
            .consumer_arguments
            .inner()
            .contains_key("x-stream-offset")
    );
}

#[test]
fn a_queue_manager_gives_stable_names() {
    let options = RabbitOptions {
        use_queue_manager: true,
        hostname: "h".into(),
        processname: "p".into(),
        ..RabbitOptions::default()
    };
    let [_, _, fanout] = of(options);
    assert_eq!(fanout.name, "guestagent.ID_fanout_h:p:1");
    assert!(!fanout.delete_on_close);
}
