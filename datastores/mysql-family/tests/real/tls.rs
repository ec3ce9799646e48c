//! TLS between clients and the server.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;

use datastore::{ErrorKind, Secret, TlsMaterial, TlsMode};
use tokio::process::Command;

use crate::harness::{Cases, Fixture, Product, Site};
use crate::users::user;
use crate::{ds, kind_of};

/// Text of a file of the test authority.
macro_rules! pem {
    ($name:literal) => {
        include_str!(concat!("../data/", $name))
    };
}

/// Cases for a server that takes certificates while it runs.
pub(crate) fn cases(cases: &mut Cases, product: Product) {
    match product {
        Product::Mysql => cases.add("TLS: modes of a running server", live),
        Product::Mariadb => cases.add("TLS: refusals", refusals),
    }
}

fn material() -> TlsMaterial {
    TlsMaterial {
        private_key: Secret::new(pem!("server.key")),
        certificate: pem!("server.pem").into(),
        ca: Some(pem!("ca.pem").into()),
    }
}

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

/// How MariaDB's client, which knows both servers, fares as user `tess`, over
/// TCP.
async fn client(site: &Site, arguments: &[&str]) -> Output {
    Command::new(Product::mariadb_tools().join("mariadb"))
        .args(["--no-defaults", "--protocol=tcp", "--host=127.0.0.1"])
        .args([
            "--user=tess",
            "--password=pw",
            "--batch",
            "--skip-column-names",
        ])
        .arg(format!("--port={}", site.port))
        .args(arguments)
        .args(["--execute", "SHOW SESSION STATUS LIKE 'Ssl_cipher'"])
        .output()
        .await
        .unwrap()
}

/// Whether a client comes in, and whether its session is encrypted.
async fn comes_in(site: &Site, arguments: &[&str]) -> Option<bool> {
    let output = client(site, arguments).await;
    let text = String::from_utf8_lossy(&output.stdout);
    output
        .status
        .success()
        .then(|| text.split_whitespace().nth(1).is_some())
}

fn encrypted(with_certificate: bool) -> Vec<String> {
    let mut arguments = vec![
        "--ssl".to_owned(),
        format!("--ssl-ca={}", data("ca.pem").display()),
    ];
    if with_certificate {
        arguments.push(format!("--ssl-cert={}", data("client.pem").display()));
        arguments.push(format!("--ssl-key={}", data("client.key").display()));
    }
    arguments
}

/// What clients without TLS, with it, and with a certificate get.
async fn three(site: &Site) -> [Option<bool>; 3] {
    let mut found = [None; 3];
    let plain = vec!["--skip-ssl".to_owned()];
    let ways = [plain, encrypted(false), encrypted(true)];
    for (way, found) in ways.iter().zip(&mut found) {
        let arguments: Vec<&str> = way.iter().map(String::as_str).collect();
        *found = comes_in(site, &arguments).await;
    }
    found
}

const BASIC: [Option<bool>; 3] = [Some(false), Some(true), Some(true)];
const ENFORCED: [Option<bool>; 3] = [None, Some(true), Some(true)];
const MTLS: [Option<bool>; 3] = [None, None, Some(true)];

async fn live(fixture: Arc<Fixture>) {
    let ds = ds(&fixture);
    ds.create_users(&[user("tess", None, "pw", &[])])
        .await
        .unwrap();
    // The server makes a certificate for itself.
    assert!(ds.tls_enabled().await.unwrap());
    let files = ds.tls_files().unwrap();
    let own = std::fs::read_to_string(&files.certificate).unwrap();
    for (mode, expected) in [
        (TlsMode::Basic, BASIC),
        (TlsMode::Enforced, ENFORCED),
        (TlsMode::Mtls, MTLS),
        (TlsMode::Basic, BASIC),
    ] {
        assert!(!ds.set_tls(Some(mode), Some(&material())).await.unwrap());
        assert_eq!(three(&fixture).await, expected, "{mode:?}");
    }
    let mode = std::fs::metadata(&files.private_key)
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    // Accounts made later follow.
    ds.set_tls(Some(TlsMode::Mtls), None).await.unwrap();
    fixture.sql(&["DROP USER tess"]).await;
    ds.create_users(&[user("tess", None, "pw", &[])])
        .await
        .unwrap();
    assert_eq!(three(&fixture).await, MTLS);

    // A server that refuses the files keeps what it has, accounts and all.
    let bad = TlsMaterial {
        private_key: Secret::new(pem!("client.key")),
        ..material()
    };
    ds.set_tls(Some(TlsMode::Basic), Some(&bad))
        .await
        .unwrap_err();
    assert_eq!(three(&fixture).await, MTLS);
    let key = std::fs::read_to_string(&files.private_key).unwrap();
    assert_eq!(key, pem!("server.key"));
    assert_ne!(std::fs::read_to_string(&files.certificate).unwrap(), own);

    assert_eq!(
        kind_of(ds.set_tls(None, None).await),
        ErrorKind::NotSupported
    );
    ds.set_tls(Some(TlsMode::Basic), None).await.unwrap();
    fixture.sql(&["DROP USER tess"]).await;
}

async fn refusals(fixture: Arc<Fixture>) {
    let ds = ds(&fixture);
    let nothing = ds.set_tls(Some(TlsMode::Basic), None).await;
    assert_eq!(kind_of(nothing), ErrorKind::BadRequest);
    let alone = TlsMaterial {
        ca: None,
        ..material()
    };
    let refused = ds.set_tls(Some(TlsMode::Mtls), Some(&alone)).await;
    assert_eq!(kind_of(refused), ErrorKind::BadRequest);
    assert!(!ds.tls_files().unwrap().private_key.exists());
    assert!(!ds.tls_enabled().await.unwrap());
}

/// MariaDB takes a certificate with a restart, and others for it without.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_restarts_for_tls() {
    let fixture = Fixture::start(Product::Mariadb).await;
    let created = ds(&fixture)
        .create_users(&[user("tess", None, "pw", &[])])
        .await;
    created.unwrap();
    let waits = ds(&fixture)
        .set_tls(Some(TlsMode::Enforced), Some(&material()))
        .await;
    assert!(waits.unwrap());
    // Nobody is locked out until then.
    assert_eq!(three(&fixture).await[0], Some(false));

    let fixture = fixture.restart().await;
    ds(&fixture).housekeeping().await.unwrap();
    assert!(ds(&fixture).tls_enabled().await.unwrap());
    assert_eq!(three(&fixture).await, ENFORCED);
    for (mode, expected) in [(TlsMode::Mtls, MTLS), (TlsMode::Basic, BASIC)] {
        let waits = ds(&fixture).set_tls(Some(mode), Some(&material())).await;
        assert!(!waits.unwrap());
        assert_eq!(three(&fixture).await, expected, "{mode:?}");
    }
    assert!(ds(&fixture).set_tls(None, None).await.unwrap());
    let fixture = fixture.restart().await;
    assert!(!ds(&fixture).tls_enabled().await.unwrap());
    assert_eq!(three(&fixture).await[0], Some(false));
    fixture.stop().await;
}
