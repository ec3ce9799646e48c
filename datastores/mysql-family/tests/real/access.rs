//! What users may do, tried by doing it.

use std::sync::Arc;

use datastore::{Database, ErrorKind};
use mysql_async::prelude::Queryable;

use crate::harness::{Cases, Fixture, Product};
use crate::users::{create, delete, user};
use crate::{ds, kind_of};

pub(crate) fn cases(cases: &mut Cases, product: Product) {
    cases.add("a grant opens its database and no other", exact_grants);
    cases.add("grants of older guests are understood", older_grants);
    cases.add("refused grants", refused);
    // MariaDB has no such mode.
    if product == Product::Mysql {
        cases.add(
            "partial revokes change the meaning of names",
            partial_revokes,
        );
    }
}

/// Names that are patterns of one another, or need quoting.
const NAMES: [&str; 7] = [
    "ac_b", "acxb", "ac%b", "ac\\b", "ac\\_b", "ac'`\"", "ac:word",
];

async fn create_all(fixture: &Fixture) {
    let databases: Vec<Database> = NAMES.map(Database::named).into();
    ds(fixture).create_databases(&databases).await.unwrap();
}

async fn drop_all(fixture: &Fixture) {
    for name in NAMES {
        ds(fixture)
            .delete_database(&Database::named(name))
            .await
            .unwrap();
    }
}

/// Which of [`NAMES`] a user can make a table in.
async fn open_to(fixture: &Fixture, name: &str, password: &str) -> Vec<&'static str> {
    let mut session = fixture.login(name, password).await.unwrap();
    let mut open = Vec::new();
    for database in NAMES {
        let table = format!("`{}`.t", database.replace('`', "``"));
        if session
            .query_drop(format!("CREATE TABLE {table} (id INT)"))
            .await
            .is_ok()
        {
            session
                .query_drop(format!("INSERT INTO {table} VALUES (1)"))
                .await
                .unwrap();
            let row: Option<u32> = session
                .query_first(format!("SELECT id FROM {table}"))
                .await
                .unwrap();
            assert_eq!(row, Some(1));
            session
                .query_drop(format!("DROP TABLE {table}"))
                .await
                .unwrap();
            open.push(database);
        }
    }
    session.disconnect().await.unwrap();
    open
}

fn names_of(databases: &[Database]) -> Vec<&str> {
    databases
        .iter()
        .map(|database| database.name.as_str())
        .collect()
}

async fn exact_grants(fixture: Arc<Fixture>) {
    create_all(&fixture).await;
    for database in NAMES {
        // Once with the user, once afterwards.
        create(&fixture, user("eg'1", None, "p", &[database])).await;
        create(&fixture, user("eg2", None, "p", &[])).await;
        let request = [database.to_owned()];
        ds(&fixture)
            .grant_access("eg2", None, &request)
            .await
            .unwrap();
        ds(&fixture)
            .grant_access("eg2", Some("%"), &request)
            .await
            .unwrap();
        for name in ["eg'1", "eg2"] {
            assert_eq!(open_to(&fixture, name, "p").await, [database]);
            let access = ds(&fixture).list_access(name, None).await.unwrap();
            assert_eq!(names_of(&access), [database]);
            let found = ds(&fixture).get_user(name, None).await.unwrap().unwrap();
            assert_eq!(names_of(&found.databases), [database]);
            ds(&fixture)
                .revoke_access(name, None, database)
                .await
                .unwrap();
            assert!(open_to(&fixture, name, "p").await.is_empty());
            assert!(
                ds(&fixture)
                    .list_access(name, None)
                    .await
                    .unwrap()
                    .is_empty()
            );
            let again = ds(&fixture).revoke_access(name, None, database).await;
            assert_eq!(kind_of(again), ErrorKind::NotFound);
            delete(&fixture, name, None).await;
        }
    }
    drop_all(&fixture).await;
}

