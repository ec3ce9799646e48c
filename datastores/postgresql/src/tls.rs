//! TLS between the tenant's clients and the server: three files beside the
//! data, an override, and access rules. A reload makes it true for new
//! connections; those that are open stay as they are.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use datastore::{Error, Result, TlsFiles, TlsMaterial, TlsMode};
use guest::Kept;
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
            managed::write_material(material, files, &self.settings.account)?;
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

    fn write_tls_override(&self, document: &Document) -> Result<()> {
        Overrides::new(&self.settings.layout.include_dir).put(Group::SystemLate, ID, document)
    }
}

fn tls_options(mode: Option<TlsMode>, files: &TlsFiles) -> Result<Document> {
    let mut document = Document::default();
    document.set("ssl", if mode.is_some() { "on" } else { "off" });
    if mode.is_some() {
        for path in [&files.private_key, &files.certificate] {
            managed::must_exist(path)?;
        }
        document.set("ssl_key_file", KEY);
        document.set("ssl_cert_file", CERTIFICATE);
    }
    if mode == Some(TlsMode::Mtls) {
        managed::must_exist(&files.ca)?;
    }
    if mode.is_some() && files.ca.is_file() {
        document.set("ssl_ca_file", AUTHORITIES);
    }
    Ok(document)
}
