//! What can be done with a module, by its type.

use std::path::PathBuf;

use async_trait::async_trait;
use datastore::{Error, Result};

use super::Applied;
use super::new_relic::NewRelic;
use super::ping::Ping;
use super::program::Program;

/// Does something with modules of one type. Texts and errors are shown to the
/// user and logged: they never hold contents that may be secret.
#[async_trait]
pub trait Driver: Send + Sync {
    /// Applies a module, also one that is applied already, and says what came
    /// of it.
    async fn apply(&self, job: &Job<'_>) -> Result<String>;

    /// Takes a module back. Nothing to take back is success.
    async fn remove(&self, job: &Job<'_>) -> Result<String>;
}

/// A module in the hands of its driver.
pub struct Job<'a> {
    /// Which module.
    pub module: &'a Applied,
    /// What is in it.
    pub contents: &'a [u8],
}

impl<'a> Job<'a> {
    pub(super) fn of(module: &'a Applied, contents: &'a [u8]) -> Self {
        Self { module, contents }
    }
}

/// The drivers of this guest: those that are built in and the image's own
/// programs, as far as the configuration allows their types.
pub struct Drivers {
    allowed: Vec<String>,
    programs: PathBuf,
}

impl Drivers {
    /// The drivers of the types in `allowed` (`module_types`); those that are
    /// not built in are executables in the directory `programs`.
    pub fn new(allowed: &[String], programs: impl Into<PathBuf>) -> Self {
        Self {
            allowed: allowed.iter().map(|kind| kind.to_lowercase()).collect(),
            programs: programs.into(),
        }
    }

    /// The driver of a type.
    ///
    /// # Errors
    /// When there is none, or the configuration does not allow it.
    pub(super) fn find(&self, kind: &str) -> Result<Box<dyn Driver>> {
        if !self.allowed.iter().any(|allowed| allowed == kind) {
            let allowed = self.allowed.join(", ");
            return Err(Error::bad_request(format!(
                "No driver implemented for module type '{kind}': this guest's module_types are \
                 {allowed}"
            )));
        }
        match kind {
            "ping" => return Ok(Box::new(Ping)),
            "new_relic_license" => return Ok(Box::new(NewRelic)),
            _ => {}
        }
        let program = self.programs.join(kind);
        if !program.is_file() {
            return Err(Error::bad_request(format!(
                "No driver implemented for module type '{kind}': there is no program {}",
                program.display()
            )));
        }
        Ok(Box::new(Program::new(program)))
    }
}
