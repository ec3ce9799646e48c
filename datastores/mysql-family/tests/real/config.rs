//! Installation, configuration and status.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;
use std::time::{Duration, Instant};

use datastore::{ErrorKind, PrepareRequest, ServiceStatus};
use mysql_async::prelude::Queryable;
use mysql_family::cnf::Document;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::json;

use crate::harness::{Cases, Fixture, Product, Site};
use crate::{ds, kind_of};

pub(crate) fn cases(cases: &mut Cases) {
    cases.add("files of an installed guest", files);
    cases.add("a volume with data is refused", no_second_install);
    cases.add("a new base keeps id and overrides", new_base);
    cases.add(
        "parameters the server refuses are refused",
        refused_parameters,
    );
    cases.add("status and version", status);
    cases.add(
        "option files mean to us what they mean to the server",
        same_meaning,
    );
}

fn mode(path: &std::path::Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

async fn files(fixture: Arc<Fixture>) {
    let layout = &fixture.settings().layout;
    let account = &fixture.settings().account;
    let base = std::fs::read_to_string(&layout.base_config).unwrap();
    let refused = base
        .lines()
        .filter(|line| line.starts_with("# Refused by"))
        .count();
    // 9.7 has dropped two options of Trove's template.
    let version = ds(&fixture).version().await.unwrap();
    match fixture.product {
        Product::Mysql if version.starts_with("9.7.") => assert_eq!(refused, 2, "{base}"),
        Product::Mysql => assert!(refused <= 2, "{base}"),
        Product::Mariadb => assert_eq!(refused, 0, "{base}"),
    }
    let verbatim: Vec<&str> = base
        .lines()
        .filter(|line| !line.starts_with("# Refused"))
        .collect();
    let template = fixture.template();
    assert_eq!(template.lines().count(), verbatim.len() + refused);
    assert!(
        verbatim
            .iter()
            .all(|line| template.lines().any(|known| known == *line))
    );

    let system = layout.include_dir.join("50-system-001-common.cnf");
    let text = std::fs::read_to_string(&system).unwrap();
    assert_eq!(
        text,
        format!("[mysqld]\ndatadir = {}\n", layout.data_dir().display())
    );
    for path in [&layout.base_config, &system] {
        assert_eq!(mode(path), 0o644, "{}", path.display());
    }
    let names: Vec<_> = std::fs::read_dir(&layout.include_dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(
        names,
        ["50-system-001-common.cnf"],
        "nothing is left of the first start"
    );
    assert!(!layout.init_file().exists());
    for name in ["os_admin.cnf", "root.cnf"] {
        let path = layout.credentials_dir().join(name);
        assert_eq!(mode(&path), 0o600, "{name}");
        let text = std::fs::read_to_string(path).unwrap();
        let password = text
            .lines()
            .nth(2)
            .unwrap()
            .strip_prefix("password = ")
            .unwrap();
        assert!(password.len() == 36 && password.bytes().all(|c| c.is_ascii_alphanumeric()));
    }
    assert_eq!(mode(&layout.credentials_dir()), 0o700);
    let data = std::fs::metadata(layout.data_dir()).unwrap();
    assert_eq!((data.uid(), data.gid()), (account.uid, account.gid));
    assert_eq!(data.mode() & 0o007, 0);

    let mut admin = fixture.admin().await;
    let databases: Vec<String> = admin.query("SHOW DATABASES").await.unwrap();
    assert!(!databases.contains(&"test".to_owned()));
    let accounts: Vec<(String, String)> = admin
        .query("SELECT User, Host FROM mysql.user WHERE Host <> 'localhost'")
        .await
        .unwrap();
    assert!(accounts.is_empty(), "{accounts:?}");
    admin.disconnect().await.unwrap();
    let root = std::fs::read_to_string(layout.credentials_dir().join("root.cnf")).unwrap();
    let password = root
        .lines()
        .nth(2)
        .unwrap()
        .strip_prefix("password = ")
        .unwrap();
    fixture
        .login("root", password)
        .await
        .unwrap()
        .disconnect()
        .await
        .unwrap();
}

async fn no_second_install(fixture: Arc<Fixture>) {
    let before = std::fs::read_to_string(&fixture.settings().layout.base_config).unwrap();
    let error = fixture
        .datastore
        .install(&fixture.request())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("holds data"), "{error}");
    assert_eq!(
        std::fs::read_to_string(&fixture.settings().layout.base_config).unwrap(),
        before
    );
    assert_eq!(ds(&fixture).status().await, ServiceStatus::Healthy);
}

async fn new_base(fixture: Arc<Fixture>) {
    let path = &fixture.settings().layout.base_config;
    let before = std::fs::read_to_string(path).unwrap();
    let template = fixture
        .template()
        .replace("server_id = 1790430125", "server-id = 7")
        .replace(
            "max_connections = 100",
            "max_connections = 150\nno_such_option = 1\nno-such-flag",
        );
    ds(&fixture).reset_configuration(&template).await.unwrap();
    let id = |text: &str| {
        let document = Document::parse(text);
        let id = document.get("mysqld", "server_id").flatten();
        id.map(str::to_owned)
    };
    let after = std::fs::read_to_string(path).unwrap();
    assert_eq!(id(&after).as_deref(), Some("1790430125"));
    // On a new root disk, too.
    std::fs::remove_file(path).unwrap();
    ds(&fixture).reset_configuration(&template).await.unwrap();
    assert_eq!(std::fs::read_to_string(path).unwrap(), after);
    let document = Document::parse(&after);
    assert_eq!(document.get("mysqld", "max_connections"), Some(Some("150")));
    assert_eq!(document.get("mysqld", "no_such_option"), None);
    assert_eq!(document.get("mysqld", "no_such_flag"), None);
    assert!(
        after.contains(": no_such_option = 1\n") && after.contains(": no-such-flag\n"),
        "{after}"
    );
    assert!(
        fixture
            .settings()
            .layout
            .include_dir
            .join("50-system-001-common.cnf")
            .exists()
    );

    // A value that the server refuses is an error, and nothing is written.
    let bad = template.replace("max_connections = 150", "sql_mode = NONSENSE");
    let error = ds(&fixture).reset_configuration(&bad).await.unwrap_err();
    assert!(error.to_string().contains("NONSENSE"), "{error}");
    assert_eq!(std::fs::read_to_string(path).unwrap(), after);
    // Without the include no override would hold.
    let without: String = template
        .lines()
        .filter(|line| !line.starts_with("!includedir"))
        .map(|line| format!("{line}\n"))
        .collect();
    ds(&fixture).reset_configuration(&without).await.unwrap();
    assert!(
        std::fs::read_to_string(path)
            .unwrap()
            .contains("!includedir ")
    );
    std::fs::write(path, before).unwrap();
}

async fn refused_parameters(fixture: Arc<Fixture>) {
    let site = Site::new(fixture.product);
    let with = |parameters: serde_json::Value| PrepareRequest {
        overrides: serde_json::from_value(parameters).unwrap(),
        ..site.request()
    };
    let request = with(json!({"max_connections": 77, "no_such_parameter": "x"}));
    let error = site.datastore.install(&request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadRequest);
    assert!(error.to_string().contains("no_such_parameter"), "{error}");
    let request = with(json!({"sql_mode": "NONSENSE"}));
    assert_eq!(
        kind_of(site.datastore.install(&request).await),
        ErrorKind::BadRequest
    );
    assert!(!site.settings().layout.base_config.exists());
}

async fn status(fixture: Arc<Fixture>) {
    assert_eq!(ds(&fixture).status().await, ServiceStatus::Healthy);
    let mut admin = fixture.admin().await;
    let version: Option<String> = admin.query_first("SELECT VERSION()").await.unwrap();
    admin.disconnect().await.unwrap();
    assert_eq!(ds(&fixture).version().await.unwrap(), version.unwrap());

    // No server: not healthy, and said at once. The installed program still
    // tells its version.
    let gone = fixture.with_settings(|settings| settings.layout.socket = "/nonexistent/s".into());
    let started = Instant::now();
    assert_ne!(gone.status().await, ServiceStatus::Healthy);
    assert!(started.elapsed() < Duration::from_secs(2));
    assert!(
        gone.version()
            .await
            .unwrap()
            .starts_with(|c: char| c.is_ascii_digit())
    );
    assert!(gone.list_databases(&Default::default()).await.is_err());

    // A server that accepts and says nothing: bounded.
    let socket = fixture.path("run/hung.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let hung = fixture.with_settings(|settings| settings.layout.socket = socket);
    let started = Instant::now();
    assert_ne!(hung.status().await, ServiceStatus::Healthy);
    assert!(
        started.elapsed() < Duration::from_millis(3500),
        "{:?}",
        started.elapsed()
    );
    let error = hung.list_databases(&Default::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);

    // A password that is not right: the server lives, but is not ours.
    let wrong = tempfile::tempdir().unwrap();
    std::fs::create_dir(wrong.path().join("conf.d")).unwrap();
    std::fs::write(
        wrong.path().join("conf.d/os_admin.cnf"),
        "[client]\npassword = wrong\n",
    )
    .unwrap();
    let mount_point = wrong.path().to_owned();
    let stranger = fixture.with_settings(|settings| settings.layout.mount_point = mount_point);
    assert_ne!(stranger.status().await, ServiceStatus::Healthy);
    let error = stranger
        .list_databases(&Default::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("1045") && !error.contains("wrong"),
        "{error}"
    );
}

/// The servers' own reader of option files as the oracle.
async fn same_meaning(fixture: Arc<Fixture>) {
    let binary = fixture.product.binary();
    let program = binary
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("bin/my_print_defaults");
    let name = "[a-c][a-c_-]{0,3}";
    let value = "([a-z0-9 ,./:=#;]{0,6}|\"[a-z0-9# ']{0,6}\"|'[a-z0-9# \"]{0,6}')";
    let line = prop_oneof![
        4 => (name, "[ \t]{0,2}=[ \t]{0,2}", value, "([ \t]{0,2}|[ ]#[a-z' ]{0,4})")
            .prop_map(|(name, equals, value, end)| name + &equals + &value + &end),
        2 => "[ \t]{0,2}[a-c][a-c_-]{0,3}[ \t]{0,2}(#[a-z]{0,3})?",
        1 => "[ ]{0,1}[#;][a-z=]{0,5}",
        1 => "\\[(mysqld|client|other) ?\\]",
        1 => "[ \t]{0,3}",
    ];
    let document = prop::collection::vec(line, 1..30)
        .prop_map(|lines| format!("[mysqld]\n{}\n", lines.join("\n")));
    let path = fixture.path("tmp/oracle.cnf");
    let mut runner = TestRunner::deterministic();
    for _ in 0..100 {
        let text = document.new_tree(&mut runner).unwrap().current();
        std::fs::write(&path, &text).unwrap();
        let output = tokio::process::Command::new(&program)
            .arg(format!("--defaults-file={}", path.display()))
            .arg("mysqld")
            .output()
            .await
            .unwrap();
        assert!(output.status.success(), "{text}\n{output:?}");
        let expected = String::from_utf8(output.stdout).unwrap();
        let parsed = Document::parse(&text);
        let ours: String = parsed
            .options()
            .filter(|entry| entry.group == "mysqld")
            .map(|entry| match entry.value {
                Some(value) => format!("--{}={}\n", entry.name, unquoted(value)),
                None => format!("--{}\n", entry.name),
            })
            .collect();
        assert_eq!(ours, expected, "{text}");
    }
}

/// Servers take one pair of quotes off a value.
fn unquoted(value: &str) -> &str {
    for quote in ['"', '\''] {
        if value.len() > 1
            && let Some(inner) = value
                .strip_prefix(quote)
                .and_then(|rest| rest.strip_suffix(quote))
        {
            return inner;
        }
    }
    value
}
