//! A directory as a store: `<directory>/<container>/<name>`, with what Swift
//! would keep in headers in a hidden file beside each object.

mod disk;
mod upload;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};

use self::disk::{Place, blocking};
use crate::checksum::hex;
use crate::sidecar::{Sidecar, corrupt};
use crate::{
    Error, ErrorKind, Leftover, Listed, Metadata, ObjectInfo, ObjectName, ObjectStore, ReadPart,
    Result, Stored, Upload, names, ranges,
};

/// Bytes read at a time.
const PIECE: u64 = 256 * 1024;
/// As many as S3 allows, so that plans for one store fit the other.
const MAX_PARTS: u32 = 10_000;

/// A store in a directory, such as a mounted share.
#[derive(Debug)]
pub struct Local {
    directory: Arc<PathBuf>,
}

impl Local {
    /// The store in `directory`, which must be there: an empty mount point is
    /// not filled by mistake.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: Arc::new(directory.into()),
        }
    }

    fn place(&self, object: &ObjectName) -> Result<Place> {
        Place::new(&self.directory, object)
    }
}

/// What is known of an object. One that somebody else put there has no
/// document beside it: its checksum is made by reading it.
fn look(place: &Place) -> Result<Sidecar> {
    let file = place.open()?;
    let size = place.size_of(&file)?;
    let Some(text) = place.read_sidecar()? else {
        let md5 = hex(&place.md5_of(file)?);
        return Ok(Sidecar::whole(size, md5, Metadata::new(), String::new()));
    };
    let sidecar = Sidecar::parse(&place.object, &text)?;
    if sidecar.size != size {
        let text = format!("it has {size} bytes instead of {}", sidecar.size);
        return Err(corrupt(&place.object, &text));
    }
    Ok(sidecar)
}

#[async_trait]
impl ObjectStore for Local {
    async fn ensure_container(&self, container: &str) -> Result<()> {
        let directory = self.directory.clone();
        let container = container.to_owned();
        blocking(move || disk::make_container(&directory, &container)).await
    }

    fn resolve(&self, location: &str) -> Result<ObjectName> {
        names::resolve(location)
    }

    async fn head(&self, object: &ObjectName) -> Result<ObjectInfo> {
        let place = self.place(object)?;
        blocking(move || look(&place).map(Sidecar::info)).await
    }

    async fn list(&self, container: &str, prefix: &str) -> Result<Vec<Listed>> {
        let directory = self.directory.clone();
        let (container, prefix) = (container.to_owned(), prefix.to_owned());
        blocking(move || disk::list(&directory, &container, &prefix)).await
    }

    async fn parts(&self, object: &ObjectName, range_size: u64) -> Result<Vec<ReadPart>> {
        let place = self.place(object)?;
        blocking(move || {
            let sidecar = look(&place)?;
            if sidecar.parts.len() > 1 {
                return Ok(sidecar.read_parts(&place.object));
            }
            let md5 = Some(sidecar.checksum).filter(|_| sidecar.parts.len() == 1);
            Ok(ranges::split(&place.object, sidecar.size, range_size, md5))
        })
        .await
    }

    async fn read(
        &self,
        object: &ObjectName,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        let place = Arc::new(self.place(object)?);
        let opened = place.clone();
        let file = Arc::new(blocking(move || opened.open()).await?);
        let pieces = stream::try_unfold(range.start, move |position| {
            let (place, file, end) = (place.clone(), file.clone(), range.end);
            async move {
                if position >= end {
                    return Ok(None);
                }
                let length = PIECE.min(end - position);
                let piece = blocking(move || place.read_at(&file, position, length)).await?;
                Ok(Some((piece, position + length)))
            }
        });
        Ok(pieces.boxed())
    }

    async fn put(&self, object: &ObjectName, body: Bytes, metadata: &Metadata) -> Result<Stored> {
        let upload = self.begin(object).await?;
        let size = body.len() as u64;
        let sent = upload.put_part(0, 0, body).await;
        let stored = match sent {
            // One part: its checksum is that of the object.
            Ok(part) => {
                let place = self.place(object)?;
                let sidecar = Sidecar::whole(size, part.md5, metadata.clone(), String::new());
                blocking(move || place.complete(&sidecar)).await
            }
            Err(error) => Err(error),
        };
        if stored.is_err() {
            upload.abort().await?;
        }
        stored
    }

    async fn begin(&self, object: &ObjectName) -> Result<Box<dyn Upload>> {
        let place = Arc::new(self.place(object)?);
        let made = place.clone();
        let file = blocking(move || made.create_partial()).await?;
        Ok(Box::new(upload::LocalUpload::new(place, file)))
    }

    async fn delete(&self, object: &ObjectName) -> Result<()> {
        let place = self.place(object)?;
        blocking(move || place.remove()).await
    }

    async fn remove_leftover(&self, leftover: &Leftover) -> Result<()> {
        let place = self.place(&leftover.object)?;
        blocking(move || place.remove_partial()).await
    }
}

/// A name that stays in its directory and is no hidden file of ours.
fn check_name(what: &str, name: &str) -> Result<()> {
    // Room for the prefix and suffix of the files beside it.
    const LONGEST: usize = 230;
    let usable = !name.is_empty()
        && name.len() <= LONGEST
        && !name.starts_with('.')
        && !name.contains(['/', '\0']);
    if usable {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Configuration,
        format!(
            "{name:?} cannot be the name of {what} in a directory: it must not be empty, longer \
             than {LONGEST} bytes, begin with a dot or hold a slash"
        ),
    ))
}

/// An error of the kernel about a file.
fn io_error(action: &str, path: &Path, error: &std::io::Error) -> Error {
    use std::io::ErrorKind as Io;
    let kind = match error.kind() {
        Io::NotFound => ErrorKind::NotFound,
        Io::PermissionDenied | Io::ReadOnlyFilesystem => ErrorKind::Forbidden,
        Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => ErrorKind::Full,
        Io::UnexpectedEof => ErrorKind::Corrupt,
        _ => ErrorKind::Unexpected,
    };
    Error::new(kind, format!("{action} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
