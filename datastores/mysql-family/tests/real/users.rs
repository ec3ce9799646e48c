//! Users.

use std::sync::Arc;

use datastore::{Database, ErrorKind, PageRequest, Secret, User};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::harness::{Cases, Fixture, Product};
use crate::{ds, kind_of};

pub(crate) fn cases(cases: &mut Cases) {
    cases.add("hostile user names and passwords log in", hostile_users);
    cases.add(
        "any user name and password survives the round trip",
        any_user,
    );
    cases.add("lengths are the server's business", lengths);
    cases.add("refused users", refused);
    cases.add("a failed request leaves no user behind", all_or_none);
    cases.add("hosts", hosts);
    cases.add("pages of users, whatever else there is", pages);
}

pub(crate) fn user(name: &str, host: Option<&str>, password: &str, databases: &[&str]) -> User {
    User {
        name: name.into(),
        host: host.map(Into::into),
        password: Some(Secret::new(password)),
        databases: databases
            .iter()
            .map(|&name| Database::named(name))
            .collect(),
        is_root: false,
    }
}

pub(crate) async fn create(fixture: &Fixture, user: User) {
    ds(fixture).create_users(&[user]).await.unwrap();
}

pub(crate) async fn delete(fixture: &Fixture, name: &str, host: Option<&str>) {
    ds(fixture)
        .delete_user(&user(name, host, "", &[]))
        .await
        .unwrap();
}

async fn hostile_users(fixture: Arc<Fixture>) {
    let names = [
        "u",
        "u'x",
        "u\"x",
        "u`x",
        "u\\",
        "u%",
        "u_",
        "u x",
        "u@x",
        "u;x",
        "u--",
        ":word",
        "u:word",
        "日本語",
        "ÄÖÜ",
        "' OR '1'='1",
        "Root",
        "'@'%'; DROP USER root",
        "?",
        "'",
    ];
    let passwords = [
        "p@:ss",
        ":word",
        "'",
        "''",
        "\\",
        "\\'",
        "\"",
        "`",
        "%s",
        " ",
        " pw ",
        "日本\u{1F600}",
        "\n",
        "0644",
        "1e5",
        "?",
        "a'; DROP USER os_admin@localhost; -- ",
        "{}",
        "\t\u{1}",
        "'",
    ];
    for (name, password) in names.into_iter().zip(passwords) {
        create(&fixture, user(name, None, password, &[])).await;
        let found = ds(&fixture).get_user(name, None).await.unwrap().unwrap();
        assert_eq!(
            (found.name.as_str(), found.host.as_deref()),
            (name, Some("%"))
        );
        assert_eq!(found.password, None);
        let session = fixture.login(name, password).await;
        session
            .unwrap_or_else(|error| panic!("{name:?} {password:?}: {error}"))
            .disconnect()
            .await
            .unwrap();
        assert!(
            fixture.login(name, "something else").await.is_err(),
            "{name:?}"
        );
        delete(&fixture, name, None).await;
        assert_eq!(ds(&fixture).get_user(name, None).await.unwrap(), None);
        assert!(fixture.login(name, password).await.is_err(), "{name:?}");
    }
}

async fn any_user(fixture: Arc<Fixture>) {
    let names =
        "[a-zA-Z0-9_%'`\"\\\\.;:@$/é日?-][a-zA-Z0-9 _%'`\"\\\\.;:@$/é日?-]{0,14}[a-z\"\\\\`%]";
    let pairs = (names, "[^\0]{1,20}");
    let mut runner = TestRunner::deterministic();
    for _ in 0..60 {
        let (name, password) = pairs.new_tree(&mut runner).unwrap().current();
        create(&fixture, user(&name, None, &password, &[])).await;
        let session = fixture.login(&name, &password).await;
        session
            .unwrap_or_else(|error| panic!("{name:?} {password:?}: {error}"))
            .disconnect()
            .await
            .unwrap();
        let request = PageRequest {
            limit: Some(1),
            marker: Some(format!("{name}@%")),
            include_marker: true,
        };
        let page = ds(&fixture).list_users(&request).await.unwrap();
        assert_eq!(page.items[0].name, name);
        delete(&fixture, &name, None).await;
    }
}

