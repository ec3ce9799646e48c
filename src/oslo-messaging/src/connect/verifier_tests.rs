//! The certificates are real but their keys are gone: nothing can be signed
//! with them, and nothing needs to be.

use rustls::pki_types::pem::PemObject;

use super::*;

const CA: &[u8] = include_bytes!("../../testdata/tls/ca.pem");
const BROKER: &[u8] = include_bytes!("../../testdata/tls/broker.pem");
const SELF_SIGNED: &[u8] = include_bytes!("../../testdata/tls/self-signed.pem");

fn certificate(pem: &[u8]) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem).unwrap()
}

fn verify(
    trust: Option<&[u8]>,
    check_name: bool,
    pem: &[u8],
    name: &str,
    years: u64,
) -> Result<(), Error> {
    let trust = trust.map(|pem| {
        let mut roots = RootCertStore::empty();
        roots.add(certificate(pem)).unwrap();
        (roots, vec![certificate(pem)])
    });
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(years * 31_557_600));
    BrokerVerifier::new(provider, trust, check_name)
        .verify_server_cert(&certificate(pem), &[], &name, &[], now)
        .map(drop)
}

/// Years since 1970 within the validity of the test certificates, and after it.
const NOW: u64 = 60;
const TOO_LATE: u64 = 200;

#[test]
fn without_authorities_anything_goes() {
    assert!(verify(None, true, SELF_SIGNED, "elsewhere.example", TOO_LATE).is_ok());
}

#[test]
fn a_chain_to_the_authority_is_needed() {
    assert!(verify(Some(CA), true, BROKER, "broker.example", NOW).is_ok());
    assert!(verify(Some(CA), true, BROKER, "192.0.2.1", NOW).is_ok());
    assert!(verify(Some(CA), true, SELF_SIGNED, "self.example", NOW).is_err());
    assert!(verify(Some(SELF_SIGNED), true, BROKER, "broker.example", NOW).is_err());
}

#[test]
fn the_name_is_compared_unless_switched_off() {
    for name in ["other.example", "192.0.2.2", "broker"] {
        assert!(verify(Some(CA), true, BROKER, name, NOW).is_err(), "{name}");
        assert!(verify(Some(CA), false, BROKER, name, NOW).is_ok(), "{name}");
    }
    assert!(verify(Some(CA), false, SELF_SIGNED, "self.example", NOW).is_err());
}

#[test]
fn a_pinned_self_signed_certificate_is_its_own_authority() {
    assert!(verify(Some(SELF_SIGNED), true, SELF_SIGNED, "self.example", NOW).is_ok());
    assert!(verify(Some(SELF_SIGNED), true, SELF_SIGNED, "other.example", NOW).is_err());
    assert!(verify(Some(SELF_SIGNED), false, SELF_SIGNED, "other.example", NOW).is_ok());
}

#[test]
fn expired_certificates_are_refused() {
    assert!(verify(Some(CA), true, BROKER, "broker.example", TOO_LATE).is_err());
    assert!(
        verify(
            Some(SELF_SIGNED),
            false,
            SELF_SIGNED,
            "self.example",
            TOO_LATE
        )
        .is_err()
    );
}
