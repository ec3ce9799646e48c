//! A look at the certificate that the server shows to clients: they begin with
//! a request for TLS (PostgreSQL manual, "SSL Session Encryption").

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use datastore::{Error, ErrorKind, Result};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tracing::warn;

const LIMIT: Duration = Duration::from_secs(10);
/// Length and code of the request.
const REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// Checks that the server at `port` of this machine makes connections with the
/// certificate in `file`.
pub(crate) async fn shows_certificate(port: u16, file: &Path) -> Result<()> {
    let pem = guest::read_optional(file).map_err(crate::errors::os_error)?;
    let own = CertificateDer::from_pem_slice(pem.unwrap_or_default().as_bytes())
        .map_err(|error| Error::failed(format!("{}: {error}", file.display())))?;
    match timeout(LIMIT, shown_certificate(port)).await {
        Ok(Ok(shown)) if shown == own => Ok(()),
        Ok(Ok(_)) => Err(Error::failed(
            "The server shows another certificate than the one it was given",
        )),
        // The tenant may listen elsewhere only.
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            warn!(
                port,
                "The server does not listen here; its certificate is not checked."
            );
            Ok(())
        }
        Ok(Err(error)) => Err(Error::failed(format!(
            "The server does not speak TLS with this certificate: {error}"
        ))),
        Err(_) => Err(Error::new(
            ErrorKind::Timeout,
            "The server does not answer a client that wants TLS",
        )),
    }
}

async fn shown_certificate(port: u16) -> io::Result<CertificateDer<'static>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(&REQUEST).await?;
    if stream.read_u8().await? != b'S' {
        return Err(io::Error::other("it refuses TLS"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Any(provider)))
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    let shown = stream.get_ref().1.peer_certificates();
    let own = shown.and_then(|chain| chain.first());
    own.map(|certificate| certificate.clone().into_owned())
        .ok_or_else(|| io::Error::other("it shows no certificate"))
}

/// Takes any certificate: it is compared afterwards. That the server has its
/// key is checked.
#[derive(Debug)]
struct Any(Arc<CryptoProvider>);

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