async fn lengths(fixture: Arc<Fixture>) {
    let longest = match fixture.product {
        Product::Mysql => 32,
        Product::Mariadb => 80,
    };
    // Characters, not bytes.
    for name in ["u".repeat(longest), "日".repeat(longest)] {
        create(&fixture, user(&name, None, "Long-enough-1", &[])).await;
        fixture
            .login(&name, "Long-enough-1")
            .await
            .unwrap()
            .disconnect()
            .await
            .unwrap();
        let page = ds(&fixture)
            .list_users(&PageRequest::default())
            .await
            .unwrap();
        assert!(page.items.iter().any(|user| user.name == name));
        delete(&fixture, &name, None).await;
    }
    let too_long = user(&"u".repeat(200), None, "p", &[]);
    assert_eq!(
        kind_of(ds(&fixture).create_users(&[too_long]).await),
        ErrorKind::BadRequest
    );
}

async fn refused(fixture: Arc<Fixture>) {
    for name in [
        "",
        "os_admin",
        "root",
        " lead",
        "trail ",
        "u\u{1F600}",
        "u\0",
    ] {
        let request = [user("rf_first", None, "p", &[]), user(name, None, "p", &[])];
        let result = ds(&fixture).create_users(&request).await;
        assert_eq!(kind_of(result), ErrorKind::BadRequest, "{name:?}");
        let result = ds(&fixture).get_user(name, None).await;
        assert_eq!(kind_of(result), ErrorKind::BadRequest, "{name:?}");
        let result = ds(&fixture).delete_user(&user(name, None, "", &[])).await;
        assert_eq!(kind_of(result), ErrorKind::BadRequest, "{name:?}");
    }
    for bad in [
        user("rf", None, "", &[]),
        user("rf", None, "a\0b", &[]),
        User {
            password: None,
            ..user("rf", None, "", &[])
        },
        user("rf", Some("db.example.com"), "p", &[]),
        user("rf", Some("%'; --"), "p", &[]),
        user("rf", None, "p", &["fine", "mysql"]),
        // Servers take such quotes off at login: nobody could log in.
        user("'rf'", None, "p", &[]),
        user("''", None, "p", &[]),
    ] {
        let request = [user("rf_first", None, "p", &[]), bad];
        assert_eq!(
            kind_of(ds(&fixture).create_users(&request).await),
            ErrorKind::BadRequest
        );
    }
    assert_eq!(ds(&fixture).get_user("rf_first", None).await.unwrap(), None);
    let missing = ds(&fixture)
        .delete_user(&user("rf_missing", None, "", &[]))
        .await;
    assert_eq!(kind_of(missing), ErrorKind::NotFound);
}

async fn all_or_none(fixture: Arc<Fixture>) {
    create(&fixture, user("an_old", None, "old", &[])).await;
    let request = [
        user("an_new", None, "p", &["an_db"]),
        user("an_old", None, "p", &[]),
    ];
    assert_eq!(
        kind_of(ds(&fixture).create_users(&request).await),
        ErrorKind::AlreadyExists
    );
    assert_eq!(ds(&fixture).get_user("an_new", None).await.unwrap(), None);
    // Whoever was there before stays as it was.
    fixture
        .login("an_old", "old")
        .await
        .unwrap()
        .disconnect()
        .await
        .unwrap();
    delete(&fixture, "an_old", None).await;
}

