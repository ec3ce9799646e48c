//! To another version of the server.
//!
//! The image decides what is installed: an upgrade goes to that, or is
//! refused. Another release series comes with another image, by a rebuild.

use datastore::{Error, ErrorKind, Result};
use managed::Target;
use tracing::info;

use crate::data_version::data_version;
use crate::{Flavor, Server, ServerVersion, marker};

impl<F: Flavor> Server<F> {
    /// See [`Datastore::upgrade`](datastore::Datastore::upgrade).
    pub(crate) async fn go_over_to(&self, target: &str) -> Result<()> {
        let product = self.flavor.vendor();
        let target = Target::parse(target, &product.to_string())?;
        let layout = &self.settings.layout;
        marker::ensure_complete(layout)?;
        let installed = self.installed_version().await?;
        let running = match self.session().await {
            Ok(session) => {
                let version = session.version().clone();
                session.close().await;
                Some(version)
            }
            Err(_) => None,
        };
        let present = match &running {
            Some(running) => Some(running.clone()),
            None => data_version(&layout.data_dir())?,
        };
        check(&target, &installed, present.as_ref())?;
        if running.is_some_and(|running| running.number == installed.number) {
            info!(%installed, "The server is of that version already.");
        } else {
            info!(to = %installed, "Starting another version.");
            self.refit_base(&installed).await?;
            self.restart_and_wait().await?;
        }
        // One that was started by somebody else may not have done it.
        self.upgrade_tables(&installed).await
    }
}

/// Refuses what is not installed, and what is older than `present`.
fn check(
    target: &Target,
    installed: &ServerVersion,
    present: Option<&ServerVersion>,
) -> Result<()> {
    let wanted = |version: &ServerVersion| {
        let (_, minor, patch) = version.number;
        let minor = target.minor.unwrap_or(minor);
        (target.major, minor, target.patch.unwrap_or(patch))
    };
    let (major, minor, patch) = wanted(installed);
    if let Some(present) = present
        && (wanted(present) < present.number || installed.series() < present.series())
    {
        return Err(Error::bad_request(format!(
            "The server is {present}, and there is no way back to {} {target}",
            installed.vendor
        )));
    }
    if (major, minor) == installed.series() && patch <= installed.number.2 {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::NotSupported,
        format!(
            "{} {target} is not installed, there is {installed}: rebuild the instance with an \
             image that has it",
            installed.vendor
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(target: &str, installed: &str, present: &str) -> Result<()> {
        let version = |text: &str| ServerVersion::parse(&format!("{text}-MariaDB"));
        check(
            &Target::parse(target, "MariaDB").unwrap(),
            &version(installed).unwrap(),
            version(present).as_ref(),
        )
    }

    #[test]
    fn only_what_is_installed_is_reached() {
        for (target, installed, present) in [
            ("10.11", "10.11.19", "10.11.19"),
            ("10", "10.11.19", "10.11.19"),
            ("mariadb-10.11-next", "10.11.19", "10.11.3"),
            ("10.11.19", "10.11.19", "10.11.3"),
            ("10.11.5", "10.11.19", "10.11.3"),
            ("10.11", "10.11.19", "unknown"),
            ("11.4", "11.4.2", "10.11.19"),
        ] {
            checked(target, installed, present).unwrap();
        }
        for (target, installed, present, words) in [
            (
                "11.4",
                "10.11.19",
                "10.11.19",
                "11.4 is not installed, there is MariaDB 10.11.19",
            ),
            ("11", "10.11.19", "10.11.19", "not installed"),
            ("10.11.20", "10.11.19", "10.11.19", "not installed"),
            (
                "10.6",
                "10.11.19",
                "10.11.19",
                "no way back to MariaDB 10.6",
            ),
            ("10.11.3", "10.11.19", "10.11.19", "no way back"),
            ("10.11", "10.11.19", "11.4.2", "no way back"),
        ] {
            let error = checked(target, installed, present).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
