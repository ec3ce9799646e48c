//! Override files of replication, and their copies on the volume.
//!
//! Override files are on the root disk. After a rebuild the control plane has
//! them written again, but only when the server has been running for a while:
//! a source would have taken writes that no replica ever sees, and a replica
//! would have been writable. So they are put back before the first start.

use std::path::PathBuf;

use datastore::Result;
use guest::Attributes;

use crate::cnf::Document;
use crate::errors::os_error;
use crate::overrides::{Group, Overrides, PUBLIC};
use crate::{Flavor, Server};

/// An override of replication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// What servers with a binary log need, and tenants may set otherwise.
    Common,
    /// Of a source, as the control plane has it.
    Source,
    /// Of a replica, as the control plane has it.
    Replica,
    /// Nobody may write.
    ReadOnly,
}

pub(super) const ALL: [Kept; 4] = [Kept::Common, Kept::Source, Kept::Replica, Kept::ReadOnly];

impl Kept {
    fn group(self) -> Group {
        match self {
            Self::Common => Group::SystemEarly,
            _ => Group::SystemLate,
        }
    }

    /// The names of the middle two are upstream's.
    fn id(self) -> &'static str {
        match self {
            Self::Common => "replication",
            Self::Source => "master-replication",
            Self::Replica => "slave-replication",
            Self::ReadOnly => "read-only",
        }
    }
}

impl<F: Flavor> Server<F> {
    /// An override of replication; empty when there is none.
    pub(super) fn kept_override(&self, kept: Kept) -> Result<Document> {
        self.replication_overrides().read(kept.group(), kept.id())
    }

    fn copy_of(&self, kept: Kept) -> PathBuf {
        let dir = self.settings.layout.replication_dir();
        dir.join(format!("{}.cnf", kept.id()))
    }

    /// Writes an override and its copy; the server obeys at its next start.
    pub(super) fn keep_override(&self, kept: Kept, document: &Document) -> Result<()> {
        let private = Attributes {
            mode: 0o700,
            owner: None,
        };
        guest::ensure_directory(&self.settings.layout.replication_dir(), &private)
            .map_err(os_error)?;
        guest::write_atomic(
            &self.copy_of(kept),
            document.to_string().as_bytes(),
            &PUBLIC,
        )
        .map_err(os_error)?;
        self.replication_overrides()
            .write(kept.group(), kept.id(), document)
    }

    /// Removes an override and its copy.
    pub(super) fn drop_override(&self, kept: Kept) -> Result<()> {
        self.replication_overrides()
            .remove(kept.group(), kept.id())?;
        guest::remove_if_exists(&self.copy_of(kept))
            .map(drop)
            .map_err(os_error)
    }

    /// Writes overrides that the volume has, on a root disk that may be new.
    pub(crate) fn install_kept_overrides(&self) -> Result<()> {
        for kept in ALL {
            match guest::read_optional(&self.copy_of(kept)).map_err(os_error)? {
                Some(text) => {
                    let document = Document::parse(&text);
                    self.replication_overrides()
                        .write(kept.group(), kept.id(), &document)?;
                }
                None => self
                    .replication_overrides()
                    .remove(kept.group(), kept.id())?,
            }
        }
        Ok(())
    }

    fn replication_overrides(&self) -> Overrides<'_> {
        Overrides::new(&self.settings.layout.include_dir)
    }
}
