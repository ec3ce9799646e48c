//! Databases.

use datastore::{Database, ErrorKind};

use crate::harness::{Cases, page};
use crate::{ds, kind_of};

fn named(name: &str) -> Database {
    Database::named(name)
}

pub(crate) fn cases(cases: &mut Cases) {
    cases.add("databases: create, list, drop", |fixture| async move {
        let ds = ds(&fixture);
        let odd = "odd \"name'; DROP ROLE postgres --";
        let new = [named("b1"), named("B2"), named("ä"), named(odd)];
        ds.create_databases(&new).await.unwrap();
        // Once more: what is there stays.
        fixture.sql("b1", &["CREATE TABLE kept ()"]).await;
        ds.create_databases(&new).await.unwrap();
        fixture.sql("b1", &["SELECT FROM kept"]).await;
        let all = ds.list_databases(&page(None, None, false)).await.unwrap();
        let names: Vec<&str> = all.items.iter().map(|item| item.name.as_str()).collect();
        // By code points, whatever the locale.
        assert_eq!(names, ["B2", "b1", odd, "ä"]);
        assert_eq!(all.items[0].character_set.as_deref(), Some("UTF8"));
        assert!(all.items[0].collate.is_some());
        for name in ["b1", "b1", "B2", "ä", odd] {
            ds.delete_database(&named(name)).await.unwrap();
        }
        let all = ds.list_databases(&page(None, None, false)).await.unwrap();
        assert_eq!(all.items, []);
    });

    cases.add("databases: encoding and collation", |fixture| async move {
        let ds = ds(&fixture);
        let database = Database {
            name: "latin".into(),
            character_set: Some("LATIN1".into()),
            collate: Some("C".into()),
        };
        ds.create_databases(std::slice::from_ref(&database))
            .await
            .unwrap();
        let listed = ds.list_databases(&page(None, None, false)).await.unwrap();
        assert_eq!(listed.items, std::slice::from_ref(&database));
        for (character_set, collate) in [
            (Some("NOPE"), None),
            (None, Some("xx_YY")),
            (Some("UTF8' OWNER 'x"), None),
        ] {
            let bad = Database {
                name: "bad".into(),
                character_set: character_set.map(str::to_owned),
                collate: collate.map(str::to_owned),
            };
            let error = ds.create_databases(&[bad]).await.unwrap_err();
            assert_ne!(error.kind(), ErrorKind::Timeout);
            assert!(error.to_string().contains("create database bad"), "{error}");
        }
        ds.delete_database(&database).await.unwrap();
    });

    cases.add("databases: pages", |fixture| async move {
        let ds = ds(&fixture);
        let new: Vec<Database> = ["p1", "p2", "p3"].map(named).into();
        ds.create_databases(&new).await.unwrap();
        let first = ds
            .list_databases(&page(Some(2), None, false))
            .await
            .unwrap();
        assert_eq!(first.items.len(), 2);
        assert_eq!(first.next_marker.as_deref(), Some("p2"));
        let next = ds
            .list_databases(&page(Some(2), Some("p2"), false))
            .await
            .unwrap();
        assert_eq!((next.items.len(), next.next_marker), (1, None));
        let one = ds
            .list_databases(&page(Some(1), Some("p2"), true))
            .await
            .unwrap();
        assert_eq!(one.items[0].name, "p2");
        for database in &new {
            ds.delete_database(database).await.unwrap();
        }
    });

    cases.add("databases: names that are refused", |fixture| async move {
        let ds = ds(&fixture);
        let long = "x".repeat(64);
        for name in ["", "postgres", "template1", "os_admin", &long, "a\0"] {
            assert_eq!(
                kind_of(ds.create_databases(&[named("good"), named(name)]).await),
                ErrorKind::BadRequest
            );
            assert_eq!(
                kind_of(ds.delete_database(&named(name)).await),
                ErrorKind::BadRequest
            );
        }
        // Nothing is created when one of them is refused.
        let all = ds.list_databases(&page(None, None, false)).await.unwrap();
        assert_eq!(all.items, []);
    });

    cases.add("databases: one in use is dropped", |fixture| async move {
        let ds = ds(&fixture);
        ds.create_databases(&[named("busy")]).await.unwrap();
        let session = fixture.admin("busy").await;
        ds.delete_database(&named("busy")).await.unwrap();
        assert!(session.simple_query("SELECT 1").await.is_err());
    });

    cases.add("databases: a name in another encoding breaks no listing", |fixture| async move {
        let ds = ds(&fixture);
        // Made from a database in LATIN1, its bytes are no UTF-8.
        fixture
            .sql(
                "postgres",
                &["CREATE DATABASE l1 ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"],
            )
            .await;
        fixture.sql("l1", &["CREATE DATABASE \"caf\u{e9}\" ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"]).await;
        let all = ds.list_databases(&page(None, None, false)).await.unwrap();
        assert_eq!(all.items.len(), 2);
        fixture.sql("l1", &["DROP DATABASE \"caf\u{e9}\""]).await;
        ds.delete_database(&named("l1")).await.unwrap();
    });
}
