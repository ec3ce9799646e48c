//! The tenant's administrator.

use std::sync::Arc;

use datastore::{ErrorKind, Secret};
use mysql_async::prelude::Queryable;

use crate::harness::{Cases, Fixture};
use crate::{ds, kind_of};

pub(crate) fn cases(cases: &mut Cases) {
    cases.add("root is enabled, disabled and enabled again", life_of_root);
    cases.add("root gets what is configured", configured_privileges);
}

async fn life_of_root(fixture: Arc<Fixture>) {
    assert!(!ds(&fixture).is_root_enabled().await.unwrap());
    // Nothing to lock out is no error.
    ds(&fixture).disable_root().await.unwrap();

    let root = ds(&fixture).enable_root(None).await.unwrap();
    assert_eq!(
        (root.name.as_str(), root.host.as_deref(), root.is_root),
        ("root", Some("%"), true)
    );
    assert!(root.databases.is_empty());
    let generated = root.password.unwrap();
    assert_eq!(generated.expose().len(), 36);
    assert!(ds(&fixture).is_root_enabled().await.unwrap());
    let mut session = fixture.login_tcp("root", generated.expose()).await.unwrap();
    let host: Option<String> = session.query_first("SELECT CURRENT_USER()").await.unwrap();
    assert_eq!(host.as_deref(), Some("root@%"));
    session
        .query_drop("CREATE USER 'by_root'@'%' IDENTIFIED BY 'Long-enough-1'")
        .await
        .unwrap();
    session
        .query_drop("GRANT ALL PRIVILEGES ON x.* TO 'by_root'@'%'")
        .await
        .unwrap();
    session.query_drop("DROP USER 'by_root'@'%'").await.unwrap();

    // Disabled: no new sessions, and the old one ends.
    ds(&fixture).disable_root().await.unwrap();
    assert!(!ds(&fixture).is_root_enabled().await.unwrap());
    assert!(fixture.login_tcp("root", generated.expose()).await.is_err());
    assert!(session.query_drop("SELECT 1").await.is_err());
    let accounts: Option<u64> = {
        let mut admin = fixture.admin().await;
        let query = "SELECT COUNT(*) FROM mysql.user WHERE User = 'root' AND Host = '%'";
        let count = admin.query_first(query).await.unwrap();
        admin.disconnect().await.unwrap();
        count
    };
    assert_eq!(accounts, Some(1), "the account stays");

    for password in ["p@:ss'w\"o\\rd` ", "日本\u{1F600}", "0644"] {
        let given = Secret::new(password);
        let root = ds(&fixture).enable_root(Some(&given)).await.unwrap();
        assert_eq!(root.password, Some(given));
        assert!(ds(&fixture).is_root_enabled().await.unwrap());
        fixture
            .login_tcp("root", password)
            .await
            .unwrap()
            .disconnect()
            .await
            .unwrap();
    }
    let empty = Secret::new("");
    assert_eq!(
        kind_of(ds(&fixture).enable_root(Some(&empty)).await),
        ErrorKind::BadRequest
    );
    ds(&fixture).disable_root().await.unwrap();
    fixture.sql(&["DROP USER 'root'@'%'"]).await;
}

async fn configured_privileges(fixture: Arc<Fixture>) {
    let limited = fixture.with_settings(|settings| {
        settings.root_grant = vec!["SELECT".into(), "CREATE USER".into()];
        settings.root_grant_option = false;
    });
    let root = limited.enable_root(None).await.unwrap();
    let password = root.password.unwrap();
    let mut session = fixture.login_tcp("root", password.expose()).await.unwrap();
    let grants: Vec<String> = session.query("SHOW GRANTS").await.unwrap();
    assert!(
        grants[0].starts_with("GRANT SELECT, CREATE USER ON *.* TO"),
        "{grants:?}"
    );
    assert!(!grants[0].contains("GRANT OPTION"), "{grants:?}");
    session.disconnect().await.unwrap();
    fixture.sql(&["DROP USER 'root'@'%'"]).await;

    let hostile = fixture.with_settings(|settings| {
        settings.root_grant = vec!["ALL ON *.* TO 'x'@'%'; --".into()];
    });
    assert_eq!(
        kind_of(hostile.enable_root(None).await),
        ErrorKind::BadRequest
    );
    assert!(!ds(&fixture).is_root_enabled().await.unwrap());
}
