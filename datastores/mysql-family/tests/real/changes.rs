//! Changing users.

use std::sync::Arc;

use datastore::{Database, ErrorKind, PasswordChange, Secret, UserAttributes};
use mysql_async::prelude::Queryable;

use crate::harness::{Cases, Fixture, Product};
use crate::users::{create, delete, user};
use crate::{ds, kind_of};

pub(crate) fn cases(cases: &mut Cases) {
    cases.add("changing users", changes);
    cases.add(
        "a refused password takes the new name back",
        refused_password,
    );
    cases.add("changing passwords", passwords);
    cases.add("passwords stay out of the server's logs", logs);
}

fn attributes(name: Option<&str>, host: Option<&str>, password: Option<&str>) -> UserAttributes {
    UserAttributes {
        name: name.map(Into::into),
        host: host.map(Into::into),
        password: password.map(Secret::new),
    }
}

async fn changes(fixture: Arc<Fixture>) {
    create(&fixture, user("ch", None, "one", &["ch_db"])).await;
    create(&fixture, user("ch_taken", None, "taken", &[])).await;
    let update = async |name: &str, host: Option<&str>, attributes: UserAttributes| {
        ds(&fixture)
            .update_attributes(name, host, &attributes)
            .await
    };
    // Only the password; a quote must not end it.
    update("ch", None, attributes(None, None, Some("t'w\\o")))
        .await
        .unwrap();
    fixture
        .login("ch", "t'w\\o")
        .await
        .unwrap()
        .disconnect()
        .await
        .unwrap();
    // Name, host and password at once; grants move along.
    let all = attributes(Some("ch'2"), Some("127.0.0.%"), Some("three"));
    update("ch", Some("%"), all).await.unwrap();
    assert_eq!(ds(&fixture).get_user("ch", None).await.unwrap(), None);
    let moved = ds(&fixture)
        .get_user("ch'2", Some("127.0.0.%"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(moved.databases, [Database::named("ch_db")]);
    fixture
        .login_tcp("ch'2", "three")
        .await
        .unwrap()
        .disconnect()
        .await
        .unwrap();
    // Only the host.
    update("ch'2", Some("127.0.0.%"), attributes(None, Some("%"), None))
        .await
        .unwrap();
    fixture
        .login("ch'2", "three")
        .await
        .unwrap()
        .disconnect()
        .await
        .unwrap();
    // Nothing at all.
    update("ch'2", None, attributes(None, None, None))
        .await
        .unwrap();

    for (name, change, kind) in [
        (
            "ch_missing",
            attributes(None, None, Some("p")),
            ErrorKind::NotFound,
        ),
        (
            "ch_missing",
            attributes(Some("x"), None, None),
            ErrorKind::NotFound,
        ),
        (
            "ch'2",
            attributes(Some("ch_taken"), None, Some("p")),
            ErrorKind::AlreadyExists,
        ),
        (
            "ch'2",
            attributes(Some("root"), None, Some("p")),
            ErrorKind::BadRequest,
        ),
        (
            "ch'2",
            attributes(None, Some("no'host"), Some("p")),
            ErrorKind::BadRequest,
        ),
        (
            "ch'2",
            attributes(Some("ch3"), None, Some("")),
            ErrorKind::BadRequest,
        ),
        (
            "os_admin",
            attributes(None, None, Some("p")),
            ErrorKind::BadRequest,
        ),
    ] {
        assert_eq!(
            kind_of(update(name, None, change.clone()).await),
            kind,
            "{name} {change:?}"
        );
    }
    // None of these has changed anything.
    fixture
        .login("ch'2", "three")
        .await
        .unwrap()
        .disconnect()
        .await
        .unwrap();
    fixture
        .login("ch_taken", "taken")
        .await
        .unwrap()
        .disconnect()
        .await
        .unwrap();
    delete(&fixture, "ch'2", None).await;
    delete(&fixture, "ch_taken", None).await;
}

async fn refused_password(fixture: Arc<Fixture>) {
    create(&fixture, user("rp", None, "Long-enough-1", &["rp_db"])).await;
    let (install, remove) = match fixture.product {
        Product::Mysql => (
            "INSTALL COMPONENT 'file://component_validate_password'",
            "UNINSTALL COMPONENT 'file://component_validate_password'",
        ),
        Product::Mariadb => (
            "INSTALL SONAME 'simple_password_check'",
            "UNINSTALL SONAME 'simple_password_check'",
        ),
    };
    fixture.sql(&[install]).await;
    let change = attributes(Some("rp_new"), None, Some("x"));
    let renamed = ds(&fixture).update_attributes("rp", None, &change).await;
    let created = ds(&fixture)
        .create_users(&[user("rp2", None, "x", &[])])
        .await;
    fixture.sql(&[remove]).await;
    let error = renamed.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadRequest, "{error}");
    let words = ["rp_new", "assword"];
    assert!(
        words.iter().all(|word| error.to_string().contains(word)),
        "{error}"
    );
    assert_eq!(kind_of(created), ErrorKind::BadRequest);
    assert_eq!(ds(&fixture).get_user("rp_new", None).await.unwrap(), None);
    let found = ds(&fixture).get_user("rp", None).await.unwrap().unwrap();
    assert_eq!(found.databases, [Database::named("rp_db")]);
    fixture
        .login("rp", "Long-enough-1")
        .await
        .unwrap()
        .disconnect()
        .await
        .unwrap();
    delete(&fixture, "rp", None).await;
}

async fn passwords(fixture: Arc<Fixture>) {
    create(&fixture, user("pw1", None, "old", &[])).await;
    create(&fixture, user("pw2", Some("127.0.0.1"), "old", &[])).await;
    let change = |name: &str, host: Option<&str>, password: &str| PasswordChange {
        name: name.into(),
        host: host.map(Into::into),
        password: Secret::new(password),
    };
    let both = [
        change("pw1", None, "n'e:w\\"),
        change("pw2", Some("127.0.0.1"), "日\u{1F600}"),
    ];
    ds(&fixture).change_passwords(&both).await.unwrap();
    fixture
        .login("pw1", "n'e:w\\")
        .await
        .unwrap()
        .disconnect()
        .await
        .unwrap();
    fixture
        .login_tcp("pw2", "日\u{1F600}")
        .await
        .unwrap()
        .disconnect()
        .await
        .unwrap();
    // One of them is missing or reserved: none is changed.
    for (name, kind) in [
        ("pw_missing", ErrorKind::NotFound),
        ("root", ErrorKind::BadRequest),
    ] {
        let request = [change("pw1", None, "other"), change(name, None, "other")];
        assert_eq!(kind_of(ds(&fixture).change_passwords(&request).await), kind);
        fixture
            .login("pw1", "n'e:w\\")
            .await
            .unwrap()
            .disconnect()
            .await
            .unwrap();
    }
    delete(&fixture, "pw1", None).await;
    delete(&fixture, "pw2", Some("127.0.0.1")).await;
}

async fn logs(fixture: Arc<Fixture>) {
    const CANARY: &str = "canary4711";
    fixture
        .sql(&[
            "SET GLOBAL general_log = 1",
            "SET GLOBAL slow_query_log = 1",
            "SET GLOBAL long_query_time = 0",
        ])
        .await;
    create(&fixture, user("lg", None, CANARY, &[])).await;
    let change = attributes(None, None, Some("canary4711b"));
    ds(&fixture)
        .update_attributes("lg", None, &change)
        .await
        .unwrap();
    delete(&fixture, "lg", None).await;
    let mut admin = fixture.admin().await;
    let files: Vec<String> = admin
        .query("SELECT @@general_log_file UNION SELECT @@slow_query_log_file")
        .await
        .unwrap();
    admin.disconnect().await.unwrap();
    fixture
        .sql(&[
            "SET GLOBAL long_query_time = 10",
            "SET GLOBAL slow_query_log = 0",
            "SET GLOBAL general_log = 0",
        ])
        .await;
    assert_eq!(files.len(), 2);
    for file in files {
        let path = fixture.settings().layout.data_dir().join(file);
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        assert!(
            text.contains("SET GLOBAL"),
            "{} is no log of this test",
            path.display()
        );
        assert!(
            !text.contains(CANARY),
            "{} holds a password",
            path.display()
        );
    }
    // What replicas get, and what is left of it on the volume.
    let mut binary_logs = 0;
    for entry in std::fs::read_dir(fixture.settings().layout.data_dir()).unwrap() {
        let path = entry.unwrap().path();
        if path
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("binlog.0")
        {
            let bytes = std::fs::read(&path).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            assert!(
                !text.contains(CANARY),
                "{} holds a password",
                path.display()
            );
            // It names who did something; that it was made stays here.
            for local in ["USER IF NOT EXISTS 'os_admin'", "'root'@'localhost'"] {
                assert!(!text.contains(local), "{} has {local}", path.display());
            }
            binary_logs += usize::from(text.contains("DROP USER 'lg'@'%'"));
        }
    }
    assert_eq!(binary_logs, 1, "what the tenant does is replicated");
    // What the server says to the journal.
    let journal = std::fs::read_to_string(fixture.path("server.log")).unwrap();
    assert!(!journal.contains(CANARY));
}
