//! Where an archive is unpacked.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, fchown, lchown};
use std::path::{Component, Path, PathBuf};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use crate::{Owner, bad};

/// Mode of directories: the server's account alone writes, its group reads.
pub const DIRECTORY_MODE: u32 = 0o750;
/// Mode of files.
pub const FILE_MODE: u32 = 0o640;

/// How far behind the last bytes written the kernel may forget them: the disk
/// has had time for as much.
const BEHIND: u64 = 16 << 20;

/// Lets the disk begin with bytes that were just written, and the kernel forget
/// those before. What is unpacked must all be on the disk in the end, and the
/// kernel would begin with gigabytes of it only then; and it would find memory
/// for all of them, which takes more than writing them, and which belongs to
/// what the guest has in use. Advice is not followed at worst.
pub(crate) fn write_back(file: &File, offset: u64, length: u64) {
    let advise = |offset: u64| {
        let (Ok(offset), Ok(length)) = (offset.try_into(), length.try_into()) else {
            return;
        };
        // Pages that are to be written are not dropped by this but written
        // (`mm/fadvise.c`).
        let advice = PosixFadviseAdvice::POSIX_FADV_DONTNEED;
        let _ignored = posix_fadvise(file, offset, length, advice);
    };
    advise(offset);
    if let Some(before) = offset.checked_sub(BEHIND) {
        advise(before);
    }
}

/// A file that is written from its beginning to its end.
pub(crate) struct Sequential {
    file: File,
    offset: u64,
}

impl Sequential {
    pub(crate) fn new(file: File) -> Self {
        Self { file, offset: 0 }
    }
}

impl Write for Sequential {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        write_back(&self.file, self.offset, written as u64);
        self.offset += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A directory that is being filled.
pub(crate) struct Directory {
    path: PathBuf,
    owner: Owner,
}

impl Directory {
    pub(crate) fn new(path: PathBuf, owner: Owner) -> Self {
        Self { path, owner }
    }

    /// Where an entry goes, if that is below the directory.
    pub(crate) fn below(&self, name: &Path) -> io::Result<PathBuf> {
        let mut path = self.path.clone();
        for component in name.components() {
            match component {
                Component::Normal(part) => path.push(part),
                Component::CurDir => {}
                _ => {
                    let text = format!("{} would leave the data directory", name.display());
                    return Err(bad(text));
                }
            }
        }
        Ok(path)
    }

    /// Makes a directory with all above it; one that exists is left as it is.
    pub(crate) fn make(&self, name: &Path) -> io::Result<()> {
        let path = self.below(name)?;
        match path.strip_prefix(&self.path) {
            Ok(inner) if !inner.as_os_str().is_empty() => self.make_all(inner),
            _ => Ok(()),
        }
    }

    fn make_all(&self, inner: &Path) -> io::Result<()> {
        let mut path = self.path.clone();
        for part in inner.components() {
            path.push(part);
            match DirBuilder::new().mode(DIRECTORY_MODE).create(&path) {
                Ok(()) => lchown(&path, Some(self.owner.uid), Some(self.owner.gid))?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Opens a file for writing: a new one, or with `again` maybe one that has
    /// come before.
    pub(crate) fn open(&self, name: &Path, again: bool) -> io::Result<File> {
        let path = self.below(name)?;
        if let Some(parent) = path.parent().filter(|parent| !parent.is_dir()) {
            let inner = parent.strip_prefix(&self.path).map_err(io::Error::other)?;
            self.make_all(inner)?;
        }
        let file = OpenOptions::new()
            .write(true)
            .create(again)
            .create_new(!again)
            .truncate(false)
            .mode(FILE_MODE)
            .open(&path)
            .map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", name.display()))
            })?;
        fchown(&file, Some(self.owner.uid), Some(self.owner.gid))?;
        Ok(file)
    }
}
