//! Files of a server's TLS.

use std::path::Path;

use datastore::{Error, Result, TlsFiles, TlsMaterial};
use guest::{Account, Attributes};

use crate::errors::os_error;

/// Writes key, certificate and authority for the server's account alone. An
/// authority that is not given stays as it is.
///
/// # Errors
/// When one cannot be written.
pub fn write_material(material: &TlsMaterial, files: &TlsFiles, account: &Account) -> Result<()> {
    let private = Attributes {
        mode: 0o600,
        owner: Some((account.uid, account.gid)),
    };
    let write = |path: &Path, text: &str| {
        guest::write_atomic(path, text.as_bytes(), &private).map_err(os_error)
    };
    write(&files.private_key, material.private_key.expose())?;
    write(&files.certificate, &material.certificate)?;
    match material.ca.as_deref() {
        Some(ca) if !ca.is_empty() => write(&files.ca, ca),
        _ => Ok(()),
    }
}

/// Refuses TLS without a file.
///
/// # Errors
/// When it does not exist.
pub fn must_exist(path: &Path) -> Result<()> {
    if path.is_file() {
        return Ok(());
    }
    Err(Error::bad_request(format!(
        "TLS needs {}, which does not exist: provide a certificate with its key (and, for mode \
         mtls, the authority of the clients)",
        path.display()
    )))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use datastore::Secret;

    use super::*;

    #[test]
    fn only_the_server_reads_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let own = std::fs::metadata(dir.path()).unwrap();
        let account = Account {
            name: "database".into(),
            uid: own.uid(),
            gid: own.gid(),
        };
        let files = TlsFiles {
            private_key: dir.path().join("key"),
            certificate: dir.path().join("certificate"),
            ca: dir.path().join("ca"),
        };
        let material = |ca: Option<&str>| TlsMaterial {
            private_key: Secret::new("k"),
            certificate: "c".into(),
            ca: ca.map(str::to_owned),
        };
        write_material(&material(Some("")), &files, &account).unwrap();
        assert!(must_exist(&files.ca).is_err());
        write_material(&material(Some("a")), &files, &account).unwrap();
        write_material(&material(None), &files, &account).unwrap();
        for (path, text) in [
            (&files.private_key, "k"),
            (&files.certificate, "c"),
            (&files.ca, "a"),
        ] {
            must_exist(path).unwrap();
            assert_eq!(std::fs::read_to_string(path).unwrap(), text);
            let mode = std::fs::metadata(path).unwrap().mode() & 0o777;
            assert_eq!(mode, 0o600);
        }
    }
}
