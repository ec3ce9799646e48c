//! The last configuration that a server has started with.
//!
//! The control plane and tenants change two files, the base file and the
//! configuration group. What the server refuses to read is refused before it is
//! written; what it reads and cannot start with (more memory than there is, a
//! library that does not exist) is only known when it does not start. Then it
//! starts with what it had, and the error tells why.
//!
//! The group that the last change has replaced is kept, too, until that change
//! is in force.

use std::path::{Path, PathBuf};

use datastore::{Error, ErrorKind, Result};
use guest::Attributes;
use tracing::{error, warn};

use crate::OptionFile;
use crate::errors::os_error;
use crate::overrides::{COMMON, Group, Overrides, PUBLIC};

/// The directory beside the base file, and names in it.
const DIR: &str = ".started-with";
const BASE: &str = "base";
const USER: &str = "user";
const REPLACED: &str = "replaced";

/// What others decide about the configuration.
#[derive(Debug, PartialEq, Eq)]
struct Configuration {
    base: String,
    user: String,
}

/// The configuration of a server, and what is remembered of earlier ones.
#[derive(Debug)]
pub struct Configurations<'a, D> {
    base: &'a Path,
    overrides: Overrides<'a, D>,
}

impl<'a, D: OptionFile> Configurations<'a, D> {
    /// The configuration with this base file and this directory of overrides.
    pub fn new(base: &'a Path, include_dir: &'a Path) -> Self {
        Self {
            base,
            overrides: Overrides::new(include_dir),
        }
    }

    /// After a start: these files are good.
    ///
    /// # Errors
    /// When they cannot be read or copied.
    pub fn remember(&self) -> Result<()> {
        self.forget_replaced()?;
        let present = self.present()?;
        if self.last()?.as_ref() == Some(&present) {
            return Ok(());
        }
        self.ensure_memory()?;
        // The base file last: without it nothing is remembered.
        let base = self.memory(BASE);
        guest::remove_if_exists(&base).map_err(os_error)?;
        for (path, text) in [(self.memory(USER), &present.user), (base, &present.base)] {
            guest::write_atomic(&path, text.as_bytes(), &PUBLIC).map_err(os_error)?;
        }
        Ok(())
    }

    /// After a start that has failed for `refusal`: puts the files back that
    /// the server has started with before, for one more start.
    ///
    /// # Errors
    /// With `refusal`, when there are no other files.
    pub fn try_last(self, refusal: Error) -> Result<Trial<'a, D>> {
        let present = self.present()?;
        let last = match self.last()? {
            Some(last) if last != present => last,
            _ => return Err(refusal),
        };
        warn!(%refusal, "The server does not start; trying its last configuration.");
        self.put(&last)?;
        Ok(Trial {
            configurations: self,
            present,
            refusal,
        })
    }

    /// Replaces the configuration group and keeps the one before.
    ///
    /// # Errors
    /// When it cannot be written; it is then what it was.
    pub fn replace_group(&self, group: &D) -> Result<()> {
        let before = self.overrides.read(Group::User, COMMON)?;
        self.ensure_memory()?;
        guest::write_atomic(
            &self.memory(REPLACED),
            before.to_string().as_bytes(),
            &PUBLIC,
        )
        .map_err(os_error)?;
        self.overrides.put(Group::User, COMMON, group)
    }

    /// The group before the one that is not in force yet.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn replaced_group(&self) -> Result<Option<D>> {
        let text = guest::read_optional(&self.memory(REPLACED)).map_err(os_error)?;
        Ok(text.as_deref().map(D::parse))
    }

    /// After the server was asked to use the group: the one before is not
    /// needed any more, or comes back.
    ///
    /// # Errors
    /// With that of the server.
    pub fn settle<T>(&self, applied: Result<T>) -> Result<T> {
        match applied {
            Ok(applied) => self.forget_replaced().map(|()| applied),
            Err(refusal) => {
                if let Err(error) = self.put_group_back() {
                    error!(%error, "Configuration group not put back.");
                }
                Err(refusal)
            }
        }
    }

    fn put_group_back(&self) -> Result<()> {
        if let Some(before) = self.replaced_group()? {
            self.overrides.put(Group::User, COMMON, &before)?;
        }
        self.forget_replaced()
    }

    fn forget_replaced(&self) -> Result<()> {
        guest::remove_if_exists(&self.memory(REPLACED))
            .map(drop)
            .map_err(os_error)
    }

    fn ensure_memory(&self) -> Result<()> {
        let attributes = Attributes {
            mode: 0o755,
            owner: None,
        };
        guest::ensure_directory(&self.dir(), &attributes).map_err(os_error)
    }

    fn dir(&self) -> PathBuf {
        self.base.with_file_name(DIR)
    }

    fn memory(&self, name: &str) -> PathBuf {
        self.dir().join(format!("{name}.{}", D::EXTENSION))
    }

    fn present(&self) -> Result<Configuration> {
        let base = guest::read_optional(self.base).map_err(os_error)?;
        Ok(Configuration {
            base: base.unwrap_or_default(),
            user: self.overrides.read(Group::User, COMMON)?.to_string(),
        })
    }

    fn last(&self) -> Result<Option<Configuration>> {
        let read = |name| guest::read_optional(&self.memory(name)).map_err(os_error);
        Ok(read(BASE)?
            .zip(read(USER)?)
            .map(|(base, user)| Configuration { base, user }))
    }

    fn put(&self, configuration: &Configuration) -> Result<()> {
        guest::write_atomic(self.base, configuration.base.as_bytes(), &PUBLIC).map_err(os_error)?;
        let user = D::parse(&configuration.user);
        self.overrides.put(Group::User, COMMON, &user)
    }
}

