//! The base option file, and the options that a server version refuses.
//!
//! A template of the control plane is written for several versions of a
//! server; a server does not start when it meets an option it no longer has.
//! So the server is asked first, and what it refuses is left out of the base
//! file and named in the journal. Parameters that the tenant asked for are
//! different: leaving them out would be a lie, so they are refused.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use datastore::{Error, PrepareRequest, Result};
use guest::{Attributes, Command};
use managed::{Configurations, OptionFile as _};
use tracing::{info, warn};

use crate::cnf::{Document, is_server_group, same_name};
use crate::errors::os_error;
use crate::overrides::{COMMON, Group, Overrides, PUBLIC, SERVER_SECTION, document_of};
use crate::{Flavor, Server, ServerVersion};

/// More refused options than any template has.
const MAX_REFUSED: usize = 100;

const SERVER_ID: &str = "server_id";

/// What stands before a line that the server refuses.
const REFUSED: &str = "Refused by the server";

/// Makes names of files under check unique within this process.
static CHECKS: AtomicU32 = AtomicU32::new(0);

impl<F: Flavor> Server<F> {
    /// Writes the base file and every override that `prepare` brings.
    pub(crate) async fn install_configuration(&self, request: &PrepareRequest) -> Result<()> {
        let layout = &self.settings.layout;
        let version = self.installed_version().await?;
        let base = self
            .base_document(&request.config_contents, &version)
            .await?;
        let user = document_of(&request.overrides)?;
        self.check_user_parameters(&base, &user, &version).await?;

        let overrides = Overrides::new(&layout.include_dir);
        let mut system = overrides.read(Group::SystemLate, COMMON)?;
        let data_dir = layout.data_dir();
        system.set(SERVER_SECTION, "datadir", data_dir.to_str());
        overrides.write(Group::SystemLate, COMMON, &system)?;
        overrides.put(Group::User, COMMON, &user)?;
        self.write_base(base)
    }

    /// Replaces the base file.
    pub(crate) async fn replace_base(&self, contents: &str) -> Result<()> {
        let version = self.installed_version().await?;
        let base = self.base_document(contents, &version).await?;
        self.write_base(base)
    }

    /// Fits the base file to another version of the server: options that one
    /// has refused are tried again. Parameters of the configuration group must
    /// fit already.
    pub(crate) async fn refit_base(&self, version: &ServerVersion) -> Result<()> {
        let text = self.present_base()?.to_string();
        let text = text.replace(&format!("# {REFUSED}: "), "");
        let base = self.base_document(&text, version).await?;
        let overrides = Overrides::new(&self.settings.layout.include_dir);
        let user = overrides.read(Group::User, COMMON)?;
        self.check_user_parameters(&base, &user, version).await?;
        self.write_base(base)
    }

