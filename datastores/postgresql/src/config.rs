//! The configuration files, and the parameters that a server version refuses.
//!
//! A template of the control plane is written for several versions of a
//! server; a server does not start when it meets a parameter it no longer has.
//! So the server is asked first, and what it refuses is left out of the base
//! file and named in the journal. Parameters that the tenant asked for are
//! different: leaving them out would be a lie, so they are refused.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use datastore::{Error, PrepareRequest, Result};
use guest::{Attributes, Command};
use managed::{Configurations, OptionFile as _, PUBLIC};
use tracing::{info, warn};

use crate::conf::Document;
use crate::errors::os_error;
use crate::overrides::{COMMON, Group, Overrides, document_of};
use crate::{Server, wal};

/// More refused parameters than any template has.
const MAX_REFUSED: usize = 100;

/// What stands before a line that the server refuses.
const REFUSED: &str = "Refused by the server";

/// Makes names of files under check unique within this process.
static CHECKS: AtomicU32 = AtomicU32::new(0);

impl Server {
    /// Writes the base file and every override that `prepare` brings.
    pub(crate) async fn install_configuration(&self, request: &PrepareRequest) -> Result<()> {
        let wanted = request.datastore_version.as_deref();
        let programs = self.programs(wanted)?;
        let base = self
            .base_document(&request.config_contents, &programs)
            .await?;
        let user = document_of(&request.overrides)?;
        self.check_user_parameters(&base, &user, &programs).await?;
        self.write_system_overrides()?;
        Overrides::new(&self.settings.layout.include_dir).put(Group::User, COMMON, &user)?;
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
        let base = self.base_document(contents, &programs).await?;
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
        let text = self.present_base()?.to_string();
        let text = text.replace(&format!("# {REFUSED}: "), "");
        self.base_document(&text, programs).await
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

    /// The base file for this version of the server.
    async fn base_document(&self, contents: &str, programs: &Path) -> Result<Document> {
        let mut base = Document::parse(contents);
        let include_dir = &self.settings.layout.include_dir;
        let is_included = |dir: &str| Path::new(dir) == include_dir;
        if !base.include_dirs().any(is_included) {
            // Without it neither the data directory nor any override holds.
            warn!(dir = %include_dir.display(), "The base configuration does not include the overrides; added.");
            base.add_include_dir(&include_dir.to_string_lossy());
        }
        for name in self.refused_parameters(&base, programs).await? {
            warn!(
                parameter = name,
                "The server refuses a parameter of the base configuration; left out."
            );
            base.comment_out(&name, REFUSED);
        }
        Ok(base)
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
        match self.check(&both, programs).await? {
            None => Ok(()),
            Some(complaint) => Err(Error::bad_request(format!(
                "The server refuses a parameter of the configuration group: {}",
                errors_of(&complaint)
            ))),
        }
    }

    /// Names of the parameters in `document` that the server refuses.
    pub(crate) async fn refused_parameters(
        &self,
        document: &Document,
        programs: &Path,
    ) -> Result<Vec<String>> {
        let mut document = document.without_includes();
        let mut refused = Vec::new();
        // The server names all unknown parameters, and only when there is none
        // the bad values: the list is complete when it is content.
        while refused.len() <= MAX_REFUSED {
            let Some(complaint) = self.check(&document, programs).await? else {
                return Ok(refused);
            };
            let before = refused.len();
            for name in complaint.lines().filter_map(refused_parameter) {
                if document.comment_out(name, "Refused") > 0 {
                    refused.push(name.to_owned());
                }
            }
            if refused.len() == before {
                return Err(Error::bad_request(format!(
                    "The server refuses the configuration: {}",
                    errors_of(&complaint)
                )));
            }
        }
        Err(Error::bad_request(format!(
            "The server refuses more than {MAX_REFUSED} parameters"
        )))
    }

    /// Lets the server read `document`; returns its complaint, if any. It
    /// prints one parameter and ends before it looks at any data.
    async fn check(&self, document: &Document, programs: &Path) -> Result<Option<String>> {
        let account = &self.settings.account;
        let owner = Some((account.uid, account.gid));
        let config_dir = self.settings.layout.config_dir();
        let file = CheckedFile::new(config_dir);
        let attributes = Attributes { mode: 0o600, owner };
        guest::write_atomic(&file.path, document.to_string().as_bytes(), &attributes)
            .map_err(os_error)?;
        let output = Command::new(programs.join("postgres"))
            // Not the data: what was changed by ALTER SYSTEM is not asked for.
            .arg("-D")
            .arg(config_dir)
            .arg("-c")
            .arg(format!("config_file={}", file.path.display()))
            .args(["-C", "max_connections"])
            // The server refuses to run as root.
            .user(account.uid, account.gid)
            .output()
            .await
            .map_err(os_error)?;
        Ok(
            (!output.status.success())
                .then(|| String::from_utf8_lossy(&output.stderr).into_owned()),
        )
    }
}

/// A file that is gone when the check is over, whatever its outcome.
struct CheckedFile {
    path: PathBuf,
}

impl CheckedFile {
    fn new(dir: &Path) -> Self {
        let number = CHECKS.fetch_add(1, Ordering::Relaxed);
        let name = format!(".check-{}-{number}.conf", std::process::id());
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
