//! rustls from `[oslo_messaging_rabbit] ssl_*`.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use super::verifier::BrokerVerifier;
use crate::RabbitOptions;

/// Builds the client side of TLS; the error text names the file it is about.
///
/// Protocol versions: rustls has 1.2 and 1.3 only, so the older names of
/// `ssl_version` mean "1.2 or newer".
pub(super) fn client_config(options: &RabbitOptions) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let trust = match options.ssl_ca_file.as_str() {
        "" => None,
        path => Some(read_authorities(path)?),
    };
    let verifier = BrokerVerifier::new(
        provider.clone(),
        trust,
        options.ssl_enforce_hostname_verification,
    );
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(protocol_versions(&options.ssl_version))
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let config = match (
        options.ssl_cert_file.as_str(),
        options.ssl_key_file.as_str(),
    ) {
        ("", "") => builder.with_no_client_auth(),
        ("", _) => return Err("ssl_key_file is set without ssl_cert_file".to_owned()),
        // Python's load_cert_chain finds the key in the certificate's file.
        (cert, key) => {
            let key_file = if key.is_empty() { cert } else { key };
            let key = PrivateKeyDer::from_pem_file(key_file)
                .map_err(|error| format!("read private key from {key_file}: {error}"))?;
            builder
                .with_client_auth_cert(read_certificates(cert)?, key)
                .map_err(|error| format!("use {cert} with {key_file}: {error}"))?
        }
    };
    Ok(Arc::new(config))
}

/// Why a handshake failed, in words for an operator.
pub(super) fn explain(error: &io::Error) -> String {
    match error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    {
        Some(rustls::Error::InvalidMessage(_)) => {
            "the peer does not speak TLS on this port".to_owned()
        }
        Some(error) => error.to_string(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "the peer hung up".to_owned(),
        None => error.to_string(),
    }
}

static TLS12_ONLY: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS12];
static TLS13_ONLY: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];

fn protocol_versions(name: &str) -> &'static [&'static SupportedProtocolVersion] {
    match name.to_ascii_lowercase().as_str() {
        "tlsv1_2" => &TLS12_ONLY,
        "tlsv1_3" => &TLS13_ONLY,
        _ => rustls::ALL_VERSIONS,
    }
}

/// The authorities of a PEM file, also as plain certificates: a self-signed
/// broker certificate is often its own authority.
fn read_authorities(path: &str) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), String> {
    let certificates = read_certificates(path)?;
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates.iter().cloned());
    if added == 0 {
        return Err(format!("{path} holds no usable certificate"));
    }
    Ok((roots, certificates))
}

fn read_certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(Path::new(path))
        .and_then(Iterator::collect)
        .map_err(|error| format!("read certificates from {path}: {error}"))?;
    if certificates.is_empty() {
        return Err(format!("{path} holds no PEM certificate"));
    }
    Ok(certificates)
}
