//! Users.

use datastore::{Database, ErrorKind, PasswordChange, Secret, UserAttributes};

use crate::harness::{Cases, page, user, value};
use crate::{ds, kind_of};

fn change(name: &str, password: &str) -> PasswordChange {
    PasswordChange {
        name: name.into(),
        host: None,
        password: Secret::new(password),
    }
}

fn attributes(name: Option<&str>, password: Option<&str>) -> UserAttributes {
    UserAttributes {
        name: name.map(str::to_owned),
        host: None,
        password: password.map(Secret::new),
    }
}

/// A password and a name with everything that means something to SQL.
const NASTY: &str = "p'\"\\;--$1 \u{e4}\u{1F600}";

pub(crate) fn cases(cases: &mut Cases) {
    cases.add("users: create, list, log in, drop", |fixture| async move {
        let ds = ds(&fixture);
        ds.create_databases(&[Database::named("d1"), Database::named("d2")])
            .await
            .unwrap();
        let new = [
            user("u1", "secret", &["d1", "d2"]),
            user("U0", NASTY, &[]),
            user(NASTY, NASTY, &["d1"]),
        ];
        ds.create_users(&new).await.unwrap();
        let all = ds.list_users(&page(None, None, false)).await.unwrap();
        let names: Vec<&str> = all.items.iter().map(|item| item.name.as_str()).collect();
        assert_eq!(names, ["U0", NASTY, "u1"]);
        for found in &all.items {
            assert_eq!(found.host.as_deref(), Some("%"));
            assert_eq!(found.password, None);
        }
        let databases: Vec<&str> = all.items[2]
            .databases
            .iter()
            .map(|database| database.name.as_str())
            .collect();
        assert_eq!(databases, ["d1", "d2"]);
        let found = ds.get_user("u1", Some("%")).await.unwrap().unwrap();
        assert_eq!(found, all.items[2]);
        assert_eq!(ds.get_user("nobody", None).await.unwrap(), None);

        for (name, password) in [("u1", "secret"), ("U0", NASTY), (NASTY, NASTY)] {
            let session = fixture.login(name, password, "d1").await.unwrap();
            let me = value(&session, "SELECT current_user").await.unwrap();
            assert_eq!(me.as_deref(), Some(name));
            assert!(fixture.login(name, "wrong", "d1").await.is_err());
        }
        // A user of a database works in it, since PostgreSQL 15 as well.
        let session = fixture.login("u1", "secret", "d2").await.unwrap();
        session
            .batch_execute("CREATE TABLE t (n int); CREATE SCHEMA own")
            .await
            .unwrap();

        for found in &all.items {
            ds.delete_user(found).await.unwrap();
        }
        // Once more: it is gone already.
        ds.delete_user(&new[0]).await.unwrap();
        assert_eq!(
            ds.list_users(&page(None, None, false)).await.unwrap().items,
            []
        );
        // What it owned stays, and its session is over.
        fixture.sql("d2", &["SELECT FROM t"]).await;
        assert!(session.simple_query("SELECT 1").await.is_err());
        for name in ["d1", "d2"] {
            ds.delete_database(&Database::named(name)).await.unwrap();
        }
    });

    cases.add("users: pages, and the look for one", |fixture| async move {
        let ds = ds(&fixture);
        let new = ["a@%", "a", "b"].map(|name| user(name, "x", &[]));
        ds.create_users(&new).await.unwrap();
        let first = ds.list_users(&page(Some(2), None, false)).await.unwrap();
        assert_eq!(first.items[1].name, "a@%");
        assert_eq!(first.next_marker.as_deref(), Some("a@%"));
        let next = ds
            .list_users(&page(Some(2), Some("a@%"), false))
            .await
            .unwrap();
        assert_eq!(next.items.len(), 1);
        assert_eq!(next.items[0].name, "b");
        // How the control plane asks whether a user exists.
        let one = ds.list_users(&page(Some(1), Some("b@%"), true)).await;
        assert_eq!(one.unwrap().items[0].name, "b");
        for user in &new {
            ds.delete_user(user).await.unwrap();
        }
    });

    cases.add(
        "users: a failed request leaves nothing",
        |fixture| async move {
            let ds = ds(&fixture);
            let wanted = [user("n1", "x", &[]), user("n2", "x", &["absent"])];
            let error = ds.create_users(&wanted).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound);
            assert!(error.to_string().contains("absent"), "{error}");
            let all = ds.list_users(&page(None, None, false)).await.unwrap();
            assert_eq!(all.items, []);
            ds.create_users(&[user("n1", "x", &[])]).await.unwrap();
            assert_eq!(
                kind_of(ds.create_users(&[user("n1", "x", &[])]).await),
                ErrorKind::AlreadyExists
            );
            ds.delete_user(&wanted[0]).await.unwrap();
        },
    );

    cases.add("users: reserved names are refused", |fixture| async move {
        let ds = ds(&fixture);
        let long = "x".repeat(64);
        for name in [
            "postgres",
            "os_admin",
            "replicator",
            "pg_monitor",
            "",
            &long,
        ] {
            assert!(ds.create_users(&[user(name, "x", &[])]).await.is_err());
        }
        for name in ["postgres", "replicator"] {
            assert_eq!(
                kind_of(ds.delete_user(&user(name, "x", &[])).await),
                ErrorKind::BadRequest
            );
            assert_eq!(
                kind_of(ds.get_user(name, None).await),
                ErrorKind::BadRequest
            );
            assert_eq!(
                kind_of(ds.change_passwords(&[change(name, "x")]).await),
                ErrorKind::BadRequest
            );
        }
    });

    cases.add("users: passwords", |fixture| async move {
        let ds = ds(&fixture);
        ds.create_users(&[user("u", "old", &[])]).await.unwrap();
        ds.change_passwords(&[change("u", NASTY)]).await.unwrap();
        assert!(fixture.login("u", "old", "postgres").await.is_err());
        fixture.login("u", NASTY, "postgres").await.unwrap();
        // All or none.
        let error = ds
            .change_passwords(&[change("u", "new"), change("absent", "new")])
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        fixture.login("u", NASTY, "postgres").await.unwrap();
        assert_eq!(
            kind_of(ds.change_passwords(&[change("u", "")]).await),
            ErrorKind::BadRequest
        );
        let stored = fixture
            .value("SELECT rolpassword FROM pg_authid WHERE rolname = 'u'")
            .await
            .unwrap();
        assert!(stored.starts_with("SCRAM-SHA-256$"), "{stored}");
        ds.delete_user(&user("u", "", &[])).await.unwrap();
    });

    cases.add("users: rename", |fixture| async move {
        let ds = ds(&fixture);
        ds.create_databases(&[Database::named("d")]).await.unwrap();
        ds.create_users(&[user("u", "pw", &["d"]), user("taken", "pw", &[])])
            .await
            .unwrap();
        ds.update_attributes("u", Some("%"), &attributes(Some("v"), None))
            .await
            .unwrap();
        fixture.login("v", "pw", "d").await.unwrap();
        let access = ds.list_access("v", None).await.unwrap();
        assert_eq!(access[0].name, "d");
        ds.update_attributes("v", None, &attributes(Some("w"), Some("new")))
            .await
            .unwrap();
        fixture.login("w", "new", "d").await.unwrap();
        // Both or neither.
        let wanted = attributes(Some("taken"), Some("other"));
        assert_eq!(
            kind_of(ds.update_attributes("w", None, &wanted).await),
            ErrorKind::AlreadyExists
        );
        fixture.login("w", "new", "d").await.unwrap();
        assert_eq!(
            kind_of(
                ds.update_attributes("u", None, &attributes(Some("x"), None))
                    .await
            ),
            ErrorKind::NotFound
        );
        for name in ["postgres", "replicator"] {
            assert_eq!(
                kind_of(
                    ds.update_attributes("w", None, &attributes(Some(name), None))
                        .await
                ),
                ErrorKind::BadRequest
            );
        }
        for name in ["w", "taken"] {
            ds.delete_user(&user(name, "", &[])).await.unwrap();
        }
        ds.delete_database(&Database::named("d")).await.unwrap();
    });

    cases.add("users: MD5 where it is wanted", |fixture| async move {
        let ds = ds(&fixture);
        let md5 = "ALTER SYSTEM SET password_encryption = 'md5'";
        fixture
            .sql("postgres", &[md5, "SELECT pg_reload_conf()"])
            .await;
        while fixture.value("SHOW password_encryption").await.as_deref() != Some("md5") {}
        ds.create_users(&[user("m", "pw", &[])]).await.unwrap();
        fixture.login("m", "pw", "postgres").await.unwrap();
        // The server would forget the password.
        assert_eq!(
            kind_of(
                ds.update_attributes("m", None, &attributes(Some("n"), None))
                    .await
            ),
            ErrorKind::BadRequest
        );
        ds.update_attributes("m", None, &attributes(Some("n"), Some("pw")))
            .await
            .unwrap();
        fixture.login("n", "pw", "postgres").await.unwrap();
        fixture
            .sql(
                "postgres",
                &[
                    "ALTER SYSTEM RESET password_encryption",
                    "SELECT pg_reload_conf()",
                ],
            )
            .await;
        while fixture.value("SHOW password_encryption").await.as_deref() == Some("md5") {}
        ds.delete_user(&user("n", "", &[])).await.unwrap();
    });

    cases.add("users: no password in any log", |fixture| async move {
        let ds = ds(&fixture);
        let all = [
            "ALTER SYSTEM SET log_statement = 'all'",
            "ALTER SYSTEM SET log_min_duration_statement = 0",
            "SELECT pg_reload_conf()",
        ];
        fixture.sql("postgres", &all).await;
        while fixture.value("SHOW log_statement").await.as_deref() != Some("all") {}
        let password = "Kanarienvogel";
        ds.create_users(&[user("logged", password, &[])])
            .await
            .unwrap();
        let error = ds
            .create_users(&[user("logged", password, &[])])
            .await
            .unwrap_err();
        assert!(!format!("{error:?}").contains(password));
        assert!(!format!("{error:?}").contains("SCRAM"));
        ds.change_passwords(&[change("logged", password)])
            .await
            .unwrap();
        ds.enable_root(Some(&Secret::new(password))).await.unwrap();
        let log = fixture.log();
        assert!(
            log.contains("SHOW log_statement"),
            "the log shows statements"
        );
        assert!(!log.contains(password) && !log.contains("SCRAM-SHA-256$"));
        let quiet = [
            "ALTER SYSTEM RESET log_statement",
            "ALTER SYSTEM RESET log_min_duration_statement",
            "SELECT pg_reload_conf()",
            "DROP ROLE root",
        ];
        fixture.sql("postgres", &quiet).await;
        ds.delete_user(&user("logged", "", &[])).await.unwrap();
    });

    cases.add("users: one that owns things in many databases", |fixture| async move {
        let ds = ds(&fixture);
        ds.create_databases(&["o1", "o2"].map(Database::named))
            .await
            .unwrap();
        ds.create_users(&[user("owner", "pw", &["o1", "o2"]), user("reader", "pw", &["o1"])])
            .await
            .unwrap();
        for database in ["o1", "o2"] {
            let session = fixture.login("owner", "pw", database).await.unwrap();
            session
                .batch_execute(
                    "CREATE TABLE t (n int); INSERT INTO t VALUES (1); GRANT SELECT ON t TO PUBLIC; \
                     ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
                )
                .await
                .unwrap();
        }
        fixture
            .sql("postgres", &["ALTER DATABASE o2 OWNER TO owner"])
            .await;
        ds.delete_user(&user("owner", "", &[])).await.unwrap();
        let session = fixture.login("reader", "pw", "o1").await.unwrap();
        let rows = value(&session, "SELECT count(*) FROM t").await.unwrap();
        assert_eq!(rows.as_deref(), Some("1"));
        let owner = fixture
            .value("SELECT datdba::regrole FROM pg_database WHERE datname = 'o2'")
            .await;
        assert_eq!(owner.as_deref(), Some("postgres"));
        drop(session);
        ds.delete_user(&user("reader", "", &[])).await.unwrap();
        for name in ["o1", "o2"] {
            ds.delete_database(&Database::named(name)).await.unwrap();
        }
    });
}
