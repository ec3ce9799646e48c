//! TLS between the tenant's clients and the server: three files beside the
//! data, an override that is stronger than the tenant's configuration group,
//! and what accounts demand.
//!
//! MySQL takes other files while it runs since 8.0.16, MariaDB only in the
//! place of those it was started with. What is demanded of clients holds at
//! once wherever it does not lock them out until a restart.

use std::sync::PoisonError;

use datastore::{Error, Result, TlsFiles, TlsMaterial, TlsMode};
use guest::Kept;
use tracing::{error, info, warn};

use crate::cnf::Document;
use crate::errors::{os_error, sql_error};
use crate::overrides::{Group, Overrides, SERVER_SECTION};
use crate::session::{Session, SqlResult};
use crate::tls_accounts::{self, Demand};
use crate::{Flavor, Server, ServerVersion, Vendor, sql};

/// The id of the override.
const ID: &str = "tls";
/// Options of the override that name files.
const KEY: &str = "ssl_key";
const CERTIFICATE: &str = "ssl_cert";
const AUTHORITIES: &str = "ssl_ca";
const VERSIONS: &str = "tls_version";
const REQUIRE: &str = "require_secure_transport";
/// MariaDB's way to read files again; replicas have files of their own.
const RELOAD: &str = "FLUSH NO_WRITE_TO_BINLOG SSL";

