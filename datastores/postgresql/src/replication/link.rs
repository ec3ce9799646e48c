//! How a replica reaches its source: a file of settings that the server
//! includes, and one with the password.

use std::path::{Path, PathBuf};

use datastore::{Error, ReplicaContext, Result};
use guest::Attributes;

use crate::conf::Document;
use crate::errors::os_error;
use crate::{Layout, Server};

/// How long a connection to the source may take, in seconds.
const CONNECT_SECONDS: &str = "10";
/// The setting that tells where the source is.
const SETTING: &str = "primary_conninfo";

impl Layout {
    /// Where the source is. Empty on a server that follows nobody.
    pub(crate) fn link_file(&self) -> PathBuf {
        self.volume_dir().join("replica.conf")
    }

    /// The password for the source, in libpq's format.
    pub(super) fn password_file(&self) -> PathBuf {
        self.volume_dir().join(".replica.pass")
    }
}

/// The connection to a source, as libpq has it, without the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    /// Address or name.
    pub(super) host: String,
    /// TCP port.
    pub(super) port: u16,
    user: String,
    /// Whether it must be encrypted; otherwise it is if the source can.
    tls: bool,
}

impl Link {
    pub(super) fn of(context: &ReplicaContext) -> Self {
        Self {
            host: context.source.host.clone(),
            port: context.source.port,
            user: context.account.name.clone(),
            tls: context.tls.is_some(),
        }
    }

    /// The text for libpq, with the password in a file and some `more`.
    pub(super) fn text(&self, password_file: &Path, more: &[(&str, &str)]) -> String {
        let port = self.port.to_string();
        let password_file = password_file.to_string_lossy();
        let own = [
            ("host", self.host.as_str()),
            ("port", &port),
            ("user", &self.user),
            ("passfile", &password_file),
            ("sslmode", if self.tls { "require" } else { "prefer" }),
            ("connect_timeout", CONNECT_SECONDS),
        ];
        let pair = |(name, value): &(&str, &str)| format!("{name}='{}'", escaped(value));
        let pairs: Vec<String> = own.iter().chain(more).map(pair).collect();
        pairs.join(" ")
    }

    /// Reads what [`text`](Self::text) has written.
    fn parse(text: &str) -> Option<Self> {
        Some(Self {
            host: parameter(text, "host")?,
            port: parameter(text, "port")?.parse().ok()?,
            user: parameter(text, "user")?,
            tls: parameter(text, "sslmode")? == "require",
        })
    }
}

impl Server {
    /// The source that this server is to follow, if there is one.
    pub(super) fn link(&self) -> Result<Option<Link>> {
        let path = self.settings.layout.link_file();
        let Some(text) = guest::read_optional(&path).map_err(os_error)? else {
            return Ok(None);
        };
        match Document::parse(&text).get(SETTING) {
            None | Some("") => Ok(None),
            Some(text) => Link::parse(text).map(Some).ok_or_else(|| {
                Error::failed(format!(
                    "{} does not tell the source: attach the replica again",
                    path.display()
                ))
            }),
        }
    }

    /// Lets the server follow that source from its next start or reload on.
    pub(super) fn write_link(&self, context: &ReplicaContext) -> Result<()> {
        let layout = &self.settings.layout;
        let password = password_line(context);
        self.write_volume_file(&layout.password_file(), &password)?;
        let slot = super::slots::name_of(&self.settings.instance);
        let link = Link::of(context);
        let mut document = Document::default();
        let more = [("application_name", slot.as_str())];
        document.set(SETTING, &link.text(&layout.password_file(), &more));
        document.set("primary_slot_name", &slot);
        self.write_volume_file(&layout.link_file(), &document.to_string())
    }

    /// Lets the server follow nobody. The password stays, for what is still to
    /// be said to the source. The file stays: the server would complain.
    pub(crate) fn clear_link(&self) -> Result<()> {
        self.write_volume_file(&self.settings.layout.link_file(), "")
    }

