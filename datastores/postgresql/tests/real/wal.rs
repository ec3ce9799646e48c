//! The WAL archive.

use std::path::PathBuf;

use guest::Command;

use crate::ds;
use crate::harness::{Cases, Fixture};

/// Names in the archive.
fn archived(fixture: &Fixture) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(fixture.settings().layout.wal_archive())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Ends the current segment and waits until it is in the archive.
async fn archive_one(fixture: &Fixture) -> String {
    let name = fixture
        .value("SELECT pg_walfile_name(pg_current_wal_lsn())")
        .await
        .unwrap();
    fixture
        .sql(
            "postgres",
            &["CREATE TABLE w (); DROP TABLE w", "SELECT pg_switch_wal()"],
        )
        .await;
    while !archived(fixture).contains(&name) {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    name
}

pub(crate) fn cases(cases: &mut Cases) {
    cases.add(
        "wal: segments are archived, and never overwritten",
        |fixture| async move {
            let name = archive_one(&fixture).await;
            let layout = &fixture.settings().layout;
            let command = fixture.value("SHOW archive_command").await.unwrap();
            assert!(command.contains("cmp"), "not the template's: {command}");
            let archive = layout.wal_archive().join(&name);
            let run = |source: PathBuf| {
                let command = command
                    .replace("%p", source.to_str().unwrap())
                    .replace("%f", &name);
                Command::new("sh").args(["-c", &command]).output()
            };
            let contents = std::fs::read(&archive).unwrap();
            let (same, other) = (fixture.path("same"), fixture.path("other"));
            std::fs::write(&same, &contents).unwrap();
            std::fs::write(&other, "something else").unwrap();
            // The server repeats itself after a crash.
            assert!(run(same.clone()).await.unwrap().status.success());
            assert!(!run(other.clone()).await.unwrap().status.success());
            assert_eq!(std::fs::read(&archive).unwrap(), contents);
            // A copy that was cut off is not taken for a segment.
            std::fs::remove_file(&archive).unwrap();
            std::fs::write(layout.wal_archive().join(format!(".{name}.tmp")), "cut").unwrap();
            assert!(run(same).await.unwrap().status.success());
            assert_eq!(std::fs::read(&archive).unwrap(), contents);
            assert!(
                archived(&fixture)
                    .iter()
                    .all(|name| !name.ends_with(".tmp"))
            );
            // No volume, no success.
            assert!(!run(fixture.path("absent")).await.unwrap().status.success());
        },
    );

    cases.add("wal: sizes", |fixture| async move {
        let extra = ds(&fixture).volume_extra_info().await.unwrap();
        let wal = extra["wal_size"].as_u64().unwrap();
        let archive = extra["wal_archive_size"].as_u64().unwrap();
        assert!(wal >= 16 << 20, "{wal}");
        assert!(archive >= 16 << 20, "{archive}");
    });

    cases.add(
        "wal: the archive is cleaned when it is too large",
        |fixture| async move {
            let ds = ds(&fixture);
            let old = archive_one(&fixture).await;
            // Below the limit nothing goes.
            ds.housekeeping().await.unwrap();
            assert!(archived(&fixture).contains(&old));
            fixture
                .sql(
                    "postgres",
                    &[
                        "ALTER SYSTEM SET min_wal_size = '32MB'",
                        "ALTER SYSTEM SET max_wal_size = '32MB'",
                        "SELECT pg_reload_conf()",
                    ],
                )
                .await;
            while fixture.value("SHOW max_wal_size").await.as_deref() != Some("32MB") {}
            let mut last = String::new();
            for _ in 0..12 {
                last = archive_one(&fixture).await;
            }
            fixture.sql("postgres", &["CHECKPOINT"]).await;
            let last = archive_one(&fixture).await.max(last);
            ds.housekeeping().await.unwrap();
            let left = archived(&fixture);
            assert!(!left.contains(&old), "{left:?}");
            assert!(left.contains(&last), "{left:?}");
            fixture
                .sql(
                    "postgres",
                    &[
                        "ALTER SYSTEM RESET min_wal_size",
                        "ALTER SYSTEM RESET max_wal_size",
                        "SELECT pg_reload_conf()",
                    ],
                )
                .await;
        },
    );
}
