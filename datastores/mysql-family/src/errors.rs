//! From what the server or the system said to what the user is told.

use datastore::{Error, ErrorKind};
pub(crate) use managed::os_error;

use crate::session::SqlError;

/// Error numbers of servers (MySQL "Server Error Message Reference", MariaDB
/// "Error Codes"; the two agree on these).
pub(crate) mod code {
    pub(crate) const ACCESS_DENIED: u16 = 1045;
    pub(crate) const CANT_DROP_DATABASE: u16 = 1008;
    pub(crate) const CANNOT_USER: u16 = 1396;
    pub(crate) const UNKNOWN_CHARSET: u16 = 1115;
    pub(crate) const COLLATION_MISMATCH: u16 = 1253;
    pub(crate) const UNKNOWN_COLLATION: u16 = 1273;
    pub(crate) const UNKNOWN_VARIABLE: u16 = 1193;
    pub(crate) const SESSION_VARIABLE: u16 = 1228;
    pub(crate) const NO_DEFAULT: u16 = 1230;
    const WRONG_VALUE: u16 = 1231;
    const WRONG_TYPE: u16 = 1232;
    pub(crate) const READ_ONLY_VARIABLE: u16 = 1238;
    pub(crate) const OPTION_PREVENTS_STATEMENT: u16 = 1290;
    const DATABASE_EXISTS: u16 = 1007;
    const UNKNOWN_DATABASE: u16 = 1049;
    const IDENTIFIER_TOO_LONG: u16 = 1059;
    const WRONG_DATABASE_NAME: u16 = 1102;
    pub(crate) const NONEXISTING_GRANT: u16 = 1141;
    pub(crate) const LOCK_WAIT_TIMEOUT: u16 = 1205;
    const INVALID_CHARACTERS: u16 = 1300;
    const USER_NOT_FOUND: u16 = 1133;
    const STRING_TOO_LONG: u16 = 1470;
    pub(crate) const NOT_VALID_PASSWORD: u16 = 1819;
    /// A clone has ended, and nobody starts the server again.
    pub(crate) const NO_SUPERVISOR: u16 = 3707;
    pub(crate) const TOO_MANY_CLONES: u16 = 3634;
    /// The server that is cloned has refused.
    pub(crate) const CLONE_DONOR: u16 = 3862;
    const CREDENTIALS_CONTRADICT_HISTORY: u16 = 3638;

    use datastore::ErrorKind;

    /// What a caller may do about an error number.
    pub(super) fn kind(code: u16) -> ErrorKind {
        match code {
            DATABASE_EXISTS => ErrorKind::AlreadyExists,
            CANT_DROP_DATABASE | UNKNOWN_DATABASE | NONEXISTING_GRANT | USER_NOT_FOUND => {
                ErrorKind::NotFound
            }
            IDENTIFIER_TOO_LONG
            | WRONG_DATABASE_NAME
            | INVALID_CHARACTERS
            | STRING_TOO_LONG
            | NOT_VALID_PASSWORD
            | CREDENTIALS_CONTRADICT_HISTORY
            | UNKNOWN_CHARSET
            | COLLATION_MISMATCH
            | UNKNOWN_COLLATION
            | WRONG_VALUE
            | WRONG_TYPE => ErrorKind::BadRequest,
            LOCK_WAIT_TIMEOUT => ErrorKind::Timeout,
            _ => ErrorKind::Failed,
        }
    }
}

/// What went wrong while doing `what` ("create database b1").
pub(crate) fn sql_error(what: impl std::fmt::Display, error: SqlError) -> Error {
    let kind = match &error {
        SqlError::Server { code, .. } => code::kind(*code),
        SqlError::Timeout(_) => ErrorKind::Timeout,
        SqlError::Connection(_) | SqlError::Nonsense(_) | SqlError::UnknownVersion { .. } => {
            ErrorKind::Failed
        }
    };
    let message = match &error {
        // The server's texts name the thing and never hold a password.
        SqlError::Server { message, code, .. } => {
            format!("Cannot {what}: {message} (error {code})")
        }
        other => format!("Cannot {what}: {other}"),
    };
    Error::with_source(kind, message, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: u16, message: &str) -> SqlError {
        SqlError::from(mysql_async::Error::Server(mysql_async::ServerError {
            code,
            message: message.into(),
            state: "HY000".into(),
        }))
    }

    #[test]
    fn the_text_of_a_parse_error_stays_here() {
        let near = "You have an error in your SQL syntax; near 'IDENTIFIED BY 'hunter2''";
        let error = sql_error("create user 'u'@'%'", server(1064, near));
        assert!(!error.to_string().contains("hunter2"));
        assert!(!format!("{error:?}").contains("hunter2"));
    }

    #[test]
    fn kinds_tell_what_a_caller_may_do() {
        for (code, kind) in [
            (1007, ErrorKind::AlreadyExists),
            (1008, ErrorKind::NotFound),
            (1470, ErrorKind::BadRequest),
            (1205, ErrorKind::Timeout),
            (9999, ErrorKind::Failed),
        ] {
            assert_eq!(sql_error("x", server(code, "y")).kind(), kind, "{code}");
        }
        let timeout = SqlError::Timeout(std::time::Duration::from_secs(3));
        assert_eq!(sql_error("x", timeout).kind(), ErrorKind::Timeout);
    }
}
