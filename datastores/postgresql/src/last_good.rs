//! The last configuration that the server has started with.
//!
//! The control plane and tenants change two files, the base file and the
//! configuration group. What the server refuses to read is refused before it is
//! written; what it reads and cannot start with (more memory than there is, a
//! library that does not exist) is only known when it does not start. Then it
//! starts with what it had, and the error tells why.

use std::path::PathBuf;

use datastore::{Error, ErrorKind, Result};
use guest::Attributes;
use tracing::{error, warn};

use crate::Server;
use crate::conf::Document;
use crate::errors::os_error;
use crate::overrides::{COMMON, Group, Overrides, PUBLIC};

/// The directory beside the base file, and names in it.
const DIR: &str = ".started-with";
const BASE: &str = "postgresql.conf";
const USER: &str = "user.conf";

/// What others decide about the configuration.
#[derive(Debug, PartialEq, Eq)]
struct Configuration {
    base: String,
    user: String,
}

impl Server {
    /// (Re)starts the server; if its configuration has changed and it does not
    /// start, with the one before.
    pub(crate) async fn bring_up_or_roll_back(&self, restart: bool) -> Result<()> {
        let refusal = match self.bring_up(restart).await {
            // One that is slow is not helped by other files.
            Err(error) if error.kind() == ErrorKind::Failed => error,
            done => return done,
        };
        let present = self.configuration()?;
        let last = match self.last_configuration()? {
            Some(last) if last != present => last,
            _ => return Err(refusal),
        };
        warn!(%refusal, "The server does not start; trying its last configuration.");
        self.put_configuration(&last)?;
        match self.bring_up(false).await {
            Ok(()) => Err(Error::with_source(
                ErrorKind::Failed,
                format!(
                    "The server does not start with its new configuration, so it runs with the \
                     one before: {refusal}"
                ),
                refusal,
            )),
            Err(error) => {
                error!(%error, "The server does not start with its last configuration either.");
                self.put_configuration(&present)?;
                Err(refusal)
            }
        }
    }

    /// After a start: these files are good.
    pub(crate) fn remember_configuration(&self) -> Result<()> {
        let dir = self.memory();
        let attributes = Attributes {
            mode: 0o755,
            owner: None,
        };
        guest::ensure_directory(&dir, &attributes).map_err(os_error)?;
        let present = self.configuration()?;
        if self.last_configuration()?.as_ref() == Some(&present) {
            return Ok(());
        }
        // The base file last: without it nothing is remembered.
        let base = dir.join(BASE);
        guest::remove_if_exists(&base).map_err(os_error)?;
        for (path, text) in [(dir.join(USER), &present.user), (base, &present.base)] {
            guest::write_atomic(&path, text.as_bytes(), &PUBLIC).map_err(os_error)?;
        }
        Ok(())
    }

    fn memory(&self) -> PathBuf {
        self.settings.layout.config_dir().join(DIR)
    }

    fn configuration(&self) -> Result<Configuration> {
        let layout = &self.settings.layout;
        let user = Overrides::new(&layout.include_dir).read(Group::User, COMMON)?;
        let base = guest::read_optional(&layout.base_config).map_err(os_error)?;
        Ok(Configuration {
            base: base.unwrap_or_default(),
            user: user.to_string(),
        })
    }

    fn last_configuration(&self) -> Result<Option<Configuration>> {
        let dir = self.memory();
        let read = |name: &str| guest::read_optional(&dir.join(name)).map_err(os_error);
        Ok(read(BASE)?
            .zip(read(USER)?)
            .map(|(base, user)| Configuration { base, user }))
    }

    fn put_configuration(&self, configuration: &Configuration) -> Result<()> {
        let path = &self.settings.layout.base_config;
        guest::write_atomic(path, configuration.base.as_bytes(), &PUBLIC).map_err(os_error)?;
        self.write_user_overrides(&Document::parse(&configuration.user))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::tests::server_in;

    #[test]
    fn only_what_others_decide_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let server = server_in(dir.path());
        let layout = &server.settings.layout;
        std::fs::create_dir_all(&layout.include_dir).unwrap();
        assert_eq!(server.last_configuration().unwrap(), None);
        let write = |base: &str, user: &str| {
            std::fs::write(&layout.base_config, base).unwrap();
            server.write_user_overrides(&Document::parse(user)).unwrap();
        };
        write("a = 1\n", "b = 2\n");
        server.remember_configuration().unwrap();
        let good = server.configuration().unwrap();
        write("a = 2\n", "");
        assert_eq!(server.last_configuration().unwrap().as_ref(), Some(&good));
        server.put_configuration(&good).unwrap();
        assert_eq!(server.configuration().unwrap(), good);
        write("a = 3\n", "");
        server.remember_configuration().unwrap();
        let last = server.last_configuration().unwrap();
        assert_eq!(last, Some(server.configuration().unwrap()));
    }
}