    /// The files that others decide about, and what is remembered of them.
    pub(crate) fn configurations(&self) -> Configurations<'_, Document> {
        let layout = &self.settings.layout;
        Configurations::new(&layout.base_config, &layout.include_dir)
    }

    /// The present base file.
    pub(crate) fn present_base(&self) -> Result<Document> {
        let path = &self.settings.layout.base_config;
        let text = guest::read_optional(path).map_err(os_error)?;
        Ok(Document::parse(&text.unwrap_or_default()))
    }

    fn write_base(&self, mut base: Document) -> Result<()> {
        self.keep_server_id(&mut base)?;
        let path = &self.settings.layout.base_config;
        guest::write_atomic(path, base.to_string().as_bytes(), &PUBLIC).map_err(os_error)?;
        info!(path = %path.display(), "Base configuration written.");
        Ok(())
    }

    /// Keeps the server's id: templates carry a new one each time they are
    /// rendered, and a server whose id changes is a stranger to its replicas.
    fn keep_server_id(&self, base: &mut Document) -> Result<()> {
        let path = self.settings.layout.server_id_file();
        let known = guest::read_optional(&path).map_err(os_error)?;
        let is_number = |id: &&str| id.parse::<u32>().is_ok();
        let known = known.as_deref().map(str::trim).filter(is_number);
        let present = self.present_base()?;
        let present = present.get(SERVER_SECTION, SERVER_ID).flatten();
        let given = base.get(SERVER_SECTION, SERVER_ID).flatten();
        let Some(id) = known.or(present.filter(is_number)).or(given) else {
            return Ok(());
        };
        let id = id.to_owned();
        if known.is_none() {
            guest::write_atomic(&path, id.as_bytes(), &PUBLIC).map_err(os_error)?;
        }
        if given != Some(&id) {
            base.set(SERVER_SECTION, SERVER_ID, Some(&id));
        }
        Ok(())
    }

    /// The base file for this version of the server.
    async fn base_document(&self, contents: &str, version: &ServerVersion) -> Result<Document> {
        let mut base = Document::parse(contents);
        let include_dir = &self.settings.layout.include_dir;
        let is_included = |dir: &str| Path::new(dir) == include_dir;
        if !base.include_dirs().any(is_included) {
            // Without it neither the data directory nor any override holds.
            warn!(dir = %include_dir.display(), "The base configuration does not include the overrides; added.");
            base.add_include_dir(&include_dir.to_string_lossy());
        }
        for name in self.examine(&base, version).await?.refused {
            warn!(option = name, %version, "The server refuses an option of the base configuration; left out.");
            base.comment_out(is_server_group, &name, REFUSED);
        }
        Ok(base)
    }

    /// Refuses parameters of a configuration group that the server refuses, or
    /// would take other values for.
    pub(crate) async fn check_user_parameters(
        &self,
        base: &Document,
        user: &Document,
        version: &ServerVersion,
    ) -> Result<()> {
        if user.is_empty() {
            return Ok(());
        }
        let mut base = base.without_includes();
        for option in user.options() {
            base.comment_out(is_server_group, option.name, "Replaced");
        }
        let both = Document::parse(&format!("{base}\n{user}"));
        let found = self.examine(&both, version).await?;
        if !found.refused.is_empty() {
            return Err(Error::bad_request(format!(
                "{version} does not know parameter {} of the configuration group",
                found.refused.join(", ")
            )));
        }
        let asked = |name: &str| user.options().any(|option| same_name(option.name, name));
        let mut adjusted = found.said.lines().filter_map(adjusted_option);
        match adjusted.find(|(name, _)| asked(name)) {
            None => Ok(()),
            Some((name, what)) => Err(Error::bad_request(format!(
                "{version} does not take the value of parameter {name} of the configuration \
                 group: {what}"
            ))),
        }
    }

    /// Finds the options in `document` that the server does not know.
    async fn examine(&self, document: &Document, version: &ServerVersion) -> Result<Examined> {
        let mut document = document.without_includes();
        let mut refused = Vec::new();
        // Servers name one refused option at a time, or all: the list is
        // complete when they are content.
        while refused.len() <= MAX_REFUSED {
            let (accepted, said) = self.check(&document, version).await?;
            if accepted {
                return Ok(Examined { refused, said });
            }
            let before = refused.len();
            for name in said.lines().filter_map(unknown_option) {
                if document.comment_out(is_server_group, name, "Refused") > 0 {
                    refused.push(name.to_owned());
                }
            }
            if refused.len() == before {
                return Err(Error::bad_request(format!(
                    "{version} refuses the configuration: {}",
                    errors_of(&said)
                )));
            }
        }
        Err(Error::bad_request(format!(
            "{version} refuses more than {MAX_REFUSED} options"
        )))
    }

    /// Lets the server read `document`; whether it would start with it, and
    /// what it says.
    async fn check(&self, document: &Document, version: &ServerVersion) -> Result<(bool, String)> {
        let account = &self.settings.account;
        let owner = Some((account.uid, account.gid));
        let file = CheckedFile::new(self.settings.layout.config_dir());
        let attributes = Attributes { mode: 0o600, owner };
        guest::write_atomic(&file.path, document.to_string().as_bytes(), &attributes)
            .map_err(os_error)?;
        let output = Command::new(self.program()?)
            .arg(format!("--defaults-file={}", file.path.display()))
            .args(self.flavor.check_arguments(version))
            .arg(format!(
                "--datadir={}",
                self.settings.layout.data_dir().display()
            ))
            // Programs of this family refuse to run as root.
            .user(account.uid, account.gid)
            .output()
            .await
            .map_err(os_error)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok((output.status.success(), said))
    }
}

