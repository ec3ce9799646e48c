//! The tenant's administrator.

use datastore::Secret;

use crate::ds;
use crate::harness::{Cases, page, value};

pub(crate) fn cases(cases: &mut Cases) {
    cases.add("root: enable and disable", |fixture| async move {
        let ds = ds(&fixture);
        assert!(!ds.is_root_enabled().await.unwrap());
        // Nothing to disable is no error.
        ds.disable_root().await.unwrap();
        let root = ds.enable_root(None).await.unwrap();
        assert!(root.is_root);
        assert_eq!(
            (root.name.as_str(), root.host.as_deref()),
            ("root", Some("%"))
        );
        let generated = root.password.unwrap();
        assert_eq!(generated.expose().len(), 36);
        assert!(ds.is_root_enabled().await.unwrap());
        let session = fixture
            .login("root", generated.expose(), "postgres")
            .await
            .unwrap();
        let options = "SELECT rolsuper AND rolcreatedb AND rolcreaterole AND rolreplication \
                       AND rolbypassrls AND rolinherit FROM pg_roles WHERE rolname = current_user";
        assert_eq!(
            value(&session, options).await.unwrap().as_deref(),
            Some("t")
        );

        let given = Secret::new("it's \"mine\"\\");
        ds.enable_root(Some(&given)).await.unwrap();
        assert!(
            fixture
                .login("root", generated.expose(), "postgres")
                .await
                .is_err()
        );
        fixture
            .login("root", given.expose(), "postgres")
            .await
            .unwrap();
        let users = ds.list_users(&page(None, None, false)).await.unwrap();
        assert_eq!(users.items[0].name, "root");

        ds.disable_root().await.unwrap();
        assert!(!ds.is_root_enabled().await.unwrap());
        assert!(
            fixture
                .login("root", given.expose(), "postgres")
                .await
                .is_err()
        );
        // Sessions it had open are over.
        assert!(session.simple_query("SELECT 1").await.is_err());
        ds.enable_root(Some(&given)).await.unwrap();
        fixture
            .login("root", given.expose(), "postgres")
            .await
            .unwrap();
        fixture.sql("postgres", &["DROP ROLE root"]).await;
    });
}
