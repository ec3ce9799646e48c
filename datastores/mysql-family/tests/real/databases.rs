//! Databases.

use std::sync::Arc;

use datastore::{Database, ErrorKind, PageRequest};
use mysql_async::prelude::Queryable;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::harness::{Cases, Fixture};
use crate::{ds, kind_of};

pub(crate) fn cases(cases: &mut Cases) {
    cases.add("hostile database names", hostile_names);
    cases.add("any database name survives the round trip", any_name);
    cases.add("character sets and collations", character_sets);
    cases.add("refused databases", refused);
    cases.add("pages of databases", pages);
}

/// One list call the way the control plane checks for existence.
async fn exists(fixture: &Fixture, name: &str) -> bool {
    let page = PageRequest {
        limit: Some(1),
        marker: Some(name.to_owned()),
        include_marker: true,
    };
    let page = ds(fixture).list_databases(&page).await.unwrap();
    page.items
        .first()
        .is_some_and(|database| database.name == name)
}

async fn hostile_names(fixture: Arc<Fixture>) {
    let longest = "x".repeat(64);
    let names = [
        "d",
        "d`b",
        "d'b",
        "d\"b",
        "d\\b",
        "d%b",
        "d_b",
        "d b",
        "d.b",
        "d/b",
        "d;b",
        "d--b",
        "d#b",
        ":word",
        "日本語",
        "ÄÖÜ",
        " lead",
        "$d",
        "`; DROP DATABASE mysql; --",
        "../../etc",
        &longest,
    ];
    for name in names {
        let database = Database::named(name);
        assert!(!exists(&fixture, name).await, "{name}");
        ds(&fixture)
            .create_databases(std::slice::from_ref(&database))
            .await
            .unwrap();
        // Again is no error and changes nothing.
        ds(&fixture)
            .create_databases(std::slice::from_ref(&database))
            .await
            .unwrap();
        assert!(exists(&fixture, name).await, "{name}");
        ds(&fixture).delete_database(&database).await.unwrap();
        assert!(!exists(&fixture, name).await, "{name}");
    }
}

async fn any_name(fixture: Arc<Fixture>) {
    // Trailing blanks are refused ahead of the server; other names of any
    // characters that servers store must come back as they went in.
    let names = "[a-zA-Z0-9 _%'`\"\\\\.;:@$/é日-]{0,20}[a-z0-9`'\\\\%_]"
        .prop_filter("case is not the point here", |name| {
            !["mysql", "sys"].contains(&name.to_lowercase().as_str())
        });
    let mut runner = TestRunner::deterministic();
    for _ in 0..60 {
        let name = names.new_tree(&mut runner).unwrap().current();
        let database = Database::named(&name);
        ds(&fixture)
            .create_databases(std::slice::from_ref(&database))
            .await
            .unwrap();
        assert!(exists(&fixture, &name).await, "{name:?}");
        ds(&fixture).delete_database(&database).await.unwrap();
    }
}

async fn character_sets(fixture: Arc<Fixture>) {
    let with = |name: &str, character_set: Option<&str>, collate: Option<&str>| Database {
        name: name.into(),
        character_set: character_set.map(Into::into),
        collate: collate.map(Into::into),
    };
    let databases = [
        with("cs_default", None, None),
        with("cs_set", Some("latin2"), None),
        with("cs_both", Some("utf8mb4"), Some("utf8mb4_unicode_520_ci")),
        with("cs_collation", None, Some("utf8mb4_bin")),
    ];
    ds(&fixture).create_databases(&databases).await.unwrap();
    let page = ds(&fixture)
        .list_databases(&PageRequest::default())
        .await
        .unwrap();
    let found = |name: &str| {
        page.items
            .iter()
            .find(|database| database.name == name)
            .unwrap()
    };
    assert_eq!(
        found("cs_default").character_set.as_deref(),
        Some("utf8mb4")
    );
    assert_eq!(found("cs_set").character_set.as_deref(), Some("latin2"));
    assert_eq!(
        found("cs_both").collate.as_deref(),
        Some("utf8mb4_unicode_520_ci")
    );
    assert_eq!(
        found("cs_collation").character_set.as_deref(),
        Some("utf8mb4")
    );
    for database in &databases {
        ds(&fixture).delete_database(database).await.unwrap();
    }

    for (database, words) in [
        (with("cs_bad", Some("nope'"), None), ["nope'", "utf8mb4"]),
        (
            with("cs_bad", Some("latin2"), Some("nope`")),
            ["nope`", "latin2_general_ci"],
        ),
        (
            with("cs_bad", Some("latin2"), Some("utf8mb4_bin")),
            ["utf8mb4_bin", "latin2_general_ci"],
        ),
        (with("cs_bad", None, Some("nope")), ["collation", "nope"]),
    ] {
        let error = ds(&fixture)
            .create_databases(&[database])
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadRequest, "{error}");
        let text = error.to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }
    assert!(!exists(&fixture, "cs_bad").await);
}

