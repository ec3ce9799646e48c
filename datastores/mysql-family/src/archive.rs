//! Data directories as tar archives.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, fchown, lchown};
use std::path::{Component, Path, PathBuf};

use guest::Account;
use tar::{Archive, Builder, EntryType, Header};

/// A system call moves up to this much.
const CHUNK: usize = 512 << 10;
/// Modes of what is unpacked: the server's account alone writes, its group
/// reads.
pub(crate) const DIRECTORY_MODE: u32 = 0o750;
pub(crate) const FILE_MODE: u32 = 0o640;

/// Writes everything in `dir`, and then the `last` files, as an archive, and
/// removes every file as soon as it is written: the copy is not needed a
/// second time, and its space is the tenant's. Blocks.
pub(crate) fn pack(dir: &Path, last: &[(&str, String)], writer: impl Write) -> io::Result<()> {
    let mut builder = Builder::new(BufWriter::with_capacity(CHUNK, writer));
    pack_directory(&mut builder, dir, Path::new(""))?;
    for (name, text) in last {
        let mut header = header_of(EntryType::Regular, text.len() as u64);
        builder.append_data(&mut header, name, text.as_bytes())?;
    }
    builder.into_inner()?.flush()
}

fn pack_directory(builder: &mut Builder<impl Write>, dir: &Path, name: &Path) -> io::Result<()> {
    let mut entries = std::fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), name.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            let mut header = header_of(EntryType::Directory, 0);
            builder.append_data(&mut header, &name, io::empty())?;
            pack_directory(builder, &path, &name)?;
        } else if kind.is_file() {
            let file = File::open(&path)?;
            let mut header = header_of(EntryType::Regular, file.metadata()?.len());
            let file = BufReader::with_capacity(CHUNK, file);
            builder.append_data(&mut header, &name, file)?;
            std::fs::remove_file(&path)?;
        } else {
            let text = format!("{} is neither a file nor a directory", path.display());
            return Err(io::Error::other(text));
        }
    }
    Ok(())
}

fn header_of(kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(match kind {
        EntryType::Directory => DIRECTORY_MODE,
        _ => FILE_MODE,
    });
    header
}

/// Unpacks an archive into the directory `dir`, for `account`, and reads to
/// the end of `reader`. What is there already is never replaced; nothing but
/// files and directories below `dir` is accepted. Blocks.
pub(crate) fn unpack(reader: impl Read, dir: &Path, account: &Account) -> io::Result<()> {
    let mut archive = Archive::new(BufReader::with_capacity(CHUNK, reader));
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.into_owned();
        let Some(path) = below(dir, &name) else {
            let text = format!("{} would leave the data directory", name.display());
            return Err(io::Error::other(text));
        };
        match entry.header().entry_type() {
            EntryType::Directory => make_directory(&path, account)?,
            EntryType::Regular => {
                if let Some(parent) = path.parent().filter(|parent| *parent != dir) {
                    make_directory(parent, account)?;
                }
                let file = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(FILE_MODE)
                    .open(&path)?;
                fchown(&file, Some(account.uid), Some(account.gid))?;
                let size = entry.size();
                let mut file = BufWriter::with_capacity(CHUNK, file);
                let copied = io::copy(&mut entry, &mut file)?;
                file.flush()?;
                if copied != size {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            other => {
                let text = format!("{} is of type {other:?}", name.display());
                return Err(io::Error::other(text));
            }
        }
    }
    // Whether the bytes were right is known only at their end.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    Ok(())
}

/// Where an entry goes, if that is below `dir`.
fn below(dir: &Path, name: &Path) -> Option<PathBuf> {
    let mut path = dir.to_owned();
    for component in name.components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(path)
}

fn make_directory(path: &Path, account: &Account) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(path)?;
    lchown(path, Some(account.uid), Some(account.gid))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn own_account(dir: &Path) -> Account {
        let own = std::fs::metadata(dir).unwrap();
        Account {
            name: "database".into(),
            uid: own.uid(),
            gid: own.gid(),
        }
    }

    #[test]
    fn what_is_packed_is_removed_and_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let long = "d".repeat(120);
        std::fs::create_dir_all(from.join(&long)).unwrap();
        std::fs::create_dir(&to).unwrap();
        let big: Vec<u8> = (0..1_500_000u32).map(|i| i.to_le_bytes()[0]).collect();
        std::fs::write(from.join("ibdata1"), &big).unwrap();
        std::fs::write(from.join(&long).join("t@002d1.ibd"), b"x").unwrap();
        let mut bytes = Vec::new();
        pack(&from, &[("info", "k = v\n".into())], &mut bytes).unwrap();
        assert!(!from.join("ibdata1").exists());
        unpack(bytes.as_slice(), &to, &own_account(dir.path())).unwrap();
        assert_eq!(std::fs::read(to.join("ibdata1")).unwrap(), big);
        assert_eq!(
            std::fs::read(to.join(&long).join("t@002d1.ibd")).unwrap(),
            b"x"
        );
        assert_eq!(std::fs::read(to.join("info")).unwrap(), b"k = v\n");
        let mode = std::fs::metadata(to.join("ibdata1")).unwrap().mode();
        assert_eq!(mode & 0o7777, FILE_MODE);
        // Cut off in a file, it is an error.
        let other = dir.path().join("other");
        std::fs::create_dir(&other).unwrap();
        let part = &bytes[..1_000_000];
        unpack(part, &other, &own_account(dir.path())).unwrap_err();
        // Nothing is replaced.
        unpack(bytes.as_slice(), &to, &own_account(dir.path())).unwrap_err();
    }

    #[test]
    fn nothing_gets_out_of_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("inside");
        std::fs::create_dir(&inside).unwrap();
        let archive = |name: &str, kind: EntryType| {
            let mut header = header_of(kind, 1);
            let field = &mut header.as_old_mut().name;
            field[..name.len()].copy_from_slice(name.as_bytes());
            if kind == EntryType::Symlink {
                header.set_size(0);
                header.set_link_name("/etc").unwrap();
            }
            header.set_cksum();
            let mut builder = Builder::new(Vec::new());
            let contents: &[u8] = if kind == EntryType::Symlink {
                b""
            } else {
                b"x"
            };
            builder.append(&header, contents).unwrap();
            builder.into_inner().unwrap()
        };
        for (name, kind) in [
            ("../out", EntryType::Regular),
            ("a/../../out", EntryType::Regular),
            ("/tmp/trove-archive-out", EntryType::Regular),
            ("link", EntryType::Symlink),
            ("device", EntryType::Char),
        ] {
            let bytes = archive(name, kind);
            let result = unpack(bytes.as_slice(), &inside, &own_account(dir.path()));
            assert!(result.is_err(), "{name}");
        }
        assert!(!dir.path().join("out").exists());
        assert!(!Path::new("/tmp/trove-archive-out").exists());
        assert_eq!(std::fs::read_dir(&inside).unwrap().count(), 0);
    }
}
