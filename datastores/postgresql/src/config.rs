//! The configuration files.

use std::path::Path;

use async_trait::async_trait;
use datastore::{Error, PrepareRequest, Result};
use guest::{Account, Command};
use managed::{Configurations, Examiner, OptionFile as _, PUBLIC};
use tracing::info;

use crate::conf::Document;
use crate::errors::os_error;
use crate::overrides::{COMMON, Group, Overrides, document_of};
use crate::{Server, wal};

impl Server {
    /// Writes the base file and every override that `prepare` brings.
    pub(crate) async fn install_configuration(&self, request: &PrepareRequest) -> Result<()> {
        let wanted = request.datastore_version.as_deref();
        let programs = self.programs(wanted)?;
        let include_dir = &self.settings.layout.include_dir;
        let base = self
            .examiner(&programs)
            .fit_base(&request.config_contents, include_dir)
            .await?;
        let user = document_of(&request.overrides)?;
        self.check_user_parameters(&base, &user, &programs).await?;
        self.write_system_overrides()?;
        Overrides::new(include_dir).put(Group::User, COMMON, &user)?;
        self.write_base(&base)
    }

    /// What holds whatever the base file says: defaults of the agent before
    /// the tenant's parameters, and the guest's own business after them.
    pub(crate) fn write_system_overrides(&self) -> Result<()> {
        let layout = &self.settings.layout;
        let overrides = Overrides::new(&layout.include_dir);
        let mut early = overrides.read(Group::SystemEarly, COMMON)?;
        early.set("password_encryption", "scram-sha-256");
        early.set("archive_mode", "on");
        early.set("archive_command", &wal::archive_command(layout));
        early.set("restore_command", &wal::restore_command(layout));
        overrides.write(Group::SystemEarly, COMMON, &early)?;

        let mut late = overrides.read(Group::SystemLate, COMMON)?;
        for (name, path) in [
            ("data_directory", &layout.data_dir()),
            ("hba_file", &layout.hba_file),
            ("ident_file", &layout.ident_file),
            ("unix_socket_directories", &layout.socket_dir),
        ] {
            late.set(name, &path.to_string_lossy());
        }
        late.set("port", &self.settings.port.to_string());
        // Any server may become a source, or a replica, without a restart.
        late.set("hot_standby", "on");
        late.set("wal_log_hints", "on");
        let link = layout.link_file();
        late.set("include_if_exists", &link.to_string_lossy());
        if layout.volume_dir().exists() && !link.exists() {
            self.clear_link()?;
        }
        overrides.write(Group::SystemLate, COMMON, &late)
    }

    /// The files that others decide about, and what is remembered of them.
    pub(crate) fn configurations(&self) -> Configurations<'_, Document> {
        let layout = &self.settings.layout;
        Configurations::new(&layout.base_config, &layout.include_dir)
    }

    /// Replaces the base file.
    pub(crate) async fn replace_base(&self, contents: &str) -> Result<()> {
        let programs = self.programs(None)?;
        let include_dir = &self.settings.layout.include_dir;
        let examiner = self.examiner(&programs);
        let base = examiner.fit_base(contents, include_dir).await?;
        self.write_base(&base)
    }

    /// Fits the base file to the server in `programs`: parameters that another
    /// version has refused are tried again.
    pub(crate) async fn refit_base(&self, programs: &Path) -> Result<()> {
        let base = self.base_for(programs).await?;
        self.write_base(&base)
    }

    /// The present base file, for another version of the server.
    pub(crate) async fn base_for(&self, programs: &Path) -> Result<Document> {
        let present = self.present_base()?.to_string();
        let include_dir = &self.settings.layout.include_dir;
        self.examiner(programs)
            .fit_base(&present, include_dir)
            .await
    }

    fn write_base(&self, base: &Document) -> Result<()> {
        let path = &self.settings.layout.base_config;
        guest::write_atomic(path, base.to_string().as_bytes(), &PUBLIC).map_err(os_error)?;
        info!(path = %path.display(), "Base configuration written.");
        Ok(())
    }

    /// The present base file.
    pub(crate) fn present_base(&self) -> Result<Document> {
        let path = &self.settings.layout.base_config;
        let text = guest::read_optional(path).map_err(os_error)?;
        Ok(Document::parse(&text.unwrap_or_default()))
    }

    /// Asks the server in `programs` what it thinks of option files.
    pub(crate) fn examiner<'a>(&'a self, programs: &'a Path) -> Installed<'a> {
        Installed {
            server: self,
            programs,
        }
    }

    /// Refuses parameters of a configuration group that the server refuses.
    pub(crate) async fn check_user_parameters(
        &self,
        base: &Document,
        user: &Document,
        programs: &Path,
    ) -> Result<()> {
        if user.is_empty() {
            return Ok(());
        }
        let mut both = base.without_includes();
        for (name, value) in user.settings() {
            both.set(name, value);
        }
        match self.examiner(programs).check(&both).await? {
            (true, _) => Ok(()),
            (false, said) => Err(Error::bad_request(format!(
                "The server refuses a parameter of the configuration group: {}",
                errors_of(&said)
            ))),
        }
    }
}

