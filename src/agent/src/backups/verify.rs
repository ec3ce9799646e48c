//! Reading a backup only to know that it can be read.

use archive::{Checked, Format, UnpackError};
use datastore::{Archive, Error, RestoreSource as _, Result};

use super::Chain;

/// Reads one link of a chain to its end: the checksum of every part is
/// compared, and the archive is walked through.
///
/// # Errors
/// What is wrong with it.
pub async fn verify(chain: &Chain, index: usize) -> Result<Checked> {
    let link = &chain.links()[index];
    let format = match link.archive {
        Archive::Xbstream => Format::Xbstream,
        Archive::Tar => Format::Tar,
    };
    archive::check(format, chain.open(index).await?)
        .await
        .map_err(
            |(UnpackError::Source(error) | UnpackError::Archive(error))| {
                Error::failed(format!("{}: {error}", link.location))
            },
        )
}
