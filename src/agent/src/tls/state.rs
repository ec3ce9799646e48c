//! `ssl_state.json`: TLS as it was before the last change, key and all, for
//! one rollback (`trove/guestagent/datastore/ssl.py`).

use std::path::{Path, PathBuf};

use datastore::{Error, Result, Secret, TlsFiles, TlsMaterial, TlsMode};
use guest::{Attributes, FileError, Kept};
use serde::{Deserialize, Serialize};

use super::mode_named;

const FILE: &str = "ssl_state.json";

/// TLS as it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedState {
    /// `on` or `off`.
    pub status: String,
    /// The mode; upstream writes `"None"`, too.
    #[serde(default)]
    pub mode: Option<String>,
    /// The files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Files>,
}

/// Contents of the server's TLS files.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Files {
    /// Private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key: Option<Secret>,
    /// Certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

impl Files {
    /// Reads what is there.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn read(paths: &TlsFiles) -> Result<Self> {
        let read = |path: &Path| guest::read_optional(path).map_err(failed);
        Ok(Self {
            private_key: read(&paths.private_key)?.map(Secret::new),
            certificate: read(&paths.certificate)?,
            ca: read(&paths.ca)?,
        })
    }

    /// The set, if it is one.
    pub fn material(&self) -> Option<TlsMaterial> {
        Some(TlsMaterial {
            private_key: self.private_key.clone()?,
            certificate: self.certificate.clone()?,
            ca: self.ca.clone(),
        })
    }
}

impl SavedState {
    /// Whether TLS was on.
    pub fn is_on(&self) -> bool {
        self.status == "on"
    }

    /// The mode, if there was one.
    ///
    /// # Errors
    /// When there is no such mode.
    pub fn mode(&self) -> Result<Option<TlsMode>> {
        match self.mode.as_deref() {
            None | Some("" | "None") => Ok(None),
            Some(name) => mode_named(name).map(Some),
        }
    }

    /// The files, if they were a set.
    pub fn material(&self) -> Option<TlsMaterial> {
        self.files.as_ref()?.material()
    }
}

/// The file.
#[derive(Debug)]
pub struct StateFile(PathBuf);

impl StateFile {
    /// In the directory of injected files.
    pub fn new(directory: &Path) -> Self {
        Self(directory.join(FILE))
    }

    /// Remembers the file itself, for a change that fails.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn keep(&self) -> Result<Kept> {
        Kept::of(&self.0).map_err(failed)
    }

    /// Replaces it. It holds a private key: only root reads it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, state: &SavedState) -> Result<()> {
        let text = serde_json::to_vec(state).map_err(|error| Error::failed(error.to_string()))?;
        let attributes = Attributes {
            mode: 0o600,
            owner: None,
        };
        guest::write_atomic(&self.0, &text, &attributes).map_err(failed)
    }

    /// Reads it.
    ///
    /// # Errors
    /// When there is none, or it makes no sense.
    pub fn read(&self) -> Result<SavedState> {
        let text = guest::read_optional(&self.0).map_err(failed)?;
        let text = text.ok_or_else(|| {
            Error::bad_request(
                "There is nothing to roll back to: TLS was not changed, or was rolled back already",
            )
        })?;
        // The parser's own text may quote the file.
        serde_json::from_str(&text)
            .map_err(|_| Error::failed(format!("{} cannot be read", self.0.display())))
    }

    /// Removes it.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn delete(&self) -> Result<()> {
        guest::remove_if_exists(&self.0).map(drop).map_err(failed)
    }
}

fn failed(error: FileError) -> Error {
    Error::failed(error.to_string())
}
