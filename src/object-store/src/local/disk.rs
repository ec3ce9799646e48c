//! Files of a store in a directory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use md5::{Digest as _, Md5};
use nix::libc::O_NOFOLLOW;

use super::{check_name, io_error};
use crate::sidecar::{Sidecar, corrupt};
use crate::{Error, ErrorKind, Listed, ObjectName, Result, Stored};

/// Runs what waits for the disk beside the runtime's threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::new(ErrorKind::Unexpected, format!("local store: {error}")))?
}

/// Makes the directory of a container.
pub(super) fn make_container(directory: &Path, container: &str) -> Result<()> {
    check_name("a container", container)?;
    if !directory.is_dir() {
        return Err(Error::new(
            ErrorKind::Configuration,
            format!(
                "{} is no directory: make it, or mount what belongs there",
                directory.display()
            ),
        ));
    }
    let path = directory.join(container);
    match DirBuilder::new().mode(0o700).create(&path) {
        Ok(()) => sync_directory(directory),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            check_container(&path).map(|_| ())
        }
        Err(error) => Err(io_error("create", &path, &error)),
    }
}

/// Objects of a container; hidden files are none.
pub(super) fn list(directory: &Path, container: &str, prefix: &str) -> Result<Vec<Listed>> {
    check_name("a container", container)?;
    let path = directory.join(container);
    check_container(&path)?;
    let failed = |error| io_error("list", &path, &error);
    let mut found = Vec::new();
    for entry in fs::read_dir(&path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if name.starts_with('.') || !name.starts_with(prefix) {
            continue;
        }
        // Of the entry itself: a symbolic link is no object.
        match entry.metadata() {
            Ok(metadata) if metadata.is_file() => found.push(Listed {
                name,
                size: metadata.len(),
            }),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn check_container(path: &Path) -> Result<()> {
    let found = fs::symlink_metadata(path).map_err(|error| io_error("open", path, &error))?;
    if found.is_dir() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Configuration,
        format!("{} is no directory, or a symbolic link", path.display()),
    ))
}

fn sync_directory(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| io_error("sync", path, &error))
}

/// The files of one object.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) object: ObjectName,
    container: PathBuf,
    data: PathBuf,
    sidecar: PathBuf,
    partial: PathBuf,
}

impl Place {
    pub(super) fn new(directory: &Path, object: &ObjectName) -> Result<Self> {
        check_name("a container", &object.container)?;
        check_name("an object", &object.name)?;
        let container = directory.join(&object.container);
        let beside = |suffix: &str| container.join(format!(".{}.{suffix}", object.name));
        Ok(Self {
            object: object.clone(),
            data: container.join(&object.name),
            sidecar: beside("json"),
            partial: beside("partial"),
            container,
        })
    }

    /// Opens the object.
    pub(super) fn open(&self) -> Result<File> {
        check_container(&self.container)?;
        OpenOptions::new()
            .read(true)
            .custom_flags(O_NOFOLLOW)
            .open(&self.data)
            .map_err(|error| io_error("open", &self.data, &error))
    }

    pub(super) fn size_of(&self, file: &File) -> Result<u64> {
        let found = file
            .metadata()
            .map_err(|error| io_error("look at", &self.data, &error))?;
        if found.is_file() {
            return Ok(found.len());
        }
        Err(Error::new(
            ErrorKind::NotFound,
            format!("{} is no file", self.data.display()),
        ))
    }

    pub(super) fn md5_of(&self, mut file: File) -> Result<[u8; 16]> {
        let mut md5 = Md5::new();
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let read = file
                .read(&mut buffer)
                .map_err(|error| io_error("read", &self.data, &error))?;
            if read == 0 {
                return Ok(md5.finalize().into());
            }
            md5.update(&buffer[..read]);
        }
    }

    pub(super) fn read_at(&self, file: &File, position: u64, length: u64) -> Result<Bytes> {
        let mut buffer = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut buffer, position)
            .map_err(|error| io_error("read", &self.data, &error))?;
        Ok(buffer.into())
    }

    /// The document beside the object, if there is one.
    pub(super) fn read_sidecar(&self) -> Result<Option<Vec<u8>>> {
        let failed = |error| io_error("read", &self.sidecar, &error);
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(O_NOFOLLOW)
            .open(&self.sidecar);
        let mut text = Vec::new();
        match opened {
            Ok(mut file) => file.read_to_end(&mut text).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        Ok(Some(text))
    }

    /// A new file for the bytes of the object, hidden until it is complete.
    pub(super) fn create_partial(&self) -> Result<File> {
        check_container(&self.container)?;
        self.remove_partial()?;
        create(&self.partial).map_err(|error| io_error("create", &self.partial, &error))
    }

    pub(super) fn write_at(&self, file: &File, position: u64, bytes: &[u8]) -> Result<()> {
        file.write_all_at(bytes, position)
            .map_err(|error| io_error("write", &self.partial, &error))
    }

    /// Makes the partial file the object, as `sidecar` says it is. After a
    /// crash there is either the whole object or none of that name.
    pub(super) fn complete(&self, sidecar: &Sidecar) -> Result<Stored> {
        let failed = |error| io_error("write", &self.partial, &error);
        let file = OpenOptions::new()
            .write(true)
            .custom_flags(O_NOFOLLOW)
            .open(&self.partial)
            .map_err(failed)?;
        // Every part was written where it was to be and without an error, so
        // the size tells whether all are there; reading all back would only
        // ask the same page cache.
        let size = file.metadata().map_err(failed)?.len();
        if size != sidecar.size {
            let text = format!("{size} bytes were written instead of {}", sidecar.size);
            return Err(corrupt(&self.object, &text));
        }
        file.sync_all().map_err(failed)?;
        self.write_sidecar(sidecar)?;
        fs::rename(&self.partial, &self.data)
            .map_err(|error| io_error("rename to", &self.data, &error))?;
        sync_directory(&self.container)?;
        Ok(Stored {
            checksum: sidecar.checksum.clone(),
            location: format!("file://{}", self.data.display()),
            size,
        })
    }

    fn write_sidecar(&self, sidecar: &Sidecar) -> Result<()> {
        let temporary = self
            .container
            .join(format!(".{}.json-new", self.object.name));
        remove(&temporary)?;
        create(&temporary)
            .and_then(|mut file| {
                file.write_all(&sidecar.to_bytes())?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&temporary, &self.sidecar))
            .map_err(|error| io_error("write", &self.sidecar, &error))
    }

    /// Removes the object; the bytes go last, so that what is half removed can
    /// still be seen and removed.
    pub(super) fn remove(&self) -> Result<()> {
        self.remove_partial()?;
        remove(&self.sidecar)?;
        remove(&self.data)
    }

    pub(super) fn remove_partial(&self) -> Result<()> {
        remove(&self.partial)
    }
}

/// A new file that only its owner reads: backups hold all of a database.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error("remove", path, &error))
        }
        _ => Ok(()),
    }
}