async fn refused(fixture: Arc<Fixture>) {
    let long = "x".repeat(65);
    for name in [
        "",
        "mysql",
        "Information_Schema",
        "sys",
        "trailing ",
        "d\u{1F600}",
        "a\0b",
        &long,
    ] {
        let request = [Database::named("rf_first"), Database::named(name)];
        assert_eq!(
            kind_of(ds(&fixture).create_databases(&request).await),
            ErrorKind::BadRequest,
            "{name:?}"
        );
    }
    // What can be seen without the server is seen before the first is created;
    // only the length is up to the server.
    assert!(exists(&fixture, "rf_first").await);
    ds(&fixture)
        .delete_database(&Database::named("rf_first"))
        .await
        .unwrap();
    let request = [Database::named("rf_first"), Database::named("mysql")];
    assert!(ds(&fixture).create_databases(&request).await.is_err());
    assert!(!exists(&fixture, "rf_first").await);

    let missing = Database::named("rf_missing");
    assert_eq!(
        kind_of(ds(&fixture).delete_database(&missing).await),
        ErrorKind::NotFound
    );
    for name in ["mysql", "performance_schema"] {
        let reserved = Database::named(name);
        assert_eq!(
            kind_of(ds(&fixture).delete_database(&reserved).await),
            ErrorKind::BadRequest
        );
    }
}

async fn pages(fixture: Arc<Fixture>) {
    let mut names = [
        "pg", "pg_a", "pg-a", "pgB", "pgb", "PGA", "pg日", "pgé", "pg a", "pg'",
    ]
    .map(str::to_owned)
    .to_vec();
    // Something no table of collations knows.
    let mut admin = fixture.admin().await;
    let collation: Option<String> = admin
        .query_first(
            "SELECT COLLATION_NAME FROM information_schema.COLLATIONS \
             WHERE COLLATION_NAME LIKE 'utf8mb4%' ORDER BY ID DESC LIMIT 1",
        )
        .await
        .unwrap();
    admin.disconnect().await.unwrap();
    let collation = collation.unwrap();
    for name in &names {
        let database = Database {
            collate: Some(collation.clone()),
            ..Database::named(name)
        };
        ds(&fixture).create_databases(&[database]).await.unwrap();
    }
    // Order is that of the bytes.
    names.sort();
    let everything = ds(&fixture)
        .list_databases(&PageRequest::default())
        .await
        .unwrap();
    let listed: Vec<&str> = everything
        .items
        .iter()
        .map(|item| item.name.as_str())
        .collect();
    assert_eq!(listed, names);
    assert_eq!(everything.next_marker, None);

    for limit in [1, 3, 10, 11] {
        let mut walked = Vec::new();
        let mut request = PageRequest {
            limit: Some(limit),
            ..PageRequest::default()
        };
        loop {
            let page = ds(&fixture).list_databases(&request).await.unwrap();
            assert!(page.items.len() <= limit as usize);
            walked.extend(page.items.into_iter().map(|item| item.name));
            request.marker = page.next_marker;
            if request.marker.is_none() {
                break;
            }
            assert_eq!(request.marker.as_ref(), walked.last());
        }
        assert_eq!(walked, names, "limit {limit}");
    }
    let from = PageRequest {
        limit: Some(2),
        marker: Some("pg'".into()),
        include_marker: true,
    };
    let page = ds(&fixture).list_databases(&from).await.unwrap();
    assert_eq!(page.items[0].name, "pg'");
    // A marker is data, never SQL.
    for marker in [
        "' OR '1'='1",
        "\\",
        "z' UNION SELECT User,2,3 FROM mysql.user -- ",
    ] {
        let request = PageRequest {
            marker: Some(marker.into()),
            ..PageRequest::default()
        };
        let page = ds(&fixture).list_databases(&request).await.unwrap();
        let expected: Vec<&String> = names
            .iter()
            .filter(|name| name.as_bytes() > marker.as_bytes())
            .collect();
        assert_eq!(
            page.items.iter().map(|item| &item.name).collect::<Vec<_>>(),
            expected
        );
    }
    for name in &names {
        ds(&fixture)
            .delete_database(&Database::named(name))
            .await
            .unwrap();
    }
}
