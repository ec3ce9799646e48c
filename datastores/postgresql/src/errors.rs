//! From what the server or the system said to what the user is told.

use datastore::{Error, ErrorKind};
pub(crate) use managed::{io_failed, os_error};
use tokio_postgres::error::SqlState;

use crate::session::SqlError;

/// What a caller may do about a SQLSTATE (PostgreSQL manual, "PostgreSQL Error
/// Codes").
fn kind(state: &SqlState) -> ErrorKind {
    match *state {
        SqlState::DUPLICATE_DATABASE | SqlState::DUPLICATE_OBJECT => ErrorKind::AlreadyExists,
        SqlState::INVALID_CATALOG_NAME | SqlState::UNDEFINED_OBJECT => ErrorKind::NotFound,
        SqlState::RESERVED_NAME
        | SqlState::INVALID_NAME
        | SqlState::NAME_TOO_LONG
        | SqlState::INVALID_PARAMETER_VALUE
        | SqlState::WRONG_OBJECT_TYPE
        | SqlState::INVALID_OBJECT_DEFINITION
        | SqlState::CHARACTER_NOT_IN_REPERTOIRE
        | SqlState::UNTRANSLATABLE_CHARACTER => ErrorKind::BadRequest,
        SqlState::LOCK_NOT_AVAILABLE | SqlState::QUERY_CANCELED => ErrorKind::Timeout,
        _ => ErrorKind::Failed,
    }
}

/// What went wrong while doing `what` ("create database b1").
pub(crate) fn sql_error(what: impl std::fmt::Display, error: SqlError) -> Error {
    let (kind, message) = match &error {
        SqlError::Server { state, .. } if *state == SqlState::READ_ONLY_SQL_TRANSACTION => (
            ErrorKind::Failed,
            format!("Cannot {what}: this server is a replica, which only its source changes"),
        ),
        // The server's texts name the thing and never hold a password.
        SqlError::Server { state, message, .. } => (
            kind(state),
            format!("Cannot {what}: {message} (SQLSTATE {})", state.code()),
        ),
        SqlError::Timeout(_) => (ErrorKind::Timeout, format!("Cannot {what}: {error}")),
        SqlError::Connection(_)
        | SqlError::Socket { .. }
        | SqlError::Nonsense(_)
        | SqlError::UnknownVersion { .. } => (ErrorKind::Failed, format!("Cannot {what}: {error}")),
    };
    Error::with_source(kind, message, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(state: SqlState, message: &str) -> SqlError {
        SqlError::Server {
            state,
            message: message.into(),
        }
    }

    #[test]
    fn kinds_tell_what_a_caller_may_do() {
        for (state, kind) in [
            (SqlState::DUPLICATE_DATABASE, ErrorKind::AlreadyExists),
            (SqlState::INVALID_CATALOG_NAME, ErrorKind::NotFound),
            (SqlState::RESERVED_NAME, ErrorKind::BadRequest),
            (SqlState::LOCK_NOT_AVAILABLE, ErrorKind::Timeout),
            (SqlState::DISK_FULL, ErrorKind::Failed),
        ] {
            assert_eq!(sql_error("x", server(state, "y")).kind(), kind);
        }
        let timeout = SqlError::Timeout(std::time::Duration::from_secs(3));
        assert_eq!(sql_error("x", timeout).kind(), ErrorKind::Timeout);
    }

    #[test]
    fn a_replica_says_that_it_is_one() {
        let error = server(SqlState::READ_ONLY_SQL_TRANSACTION, "cannot execute X");
        let text = sql_error("create database b1", error).to_string();
        assert!(text.contains("this server is a replica"), "{text}");
    }
}