impl<F: Flavor> Server<F> {
    pub(crate) fn tls_paths(&self) -> TlsFiles {
        let dir = self.settings.layout.data_dir();
        TlsFiles {
            private_key: dir.join("server-key.pem"),
            certificate: dir.join("server-cert.pem"),
            ca: dir.join("ca.pem"),
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
        let mut session = self.session().await?;
        let on = has_certificate(&mut session).await;
        session.close().await;
        on.map_err(|error| sql_error("look whether TLS is on", error))
    }

    /// Switches TLS on or off; tells whether that waits for a restart. After an
    /// error all is as it was.
    pub(crate) async fn switch_tls(
        &self,
        mode: Option<TlsMode>,
        material: Option<&TlsMaterial>,
    ) -> Result<bool> {
        let mut session = self.session().await?;
        let result = self.change_tls(&mut session, mode, material).await;
        session.close().await;
        result
    }

    /// Before a start on data that has the files of a mode already.
    pub(crate) fn put_tls_on(&self, mode: Option<TlsMode>, version: &ServerVersion) -> Result<()> {
        let document = match mode {
            None => Document::default(),
            Some(_) => options(mode, &self.tls_paths(), version)?,
        };
        self.write_tls_override(&document)?;
        self.set_tls_mode(mode);
        Ok(())
    }

    async fn change_tls(
        &self,
        session: &mut Session,
        mode: Option<TlsMode>,
        material: Option<&TlsMaterial>,
    ) -> Result<bool> {
        let version = session.version().clone();
        if mode.is_none() && version.is_at_least(Vendor::MySql, (8, 0, 0)) {
            return Err(Error::new(
                datastore::ErrorKind::NotSupported,
                "TLS cannot be switched off in MySQL 8.0 and newer",
            ));
        }
        if mode.is_some()
            && version.vendor == Vendor::MySql
            && !version.is_at_least(Vendor::MySql, (5, 7, 0))
        {
            return Err(Error::bad_request("TLS needs MySQL 5.7 or newer"));
        }
        let files = self.tls_paths();
        let paths = [&files.private_key, &files.certificate, &files.ca];
        let kept: Result<Vec<Kept>> = paths
            .into_iter()
            .map(|path| Kept::of(path).map_err(os_error))
            .collect();
        let kept = kept?;
        let overrides = Overrides::new(&self.settings.layout.include_dir);
        let mut undo = Undo {
            mode: self.tls_mode(),
            document: overrides.read(Group::SystemLate, ID)?,
            kept,
            globals: globals(session, &version)
                .await
                .map_err(|error| sql_error("look at TLS", error))?,
            demands: Vec::new(),
        };
        match self
            .apply_tls(session, mode, material, &files, &mut undo.demands)
            .await
        {
            Ok(restart) => {
                info!(
                    mode = mode.map_or("off", TlsMode::name),
                    restart, "TLS switched."
                );
                Ok(restart)
            }
            Err(refusal) => {
                if let Err(error) = self.put_tls_back(session, undo).await {
                    error!(%error, "TLS not put back as it was.");
                }
                Err(refusal)
            }
        }
    }

    async fn apply_tls(
        &self,
        session: &mut Session,
        mode: Option<TlsMode>,
        material: Option<&TlsMaterial>,
        files: &TlsFiles,
        demands: &mut Vec<Demand>,
    ) -> Result<bool> {
        let version = session.version().clone();
        if let Some(material) = material {
            managed::write_material(material, files, &self.settings.account)?;
        }
        let document = options(mode, files, &version)?;
        self.write_tls_override(&document)?;
        let failed = |error| sql_error("switch TLS", error);
        let live = load(session, &document, &version).await.map_err(failed)?;
        let on = has_certificate(session).await.map_err(failed)?;
        let waits = !live && (mode.is_some() || on);
        // A server without TLS would turn away those who must use it.
        let demand = if on { mode } else { None };
        if let Some(statement) = require(&version, demand) {
            session.run(&statement).await.map_err(failed)?;
        }
        // Accounts of a replica are its source's.
        if (on || mode.is_none()) && !session.is_read_only() {
            tls_accounts::demand(session, mode, demands)
                .await
                .map_err(|error| sql_error("change what users demand", error))?;
        }
        self.set_tls_mode(mode);
        Ok(waits)
    }

    /// Demands what had to wait for a server with TLS.
    pub(crate) async fn settle_tls(&self) {
        let mode = self.tls_mode();
        if !matches!(mode, Some(TlsMode::Enforced | TlsMode::Mtls)) {
            return;
        }
        let settled = async {
            let mut session = self.session().await?;
            let mut changed = Vec::new();
            let done = match has_certificate(&mut session).await {
                Ok(_) if session.is_read_only() => Ok(()),
                Ok(true) => tls_accounts::demand(&mut session, mode, &mut changed).await,
                Ok(false) => Ok(()),
                Err(error) => Err(error),
            };
            session.close().await;
            done.map_err(|error| sql_error("change what users demand", error))?;
            Ok::<_, Error>(changed.len())
        };
        match settled.await {
            Ok(0) => {}
            Ok(users) => info!(users, "Users demand TLS now."),
            Err(error) => warn!(%error, "Users do not demand TLS yet."),
        }
    }

    async fn put_tls_back(&self, session: &mut Session, undo: Undo) -> Result<()> {
        self.set_tls_mode(undo.mode);
        for file in &undo.kept {
            file.put_back().map_err(os_error)?;
        }
        self.write_tls_override(&undo.document)?;
        let failed = |error| sql_error("put TLS back", error);
        for statement in &undo.globals {
            session.run(statement).await.map_err(failed)?;
        }
        tls_accounts::take_back(session, &undo.demands)
            .await
            .map_err(failed)
    }

    fn write_tls_override(&self, document: &Document) -> Result<()> {
        Overrides::new(&self.settings.layout.include_dir).put(Group::SystemLate, ID, document)
    }
}

/// Everything as it was.
struct Undo {
    mode: Option<TlsMode>,
    document: Document,
    kept: Vec<Kept>,
    globals: Vec<String>,
    demands: Vec<Demand>,
}

/// The override for a mode.
fn options(mode: Option<TlsMode>, files: &TlsFiles, version: &ServerVersion) -> Result<Document> {
    let mut document = Document::default();
    let mut set = |name: &str, value: &str| document.set(SERVER_SECTION, name, Some(value));
    let Some(mode) = mode else {
        match version.vendor {
            Vendor::MariaDb => set("ssl", "0"),
            Vendor::MySql => set("loose_ssl", "0"),
        }
        return Ok(document);
    };
    if version.vendor == Vendor::MariaDb {
        set("ssl", "1");
    }
    for (name, path) in [(KEY, &files.private_key), (CERTIFICATE, &files.certificate)] {
        managed::must_exist(path)?;
        set(name, &path.to_string_lossy());
    }
    if mode == TlsMode::Mtls {
        managed::must_exist(&files.ca)?;
    }
    if files.ca.is_file() {
        set(AUTHORITIES, &files.ca.to_string_lossy());
    }
    if let Some(versions) = versions(version) {
        set(VERSIONS, versions);
    }
    if mode != TlsMode::Basic && has_require(version) {
        set(REQUIRE, "1");
    }
    Ok(document)
}

/// The protocols that are offered.
fn versions(version: &ServerVersion) -> Option<&'static str> {
    let both = version.is_at_least(Vendor::MySql, (5, 7, 28))
        || version.is_at_least(Vendor::MariaDb, (10, 4, 6));
    match both {
        true => Some("TLSv1.2,TLSv1.3"),
        false => Some("TLSv1.2"),
    }
}

/// `require_secure_transport`: MySQL 5.7.8, MariaDB 10.5.2 (their manuals).
fn has_require(version: &ServerVersion) -> bool {
    version.is_at_least(Vendor::MySql, (5, 7, 8))
        || version.is_at_least(Vendor::MariaDb, (10, 5, 2))
}

fn require(version: &ServerVersion, mode: Option<TlsMode>) -> Option<String> {
    let wanted = u8::from(matches!(mode, Some(TlsMode::Enforced | TlsMode::Mtls)));
    has_require(version).then(|| format!("SET GLOBAL {REQUIRE} = {wanted}"))
}

/// Whether the server can take other files while it runs (MySQL manual,
/// "ALTER INSTANCE Statement").
fn is_dynamic(version: &ServerVersion) -> bool {
    version.is_at_least(Vendor::MySql, (8, 0, 16))
}

