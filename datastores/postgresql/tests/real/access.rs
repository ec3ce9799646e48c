//! What users may do with databases.

use datastore::{Database, ErrorKind};

use crate::harness::{Cases, user};
use crate::{ds, kind_of};

pub(crate) fn cases(cases: &mut Cases) {
    cases.add("access: grant, list, revoke", |fixture| async move {
        let ds = ds(&fixture);
        let names = ["a1", "a2"];
        ds.create_databases(&names.map(Database::named))
            .await
            .unwrap();
        ds.create_users(&[user("u", "pw", &[]), user("other", "pw", &[])])
            .await
            .unwrap();
        assert_eq!(ds.list_access("u", None).await.unwrap(), []);
        ds.grant_access("u", Some("%"), &names.map(str::to_owned))
            .await
            .unwrap();
        let access = ds.list_access("u", Some("%")).await.unwrap();
        let found: Vec<&str> = access
            .iter()
            .map(|database| database.name.as_str())
            .collect();
        assert_eq!(found, names);
        assert_eq!(access[0].character_set.as_deref(), Some("UTF8"));

        ds.revoke_access("u", Some("%"), "a1").await.unwrap();
        let access = ds.list_access("u", None).await.unwrap();
        assert_eq!(access.len(), 1);
        // Taken away for real, and from nobody else.
        assert!(fixture.login("u", "pw", "a1").await.is_err());
        fixture.login("u", "pw", "a2").await.unwrap();
        let session = fixture.login("other", "pw", "a1").await.unwrap();
        session
            .batch_execute("CREATE TEMP TABLE t (n int)")
            .await
            .unwrap();
        // Being let in is not what a grant is.
        assert_eq!(ds.list_access("other", None).await.unwrap(), []);
        // Again, and back again.
        ds.revoke_access("u", None, "a1").await.unwrap();
        ds.grant_access("u", None, &["a1".into()]).await.unwrap();
        let session = fixture.login("u", "pw", "a1").await.unwrap();
        session
            .batch_execute("CREATE TABLE mine (n int)")
            .await
            .unwrap();
        drop(session);
        for name in ["u", "other"] {
            ds.delete_user(&user(name, "", &[])).await.unwrap();
        }
        for name in names {
            ds.delete_database(&Database::named(name)).await.unwrap();
        }
    });

    cases.add(
        "access: requests side by side stay in their databases",
        |fixture| async move {
            let ds = ds(&fixture);
            let names: Vec<String> = (0..6).map(|number| format!("s{number}")).collect();
            let databases: Vec<Database> = names.iter().map(Database::named).collect();
            ds.create_databases(&databases).await.unwrap();
            let users: Vec<_> = names.iter().map(|name| user(name, "pw", &[])).collect();
            ds.create_users(&users).await.unwrap();
            let grants = names.iter().map(|name| async move {
                for _ in 0..3 {
                    let own = [name.clone()];
                    ds.grant_access(name, None, &own).await.unwrap();
                    ds.revoke_access(name, None, name).await.unwrap();
                    ds.grant_access(name, None, &own).await.unwrap();
                }
            });
            let all: Vec<_> = grants.collect();
            futures(all).await;
            for name in &names {
                let access = ds.list_access(name, None).await.unwrap();
                let found: Vec<&str> = access
                    .iter()
                    .map(|database| database.name.as_str())
                    .collect();
                assert_eq!(found, [name]);
                let session = fixture.login(name, "pw", name).await.unwrap();
                session.batch_execute("CREATE TABLE t ()").await.unwrap();
            }
            for (user, database) in users.iter().zip(&databases) {
                ds.delete_user(user).await.unwrap();
                ds.delete_database(database).await.unwrap();
            }
        },
    );

    cases.add("access: what does not exist", |fixture| async move {
        let ds = ds(&fixture);
        ds.create_users(&[user("u", "pw", &[])]).await.unwrap();
        ds.create_databases(&[Database::named("d")]).await.unwrap();
        for result in [
            ds.grant_access("u", None, &["absent".into()]).await,
            ds.grant_access("absent", None, &["d".into()]).await,
            ds.revoke_access("u", None, "absent").await,
            ds.revoke_access("absent", None, "d").await,
            ds.list_access("absent", None).await.map(drop),
        ] {
            assert_eq!(kind_of(result), ErrorKind::NotFound);
        }
        // Every name is checked before the first is granted.
        let names = ["d".to_owned(), "postgres".to_owned()];
        assert_eq!(
            kind_of(ds.grant_access("u", None, &names).await),
            ErrorKind::BadRequest
        );
        assert_eq!(ds.list_access("u", None).await.unwrap(), []);
        ds.delete_user(&user("u", "", &[])).await.unwrap();
        ds.delete_database(&Database::named("d")).await.unwrap();
    });

    cases.add(
        "access: a database without the schema public",
        |fixture| async move {
            let ds = ds(&fixture);
            ds.create_databases(&[Database::named("bare")])
                .await
                .unwrap();
            fixture.sql("bare", &["DROP SCHEMA public"]).await;
            ds.create_users(&[user("u", "pw", &["bare"])])
                .await
                .unwrap();
            ds.revoke_access("u", None, "bare").await.unwrap();
            ds.delete_user(&user("u", "", &[])).await.unwrap();
            ds.delete_database(&Database::named("bare")).await.unwrap();
        },
    );

    cases.add(
        "access: a grant that somebody else made",
        |fixture| async move {
            let ds = ds(&fixture);
            ds.create_databases(&[Database::named("d")]).await.unwrap();
            ds.create_users(&[user("giver", "pw", &[]), user("u", "pw", &[])])
                .await
                .unwrap();
            fixture
                .sql("d", &["GRANT ALL ON DATABASE d TO giver WITH GRANT OPTION"])
                .await;
            let giver = fixture.login("giver", "pw", "d").await.unwrap();
            giver
                .batch_execute("GRANT CONNECT ON DATABASE d TO u")
                .await
                .unwrap();
            fixture.login("u", "pw", "d").await.unwrap();
            ds.revoke_access("u", None, "d").await.unwrap();
            assert!(fixture.login("u", "pw", "d").await.is_err());
            // And when a user goes.
            giver
                .batch_execute("GRANT CONNECT ON DATABASE d TO u")
                .await
                .unwrap();
            drop(giver);
            for name in ["u", "giver"] {
                ds.delete_user(&user(name, "", &[])).await.unwrap();
            }
            ds.delete_database(&Database::named("d")).await.unwrap();
        },
    );
}

/// Runs all at once.
async fn futures<W: Future<Output = ()>>(work: Vec<W>) {
    let mut work: Vec<_> = work.into_iter().map(Box::pin).collect();
    std::future::poll_fn(|context| {
        work.retain_mut(|work| work.as_mut().poll(context).is_pending());
        match work.is_empty() {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
}
