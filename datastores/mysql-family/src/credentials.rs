//! Passwords on the data volume: `conf.d/os_admin.cnf` and `conf.d/root.cnf`.
//!
//! They are INI files as Python's ConfigParser writes and reads them: the
//! value is the rest of the line, whatever it holds. They outlive the root
//! disk, so a rebuilt guest finds its way back into the server.

use std::path::Path;

use datastore::{Error, Result, Secret};
use guest::Attributes;

use crate::errors::os_error;

/// The agent's own administrator.
pub(crate) const OS_ADMIN: &str = "os_admin";
/// The server's built-in administrator, local only.
pub(crate) const ROOT: &str = "root";

/// An account of the server and its password.
#[derive(Debug, Clone, PartialEq)]
pub struct Login {
    /// Account name.
    pub user: String,
    /// Its password.
    pub password: Secret,
}

/// Saves a login of an administrator in `dir`, readable by root only.
pub(crate) fn save(dir: &Path, login: &Login) -> Result<()> {
    save_as(dir, &login.user, login)
}

/// Saves a login as `name`.
pub(crate) fn save_as(dir: &Path, name: &str, login: &Login) -> Result<()> {
    guest::ensure_directory(
        dir,
        &Attributes {
            mode: 0o700,
            owner: None,
        },
    )
    .map_err(os_error)?;
    let text = format!(
        "[client]\nuser = {}\npassword = {}\nhost = localhost\n",
        login.user,
        login.password.expose()
    );
    let path = dir.join(format!("{name}.cnf"));
    guest::write_atomic(
        &path,
        text.as_bytes(),
        &Attributes {
            mode: 0o600,
            owner: None,
        },
    )
    .map_err(os_error)
}

/// The login of an administrator saved in `dir`, if there is one.
fn load(dir: &Path, user: &str) -> Result<Option<Login>> {
    let login = load_as(dir, user)?;
    Ok(login.map(|login| Login {
        user: user.to_owned(),
        ..login
    }))
}

/// The login saved as `name`, if there is one.
pub(crate) fn load_as(dir: &Path, name: &str) -> Result<Option<Login>> {
    let path = dir.join(format!("{name}.cnf"));
    let Some(text) = guest::read_optional(&path).map_err(os_error)? else {
        return Ok(None);
    };
    match client_value(&text, "password") {
        Some(password) => Ok(Some(Login {
            user: client_value(&text, "user").unwrap_or(name).to_owned(),
            password: Secret::new(password),
        })),
        None => Err(Error::failed(format!(
            "{} holds no password",
            path.display()
        ))),
    }
}

/// The login the agent works with: `os_admin`, or `root` as long as that does
/// not exist.
pub(crate) fn administrator(dir: &Path) -> Result<Login> {
    for user in [OS_ADMIN, ROOT] {
        if let Some(login) = load(dir, user)? {
            return Ok(login);
        }
    }
    Err(Error::failed(format!(
        "There is no administrator's password in {}: the instance has not been prepared",
        dir.display()
    )))
}

/// A value of the section `client`, as ConfigParser reads it.
fn client_value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut in_client = false;
    let mut found = None;
    for line in text.lines() {
        let line = line.trim();
        if let Some(section) = line.strip_prefix('[') {
            in_client = section.strip_suffix(']') == Some("client");
        } else if in_client
            && let Some((key, value)) = line.split_once(['=', ':'])
            && key.trim().eq_ignore_ascii_case(name)
        {
            found = Some(value.trim());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_what_is_loaded_and_nobody_else_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("conf.d");
        assert!(administrator(&dir).is_err());
        // All digits: a reader that guesses types would make a number of it.
        let root = Login {
            user: ROOT.into(),
            password: Secret::new("0644"),
        };
        save(&dir, &root).unwrap();
        assert_eq!(administrator(&dir).unwrap(), root);
        let os_admin = Login {
            user: OS_ADMIN.into(),
            password: Secret::new("1e5"),
        };
        save(&dir, &os_admin).unwrap();
        assert_eq!(administrator(&dir).unwrap(), os_admin);
        let mode = std::fs::metadata(dir.join("os_admin.cnf"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        // Whose name is not that of its file.
        let replica = Login {
            user: "slave_1".into(),
            password: Secret::new("x"),
        };
        save_as(&dir, "replication", &replica).unwrap();
        assert_eq!(load_as(&dir, "replication").unwrap(), Some(replica));
    }

    #[test]
    fn files_of_python_are_read_as_python_reads_them() {
        let text = "[other]\npassword = no\n[client]\nuser = os_admin\nPassword=a b#c=d \nhost = localhost\n\n";
        assert_eq!(client_value(text, "password"), Some("a b#c=d"));
        assert_eq!(client_value("[client]\nuser = x\n", "password"), None);
    }
}
