//! `ping`: shows that modules arrive.

use async_trait::async_trait;
use datastore::{Error, Result};

use super::driver::{Driver, Job};
use super::pairs;

/// Answers with the `message=` of its contents.
pub(super) struct Ping;

#[async_trait]
impl Driver for Ping {
    async fn apply(&self, job: &Job<'_>) -> Result<String> {
        let text = String::from_utf8_lossy(job.contents);
        pairs::value(&text, "message")
            .map(str::to_owned)
            .ok_or_else(|| Error::bad_request("Message not found in contents file"))
    }

    async fn remove(&self, _job: &Job<'_>) -> Result<String> {
        Ok(String::new())
    }
}