    /// Forgets the password, too.
    pub(super) fn remove_link(&self) -> Result<()> {
        self.clear_link()?;
        let path = self.settings.layout.password_file();
        guest::remove_if_exists(&path).map(drop).map_err(os_error)
    }

    /// Writes a file that the server reads and nobody else.
    pub(super) fn write_volume_file(&self, path: &Path, text: &str) -> Result<()> {
        let account = &self.settings.account;
        let attributes = Attributes {
            mode: 0o600,
            owner: Some((account.uid, account.gid)),
        };
        guest::write_atomic(path, text.as_bytes(), &attributes).map_err(os_error)
    }
}

/// The password for any connection of the account (libpq, "The Password File").
pub(super) fn password_line(context: &ReplicaContext) -> String {
    let escape = |text: &str| text.replace('\\', "\\\\").replace(':', "\\:");
    let account = &context.account;
    format!(
        "*:*:*:{}:{}\n",
        escape(&account.name),
        escape(account.password.expose())
    )
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('\'', "\\'")
}

/// The value of a parameter that is quoted as in [`Link::text`].
fn parameter(text: &str, name: &str) -> Option<String> {
    let mut rest = text;
    loop {
        let (found, after) = rest.split_once("='")?;
        let mut value = String::new();
        let mut chars = after.chars();
        loop {
            match chars.next()? {
                '\\' => value.push(chars.next()?),
                '\'' => break,
                c => value.push(c),
            }
        }
        if found.trim() == name {
            return Some(value);
        }
        rest = chars.as_str();
    }
}

#[cfg(test)]
mod tests {
    use datastore::{Endpoint, ReplicationAccount, Secret};
    use proptest::prelude::*;

    use super::*;
    use crate::server::tests::server_in;

    fn context(host: &str, password: &str) -> ReplicaContext {
        ReplicaContext {
            source: Endpoint {
                host: host.into(),
                port: 5432,
            },
            account: ReplicationAccount {
                name: "replicator".into(),
                password: Secret::new(password),
            },
            position: serde_json::Map::new(),
            dataset: serde_json::Map::new(),
            tls: None,
        }
    }

    #[test]
    fn a_link_is_kept_on_the_volume_without_the_password() {
        let dir = tempfile::tempdir().unwrap();
        let server = server_in(dir.path());
        let layout = &server.settings.layout;
        std::fs::create_dir_all(layout.volume_dir()).unwrap();
        assert_eq!(server.link().unwrap(), None);
        let context = context("192.0.2.7", "it's:\\");
        server.write_link(&context).unwrap();
        assert_eq!(server.link().unwrap(), Some(Link::of(&context)));
        let read = |path: PathBuf| std::fs::read_to_string(path).unwrap();
        let text = read(layout.link_file());
        assert!(!text.contains("it"), "{text}");
        assert!(text.contains("primary_slot_name = 'trove_00000000_1111"));
        let line = read(layout.password_file());
        assert_eq!(line, "*:*:*:replicator:it's\\:\\\\\n");
        for path in [layout.link_file(), layout.password_file()] {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        server.remove_link().unwrap();
        assert_eq!(server.link().unwrap(), None);
        assert!(!layout.password_file().exists());
        std::fs::write(layout.link_file(), "primary_conninfo = 'host=x'").unwrap();
        assert!(server.link().is_err());
    }

    proptest! {
        #[test]
        fn a_parameter_is_read_as_it_was_written(host in "[\\PC'\\\\ =]{1,30}", tls: bool) {
            let link = Link { host, port: 1, user: "it's".into(), tls };
            let text = link.text(Path::new("/a b/c'd"), &[("dbname", "x")]);
            prop_assert_eq!(Link::parse(&text), Some(link));
            prop_assert_eq!(parameter(&text, "passfile"), Some("/a b/c'd".to_owned()));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[\\PC'\\\\=]{0,60}") {
            let _ = Link::parse(&text);
        }
    }
}
