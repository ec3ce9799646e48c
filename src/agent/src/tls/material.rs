//! A private key, its certificate and its authorities, checked as a set.

use datastore::{Error, Result, TlsMaterial, TlsMode};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

/// Checks that a server can work with the material: key and certificate belong
/// together, the certificate is valid now and made by the authorities, if some
/// are given.
///
/// # Errors
/// What is wrong, without a word of the key.
pub fn validate(material: &TlsMaterial, mode: TlsMode) -> Result<()> {
    let chain = certificates("certificate", &material.certificate)?;
    let Some(own) = chain.first() else {
        return Err(bad("There is no certificate"));
    };
    check_dates(own)?;
    check_key(material, &chain)?;
    let authorities = match material.ca.as_deref() {
        Some(ca) if !ca.trim().is_empty() => certificates("authority", ca)?,
        _ => Vec::new(),
    };
    if authorities.is_empty() {
        if mode == TlsMode::Mtls {
            return Err(bad(
                "Mode mtls needs the authority that made the clients' certificates",
            ));
        }
        return Ok(());
    }
    check_chain(&chain, &authorities)
}

fn bad(what: impl Into<String>) -> Error {
    Error::bad_request(what)
}

fn certificates(what: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|error| bad(format!("The {what} is no PEM text: {error}")))
}

fn check_dates(own: &CertificateDer<'_>) -> Result<()> {
    let parsed = Certificate::from_der(own)
        .map_err(|error| bad(format!("The certificate cannot be read: {error}")))?;
    let validity = parsed.tbs_certificate().validity();
    let (begin, end) = (&validity.not_before, &validity.not_after);
    let now = UnixTime::now().as_secs();
    if now > end.to_unix_duration().as_secs() {
        return Err(bad(format!("The certificate has expired: {end}")));
    }
    if now < begin.to_unix_duration().as_secs() {
        return Err(bad(format!("The certificate is not valid yet: {begin}")));
    }
    Ok(())
}

/// What the parser says of a key may quote it.
fn check_key(material: &TlsMaterial, chain: &[CertificateDer<'static>]) -> Result<()> {
    let pem = material.private_key.expose().as_bytes();
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
        bad("The private key is no PEM text of an unencrypted PKCS#8, PKCS#1 or SEC1 key")
    })?;
    let key = ring::sign::any_supported_type(&key).map_err(|_| {
        bad("The private key is none of RSA (2048 bits or more), ECDSA (P-256 or P-384) or Ed25519")
    })?;
    match CertifiedKey::new(chain.to_vec(), key).keys_match() {
        Ok(()) => Ok(()),
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err(bad("The private key does not belong to the certificate"))
        }
        Err(error) => Err(bad(format!(
            "The private key cannot be compared with the certificate: {error}"
        ))),
    }
}

fn check_chain(
    chain: &[CertificateDer<'static>],
    authorities: &[CertificateDer<'static>],
) -> Result<()> {
    let Some((own, between)) = chain.split_first() else {
        return Ok(());
    };
    // One that has made itself.
    if authorities.contains(own) {
        return Ok(());
    }
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots
            .add(authority.clone())
            .map_err(|error| bad(format!("An authority cannot be used: {error}")))?;
    }
    let parsed = ParsedCertificate::try_from(own)
        .map_err(|error| bad(format!("The certificate cannot be read: {error}")))?;
    let provider = ring::default_provider();
    verify_server_cert_signed_by_trust_anchor(
        &parsed,
        &roots,
        between,
        UnixTime::now(),
        provider.signature_verification_algorithms.all,
    )
    .map_err(|error| {
        bad(format!(
            "The certificate was not made by the given authorities: {error}"
        ))
    })
}
