//! Why a store refused, in the terms its callers must tell apart.

/// The result of a request to a store.
pub type Result<T> = std::result::Result<T, Error>;

/// What a caller may do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The settings cannot work: a bad URL, no such region, an unreadable CA.
    Configuration,
    /// 401: the token or key is not accepted (any more).
    Unauthorized,
    /// 403: it is accepted and not allowed to do that.
    Forbidden,
    /// 404: no such container or object.
    NotFound,
    /// 413 or 507: the store or the quota is full, or the part too large.
    Full,
    /// 429 or 503 with a wish to slow down, after all tries.
    Throttled,
    /// Another 5xx, after all tries.
    Unavailable,
    /// The connection could not be made, broke or stood still, after all tries.
    Connection,
    /// What came back is not what was asked for or sent: another checksum,
    /// fewer bytes than announced.
    Corrupt,
    /// An answer no rule covers.
    Unexpected,
}

/// An error whose text is fit for the user: it names the store's object and
/// the cause, and never holds a token or key.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

impl Error {
    /// An error of `kind` with a text for the user.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// What the caller may do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the same request may succeed when it is repeated.
    pub fn is_transient(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::Throttled
                | ErrorKind::Unavailable
                | ErrorKind::Connection
                | ErrorKind::Corrupt
        )
    }
}
