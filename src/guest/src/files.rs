//! Files and directories the agent owns: replaced atomically, never readable
//! by more than asked for, never reached through a symbolic link.

use std::{
    ffi::OsString,
    fmt,
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{
        DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown,
    },
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use nix::libc;

mod kept;

pub use kept::Kept;

/// Permissions of a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits, as for chmod(2). The process's umask does not matter.
    pub mode: u32,
    /// (uid, gid), or `None` to leave what the kernel gave it.
    pub owner: Option<(u32, u32)>,
}

impl Attributes {
    fn apply(&self, file: &File) -> io::Result<()> {
        // chown(2) clears set-id bits, so the mode comes last.
        if let Some((uid, gid)) = self.owner {
            fchown(file, Some(uid), Some(gid))?;
        }
        file.set_permissions(Permissions::from_mode(self.mode))
    }
}

/// What could not be done to which file.
#[derive(Debug)]
pub struct FileError {
    /// The file or directory.
    pub path: PathBuf,
    /// A verb: `write`, `read`, `create`, `remove`...
    pub action: &'static str,
    /// From the kernel.
    pub source: io::Error,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}: {}",
            self.action,
            self.path.display(),
            self.source
        )
    }
}

// No `source()`: Display has the cause already, and a chain would repeat it.
impl std::error::Error for FileError {}

impl FileError {
    pub(crate) fn new(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self {
            path: path.to_owned(),
            action,
            source,
        }
    }
}

/// Replaces the file at `path`, or creates it, so that a reader or a crash
/// sees either the old or the new contents in full, with the final owner and
/// mode. A symbolic link at `path` itself is replaced, not followed.
///
/// The temporary file stands in the same directory under a hidden name, is
/// only readable by its owner until it is complete, and is removed on failure;
/// one left by a crash is removed by the next write to the same path.
pub fn write_atomic(
    path: &Path,
    contents: &[u8],
    attributes: &Attributes,
) -> Result<(), FileError> {
    replace(path, contents, attributes).map_err(FileError::new(path, "write"))
}

fn replace(path: &Path, contents: &[u8], attributes: &Attributes) -> io::Result<()> {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    let (directory, prefix) = temporary_prefix(path)?;
    remove_leftovers(directory, &prefix);
    let (temporary, mut file) = loop {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let mut name = prefix.clone();
        name.push(format!("{}-{serial}", process::id()));
        let candidate = directory.join(name);
        let created = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&candidate);
        match created {
            Ok(file) => break (candidate, file),
            // Left by an earlier process with this number.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    };
    let written = file
        .write_all(contents)
        .and_then(|()| attributes.apply(&file))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // The first error is the one worth reporting.
        let _secondary = fs::remove_file(&temporary);
        return Err(error);
    }
    // The rename itself must survive a crash.
    File::open(directory)?.sync_all()
}

/// The directory of `path` and the start of the names of its temporary files.
fn temporary_prefix(path: &Path) -> io::Result<(&Path, OsString)> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".trove-tmp-");
    Ok((parent(path), prefix))
}

/// The directory that `path` is in.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Removes what a killed agent left of its writes to the same file: it may
/// hold a password. Files of this very process are being written by another
/// thread.
fn remove_leftovers(directory: &Path, prefix: &OsString) {
    let own = format!("{}-", process::id());
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let rest = name
            .as_encoded_bytes()
            .strip_prefix(prefix.as_encoded_bytes());
        if rest.is_some_and(|rest| !rest.starts_with(own.as_bytes())) {
            // Best effort: the write itself does not depend on it.
            let _gone = fs::remove_file(entry.path());
        }
    }
}

/// Makes sure `path` is a directory with these attributes. Missing parents are
/// created with mode 0755; of what exists already, only `path` itself gets the
/// owner and mode, never its contents. A symbolic link at `path` is refused.
pub fn ensure_directory(path: &Path, attributes: &Attributes) -> Result<(), FileError> {
    create_directory(path, attributes).map_err(FileError::new(path, "create directory"))
}

fn create_directory(path: &Path, attributes: &Attributes) -> io::Result<()> {
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        && !parent.is_dir()
    {
        create_directory(
            parent,
            &Attributes {
                mode: 0o755,
                owner: None,
            },
        )?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let directory = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(path)
        .map_err(|error| explain_not_a_directory(path, error))?;
    attributes.apply(&directory)
}

fn explain_not_a_directory(path: &Path, error: io::Error) -> io::Error {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => io::Error::other("it is a symbolic link"),
        Ok(found) if !found.is_dir() => io::Error::other("something else has that name"),
        _ => error,
    }
}

/// The file's text, or `None` when there is no such file.
///
/// Many of the files are in directories of the database's account, whose owner
/// may be hostile, and are read as root. So a symbolic link is followed only in
/// a directory that nobody but root writes to, and what is no regular file or
/// is larger than any of ours is an error, as is text that is not UTF-8.
pub fn read_optional(path: &Path) -> Result<Option<String>, FileError> {
    match read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::new(path, "read")(error)),
    }
}

/// Bytes of the largest file that is read as a whole.
const LARGEST: u64 = 16 << 20;

fn read(path: &Path) -> io::Result<String> {
    let file = open(path)?;
    let facts = file.metadata()?;
    if !facts.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut text = String::new();
    file.take(LARGEST + 1).read_to_string(&mut text)?;
    match text.len() as u64 > LARGEST {
        true => Err(io::ErrorKind::FileTooLarge.into()),
        false => Ok(text),
    }
}

fn open(path: &Path) -> io::Result<File> {
    // A pipe in its place would keep us waiting.
    let open = |flags| {
        OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | flags)
            .open(path)
    };
    let opened = open(libc::O_NOFOLLOW);
    let refused = |error: &io::Error| error.raw_os_error() == Some(libc::ELOOP);
    if !opened.as_ref().is_err_and(refused) {
        return opened;
    }
    let directory = fs::metadata(parent(path))?;
    match directory.uid() == 0 && directory.mode() & 0o022 == 0 {
        true => open(0),
        false => Err(io::Error::other(
            "it is a symbolic link in a directory that others write to",
        )),
    }
}

/// Removes a file (or symbolic link); whether there was one.
pub fn remove_if_exists(path: &Path) -> Result<bool, FileError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(FileError::new(path, "remove")(error)),
    }
}

#[cfg(test)]
mod tests;
