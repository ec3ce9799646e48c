//! TLS between clients and the server.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;

use datastore::{Secret, TlsMaterial, TlsMode};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::{Config, Error};

use crate::ds;
use crate::harness::{Cases, Fixture, user, value};

/// Text of a file of the agent's test authority.
macro_rules! pem {
    ($name:literal) => {
        include_str!(concat!("../data/", $name))
    };
}

pub(crate) fn cases(cases: &mut Cases) {
    cases.add("TLS: modes, and back", |fixture| async move {
        modes(&fixture).await;
    });
    cases.add(
        "TLS: what does not work changes nothing",
        |fixture| async move {
            failures(&fixture).await;
        },
    );
}

pub(crate) fn material() -> TlsMaterial {
    TlsMaterial {
        private_key: Secret::new(pem!("server.key")),
        certificate: pem!("server.pem").into(),
        ca: Some(pem!("ca.pem").into()),
    }
}

async fn plain(fixture: &Fixture) -> bool {
    fixture.login("tess", "pw", "postgres").await.is_ok()
}

/// Logs in with TLS, with a client certificate if asked to; whether the
/// session is encrypted.
async fn encrypted(fixture: &Fixture, with_certificate: bool) -> Result<bool, Error> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(pem!("ca.pem").as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let tls = match with_certificate {
        false => builder.with_no_client_auth(),
        true => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(pem!("client.pem").as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(pem!("client.key").as_bytes()).unwrap(),
            )
            .unwrap(),
    };
    let stream = TcpStream::connect(("127.0.0.1", fixture.settings().port))
        .await
        .unwrap();
    let mut config = Config::new();
    config
        .user("tess")
        .password("pw")
        .dbname("postgres")
        .ssl_mode(SslMode::Require);
    let (client, connection) = config.connect_raw(stream, Rustls(Arc::new(tls))).await?;
    tokio::spawn(connection);
    let query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    Ok(value(&client, query).await?.as_deref() == Some("t"))
}

async fn modes(fixture: &Fixture) {
    let ds = ds(fixture);
    ds.create_users(&[user("tess", "pw", &[])]).await.unwrap();
    assert!(!ds.tls_enabled().await.unwrap());
    assert!(encrypted(fixture, false).await.is_err());

    assert!(
        !ds.set_tls(Some(TlsMode::Basic), Some(&material()))
            .await
            .unwrap()
    );
    assert!(ds.tls_enabled().await.unwrap());
    assert!(plain(fixture).await && encrypted(fixture, false).await.unwrap());
    let files = ds.tls_files().unwrap();
    for path in [&files.private_key, &files.certificate, &files.ca] {
        let found = std::fs::metadata(path).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, 0o600);
        assert_eq!(found.uid(), fixture.settings().account.uid);
    }

    // A configuration group does not switch it off.
    let group = [("ssl".to_owned(), serde_json::json!("off"))].into();
    ds.update_overrides(&group, false).await.unwrap();
    ds.set_tls(Some(TlsMode::Enforced), None).await.unwrap();
    assert!(!plain(fixture).await && encrypted(fixture, false).await.unwrap());
    ds.update_overrides(&Default::default(), true)
        .await
        .unwrap();

    ds.set_tls(Some(TlsMode::Mtls), None).await.unwrap();
    assert!(!plain(fixture).await);
    assert!(encrypted(fixture, false).await.is_err());
    assert!(encrypted(fixture, true).await.unwrap());
    // The agent is not locked out.
    assert!(ds.get_user("tess", None).await.unwrap().is_some());

    ds.set_tls(None, None).await.unwrap();
    assert!(!ds.tls_enabled().await.unwrap());
    assert!(plain(fixture).await && encrypted(fixture, false).await.is_err());
    fixture.sql("postgres", &["DROP ROLE tess"]).await;
}

async fn failures(fixture: &Fixture) {
    let ds = ds(fixture);
    ds.create_users(&[user("tess", "pw", &[])]).await.unwrap();
    let files = ds.tls_files().unwrap();
    for path in [&files.private_key, &files.certificate, &files.ca] {
        std::fs::remove_file(path).unwrap();
    }
    // Nothing to switch on.
    assert!(ds.set_tls(Some(TlsMode::Basic), None).await.is_err());
    let authority = TlsMaterial {
        ca: None,
        ..material()
    };
    assert!(
        ds.set_tls(Some(TlsMode::Mtls), Some(&authority))
            .await
            .is_err()
    );
    assert!(!files.private_key.exists() && plain(fixture).await);

    ds.set_tls(Some(TlsMode::Enforced), Some(&material()))
        .await
        .unwrap();
    let other = TlsMaterial {
        certificate: pem!("client.pem").into(),
        ..material()
    };
    assert!(
        ds.set_tls(Some(TlsMode::Basic), Some(&other))
            .await
            .is_err()
    );
    let certificate = std::fs::read_to_string(&files.certificate).unwrap();
    assert_eq!(certificate, material().certificate);
    assert!(!plain(fixture).await && encrypted(fixture, false).await.unwrap());
    ds.set_tls(None, None).await.unwrap();
    fixture.sql("postgres", &["DROP ROLE tess"]).await;
}

/// rustls as the client wants it.
struct Rustls(Arc<ClientConfig>);

struct Stream(tokio_rustls::client::TlsStream<TcpStream>);

impl TlsConnect<TcpStream> for Rustls {
    type Stream = Stream;
    type Error = std::io::Error;
    type Future = crate::harness::Work<'static, std::io::Result<Stream>>;

    fn connect(self, stream: TcpStream) -> Self::Future {
        Box::pin(async move {
            let name = ServerName::try_from("db.example").unwrap();
            let connector = tokio_rustls::TlsConnector::from(self.0);
            Ok(Stream(connector.connect(name, stream).await?))
        })
    }
}

impl TlsStream for Stream {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

mod io {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::Stream;

    impl AsyncRead for Stream {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            Pin::new(&mut self.0).poll_read(context, buffer)
        }
    }

    impl AsyncWrite for Stream {
        fn poll_write(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<std::io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(context, bytes)
        }

        fn poll_flush(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<std::io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(context)
        }

        fn poll_shutdown(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<std::io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(context)
        }
    }
}
