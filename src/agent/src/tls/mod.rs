//! TLS of the database server, as its tenant sees it: material that is checked
//! before anything is replaced, what was there before, and the mode in
//! `guest_info.conf`.

mod details;
mod guest_info;
mod material;
mod state;
#[cfg(test)]
pub mod tests;

use std::sync::{Mutex, PoisonError};

use datastore::{Error, Result, TlsMode};

pub use details::details;
pub use guest_info::write_mode;
pub use material::validate;
pub use state::{Files, SavedState, StateFile};

/// The mode the instance has.
#[derive(Debug, Default)]
pub struct Tls(Mutex<Option<TlsMode>>);

impl Tls {
    /// What the configuration says.
    pub fn new(mode: Option<TlsMode>) -> Self {
        Self(Mutex::new(mode))
    }

    /// The mode now.
    pub fn mode(&self) -> Option<TlsMode> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the mode.
    pub fn set(&self, mode: Option<TlsMode>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = mode;
    }
}

/// A mode by its name in the API.
///
/// # Errors
/// When there is none of that name.
pub fn mode_named(name: &str) -> Result<TlsMode> {
    [TlsMode::Basic, TlsMode::Enforced, TlsMode::Mtls]
        .into_iter()
        .find(|mode| mode.name() == name)
        .ok_or_else(|| {
            Error::bad_request(format!(
                "TLS mode {name:?} is not one of basic, enforced, mtls"
            ))
        })
}