async fn older_grants(fixture: Arc<Fixture>) {
    create_all(&fixture).await;
    create(&fixture, user("og", None, "p", &[])).await;
    fixture
        .sql(&[
            // As older guests wrote them, without escapes.
            "GRANT ALL PRIVILEGES ON `ac_b`.* TO 'og'@'%'",
            // Of a tenant's own making.
            "GRANT SELECT ON `ac'``\"`.* TO 'og'@'%' WITH GRANT OPTION",
            "GRANT SELECT ON `app%`.* TO 'og'@'%'",
        ])
        .await;
    let open = open_to(&fixture, "og", "p").await;
    assert_eq!(open, ["ac_b", "acxb", "ac%b", "ac\\b"], "_ is a wildcard");
    let access = ds(&fixture).list_access("og", None).await.unwrap();
    assert_eq!(names_of(&access), ["ac'`\"", "ac_b", "app%"]);
    // Ours on top names the same database once, and both go at once.
    ds(&fixture)
        .grant_access("og", None, &["ac_b".into()])
        .await
        .unwrap();
    let access = ds(&fixture).list_access("og", None).await.unwrap();
    assert_eq!(names_of(&access), ["ac'`\"", "ac_b", "app%"]);
    ds(&fixture)
        .revoke_access("og", None, "ac_b")
        .await
        .unwrap();
    assert!(open_to(&fixture, "og", "p").await.is_empty());
    ds(&fixture)
        .revoke_access("og", None, "ac'`\"")
        .await
        .unwrap();
    ds(&fixture)
        .revoke_access("og", None, "app%")
        .await
        .unwrap();
    assert!(
        ds(&fixture)
            .list_access("og", None)
            .await
            .unwrap()
            .is_empty()
    );
    delete(&fixture, "og", None).await;
    drop_all(&fixture).await;
}

async fn refused(fixture: Arc<Fixture>) {
    create(&fixture, user("rg", None, "p", &[])).await;
    for databases in [
        ["rg_db", "mysql"],
        ["rg_db", "INFORMATION_SCHEMA"],
        ["rg_db", ""],
    ] {
        let result = ds(&fixture)
            .grant_access("rg", None, &databases.map(str::to_owned))
            .await;
        assert_eq!(kind_of(result), ErrorKind::BadRequest, "{databases:?}");
    }
    assert!(
        ds(&fixture)
            .list_access("rg", None)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        kind_of(ds(&fixture).revoke_access("rg", None, "sys").await),
        ErrorKind::BadRequest
    );
    // A grant never creates its user.
    let request = ["rg_db".to_owned()];
    let result = ds(&fixture)
        .grant_access("rg_missing", None, &request)
        .await;
    assert_eq!(kind_of(result), ErrorKind::NotFound);
    assert_eq!(
        ds(&fixture).get_user("rg_missing", None).await.unwrap(),
        None
    );
    let missing = ds(&fixture).list_access("rg_missing", None).await;
    assert_eq!(kind_of(missing), ErrorKind::NotFound);
    let missing = ds(&fixture)
        .revoke_access("rg_missing", None, "rg_db")
        .await;
    assert_eq!(kind_of(missing), ErrorKind::NotFound);
    for name in ["root", "os_admin"] {
        let result = ds(&fixture)
            .grant_access(name, Some("localhost"), &request)
            .await;
        assert_eq!(kind_of(result), ErrorKind::BadRequest, "{name}");
    }
    delete(&fixture, "rg", None).await;
}

async fn partial_revokes(fixture: Arc<Fixture>) {
    fixture.sql(&["SET GLOBAL partial_revokes = ON"]).await;
    create_all(&fixture).await;
    create(&fixture, user("pr", None, "p", &["ac_b", "ac\\b"])).await;
    assert_eq!(open_to(&fixture, "pr", "p").await, ["ac_b", "ac\\b"]);
    let access = ds(&fixture).list_access("pr", None).await.unwrap();
    assert_eq!(names_of(&access), ["ac\\b", "ac_b"]);
    ds(&fixture)
        .revoke_access("pr", None, "ac_b")
        .await
        .unwrap();
    assert_eq!(open_to(&fixture, "pr", "p").await, ["ac\\b"]);
    delete(&fixture, "pr", None).await;
    drop_all(&fixture).await;
    fixture.sql(&["SET GLOBAL partial_revokes = OFF"]).await;
}
