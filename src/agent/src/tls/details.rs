//! What a certificate says, in the shape of the API.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use datastore::{Error, Result};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// The first certificate of a PEM text.
///
/// # Errors
/// When there is none that can be read.
pub fn details(pem: &str) -> Result<Value> {
    let failed = |error: &dyn std::fmt::Display| {
        Error::failed(format!("The server's certificate cannot be read: {error}"))
    };
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| failed(&error))?;
    let certificate = Certificate::from_der(&der).map_err(|error| failed(&error))?;
    let certificate = certificate.tbs_certificate();
    let name = certificate.subject().common_name().ok().flatten();
    let end = certificate.validity().not_after.to_date_time();
    let names = certificate.get_extension::<SubjectAltName>().ok().flatten();
    let names: Option<Vec<String>> =
        names.map(|(_, names)| names.0.iter().map(alternative).collect());
    Ok(json!({
        "cn": name.as_ref().map(|name| name.value()),
        "expire_at": format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.000000",
            end.year(), end.month(), end.day(), end.hour(), end.minutes(), end.seconds()
        ),
        "san": names,
        "payload": pem,
    }))
}

/// A name as OpenSSL prints it.
fn alternative(name: &GeneralName) -> String {
    match name {
        GeneralName::DnsName(name) => format!("DNS:{name}"),
        GeneralName::Rfc822Name(name) => format!("email:{name}"),
        GeneralName::UniformResourceIdentifier(name) => format!("URI:{name}"),
        GeneralName::RegisteredId(id) => format!("Registered ID:{id}"),
        GeneralName::DirectoryName(name) => format!("DirName:{name}"),
        GeneralName::IpAddress(address) => format!("IP Address:{}", ip(address.as_bytes())),
        GeneralName::OtherName(_) => "othername:<unsupported>".to_owned(),
        GeneralName::EdiPartyName(_) => "EdiPartyName:<unsupported>".to_owned(),
    }
}

/// Addresses of version 6 without abbreviation.
fn ip(bytes: &[u8]) -> String {
    if let Ok(address) = <[u8; 4]>::try_from(bytes) {
        return Ipv4Addr::from(address).to_string();
    }
    let Ok(address) = <[u8; 16]>::try_from(bytes) else {
        return "<invalid>".to_owned();
    };
    let mut text = String::new();
    for (index, group) in Ipv6Addr::from(address).segments().into_iter().enumerate() {
        let colon = if index == 0 { "" } else { ":" };
        let _ = write!(text, "{colon}{group:X}");
    }
    text
}
