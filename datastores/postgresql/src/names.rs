//! Names of databases and users that may be created or touched.
//!
//! Most of what a name may be is the server's business. What is checked is
//! what it would accept and then store as something else.

use datastore::{Error, Result};

/// The server cuts longer names off (`NAMEDATALEN`, less its end).
const MAX_BYTES: usize = 63;

/// Checks a database name and that it is not one of the server's own.
pub(crate) fn check_database(name: &str, reserved: &[String]) -> Result<()> {
    check_text("database", name)?;
    check_reserved("Database", name, reserved)
}

/// Checks a user name and that it is not one of the server's or the agent's.
pub(crate) fn check_user(name: &str, reserved: &[String]) -> Result<()> {
    check_text("user", name)?;
    check_reserved("User", name, reserved)
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
    if name.len() > MAX_BYTES {
        let why = format!("it is longer than {MAX_BYTES} bytes");
        return Err(invalid(kind, name, &why));
    }
    Ok(())
}

fn check_reserved(kind: &str, name: &str, reserved: &[String]) -> Result<()> {
    // Names that differ in case are different names.
    if reserved.iter().any(|entry| entry == name) {
        return Err(Error::bad_request(format!(
            "{kind} name {name} is on the reserved list"
        )));
    }
    Ok(())
}

fn invalid(kind: &str, name: &str, why: &str) -> Error {
    Error::bad_request(format!("{name:?} is not a valid {kind} name: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_names_are_refused() {
        let reserved = ["postgres".to_owned(), "os_admin".to_owned()];
        assert!(check_database("postgres", &reserved).is_err());
        assert!(check_user("os_admin", &reserved).is_err());
        // Quoted names keep their case: this is somebody else.
        assert!(check_user("Postgres", &reserved).is_ok());
    }

    #[test]
    fn names_that_the_server_would_change_are_refused() {
        let (long, longest) = ("a".repeat(64), "a".repeat(63));
        for name in ["", "a\0b", &long, &"ä".repeat(32)] {
            assert!(check_database(name, &[]).is_err(), "{name:?}");
            assert!(check_user(name, &[]).is_err(), "{name:?}");
        }
        for name in ["a", "a.b/c\\d", "`'\";--", "日本", "100%", " x ", &longest] {
            assert!(check_database(name, &[]).is_ok(), "{name:?}");
            assert!(check_user(name, &[]).is_ok(), "{name:?}");
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