/// A start with the last configuration, in the place of one that has failed.
#[derive(Debug)]
pub struct Trial<'a, D> {
    configurations: Configurations<'a, D>,
    present: Configuration,
    refusal: Error,
}

impl<D: OptionFile> Trial<'_, D> {
    /// How that start has ended. The error is for the caller, who wanted
    /// another configuration.
    pub fn end(self, started: Result<()>) -> Error {
        let refusal = self.refusal;
        let Err(error) = started else {
            let text = format!(
                "The server does not start with its new configuration, so it runs with the one \
                 before: {refusal}"
            );
            return Error::with_source(ErrorKind::Failed, text, refusal);
        };
        error!(%error, "The server does not start with its last configuration either.");
        match self.configurations.put(&self.present) {
            Ok(()) => refusal,
            Err(error) => {
                error!(%error, "The configuration is not put back.");
                refusal
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::option_file::Lines;

    struct Site {
        dir: tempfile::TempDir,
    }

    impl Site {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir(dir.path().join("conf.d")).unwrap();
            Self { dir }
        }

        fn base(&self) -> PathBuf {
            self.dir.path().join("base.conf")
        }

        fn with<T>(&self, work: impl FnOnce(Configurations<'_, Lines>) -> T) -> T {
            work(Configurations::new(
                &self.base(),
                &self.dir.path().join("conf.d"),
            ))
        }

        fn write(&self, base: &str, user: &str) {
            std::fs::write(self.base(), base).unwrap();
            self.with(|found| {
                found
                    .overrides
                    .put(Group::User, COMMON, &Lines::parse(user))
            })
            .unwrap();
        }

        fn present(&self) -> (String, String) {
            let present = self.with(|found| found.present()).unwrap();
            (present.base, present.user)
        }
    }

    fn pair(base: &str, user: &str) -> (String, String) {
        (base.to_owned(), user.to_owned())
    }

    #[test]
    fn the_last_good_configuration_comes_back() {
        let site = Site::new();
        let refusal = || Error::failed("no memory");
        site.write("a = 1\n", "b = 2\n");
        // Nothing is remembered, and later nothing else.
        let error = site.with(|found| found.try_last(refusal()).err()).unwrap();
        assert_eq!(error.to_string(), "no memory");
        site.with(|found| found.remember()).unwrap();
        assert!(site.with(|found| found.try_last(refusal()).is_err()));

        site.write("a = 2\n", "");
        let error = site.with(|found| found.try_last(refusal()).unwrap().end(Ok(())));
        assert!(error.to_string().contains("the one before: no memory"));
        assert_eq!(site.present(), pair("a = 1\n", "b = 2\n"));

        site.write("a = 2\n", "");
        let worse = Err(Error::failed("no disk"));
        let error = site.with(|found| found.try_last(refusal()).unwrap().end(worse));
        assert_eq!(error.to_string(), "no memory");
        assert_eq!(site.present(), pair("a = 2\n", ""));
    }

    #[test]
    fn a_change_of_the_group_is_taken_back() {
        let site = Site::new();
        let group = |text| Lines::parse(text);
        let refused = || Err::<(), _>(Error::failed("no"));
        site.write("a = 1\n", "b = 2\n");
        site.with(|found| found.settle(refused())).unwrap_err();
        assert_eq!(site.present().1, "b = 2\n");
        site.with(|found| found.replace_group(&group("b = 3\n")))
            .unwrap();
        assert_eq!(site.present().1, "b = 3\n");
        let replaced = site.with(|found| found.replaced_group()).unwrap();
        assert_eq!(replaced, Some(group("b = 2\n")));
        for _ in 0..2 {
            site.with(|found| found.settle(refused())).unwrap_err();
            assert_eq!(site.present().1, "b = 2\n");
        }
        // A start makes it true, and so does the server's consent.
        for text in ["", "b = 4\n"] {
            site.with(|found| found.replace_group(&group(text)))
                .unwrap();
            match text {
                "" => site.with(|found| found.remember()).unwrap(),
                _ => site.with(|found| found.settle(Ok(()))).unwrap(),
            }
            site.with(|found| found.settle(refused())).unwrap_err();
            assert_eq!(site.present().1, text);
        }
    }
}
