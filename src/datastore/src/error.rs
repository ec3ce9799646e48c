//! Why a datastore operation failed, in the terms its callers must tell apart.

/// The result of a datastore operation.
pub type Result<T> = std::result::Result<T, Error>;

/// What a caller may do about an [`Error`]; it also decides the exception
/// class that the control plane sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request itself is wrong; repeating it cannot help.
    BadRequest,
    /// The user may not do that.
    Forbidden,
    /// The database, user or file named in the request does not exist.
    NotFound,
    /// The thing to be created exists already.
    AlreadyExists,
    /// This datastore, version or release of the agent cannot do that.
    NotSupported,
    /// The server did not answer or did not reach a state in time.
    Timeout,
    /// Anything else: the server or the operating system refused.
    Failed,
}

/// An error whose text is fit for the user: it names the thing and what to do,
/// and never holds a secret or a statement with one.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` with a text for the user.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// The same, keeping what caused it for the log.
    pub fn with_source(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            kind,
            message: message.into(),
            source: Some(source.into()),
        }
    }

    /// Shorthand for [`ErrorKind::BadRequest`].
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::BadRequest, message)
    }

    /// Shorthand for [`ErrorKind::NotFound`].
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// Shorthand for [`ErrorKind::NotSupported`]; `what` names the operation.
    pub fn not_supported(what: impl std::fmt::Display) -> Self {
        Self::new(
            ErrorKind::NotSupported,
            format!("{what} is not supported by this guest agent"),
        )
    }

    /// Shorthand for [`ErrorKind::Failed`].
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Failed, message)
    }

    /// What the caller may do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether repeating the same request cannot succeed.
    pub fn is_permanent(&self) -> bool {
        !matches!(self.kind, ErrorKind::Timeout | ErrorKind::Failed)
    }
}
