//! The server's logs.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use datastore::{ErrorKind, LogKind};
use mysql_async::prelude::Queryable;

use crate::harness::{Cases, Fixture};
use crate::users::user;
use crate::{ds, kind_of};

pub(crate) fn cases(cases: &mut Cases) {
    cases.add("the general log is switched on and off", general);
    cases.add("slow statements are those that are", slow);
    cases.add("large log files are begun anew", large);
    cases.add("only the tenant's logs are switched", others);
}

fn path(fixture: &Fixture, name: &str) -> PathBuf {
    let logs = ds(fixture).logs();
    let log = logs.into_iter().find(|log| log.name == name).unwrap();
    log.path
}

fn text(path: &PathBuf) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Overrides of a log.
fn overrides(fixture: &Fixture, id: &str) -> Option<String> {
    let dir = &fixture.settings().layout.include_dir;
    let mut files = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let found = files.find(|path| path.to_string_lossy().contains(id))?;
    assert!(
        found
            .file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("10-system-")
    );
    Some(std::fs::read_to_string(found).unwrap())
}

async fn general(fixture: Arc<Fixture>) {
    let path = path(&fixture, "general");
    assert!(!ds(&fixture).log_enabled("general").await.unwrap());
    fixture.sql(&["SELECT 'before'"]).await;
    assert!(!ds(&fixture).set_log("general", true).await.unwrap());
    assert!(ds(&fixture).log_enabled("general").await.unwrap());
    let written = overrides(&fixture, "general_log").unwrap();
    assert!(written.contains("general_log = 1") && written.contains("log_output = FILE"));
    fixture.sql(&["SELECT 'während'"]).await;
    // What the agent does with passwords is not for tenants' eyes.
    ds(&fixture)
        .create_users(&[user("logged", None, "s3cret-canary", &[])])
        .await
        .unwrap();
    assert!(!ds(&fixture).set_log("general", false).await.unwrap());
    assert!(!ds(&fixture).log_enabled("general").await.unwrap());
    assert_eq!(overrides(&fixture, "general_log"), None);
    fixture.sql(&["SELECT 'after'"]).await;
    let log = text(&path);
    assert!(log.contains("SELECT 'während'"), "{log}");
    for hidden in ["'before'", "'after'", "s3cret-canary"] {
        assert!(!log.contains(hidden), "{hidden}: {log}");
    }
    fixture.sql(&["DROP USER 'logged'@'%'"]).await;
}

async fn slow(fixture: Arc<Fixture>) {
    ds(&fixture).set_log("slow_query", true).await.unwrap();
    // Sessions keep the limit they began with.
    fixture
        .sql(&["SELECT 'quick'", "SELECT SLEEP(0.7), 'slow'"])
        .await;
    ds(&fixture).set_log("slow_query", false).await.unwrap();
    let log = text(&path(&fixture, "slow_query"));
    assert!(log.contains("'slow'") && !log.contains("'quick'"), "{log}");
}

async fn large(fixture: Arc<Fixture>) {
    ds(&fixture).set_log("general", true).await.unwrap();
    let path = path(&fixture, "general");
    let file = OpenOptions::new().append(true).open(&path).unwrap();
    file.set_len(257 << 20).unwrap();
    ds(&fixture).housekeeping().await.unwrap();
    let mut old = path.clone().into_os_string();
    old.push(".1");
    assert!(std::fs::metadata(&old).unwrap().len() >= 257 << 20);
    let mut tenant = fixture.admin().await;
    tenant.query_drop("SELECT 'in the new file'").await.unwrap();
    tenant.disconnect().await.unwrap();
    // Written by another thread, for all we know.
    for _ in 0..50 {
        if text(&path).contains("in the new file") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(text(&path).contains("in the new file"));
    assert!(std::fs::metadata(&path).unwrap().len() < 1 << 20);
    ds(&fixture).set_log("general", false).await.unwrap();
    std::fs::remove_file(old).unwrap();
}

async fn others(fixture: Arc<Fixture>) {
    let logs = ds(&fixture).logs();
    let kinds: Vec<_> = logs.iter().map(|log| (log.name, log.kind)).collect();
    assert_eq!(
        kinds,
        [
            ("general", LogKind::User),
            ("slow_query", LogKind::User),
            ("error", LogKind::System)
        ]
    );
    for name in ["error", "nonsense"] {
        let refused = ds(&fixture).set_log(name, true).await;
        assert_eq!(kind_of(refused), ErrorKind::BadRequest);
    }
}
