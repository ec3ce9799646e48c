//! Configurations that the server reads and cannot start with.

use datastore::{ErrorKind, ServiceStatus};
use serde_json::json;

use crate::managed::Managed;

/// Known to every version, and only missed at the start.
const BAD: &str = "shared_preload_libraries = 'no_such_library'\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_runs_with_the_last_configuration_that_worked() {
    let server = Managed::source().await;
    let layout = &server.settings().layout;
    let loaded = "SHOW shared_preload_libraries";
    let group = |value: serde_json::Value| serde_json::from_value(value).unwrap();

    let ds = server.ds();
    ds.update_overrides(&group(json!({"work_mem": "9MB"})), false)
        .await
        .unwrap();
    ds.restart().await.unwrap();
    let bad = group(json!({"work_mem": "8MB", "shared_preload_libraries": "no_such_library"}));
    ds.update_overrides(&bad, false).await.unwrap();
    let error = ds.restart().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed);
    assert!(
        error.to_string().contains("runs with the one before"),
        "{error}"
    );
    assert_eq!(ds.status().await, ServiceStatus::Healthy);
    assert_eq!(server.value("SHOW work_mem").await.unwrap(), "9MB");
    assert_eq!(server.value(loaded).await.unwrap(), "");

    let error = ds
        .start_with_config(&(server.template() + BAD))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("runs with the one before"),
        "{error}"
    );
    assert_eq!(server.value(loaded).await.unwrap(), "");
    let base = std::fs::read_to_string(&layout.base_config).unwrap();
    assert!(!base.contains("no_such_library"));
    // What the control plane does next.
    ds.reset_configuration(&server.template()).await.unwrap();
    ds.restart().await.unwrap();

    // A start that fails for another reason changes no file.
    let larger = server
        .template()
        .replace("max_connections = 100", "max_connections = 140");
    ds.start_with_config(&larger).await.unwrap();
    assert_eq!(server.value("SHOW max_connections").await.unwrap(), "140");
    std::fs::write(server.path("refuse-start"), "").unwrap();
    let error = ds.restart().await.unwrap_err();
    assert!(!error.to_string().contains("the one before"), "{error}");
    ds.start().await.unwrap();
    assert_eq!(server.value("SHOW max_connections").await.unwrap(), "140");
}
