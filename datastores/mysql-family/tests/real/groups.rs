//! Configuration groups of a running server.

use std::collections::BTreeMap;
use std::sync::Arc;

use datastore::ErrorKind;
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};

use crate::ds;
use crate::harness::{Cases, Fixture};

pub(crate) fn cases(cases: &mut Cases) {
    cases.add("groups: values of all kinds are applied", kinds);
    cases.add("groups: what leaves a group leaves the server", removed);
    cases.add("groups: all or nothing", all_or_nothing);
    cases.add("groups: what waits for a start is told", waiting);
    cases.add("groups: what is refused before it is written", refused);
    cases.add("groups: the agent is stronger", stronger);
}

fn parameters(value: Value) -> BTreeMap<String, Value> {
    serde_json::from_value(value).unwrap()
}

/// A global variable as text; a switch as a number.
async fn global(fixture: &Fixture, name: &str) -> String {
    let mut admin = fixture.admin().await;
    let query = format!("SELECT CAST(@@GLOBAL.{name} AS CHAR)");
    let value: Option<String> = admin.query_first(query).await.unwrap();
    admin.disconnect().await.unwrap();
    match value.unwrap().as_str() {
        "ON" => "1".to_owned(),
        "OFF" => "0".to_owned(),
        other => other.to_owned(),
    }
}

/// What the control plane does.
async fn change(fixture: &Fixture, values: Value) -> datastore::Result<bool> {
    let values = parameters(values);
    ds(fixture).update_overrides(&values, false).await?;
    ds(fixture).apply_overrides(&values).await
}

/// And at a detach, without defaults.
async fn detach(fixture: &Fixture) -> bool {
    let nothing = BTreeMap::new();
    ds(fixture).update_overrides(&nothing, true).await.unwrap();
    ds(fixture).apply_overrides(&nothing).await.unwrap()
}

fn group(fixture: &Fixture) -> Option<String> {
    let dir = &fixture.settings().layout.include_dir;
    std::fs::read_to_string(dir.join("20-user-001-common.cnf")).ok()
}

async fn kinds(fixture: Arc<Fixture>) {
    let waits = change(
        &fixture,
        json!({
            "max_connections": 150,
            "long_query_time": 0.5,
            "local_infile": true,
            "sql_mode": "ANSI",
            "Key-Buffer-Size": "16M",
            // To a multiple of 1024.
            "max_allowed_packet": 2_000_001,
            "character_set_server": "Latin1",
            "concurrent_insert": 2,
            "init_connect": "SET @it = 'a''b'",
            // Each needs the other, in an order that is not theirs.
            "innodb_io_capacity": 30_000,
            "innodb_io_capacity_max": 40_000,
        }),
    );
    assert!(!waits.await.unwrap());
    for (name, expected) in [
        ("max_connections", "150"),
        ("long_query_time", "0.500000"),
        ("local_infile", "1"),
        ("key_buffer_size", "16777216"),
        ("max_allowed_packet", "1999872"),
        ("character_set_server", "latin1"),
        ("concurrent_insert", "ALWAYS"),
        ("init_connect", "SET @it = 'a''b'"),
        ("innodb_io_capacity", "30000"),
        ("innodb_io_capacity_max", "40000"),
    ] {
        assert_eq!(global(&fixture, name).await, expected, "{name}");
    }
    let mode = global(&fixture, "sql_mode").await;
    assert!(mode.contains("ANSI_QUOTES"), "{mode}");
    assert!(!detach(&fixture).await);
}

async fn removed(fixture: Arc<Fixture>) {
    let own = global(&fixture, "net_read_timeout").await;
    let base = global(&fixture, "wait_timeout").await;
    change(
        &fixture,
        json!({"wait_timeout": 77, "net_read_timeout": 78, "max_connections": 79}),
    )
    .await
    .unwrap();
    assert_eq!(global(&fixture, "net_read_timeout").await, "78");
    // One that a template names, and one that only the server has.
    change(&fixture, json!({"max_connections": 80}))
        .await
        .unwrap();
    assert_eq!(global(&fixture, "wait_timeout").await, base);
    assert_eq!(global(&fixture, "net_read_timeout").await, own);
    assert_eq!(global(&fixture, "max_connections").await, "80");
    assert_eq!(
        group(&fixture).as_deref(),
        Some("[mysqld]\nmax_connections = 80\n")
    );
    // With the template's value, as the control plane may have it.
    let nothing = BTreeMap::new();
    ds(&fixture).update_overrides(&nothing, true).await.unwrap();
    let template = parameters(json!({"max_connections": "100"}));
    assert!(!ds(&fixture).apply_overrides(&template).await.unwrap());
    assert_eq!(global(&fixture, "max_connections").await, "100");
    assert_eq!(group(&fixture), None);
}