/// Makes the running server use what the override says, as far as it can.
async fn load(
    session: &mut Session,
    document: &Document,
    version: &ServerVersion,
) -> SqlResult<bool> {
    if is_dynamic(version) {
        for name in [KEY, CERTIFICATE, AUTHORITIES, VERSIONS] {
            if let Some(Some(value)) = document.get(SERVER_SECTION, name) {
                let value = sql::literal(value);
                session.run(&format!("SET GLOBAL {name} = {value}")).await?;
            }
        }
        // With files it cannot use, the server keeps those it has.
        session.run("ALTER INSTANCE RELOAD TLS").await?;
        return Ok(true);
    }
    // MariaDB reads files again that it was started with (10.4).
    if !version.is_at_least(Vendor::MariaDb, (10, 4, 0))
        || document.get(SERVER_SECTION, "ssl") == Some(Some("0"))
        || !has_certificate(session).await?
    {
        return Ok(false);
    }
    for name in [KEY, CERTIFICATE, AUTHORITIES] {
        let present: Option<Option<String>> = session
            .first(&format!("SELECT @@GLOBAL.{name}"), ())
            .await?;
        let present = present.flatten().unwrap_or_default();
        let wanted = document.get(SERVER_SECTION, name).flatten();
        if present != wanted.unwrap_or_default() {
            return Ok(false);
        }
    }
    session.run(RELOAD).await?;
    Ok(true)
}

/// Whether the server has a certificate to show.
async fn has_certificate(session: &mut Session) -> SqlResult<bool> {
    if session.version().vendor == Vendor::MariaDb {
        // Its status is that of the session, which has no TLS.
        let have: Option<String> = session.first("SELECT @@GLOBAL.have_ssl", ()).await?;
        return Ok(have.as_deref() == Some("YES"));
    }
    let rows = session
        .text_rows("SHOW GLOBAL STATUS LIKE 'Ssl_server_not_after'")
        .await?;
    let end: Option<String> = rows.first().and_then(|row| row.get("Value"));
    Ok(end.is_some_and(|end| !end.is_empty()))
}

/// Statements that give the running server what it has now.
async fn globals(session: &mut Session, version: &ServerVersion) -> SqlResult<Vec<String>> {
    let mut statements = Vec::new();
    if is_dynamic(version) {
        for name in [KEY, CERTIFICATE, AUTHORITIES, VERSIONS] {
            let query = format!("SELECT @@GLOBAL.{name}");
            let value: Option<Option<String>> = session.first(&query, ()).await?;
            if let Some(Some(value)) = value {
                statements.push(format!("SET GLOBAL {name} = {}", sql::literal(&value)));
            }
        }
        statements.push("ALTER INSTANCE RELOAD TLS".to_owned());
    }
    if has_require(version) {
        let query = format!("SELECT @@GLOBAL.{REQUIRE}");
        let value: Option<u8> = session.first(&query, ()).await?;
        statements.push(format!(
            "SET GLOBAL {REQUIRE} = {}",
            value.unwrap_or_default()
        ));
    }
    // Files are put back first: what was in them is loaded again.
    if version.is_at_least(Vendor::MariaDb, (10, 4, 0)) && has_certificate(session).await? {
        statements.push(RELOAD.to_owned());
    }
    Ok(statements)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> ServerVersion {
        ServerVersion::parse(text).unwrap()
    }

    #[test]
    fn basic_demands_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let files = TlsFiles {
            private_key: dir.path().join("key"),
            certificate: dir.path().join("certificate"),
            ca: dir.path().join("ca"),
        };
        let now = version("9.7.4");
        assert!(options(Some(TlsMode::Basic), &files, &now).is_err());
        std::fs::write(&files.private_key, "").unwrap();
        std::fs::write(&files.certificate, "").unwrap();
        let basic = options(Some(TlsMode::Basic), &files, &now).unwrap();
        assert_eq!(basic.get(SERVER_SECTION, REQUIRE), None);
        assert_eq!(basic.get(SERVER_SECTION, AUTHORITIES), None);
        let enforced = options(Some(TlsMode::Enforced), &files, &now).unwrap();
        assert_eq!(enforced.get(SERVER_SECTION, REQUIRE), Some(Some("1")));
        assert!(options(Some(TlsMode::Mtls), &files, &now).is_err());
        std::fs::write(&files.ca, "").unwrap();
        assert!(options(Some(TlsMode::Mtls), &files, &now).is_ok());
        let off = options(None, &files, &version("10.11.19-MariaDB")).unwrap();
        assert_eq!(off.to_string(), "[mysqld]\nssl = 0\n");
    }

    #[test]
    fn old_servers_have_no_switch_for_all() {
        assert_eq!(
            require(&version("10.4.34-MariaDB"), Some(TlsMode::Mtls)),
            None
        );
        let statement = require(&version("8.0.36"), Some(TlsMode::Basic));
        assert_eq!(
            statement.as_deref(),
            Some("SET GLOBAL require_secure_transport = 0")
        );
        assert!(!is_dynamic(&version("5.7.44")) && is_dynamic(&version("8.0.16")));
    }
}
