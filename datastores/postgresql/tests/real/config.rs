//! Configuration groups on a running server.

use std::collections::BTreeMap;

use datastore::ErrorKind;
use serde_json::{Value, json};

use crate::ds;
use crate::harness::Cases;

fn parameters(value: Value) -> BTreeMap<String, Value> {
    serde_json::from_value(value).unwrap()
}

pub(crate) fn cases(cases: &mut Cases) {
    cases.add("config: a group is applied, replaced and removed", |fixture| async move {
        let ds = ds(&fixture);
        let default = fixture.value("SHOW work_mem").await;
        let first = parameters(json!({
            "work_mem": "8MB", "autovacuum": false, "log_line_prefix": "%m 'x' ", "max_connections": 50,
        }));
        ds.update_overrides(&first, false).await.unwrap();
        // It is on disk only.
        assert_eq!(fixture.value("SHOW work_mem").await, default);
        ds.apply_overrides(&first).await.unwrap();
        for (query, expected) in [
            ("SHOW work_mem", "8MB"),
            ("SHOW autovacuum", "off"),
            ("SHOW log_line_prefix", "%m 'x' "),
            // This one waits for a restart.
            ("SHOW max_connections", "100"),
        ] {
            assert_eq!(fixture.value(query).await.unwrap(), expected, "{query}");
        }
        let second = parameters(json!({"work_mem": "9MB"}));
        ds.update_overrides(&second, false).await.unwrap();
        ds.apply_overrides(&second).await.unwrap();
        assert_eq!(fixture.value("SHOW work_mem").await.unwrap(), "9MB");
        // What is not in the group any more is not in the server either.
        assert_eq!(fixture.value("SHOW autovacuum").await.unwrap(), "on");
        ds.update_overrides(&parameters(json!({})), true)
            .await
            .unwrap();
        ds.apply_overrides(&parameters(json!({}))).await.unwrap();
        assert_eq!(fixture.value("SHOW work_mem").await, default);
    });

    cases.add(
        "config: what the server refuses changes nothing",
        |fixture| async move {
            let ds = ds(&fixture);
            let good = parameters(json!({"work_mem": "8MB"}));
            ds.update_overrides(&good, false).await.unwrap();
            for (bad, name) in [
                (json!({"work_mem": "1kB"}), "work_mem"),
                (json!({"no_such_parameter": 1}), "no_such_parameter"),
                (json!({"autovacuum": "perhaps"}), "autovacuum"),
                (json!({"hba_file": "/tmp/x"}), "hba_file"),
            ] {
                let error = ds
                    .update_overrides(&parameters(bad), false)
                    .await
                    .unwrap_err();
                assert_eq!(error.kind(), ErrorKind::BadRequest);
                assert!(error.to_string().contains(name), "{error}");
            }
            ds.apply_overrides(&good).await.unwrap();
            assert_eq!(fixture.value("SHOW work_mem").await.unwrap(), "8MB");
            // A new base file does not lose the group.
            let base = fixture.template();
            ds.reset_configuration(&base.replace("51MB", "52MB"))
                .await
                .unwrap();
            ds.apply_overrides(&good).await.unwrap();
            assert_eq!(fixture.value("SHOW work_mem").await.unwrap(), "8MB");
            ds.update_overrides(&parameters(json!({})), true)
                .await
                .unwrap();
            ds.apply_overrides(&parameters(json!({}))).await.unwrap();
        },
    );

    cases.add("config: a broken file is told of", |fixture| async move {
        let ds = ds(&fixture);
        let file = fixture
            .settings()
            .layout
            .include_dir
            .join("30-somebody.conf");
        std::fs::write(&file, "work_mem = 1\n").unwrap();
        let error = ds
            .apply_overrides(&parameters(json!({})))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("30-somebody.conf"), "{error}");
        std::fs::remove_file(&file).unwrap();
        ds.apply_overrides(&parameters(json!({}))).await.unwrap();
    });
}
