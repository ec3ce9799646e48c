//! From an empty volume to a server.

use datastore::PrepareRequest;
use serde_json::json;

use crate::harness::{Fixture, Site};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_of_anybodys_is_not_touched() {
    let site = Site::new();
    let data = site.settings().layout.data_dir();
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("PG_VERSION"), "15\n").unwrap();
    let error = site.datastore.install(&site.request()).await.unwrap_err();
    assert!(error.to_string().contains("holds data"), "{error}");
    assert_eq!(std::fs::read(data.join("PG_VERSION")).unwrap(), b"15\n");
}

/// Nobody comes in without a password, from the first moment on; leftovers of
/// an interrupted initialisation are in nobody's way; parameters that the
/// version does not know are left out of the template.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_server_is_secured() {
    let site = Site::new();
    let layout = &site.settings().layout;
    std::fs::create_dir_all(layout.data_dir()).unwrap();
    std::fs::write(layout.data_dir().join("base"), "half").unwrap();
    std::fs::write(layout.mount_point.join(".initialising"), "").unwrap();
    let request = PrepareRequest {
        overrides: serde_json::from_value(json!({"max_connections": 77, "autovacuum": false}))
            .unwrap(),
        ..site.request()
    };
    let fixture = Fixture::prepare(site, &request).await;
    let layout = &fixture.settings().layout;
    for (query, expected) in [
        ("SHOW max_connections", "77"),
        ("SHOW autovacuum", "off"),
        ("SHOW data_checksums", "on"),
        ("SHOW server_encoding", "UTF8"),
        ("SHOW password_encryption", "scram-sha-256"),
        ("SHOW hba_file", layout.hba_file.to_str().unwrap()),
        ("SHOW data_directory", layout.data_dir().to_str().unwrap()),
    ] {
        assert_eq!(fixture.value(query).await.unwrap(), expected, "{query}");
    }
    let base = std::fs::read_to_string(&layout.base_config).unwrap();
    assert!(base.contains("# Refused by the server: wal_keep_segments = 5"));
    assert!(base.contains("# Refused by the server: lc_messages"));
    assert!(base.contains("max_connections = 100\t\t# (change requires restart)\n"));
    let user = std::fs::read_to_string(layout.include_dir.join("20-user-001-common.conf"));
    assert_eq!(
        user.unwrap(),
        "autovacuum = 'off'\nmax_connections = '77'\n"
    );
    // Without a password, or with any, the superuser is for the socket only.
    for password in ["", "postgres"] {
        assert!(
            fixture
                .login("postgres", password, "postgres")
                .await
                .is_err()
        );
    }
    assert!(!layout.mount_point.join(".initialising").exists());
    fixture.stop().await;
}