async fn hosts(fixture: Arc<Fixture>) {
    for (host, is_local) in [
        ("127.0.0.1", true),
        ("127.0.0.%", true),
        ("127.%", true),
        ("127.0.0.0/255.0.0.0", true),
        ("192.0.2.1", false),
        ("192.0.2.%", false),
    ] {
        create(&fixture, user("ho", Some(host), "Long-enough-1", &[])).await;
        let result = fixture.login_tcp("ho", "Long-enough-1").await;
        assert_eq!(result.is_ok(), is_local, "{host}");
        let found = ds(&fixture)
            .get_user("ho", Some(host))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(found.host.as_deref(), Some(host));
        assert_eq!(ds(&fixture).get_user("ho", None).await.unwrap(), None);
        delete(&fixture, "ho", Some(host)).await;
    }
    let lenient = fixture.with_settings(|settings| settings.hostname_require_valid_ip = false);
    let named = user("ho", Some("DB.Example.COM"), "p", &[]);
    lenient
        .create_users(std::slice::from_ref(&named))
        .await
        .unwrap();
    // Servers fold hosts; so does every way to reach the account again.
    for host in ["db.example.com", "DB.EXAMPLE.com"] {
        let found = ds(&fixture)
            .get_user("ho", Some(host))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(found.host.as_deref(), Some("db.example.com"));
    }
    ds(&fixture).delete_user(&named).await.unwrap();
}

async fn pages(fixture: Arc<Fixture>) {
    let ids = [
        ("pu", "%"),
        ("pu", "10.0.0.1"),
        ("pu_a", "%"),
        ("pu-a", "%"),
        ("PU", "%"),
        ("pu日", "%"),
        ("pu'", "%"),
        ("puB", "%"),
        ("pub", "%"),
        ("pu b", "192.0.2.%"),
    ];
    for (name, host) in ids {
        create(&fixture, user(name, Some(host), "p", &["pu_one", "pu_two"])).await;
    }
    // What no validation would let through, and what is not shown.
    fixture
        .sql(&[
            "CREATE USER ''@'10.9.8.7'",
            "CREATE USER 'pu odd/name,;'@'db.example.com'",
            "CREATE USER 'pu_local'@'localhost' IDENTIFIED BY 'Long-enough-1'",
            "CREATE ROLE pu_role",
        ])
        .await;
    let mut markers: Vec<String> = ids
        .iter()
        .map(|(name, host)| format!("{name}@{host}"))
        .chain(["@10.9.8.7".into(), "pu odd/name,;@db.example.com".into()])
        .collect();
    if fixture.product == Product::Mysql {
        // Roles of MySQL are accounts like any other.
        markers.push("pu_role@%".into());
    }
    markers.sort();
    let marker_of = |user: &User| format!("{}@{}", user.name, user.host.as_deref().unwrap());
    for limit in [None, Some(1), Some(4), Some(100)] {
        let mut walked = Vec::new();
        let mut request = PageRequest {
            limit,
            ..PageRequest::default()
        };
        loop {
            let page = ds(&fixture).list_users(&request).await.unwrap();
            for item in &page.items {
                let granted: Vec<&str> = item
                    .databases
                    .iter()
                    .map(|database| database.name.as_str())
                    .collect();
                let expected: &[&str] =
                    match ids.contains(&(&item.name, item.host.as_deref().unwrap())) {
                        true => &["pu_one", "pu_two"],
                        false => &[],
                    };
                assert_eq!(granted, expected, "{}", marker_of(item));
                assert_eq!(item.password, None);
            }
            walked.extend(page.items.iter().map(marker_of));
            request.marker = page.next_marker;
            if request.marker.is_none() {
                break;
            }
        }
        assert_eq!(walked, markers, "limit {limit:?}");
    }
    // A marker is data, never SQL.
    for marker in ["' OR '1'='1", "\\", "zzz' UNION SELECT 'x','y' -- "] {
        let request = PageRequest {
            marker: Some(marker.into()),
            ..PageRequest::default()
        };
        let page = ds(&fixture).list_users(&request).await.unwrap();
        let expected = markers
            .iter()
            .filter(|known| known.as_bytes() > marker.as_bytes())
            .count();
        assert_eq!(page.items.len(), expected);
    }
    assert_eq!(
        ds(&fixture)
            .get_user("pu_local", Some("localhost"))
            .await
            .unwrap(),
        None
    );
    for (name, host) in ids {
        delete(&fixture, name, Some(host)).await;
    }
    fixture
        .sql(&[
            "DROP USER ''@'10.9.8.7'",
            "DROP USER 'pu odd/name,;'@'db.example.com'",
            "DROP USER 'pu_local'@'localhost'",
            "DROP ROLE pu_role",
        ])
        .await;
}
