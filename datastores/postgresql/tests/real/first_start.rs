//! From an empty volume to a server.

use std::time::{Duration, Instant};

use datastore::{Datastore, PrepareRequest, ServiceStatus};
use guest::Command;
use nix::sys::signal::{Signal, kill};
use nix::unistd::getuid;
use serde_json::json;

use crate::harness::{Fixture, Site, programs};

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
    // Over the socket it is for the agent's account only.
    let account = &fixture.settings().account;
    let intruder = Command::new(programs().join("psql"))
        .arg("--host")
        .arg(&layout.socket_dir)
        .arg(format!("--port={}", fixture.settings().port))
        .args(["--username=postgres", "--no-password", "--command=SELECT 1"])
        .user(account.uid, account.gid);
    let output = intruder.output().await.unwrap();
    let is_agent = !getuid().is_root();
    assert_eq!(output.status.success(), is_agent, "{output:?}");
    assert!(!layout.mount_point.join(".initialising").exists());
    fixture.stop().await;
}

/// Whatever the server does, its status is told in time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_not_healthy() {
    let fixture = Fixture::start().await;
    kill(fixture.pid(), Signal::SIGSTOP).unwrap();
    let asked = Instant::now();
    let status = fixture.site.datastore.status().await;
    let took = asked.elapsed();
    kill(fixture.pid(), Signal::SIGCONT).unwrap();
    assert_ne!(status, ServiceStatus::Healthy);
    assert!(took < Duration::from_millis(3500), "{took:?}");
    fixture.stop().await;
}
