//! TLS between the tenant's clients and the server: three files beside the
//! data, an override, and access rules. A reload makes it true for new
//! connections; those that are open stay as they are.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::PoisonError;

use datastore::{Error, Result, TlsFiles, TlsMaterial, TlsMode};
use guest::{Attributes, Kept};
use tracing::{error, info};

use crate::Server;
use crate::conf::Document;
use crate::errors::{os_error, sql_error};
use crate::overrides::{Group, Overrides};
use crate::session::SqlResult;
use crate::tls_check;

/// The id of the override.
const ID: &str = "tls";
/// Names beside the data, as the server's parameters have them.
const KEY: &str = "server.key";
const CERTIFICATE: &str = "server.crt";
const AUTHORITIES: &str = "ca.crt";

impl Server {
    pub(crate) fn tls_paths(&self) -> TlsFiles {
        let dir = self.settings.layout.data_dir();
        TlsFiles {
            private_key: dir.join(KEY),
            certificate: dir.join(CERTIFICATE),
            ca: dir.join(AUTHORITIES),
        }
    }

    /// What is demanded of clients.
    pub(crate) fn tls_mode(&self) -> Option<TlsMode> {
        *self.tls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_tls_mode(&self, mode: Option<TlsMode>) {
        *self.tls.lock().unwrap_or_else(PoisonError::into_inner) = mode;
    }

    pub(crate) async fn offers_tls(&self) -> Result<bool> {
        let session = self.session().await?;
        let query = "SELECT current_setting('ssl')::bool";
        let on: SqlResult<bool> = match session.first(query, &[]).await {
            Ok(Some(row)) => row.try_get(0).map_err(Into::into),
            Ok(None) => Ok(false),
            Err(error) => Err(error),
        };
        session.close().await;
        on.map_err(|error| sql_error("look whether TLS is on", error))
    }

    /// Switches TLS on or off; after an error all is as it was.
    pub(crate) async fn switch_tls(
        &self,
        mode: Option<TlsMode>,
        material: Option<&TlsMaterial>,
    ) -> Result<()> {
        let files = self.tls_paths();
        let paths = [&files.private_key, &files.certificate, &files.ca];
        let kept: Result<Vec<Kept>> = paths
            .into_iter()
            .map(|path| Kept::of(path).map_err(os_error))
            .collect();
        let (kept, before) = (kept?, self.tls_mode());
        let overrides = Overrides::new(&self.settings.layout.include_dir);
        let document = overrides.read(Group::SystemLate, ID)?;
        match self.apply_tls(mode, material, &files).await {
            Ok(()) => {
                info!(mode = mode.map_or("off", TlsMode::name), "TLS switched.");
                Ok(())
            }
            Err(refusal) => {
                self.set_tls_mode(before);
                if let Err(error) = self.put_tls_back(&kept, &document).await {
                    error!(%error, "TLS not put back as it was.");
                }
                Err(refusal)
            }
        }
    }

    /// Before a start on data that has the files of a mode already.
    pub(crate) fn put_tls_on(&self, mode: Option<TlsMode>) -> Result<()> {
        let options = match mode {
            None => Document::default(),
            Some(_) => tls_options(mode, &self.tls_paths())?,
        };
        self.write_tls_override(&options)?;
        self.set_tls_mode(mode);
        Ok(())
    }

    async fn put_tls_back(&self, kept: &[Kept], document: &Document) -> Result<()> {
        for file in kept {
            file.put_back().map_err(os_error)?;
        }
        self.write_tls_override(document)?;
        self.write_access_rules()?;
        self.reload(&BTreeMap::new()).await.map(drop)
    }

    async fn apply_tls(
        &self,
        mode: Option<TlsMode>,
        material: Option<&TlsMaterial>,
        files: &TlsFiles,
    ) -> Result<()> {
        if let Some(material) = material {
            self.write_tls_files(material, files)?;
        }
        self.write_tls_override(&tls_options(mode, files)?)?;
        self.set_tls_mode(mode);
        self.write_access_rules()?;
        self.reload(&BTreeMap::new()).await?;
        // With files it cannot use, the server goes on with those it has.
        if mode.is_some() {
            tls_check::shows_certificate(self.settings.port, &files.certificate).await?;
        }
        if self.offers_tls().await? != mode.is_some() {
            return Err(Error::failed("The server does not change its TLS"));
        }
        Ok(())
    }

    fn write_tls_files(&self, material: &TlsMaterial, files: &TlsFiles) -> Result<()> {
        let account = &self.settings.account;
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

    fn write_tls_override(&self, document: &Document) -> Result<()> {
        Overrides::new(&self.settings.layout.include_dir).put(Group::SystemLate, ID, document)
    }
}

fn tls_options(mode: Option<TlsMode>, files: &TlsFiles) -> Result<Document> {
    let mut document = Document::default();
    document.set("ssl", if mode.is_some() { "on" } else { "off" });
    if mode.is_some() {
        for path in [&files.private_key, &files.certificate] {
            must_exist(path)?;
        }
        document.set("ssl_key_file", KEY);
        document.set("ssl_cert_file", CERTIFICATE);
    }
    if mode == Some(TlsMode::Mtls) {
        must_exist(&files.ca)?;
    }
    if mode.is_some() && files.ca.is_file() {
        document.set("ssl_ca_file", AUTHORITIES);
    }
    Ok(document)
}

fn must_exist(path: &Path) -> Result<()> {
    if path.is_file() {
        return Ok(());
    }
    Err(Error::bad_request(format!(
        "TLS needs {}, which does not exist: provide a certificate with its key (and, for mode \
         mtls, the authority of the clients)",
        path.display()
    )))
}
