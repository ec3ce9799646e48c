//! The base option file, and the options that a server version refuses.
//!
//! A template of the control plane is written for several versions of a
//! server; a server does not start when it meets an option it no longer has.
//! So the server is asked first, and what it refuses is left out of the base
//! file and named in the journal. Parameters that the tenant asked for are
//! different: leaving them out would be a lie, so they are refused.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use datastore::{Error, Result};
use guest::{Account, Attributes};
use tracing::warn;

use crate::OptionFile;
use crate::errors::os_error;

/// More refused options than any template has.
const MAX_REFUSED: usize = 100;

/// What stands before a line that the server refuses.
const REFUSED: &str = "Refused by the server";

/// Makes names of files under check unique within this process.
static CHECKS: AtomicU32 = AtomicU32::new(0);

/// What a server thinks of an option file.
#[derive(Debug)]
pub struct Examined {
    /// Options that it does not take.
    pub refused: Vec<String>,
    /// What it says about the others.
    pub said: String,
}

/// A server that can be asked what it thinks of an option file.
#[async_trait]
pub trait Examiner: Sync {
    /// The server, for people.
    fn name(&self) -> String;

    /// The directory of the base file, where files under check may stand.
    fn config_dir(&self) -> &Path;

    /// The server's account, which must be able to read them.
    fn account(&self) -> &Account;

    /// Lets the server read a file and start nothing: whether it would start
    /// with it, and what it says.
    async fn read(&self, file: &Path) -> Result<(bool, String)>;

    /// The option that a line of its words refuses.
    fn refused<'a>(&self, line: &'a str) -> Option<&'a str>;

    /// What of its words says what is wrong.
    fn errors(&self, said: &str) -> String;

    /// Lets the server read `document`.
    ///
    /// # Errors
    /// When it cannot be asked.
    async fn check<D: OptionFile + Sync>(&self, document: &D) -> Result<(bool, String)>
    where
        Self: Sized,
    {
        let file = CheckedFile::new(self.config_dir(), D::EXTENSION);
        let account = self.account();
        let attributes = Attributes {
            mode: 0o600,
            owner: Some((account.uid, account.gid)),
        };
        guest::write_atomic(&file.path, document.to_string().as_bytes(), &attributes)
            .map_err(os_error)?;
        self.read(&file.path).await
    }

    /// Finds the options in `document` that the server does not take.
    ///
    /// # Errors
    /// When it refuses more than options.
    async fn examine<D: OptionFile + Send + Sync>(&self, document: &D) -> Result<Examined>
    where
        Self: Sized,
    {
        let mut document = document.without_includes();
        let mut refused = Vec::new();
        // Servers name one refused option at a time, or all: the list is
        // complete when they are content.
        while refused.len() <= MAX_REFUSED {
            let (accepted, said) = self.check(&document).await?;
            if accepted {
                return Ok(Examined { refused, said });
            }
            let before = refused.len();
            for name in said.lines().filter_map(|line| self.refused(line)) {
                if document.comment_out(name, "Refused") > 0 {
                    refused.push(name.to_owned());
                }
            }
            if refused.len() == before {
                return Err(Error::bad_request(format!(
                    "{} refuses the configuration: {}",
                    self.name(),
                    self.errors(&said)
                )));
            }
        }
        Err(Error::bad_request(format!(
            "{} refuses more than {MAX_REFUSED} options",
            self.name()
        )))
    }

    /// The base file for this server. Options that another one has refused are
    /// tried again.
    ///
    /// # Errors
    /// When it refuses more than options.
    async fn fit_base<D: OptionFile + Send + Sync>(
        &self,
        contents: &str,
        include_dir: &Path,
    ) -> Result<D>
    where
        Self: Sized,
    {
        let mut base = D::parse(&contents.replace(&format!("# {REFUSED}: "), ""));
        if !base.includes(include_dir) {
            // Without it neither the data directory nor any override holds.
            warn!(dir = %include_dir.display(), "The base configuration does not include the overrides; added.");
            base.add_include_dir(&include_dir.to_string_lossy());
        }
        for name in self.examine(&base).await?.refused {
            warn!(
                option = name,
                server = self.name(),
                "The server refuses an option of the base configuration; left out."
            );
            base.comment_out(&name, REFUSED);
        }
        Ok(base)
    }
}

/// A file that is gone when the check is over, whatever its outcome.
struct CheckedFile {
    path: PathBuf,
}

impl CheckedFile {
    fn new(dir: &Path, extension: &str) -> Self {
        let number = CHECKS.fetch_add(1, Ordering::Relaxed);
        let name = format!(".check-{}-{number}.{extension}", std::process::id());
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::option_file::Lines;

    /// Refuses `old` and `older`, one at a time, and cannot stand `bad`.
    struct Server {
        dir: tempfile::TempDir,
        account: Account,
    }

    #[async_trait]
    impl Examiner for Server {
        fn name(&self) -> String {
            "Server 1".to_owned()
        }

        fn config_dir(&self) -> &Path {
            self.dir.path()
        }

        fn account(&self) -> &Account {
            &self.account
        }

        async fn read(&self, file: &Path) -> Result<(bool, String)> {
            let text = std::fs::read_to_string(file).unwrap();
            let found = ["old = ", "older = ", "bad = "]
                .into_iter()
                .find(|start| text.lines().any(|line| line.starts_with(start)));
            Ok(match found {
                None => (true, "fine".to_owned()),
                Some(start) => (
                    false,
                    format!("x\nrefused {}", start.trim_end_matches(" = ")),
                ),
            })
        }

        fn refused<'a>(&self, line: &'a str) -> Option<&'a str> {
            line.strip_prefix("refused ").filter(|name| *name != "bad")
        }

        fn errors(&self, said: &str) -> String {
            said.lines().last().unwrap_or_default().to_owned()
        }
    }

    #[tokio::test]
    async fn what_is_refused_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let own = std::fs::metadata(dir.path()).unwrap();
        let account = Account {
            name: "database".into(),
            uid: own.uid(),
            gid: own.gid(),
        };
        let server = Server { dir, account };
        let include = Path::new("/etc/x");
        let fit = |text: &'static str| server.fit_base::<Lines>(text, include);
        let base = fit("a = 1\nolder = 2\nold = 3\n").await.unwrap();
        let expected = "a = 1\n# Refused by the server: older = 2\n\
                        # Refused by the server: old = 3\ninclude /etc/x\n";
        assert_eq!(base.to_string(), expected);
        // What one has refused is tried again.
        let present = expected.replace("old", "new");
        let again = server.fit_base::<Lines>(&present, include).await.unwrap();
        let again = again.to_string();
        assert_eq!(again, "a = 1\nnewer = 2\nnew = 3\ninclude /etc/x\n");
        let error = fit("bad = 1\n").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "Server 1 refuses the configuration: refused bad"
        );
        let left = std::fs::read_dir(server.dir.path()).unwrap().count();
        assert_eq!(left, 0, "files under check are removed");
    }
}