/// What a server thinks of an option file.
struct Examined {
    /// Options that it does not know.
    refused: Vec<String>,
    /// What it says about the others.
    said: String,
}

/// A file that is gone when the check is over, whatever its outcome.
struct CheckedFile {
    path: PathBuf,
}

impl CheckedFile {
    fn new(dir: &Path) -> Self {
        let number = CHECKS.fetch_add(1, Ordering::Relaxed);
        let name = format!(".check-{}-{number}.cnf", std::process::id());
        Self {
            path: dir.join(name),
        }
    }
}

impl Drop for CheckedFile {
    fn drop(&mut self) {
        if let Err(error) = guest::remove_if_exists(&self.path) {
            warn!(%error, "Temporary file not removed.");
        }
    }
}

/// The option that a line of a server's error log calls unknown. Options with
/// the prefix `loose-` are only warned about and do no harm.
fn unknown_option(line: &str) -> Option<&str> {
    if line.contains("[Warning]") {
        return None;
    }
    let name = match line.split_once("unknown variable '") {
        Some((_, rest)) => rest.split(['=', '\'']).next()?,
        None => line
            .split_once("unknown option '--")?
            .1
            .split('\'')
            .next()?,
    };
    (!name.is_empty()).then_some(name)
}

/// The option that a line of a server's log gives another value, and how it
/// says so: `option 'max_connections': unsigned value 200000 adjusted to 100000`.
fn adjusted_option(line: &str) -> Option<(&str, &str)> {
    let (_, rest) = line.split_once("option '")?;
    let (name, what) = rest.split_once("': ")?;
    what.contains(" adjusted to ")
        .then(|| (name, what.trim_end_matches('.')))
}

/// The lines of a complaint that say what is wrong.
pub(crate) fn errors_of(complaint: &str) -> String {
    let errors: Vec<&str> = complaint
        .lines()
        .filter(|line| line.contains("[ERROR]") && !line.ends_with("Aborting"))
        .collect();
    match errors.is_empty() {
        true => complaint.trim().to_owned(),
        false => errors.join("; "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_of_real_servers() {
        for (line, name) in [
            (
                "2026-11-22T13:51:59.357967Z 0 [ERROR] [MY-000067] [Server] unknown variable 'innodb_log_file_size=50M'.",
                Some("innodb_log_file_size"),
            ),
            (
                "2026-11-22T13:51:59.441964Z 0 [ERROR] [MY-000068] [Server] unknown option '--nonsense-flag'.",
                Some("nonsense-flag"),
            ),
            (
                "2026-11-22 13:52:18 0 [ERROR] mariadbd: unknown variable 'foo_bar=3'",
                Some("foo_bar"),
            ),
            (
                "2026-11-22 13:52:18 0 [ERROR] mariadbd: unknown option '--baz-quux'",
                Some("baz-quux"),
            ),
            (
                "2026-11-22 13:52:18 0 [Warning] mariadbd: unknown variable 'loose-zzz=3'",
                None,
            ),
            (
                "2026-11-22T13:51:46.576050Z 0 [ERROR] [MY-010119] [Server] Aborting",
                None,
            ),
            ("unknown variable '", None),
        ] {
            assert_eq!(unknown_option(line), name, "{line}");
        }
    }

    #[test]
    fn other_values_are_noticed() {
        let line = "2026-11-22 13:52:18 0 [Warning] option 'max_connections': unsigned value 200000 adjusted to 100000.";
        assert_eq!(
            adjusted_option(line),
            Some((
                "max_connections",
                "unsigned value 200000 adjusted to 100000"
            ))
        );
        let other = "[Warning] option 'x': boolean value 'y' was not recognized. Set to OFF.";
        assert_eq!(adjusted_option(other), None);
    }

    #[test]
    fn the_reason_is_cut_out_of_the_complaint() {
        let complaint = "1 [Note] x\n1 [ERROR] bad value\n1 [ERROR] [Server] Aborting\n";
        assert_eq!(errors_of(complaint), "1 [ERROR] bad value");
        assert_eq!(errors_of(" plain text\n"), "plain text");
    }
}