/// An installed server.
pub(crate) struct Installed<'a> {
    server: &'a Server,
    programs: &'a Path,
}

#[async_trait]
impl Examiner for Installed<'_> {
    fn name(&self) -> String {
        "The server".to_owned()
    }

    fn config_dir(&self) -> &Path {
        self.server.settings.layout.config_dir()
    }

    fn account(&self) -> &Account {
        &self.server.settings.account
    }

    /// It prints one parameter and ends before it looks at any data.
    async fn read(&self, file: &Path) -> Result<(bool, String)> {
        let account = self.account();
        let output = Command::new(self.programs.join("postgres"))
            // Not the data: what was changed by ALTER SYSTEM is not asked for.
            .arg("-D")
            .arg(self.config_dir())
            .arg("-c")
            .arg(format!("config_file={}", file.display()))
            .args(["-C", "max_connections"])
            // The server refuses to run as root.
            .user(account.uid, account.gid)
            .output()
            .await
            .map_err(os_error)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok((output.status.success(), said))
    }

    fn refused<'b>(&self, line: &'b str) -> Option<&'b str> {
        refused_parameter(line)
    }

    fn errors(&self, said: &str) -> String {
        errors_of(said)
    }
}

/// The parameter that a line of the server's log refuses. All of its messages
/// about parameters name them alike.
fn refused_parameter(line: &str) -> Option<&str> {
    let (_, message) = line.split_once(" LOG:  ")?;
    let (_, rest) = message.split_once("parameter \"")?;
    rest.split('"').next()
}

/// The lines of a complaint that say what is wrong, without the name of the
/// temporary file.
fn errors_of(complaint: &str) -> String {
    let errors: Vec<&str> = complaint
        .lines()
        .filter_map(|line| line.split_once(" LOG:  "))
        .map(|(_, message)| message.split(" in file \"").next().unwrap_or(message))
        .filter(|message| !message.starts_with("skipping missing configuration file"))
        .collect();
    match errors.is_empty() {
        true => complaint.trim().to_owned(),
        false => errors.join("; "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNKNOWN: &str = "2026-11-25 19:39:08.506 GMT [1] LOG:  unrecognized configuration parameter \"wal_keep_segments\" in file \"/etc/postgresql/.check-1-0.conf\" line 3";
    const BAD: &str = "2026-11-25 19:39:08.506 GMT [1] LOG:  invalid value for parameter \"lc_messages\": \"xx_YY.utf8\"";
    const RANGE: &str = "2026-11-25 19:39:08.506 GMT [1] LOG:  1 kB is outside the valid range for parameter \"work_mem\" (64 .. 2147483647)";
    const FATAL: &str = "2026-11-25 19:39:08.506 GMT [1] FATAL:  configuration file \"/etc/postgresql/.check-1-0.conf\" contains errors";

    #[test]
    fn complaints_of_real_servers() {
        for (line, name) in [
            (UNKNOWN, Some("wal_keep_segments")),
            (BAD, Some("lc_messages")),
            (RANGE, Some("work_mem")),
            (FATAL, None),
            ("parameter \"", None),
        ] {
            assert_eq!(refused_parameter(line), name, "{line}");
        }
    }

    #[test]
    fn the_reason_is_cut_out_of_the_complaint() {
        let complaint = format!("{UNKNOWN}\n{BAD}\n{FATAL}\n");
        assert_eq!(
            errors_of(&complaint),
            "unrecognized configuration parameter \"wal_keep_segments\"; \
             invalid value for parameter \"lc_messages\": \"xx_YY.utf8\""
        );
        assert_eq!(errors_of(" plain text\n"), "plain text");
    }
}
