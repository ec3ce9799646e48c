//! TLS: all of it changes, or nothing does.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use datastore::{ErrorKind, Secret, TlsFiles, TlsMaterial, TlsMode};
use serde_json::json;

use super::super::TlsAction;
use super::bench::{Bench, bench_with};
use super::memory::Memory;
use crate::tls::tests::material;

/// A server whose TLS files are in a directory of the test.
fn tls_bench() -> (Bench, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let files = TlsFiles {
        private_key: dir.path().join("key"),
        certificate: dir.path().join("certificate"),
        ca: dir.path().join("ca"),
    };
    let info = dir.path().join("guest_info.conf");
    std::fs::write(&info, "[DEFAULT]\nguest_id=g # mine\nssl_mode=None\n").unwrap();
    let memory = Memory {
        tls_files: Some(files),
        ..Memory::default()
    };
    let options = format!("injected_config_location = {}\n", dir.path().display());
    (bench_with(memory, &options), dir)
}

fn enable(mode: &str, material: TlsMaterial) -> TlsAction {
    TlsAction {
        mode: Some(mode.into()),
        material: Some(material),
        enable: true,
        disable: false,
    }
}

fn info(dir: &tempfile::TempDir) -> String {
    std::fs::read_to_string(dir.path().join("guest_info.conf")).unwrap()
}

#[tokio::test]
async fn there_and_back_again() {
    let (bench, dir) = tls_bench();
    let operations: &Arc<_> = &bench.operations;
    assert_eq!(
        operations.tls_show().await.unwrap(),
        json!({"status": "off"})
    );
    let done = operations.tls_action(&enable("enforced", material())).await;
    assert_eq!(done.unwrap(), json!({"restart_required": false}));
    let shown = operations.tls_show().await.unwrap();
    assert_eq!(
        (&shown["status"], &shown["mode"]),
        (&json!("on"), &json!("enforced"))
    );
    assert_eq!(shown["certificate"]["cn"], "db.example");
    assert_eq!(
        info(&dir),
        "[DEFAULT]\nguest_id=g # mine\nssl_mode=enforced\n"
    );
    let state = dir.path().join("ssl_state.json");
    let mode = std::fs::metadata(&state).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    // A second change knows of the first, and goes back to it.
    let other = TlsMaterial {
        ca: None,
        ..material()
    };
    operations
        .tls_action(&enable("basic", other))
        .await
        .unwrap();
    let saved: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&state).unwrap()).unwrap();
    assert_eq!(saved["mode"], "enforced");
    assert_eq!(
        saved["files"]["private_key"],
        material().private_key.expose()
    );
    let back = operations.tls_rollback().await.unwrap();
    assert_eq!(
        back,
        json!({"status": "on", "restart_required": false, "mode": "enforced"})
    );
    assert_eq!(
        bench.datastore.tls(),
        (Some(TlsMode::Enforced), Some(material()))
    );
    assert!(info(&dir).contains("ssl_mode=enforced\n"));
    assert!(!state.exists());
    let again = operations.tls_rollback().await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::BadRequest);
}

#[tokio::test]
async fn from_nothing_back_to_nothing() {
    let (bench, dir) = tls_bench();
    bench
        .operations
        .tls_action(&enable("mtls", material()))
        .await
        .unwrap();
    let back = bench.operations.tls_rollback().await.unwrap();
    assert_eq!(
        back,
        json!({"status": "off", "restart_required": false, "mode": null})
    );
    assert_eq!(bench.datastore.tls().0, None);
    assert!(info(&dir).contains("ssl_mode=None\n"));
    let off = TlsAction {
        disable: true,
        ..TlsAction::default()
    };
    bench.operations.tls_action(&off).await.unwrap();
    assert_eq!(bench.datastore.tls().0, None);
}

#[tokio::test]
async fn what_is_refused_changes_nothing() {
    let (bench, dir) = tls_bench();
    let operations = &bench.operations;
    operations
        .tls_action(&enable("basic", material()))
        .await
        .unwrap();
    let state = std::fs::read(dir.path().join("ssl_state.json")).unwrap();
    let both = TlsAction {
        disable: true,
        ..enable("basic", material())
    };
    let bad = TlsMaterial {
        private_key: Secret::new("garbage"),
        ..material()
    };
    for action in [both, enable("basic", bad), enable("strict", material())] {
        let error = operations.tls_action(&action).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadRequest);
    }
    // The server refuses, or the mode cannot be written down.
    bench.datastore.refuse_tls(true);
    operations
        .tls_action(&enable("mtls", material()))
        .await
        .unwrap_err();
    bench.datastore.refuse_tls(false);
    let path = dir.path().join("guest_info.conf");
    let text = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    operations
        .tls_action(&enable("mtls", material()))
        .await
        .unwrap_err();
    std::fs::remove_dir(&path).unwrap();
    std::fs::write(&path, text).unwrap();

    assert_eq!(
        bench.datastore.tls(),
        (Some(TlsMode::Basic), Some(material()))
    );
    assert_eq!(operations.tls_show().await.unwrap()["mode"], "basic");
    assert_eq!(
        std::fs::read(dir.path().join("ssl_state.json")).unwrap(),
        state
    );
    assert!(info(&dir).contains("ssl_mode=basic\n"));
}

#[tokio::test]
async fn nothing_asked_is_nothing_done() {
    let (bench, dir) = tls_bench();
    let done = bench.operations.tls_action(&TlsAction::default()).await;
    assert_eq!(done.unwrap(), json!({}));
    assert!(!dir.path().join("ssl_state.json").exists());
}
