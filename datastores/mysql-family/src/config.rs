//! The configuration files.

use std::path::Path;

use async_trait::async_trait;
use datastore::{Error, PrepareRequest, Result};
use guest::{Account, Command};
use managed::{Configurations, Examiner, OptionFile as _};
use tracing::{info, warn};

use crate::cnf::{Document, same_name};
use crate::errors::os_error;
use crate::overrides::{COMMON, Group, Overrides, PUBLIC, SERVER_SECTION, document_of};
use crate::{Flavor, Server, ServerVersion};

const SERVER_ID: &str = "server_id";

impl<F: Flavor> Server<F> {
    /// Writes the base file and every override that `prepare` brings.
    pub(crate) async fn install_configuration(&self, request: &PrepareRequest) -> Result<()> {
        let layout = &self.settings.layout;
        let version = self.installed_version().await?;
        let base = self
            .examiner(&version)
            .fit_base(&request.config_contents, &layout.include_dir)
            .await?;
        let user = document_of(&request.overrides)?;
        self.check_user_parameters(&base, &user, &version).await?;

        let overrides = Overrides::new(&layout.include_dir);
        let mut system = overrides.read(Group::SystemLate, COMMON)?;
        let data_dir = layout.data_dir();
        system.set(SERVER_SECTION, "datadir", data_dir.to_str());
        overrides.write(Group::SystemLate, COMMON, &system)?;
        overrides.put(Group::User, COMMON, &user)?;
        self.install_kept_overrides()?;
        self.write_base(base)
    }

    /// Replaces the base file.
    pub(crate) async fn replace_base(&self, contents: &str) -> Result<()> {
        let version = self.installed_version().await?;
        let include_dir = &self.settings.layout.include_dir;
        let examiner = self.examiner(&version);
        let base = examiner.fit_base(contents, include_dir).await?;
        self.write_base(base)
    }

    /// Fits the base file to another version of the server: options that one
    /// has refused are tried again. Parameters of the configuration group must
    /// fit already.
    pub(crate) async fn refit_base(&self, version: &ServerVersion) -> Result<()> {
        let include_dir = &self.settings.layout.include_dir;
        let present = self.present_base()?.to_string();
        let examiner = self.examiner(version);
        let base = examiner.fit_base(&present, include_dir).await?;
        let user = Overrides::new(include_dir).read(Group::User, COMMON)?;
        self.check_user_parameters(&base, &user, version).await?;
        self.write_base(base)
    }

    /// What the control plane says of sources or replicas, without the options
    /// that this version of the server does not know.
    pub(crate) async fn accepted(&self, contents: &str) -> Result<Document> {
        let version = self.installed_version().await?;
        let base = self.present_base()?.without_includes();
        let mut document = Document::parse(contents).without_includes();
        let both = Document::parse(&format!("{base}\n{document}"));
        for name in self.examiner(&version).examine(&both).await?.refused {
            warn!(option = name, %version, "The server refuses an option of replication; left out.");
            document.comment_out(&name, &format!("Refused by {version}"));
        }
        Ok(document)
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

    /// Asks the installed server what it thinks of option files.
    fn examiner<'a>(&'a self, version: &'a ServerVersion) -> Installed<'a, F> {
        Installed {
            server: self,
            version,
        }
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
            base.comment_out(option.name, "Replaced");
        }
        let both = Document::parse(&format!("{base}\n{user}"));
        let found = self.examiner(version).examine(&both).await?;
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
}

/// The installed server program.
struct Installed<'a, F> {
    server: &'a Server<F>,
    version: &'a ServerVersion,
}

#[async_trait]
impl<F: Flavor> Examiner for Installed<'_, F> {
    fn name(&self) -> String {
        self.version.to_string()
    }

    fn config_dir(&self) -> &Path {
        self.server.settings.layout.config_dir()
    }

    fn account(&self) -> &Account {
        &self.server.settings.account
    }

    async fn read(&self, file: &Path) -> Result<(bool, String)> {
        let account = self.account();
        let data_dir = self.server.settings.layout.data_dir();
        let output = Command::new(self.server.program()?)
            .arg(format!("--defaults-file={}", file.display()))
            .args(self.server.flavor.check_arguments(self.version))
            .arg(format!("--datadir={}", data_dir.display()))
            // Programs of this family refuse to run as root.
            .user(account.uid, account.gid)
            .output()
            .await
            .map_err(os_error)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok((output.status.success(), said))
    }

    fn refused<'b>(&self, line: &'b str) -> Option<&'b str> {
        unknown_option(line)
    }

    fn errors(&self, said: &str) -> String {
        errors_of(said)
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
