//! Material that servers can work with, and material that they cannot.

use datastore::{ErrorKind, Secret, TlsMaterial, TlsMode};

use super::{details, validate};

/// Text of a file of `testdata`.
macro_rules! pem {
    ($name:literal) => {
        include_str!(concat!("testdata/", $name))
    };
}

/// A certificate of the test authority.
pub fn material() -> TlsMaterial {
    TlsMaterial {
        private_key: Secret::new(pem!("server.key")),
        certificate: pem!("server.pem").to_owned(),
        ca: Some(pem!("ca.pem").to_owned()),
    }
}

fn refused(material: &TlsMaterial, mode: TlsMode) -> String {
    let error = validate(material, mode).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadRequest);
    let text = error.to_string();
    for line in material
        .private_key
        .expose()
        .lines()
        .filter(|line| !line.is_empty())
    {
        assert!(!text.contains(line), "{text}");
    }
    text
}

#[test]
fn sets_that_fit_are_accepted() {
    for mode in [TlsMode::Basic, TlsMode::Enforced, TlsMode::Mtls] {
        validate(&material(), mode).unwrap();
    }
    let alone = TlsMaterial {
        ca: Some(String::new()),
        ..material()
    };
    validate(&alone, TlsMode::Enforced).unwrap();
    // RSA in the form that Trove sends, and a certificate that has made itself.
    let itself = TlsMaterial {
        private_key: Secret::new(pem!("self.key")),
        certificate: pem!("self.pem").to_owned(),
        ca: Some(pem!("self.pem").to_owned()),
    };
    validate(&itself, TlsMode::Mtls).unwrap();
}

#[test]
fn sets_that_do_not_fit_are_refused() {
    let own = material();
    for (key, certificate, ca, words) in [
        (
            pem!("other.key"),
            own.certificate.as_str(),
            pem!("ca.pem"),
            "does not belong",
        ),
        (
            pem!("encrypted.key"),
            &own.certificate,
            pem!("ca.pem"),
            "unencrypted",
        ),
        ("garbage", &own.certificate, pem!("ca.pem"), "private key"),
        (pem!("server.key"), pem!("expired.pem"), "", "expired"),
        (pem!("server.key"), "", pem!("ca.pem"), "no certificate"),
        (
            pem!("server.key"),
            &own.certificate,
            pem!("other-ca.pem"),
            "not made by",
        ),
        (
            pem!("server.key"),
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "",
            "cannot be read",
        ),
        (
            pem!("server.key"),
            &own.certificate,
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
            "authority is no PEM",
        ),
    ] {
        let material = TlsMaterial {
            private_key: Secret::new(key),
            certificate: certificate.to_owned(),
            ca: Some(ca.to_owned()),
        };
        let text = refused(&material, TlsMode::Basic);
        assert!(text.contains(words), "{words}: {text}");
    }
    let alone = TlsMaterial { ca: None, ..own };
    assert!(refused(&alone, TlsMode::Mtls).contains("authority"));
}

#[test]
fn certificates_are_shown_as_the_api_has_them() {
    let shown = details(pem!("server.pem")).unwrap();
    assert_eq!(shown["cn"], "db.example");
    assert_eq!(
        shown["san"],
        serde_json::json!([
            "DNS:db.example",
            "DNS:*.db.example",
            "IP Address:198.51.100.7",
            "IP Address:2001:DB8:0:0:0:0:0:1"
        ])
    );
    assert_eq!(shown["payload"], pem!("server.pem"));
    let old = details(pem!("expired.pem")).unwrap();
    assert_eq!(old["expire_at"], "2020-01-02T00:00:00.000000");
    assert!(old["san"].is_null());
    assert!(details("garbage").is_err());
}