async fn all_or_nothing(fixture: Arc<Fixture>) {
    change(&fixture, json!({"max_connections": 90}))
        .await
        .unwrap();
    let before = group(&fixture);
    let timeout = global(&fixture, "connect_timeout").await;
    // Known to the server's option files, and refused when it looks for it.
    let error = change(
        &fixture,
        json!({
            "connect_timeout": 16,
            "innodb_ft_server_stopword_table": "no/table",
            "max_connections": 91,
        }),
    )
    .await
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadRequest);
    let text = error.to_string();
    assert!(text.contains("innodb_ft_server_stopword_table"), "{text}");
    assert_eq!(global(&fixture, "connect_timeout").await, timeout);
    assert_eq!(global(&fixture, "max_connections").await, "90");
    assert_eq!(group(&fixture), before);
    // Out of the server's limits, at a time when nothing is checked any more.
    let values = parameters(json!({"max_connections": 200_000, "connect_timeout": 16}));
    let error = ds(&fixture).apply_overrides(&values).await.unwrap_err();
    assert!(error.to_string().contains("100000"), "{error}");
    assert_eq!(global(&fixture, "connect_timeout").await, timeout);
    assert_eq!(global(&fixture, "max_connections").await, "90");
    assert_eq!(group(&fixture), before);
    detach(&fixture).await;
}

async fn waiting(fixture: Arc<Fixture>) {
    let own = global(&fixture, "back_log").await;
    let values = json!({"back_log": 55, "max_connections": 92});
    assert!(change(&fixture, values).await.unwrap());
    assert_eq!(global(&fixture, "back_log").await, own);
    assert_eq!(global(&fixture, "max_connections").await, "92");
    // What it has already does not wait.
    let number: u64 = own.parse().unwrap();
    assert!(!change(&fixture, json!({"back_log": number})).await.unwrap());
    // An option without a variable.
    assert!(
        change(&fixture, json!({"symbolic-links": false}))
            .await
            .unwrap()
    );
    detach(&fixture).await;
}

async fn refused(fixture: Arc<Fixture>) {
    change(&fixture, json!({"max_connections": 93}))
        .await
        .unwrap();
    let before = group(&fixture);
    for (values, words) in [
        (json!({"max_connections": 200_000}), "100000"),
        (json!({"sql_mode": "NONSENSE"}), "NONSENSE"),
        (json!({"character_set_server": "nonsense"}), "nonsense"),
        (json!({"no_such_parameter": 1}), "no_such_parameter"),
        (json!({"socket": "/tmp/x"}), "socket"),
        (json!({"a\nplugin_load": "evil.so"}), "not the name"),
    ] {
        let error = ds(&fixture)
            .update_overrides(&parameters(values), false)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadRequest, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(group(&fixture), before);
    }
    assert_eq!(global(&fixture, "max_connections").await, "93");
    detach(&fixture).await;
}

async fn stronger(fixture: Arc<Fixture>) {
    let dir = &fixture.settings().layout.include_dir;
    let own = dir.join("50-system-009-replication.cnf");
    std::fs::write(&own, "[mysqld]\nread-only = 1\n").unwrap();
    let values = json!({"read_only": false, "max_connections": 94});
    fixture.sql(&["SET GLOBAL read_only = 1"]).await;
    assert!(!change(&fixture, values).await.unwrap());
    assert_eq!(global(&fixture, "read_only").await, "1");
    assert_eq!(global(&fixture, "max_connections").await, "94");
    detach(&fixture).await;
    assert_eq!(global(&fixture, "read_only").await, "1");
    fixture.sql(&["SET GLOBAL read_only = 0"]).await;
    std::fs::remove_file(own).unwrap();
}
