//! Names of databases and users that may be created or touched.
//!
//! Lengths are not checked here: they differ between products and versions,
//! and each server refuses what is too long for it. What is checked is what
//! servers would accept and then store as something else.

use datastore::{Error, Result};

/// Checks a database name and that it is not one of the server's own.
pub(crate) fn check_database(name: &str, reserved: &[String]) -> Result<()> {
    check_text("database", name)?;
    if name.ends_with(' ') {
        return Err(invalid("database", name, "it ends with a space"));
    }
    // A prefix by which servers address directories as they are
    // (MySQL manual, "Mapping of Identifiers to File Names").
    if name.starts_with("#mysql50#") {
        return Err(invalid("database", name, "#mysql50# has a special meaning"));
    }
    // Without regard to case: INFORMATION_SCHEMA is information_schema.
    if reserved
        .iter()
        .any(|entry| entry.eq_ignore_ascii_case(name))
    {
        return Err(Error::bad_request(format!(
            "Database name {name} is on the reserved list"
        )));
    }
    Ok(())
}

/// Checks a user name and that it is not one of the server's or the agent's.
pub(crate) fn check_user(name: &str, reserved: &[String]) -> Result<()> {
    check_text("user", name)?;
    // Servers compare user names padded with blanks, and MariaDB then finds
    // no account at all.
    if name.starts_with(char::is_whitespace) || name.ends_with(char::is_whitespace) {
        return Err(invalid("user", name, "it starts or ends with a blank"));
    }
    if reserved.iter().any(|entry| entry == name) {
        return Err(Error::bad_request(format!(
            "User name {name} is on the reserved list"
        )));
    }
    Ok(())
}

/// Checks the name of a user that is to be created.
pub(crate) fn check_new_user(name: &str, reserved: &[String]) -> Result<()> {
    check_user(name, reserved)?;
    // At login servers take one pair of quotes off the name
    // (`parse_client_handshake_packet` in both products), so nobody could
    // ever log in under such a name.
    if name.len() > 1 && name.starts_with('\'') && name.ends_with('\'') {
        return Err(invalid("user", name, "it is enclosed in quotes"));
    }
    Ok(())
}

/// Checks a password that is to be set.
pub(crate) fn check_password(user: &str, password: &str) -> Result<()> {
    if password.is_empty() {
        return Err(Error::bad_request(format!(
            "The password of user {user} is empty"
        )));
    }
    if password.contains('\0') {
        return Err(Error::bad_request(format!(
            "The password of user {user} holds a NUL"
        )));
    }
    Ok(())
}

fn check_text(kind: &str, name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::bad_request(format!("A {kind} name is empty")));
    }
    if name.contains('\0') {
        return Err(invalid(kind, name, "it holds a NUL"));
    }
    // Names are stored in three-byte UTF-8; servers silently turn anything
    // beyond into "?".
    if let Some(c) = name.chars().find(|&c| u32::from(c) > 0xffff) {
        return Err(invalid(
            kind,
            name,
            &format!("the server cannot store {c} in names"),
        ));
    }
    Ok(())
}

fn invalid(kind: &str, name: &str, why: &str) -> Error {
    Error::bad_request(format!("{name:?} is not a valid {kind} name: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn reserved_names_are_refused() {
        let databases = list(&["mysql", "information_schema"]);
        assert!(check_database("mysql", &databases).is_err());
        assert!(check_database("INFORMATION_SCHEMA", &databases).is_err());
        assert!(check_database("mysql2", &databases).is_ok());
        let users = list(&["os_admin", "root"]);
        assert!(check_user("root", &users).is_err());
        // User names are case-sensitive: this is somebody else.
        assert!(check_user("Root", &users).is_ok());
    }

    #[test]
    fn names_that_servers_would_change_are_refused() {
        for name in ["", "a\0b", "d\u{1F600}", "trailing ", "#mysql50#a"] {
            assert!(check_database(name, &[]).is_err(), "{name:?}");
        }
        for name in ["", "a\0b", "d\u{1F600}", "trailing ", " leading", "tab\t"] {
            assert!(check_user(name, &[]).is_err(), "{name:?}");
        }
        for name in [
            "a", "a.b/c\\d", "`'\";--", "日本", "100%", "a_b", ":word", " leading",
        ] {
            assert!(check_database(name, &[]).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn passwords_hold_anything_but_nothing() {
        assert!(check_password("u", "p@:ss'\"\\ \u{1F600}").is_ok());
        assert!(check_password("u", "").is_err());
        let error = check_password("u", "secret\0").unwrap_err().to_string();
        assert!(!error.contains("secret"));
    }
}
