//! A new root disk below data of our own, and of upstream's agent.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use datastore::{PrepareRequest, TlsMode};
use serde_json::json;

use crate::harness::programs;
use crate::managed::Managed;

const ROWS: &str = "SELECT count(*) || ' ' || sum(n) FROM t";

fn with_group(server: &Managed) -> PrepareRequest {
    PrepareRequest {
        overrides: serde_json::from_value(json!({"work_mem": "9MB"})).unwrap(),
        ..server.request()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_data_gets_a_new_root_disk() {
    let mut server = Managed::source().await;
    server
        .sql(
            "postgres",
            &["INSERT INTO t SELECT generate_series(1, 1000)"],
        )
        .await;
    let before = server.value(ROWS).await;
    // Power fails, too.
    server.kill();
    server.lose_root_disk();
    let request = with_group(&server);
    server.ds().rebuild(&request, None).await.unwrap();
    for _ in 0..2 {
        assert_eq!(server.value(ROWS).await, before);
        assert_eq!(server.value("SHOW work_mem").await.unwrap(), "9MB");
        assert_eq!(server.value("SHOW ssl").await.unwrap(), "off");
        let tenant = server.login("tenant", "word", "postgres").await.unwrap();
        tenant.batch_execute("SELECT 1").await.unwrap();
        // Interrupted at any place, it is asked for again.
        server.lose_root_disk();
        server.ds().rebuild(&request, None).await.unwrap();
    }
    assert!(server.path("enabled").exists());

    // With TLS, whose files are beside the data.
    let data = server.settings().layout.data_dir();
    let error = server
        .ds()
        .rebuild(&request, Some(TlsMode::Enforced))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("server.key"), "{error}");
    for (name, text) in [
        ("server.key", include_str!("../data/server.key")),
        ("server.crt", include_str!("../data/server.pem")),
        ("ca.crt", include_str!("../data/ca.pem")),
    ] {
        std::fs::write(data.join(name), text).unwrap();
    }
    server.lose_root_disk();
    server
        .ds()
        .rebuild(&request, Some(TlsMode::Enforced))
        .await
        .unwrap();
    assert_eq!(server.value("SHOW ssl").await.unwrap(), "on");
    assert!(server.login("tenant", "word", "postgres").await.is_err());
}

/// What the image of a container leaves on a volume: everybody is trusted by
/// the rules in the data, files are of another account and open, settings of an
/// older image are in the way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_of_upstreams_agent_is_taken_over() {
    let server = Managed::nothing();
    let layout = server.settings().layout.clone();
    let account = server.settings().account.clone();
    let data = layout.data_dir();
    std::fs::create_dir_all(&data).unwrap();
    chown(&data, Some(account.uid), Some(account.gid)).unwrap();
    let initdb = guest::Command::new(programs().join("initdb"))
        .args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
        ])
        .arg("-D")
        .arg(&data)
        .user(account.uid, account.gid);
    initdb
        .timeout(std::time::Duration::from_secs(120))
        .run()
        .await
        .unwrap();
    std::fs::write(
        data.join("postmaster.pid"),
        "1\n/var/lib/postgresql/data/pgdata\n",
    )
    .unwrap();
    std::fs::write(data.join("postgresql.auto.conf"), "max_connections = 120\n").unwrap();
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o777)).unwrap();
    for name in ["PG_VERSION", "postgresql.auto.conf", "postmaster.pid"] {
        chown(data.join(name), Some(0), Some(0)).unwrap();
    }
    let passwords = layout.mount_point.join("conf.d/postgres.cnf");
    std::fs::create_dir(passwords.parent().unwrap()).unwrap();
    std::fs::write(&passwords, "[client]\nuser = postgres\npassword = old\n").unwrap();

    server
        .ds()
        .rebuild(&with_group(&server), None)
        .await
        .unwrap();
    assert_eq!(server.value("SHOW max_connections").await.unwrap(), "120");
    assert_eq!(server.value("SHOW work_mem").await.unwrap(), "9MB");
    let rules = "SELECT count(*) FROM pg_hba_file_rules WHERE auth_method = 'trust'";
    assert_eq!(server.value(rules).await.unwrap(), "0");
    assert!(server.login("postgres", "", "postgres").await.is_err());
    let found = std::fs::metadata(data.join("PG_VERSION")).unwrap();
    assert_eq!(found.uid(), account.uid);
    let mode = std::fs::metadata(&data).unwrap().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert!(passwords.exists());
    server.sql("postgres", &["CREATE TABLE t (n int)"]).await;

    // What keeps the server down goes, and nothing else.
    let text = "work_mem = '7MB'\nmax_connections = 262143\n";
    std::fs::write(data.join("postgresql.auto.conf"), text).unwrap();
    server.ds().rebuild(&server.request(), None).await.unwrap();
    assert_eq!(server.value("SHOW max_connections").await.unwrap(), "100");
    assert_eq!(server.value("SHOW work_mem").await.unwrap(), "7MB");
    std::fs::write(server.path("refuse-start"), "").unwrap();
    let kept = std::fs::read_to_string(data.join("postgresql.auto.conf")).unwrap();
    server
        .ds()
        .rebuild(&server.request(), None)
        .await
        .unwrap_err();
    assert_eq!(
        std::fs::read_to_string(data.join("postgresql.auto.conf")).unwrap(),
        kept
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_stays_one() {
    let source = Managed::source().await;
    let mut replica = source.replica().await;
    replica
        .ds()
        .stop(std::time::Duration::from_secs(60))
        .await
        .unwrap();
    source.sql("postgres", &["INSERT INTO t VALUES (1)"]).await;
    replica.lose_root_disk();
    replica
        .ds()
        .rebuild(&replica.request(), None)
        .await
        .unwrap();
    replica.until("SELECT count(*) FROM t", "1").await;
    assert!(replica.recovers().await);
    source.sql("postgres", &["INSERT INTO t VALUES (2)"]).await;
    replica.until("SELECT count(*) FROM t", "2").await;
    // As the control plane goes on.
    replica.ds().detach_replica(true).await.unwrap();
    let context = source.context().await;
    replica
        .ds()
        .attach_replica(&context, "", true)
        .await
        .unwrap();
    source.sql("postgres", &["INSERT INTO t VALUES (3)"]).await;
    replica.until("SELECT count(*) FROM t", "3").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_data_there_is_nothing_to_rebuild() {
    let server = Managed::with("", |settings| {
        settings.layout.versions_dir = programs().join("../..");
        settings.layout.programs_dir = None;
    });
    let layout = &server.settings().layout;
    let refusal = async || {
        let error = server
            .ds()
            .rebuild(&server.request(), None)
            .await
            .unwrap_err();
        error.to_string()
    };
    let text = refusal().await;
    assert!(text.contains("There is no data"), "{text}");
    assert!(!layout.data_dir().exists());
    std::fs::create_dir_all(layout.data_dir().join("global")).unwrap();
    std::fs::write(layout.data_dir().join("PG_VERSION"), "12\n").unwrap();
    let text = refusal().await;
    assert!(text.contains("never completed"), "{text}");
    std::fs::write(layout.data_dir().join("global/pg_control"), "x").unwrap();
    let text = refusal().await;
    assert!(
        text.contains("of PostgreSQL 12") && text.contains("install PostgreSQL 12"),
        "{text}"
    );
    std::fs::write(layout.mount_point.join(".restoring"), "").unwrap();
    let text = refusal().await;
    assert!(text.contains("incomplete"), "{text}");
    // Nothing was written but what was there.
    assert!(!layout.base_config.exists());
}
