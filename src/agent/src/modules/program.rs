//! Types of modules that an image brings a program for.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use datastore::{Error, Result};
use guest::Command;

use super::driver::{Driver, Job};

/// Inside the time that callers give to all modules of one call (180 s).
const LIMIT: Duration = Duration::from_secs(120);

/// Runs `PROGRAM apply` and `PROGRAM remove` as root, with the contents as
/// standard input and the module's names in the environment. What it prints is
/// the message; a status other than 0 is a failure, and what it prints on
/// standard error the reason.
pub(super) struct Program(PathBuf);

impl Program {
    pub(super) fn new(program: PathBuf) -> Self {
        Self(program)
    }

    async fn run(&self, verb: &str, job: &Job<'_>) -> Result<String> {
        let module = job.module;
        let or_all = |text: &Option<String>| text.clone().unwrap_or_else(|| "all".to_owned());
        let output = Command::new(&self.0)
            .arg(verb)
            .env("TROVE_MODULE_ID", &module.id)
            .env("TROVE_MODULE_NAME", &module.name)
            .env("TROVE_MODULE_DATASTORE", or_all(&module.datastore))
            .env(
                "TROVE_MODULE_DATASTORE_VERSION",
                or_all(&module.datastore_version),
            )
            .env("TROVE_MODULE_ADMIN", u8::from(module.is_admin).to_string())
            .stdin(job.contents)
            .timeout(LIMIT)
            .run()
            .await
            .map_err(|error| Error::failed(error.to_string()))?;
        Ok(output.stdout_text().trim().to_owned())
    }
}

#[async_trait]
impl Driver for Program {
    async fn apply(&self, job: &Job<'_>) -> Result<String> {
        self.run("apply", job).await
    }

    async fn remove(&self, job: &Job<'_>) -> Result<String> {
        self.run("remove", job).await
    }
}
