//! TLS between the tenant's clients and the server.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Secret;

/// What is demanded of clients (`ssl_mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsMode {
    /// TLS is offered; clients may do without.
    Basic,
    /// Clients must use TLS.
    Enforced,
    /// Clients must show a certificate of the instance's authority.
    Mtls,
}

impl TlsMode {
    /// Its name in the control plane and in `guest_info.conf`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Enforced => "enforced",
            Self::Mtls => "mtls",
        }
    }
}

/// A certificate with its key, as PEM (`cert_container`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TlsMaterial {
    /// Private key.
    pub private_key: Secret,
    /// Certificate, followed by those in between, if any.
    pub certificate: String,
    /// Authorities that client certificates are checked with, and that the
    /// clients check this one with.
    #[serde(default)]
    pub ca: Option<String>,
}

/// Where a server has its TLS files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Private key.
    pub private_key: PathBuf,
    /// Certificate.
    pub certificate: PathBuf,
    /// Authorities.
    pub ca: PathBuf,
}
