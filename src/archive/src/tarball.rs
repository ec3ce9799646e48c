//! tar archives of data directories.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use tar::{Archive, Builder, EntryType, Header};

use crate::directory::{DIRECTORY_MODE, Directory, FILE_MODE, Sequential};
use crate::{CHUNK, bad};

/// Writes everything in `dir`, and then the `last` files, as an archive, and
/// removes every file as soon as it is written: the copy is not needed a
/// second time, and its space is the tenant's. Blocks.
///
/// # Errors
/// Of files and of the writer, and when there is something else than files and
/// directories.
pub fn pack(dir: &Path, last: &[(&str, String)], writer: impl Write) -> io::Result<()> {
    let mut builder = Builder::new(BufWriter::with_capacity(CHUNK, writer));
    pack_directory(&mut builder, dir, Path::new(""))?;
    for (name, text) in last {
        let mut header = header_of(EntryType::Regular, text.len() as u64);
        builder.append_data(&mut header, name, text.as_bytes())?;
    }
    builder.into_inner()?.flush()
}

/// Writes files under the names given as an archive, and leaves them where they
/// are. Blocks.
///
/// # Errors
/// Of files and of the writer.
pub fn pack_files(files: &[(String, PathBuf)], writer: impl Write) -> io::Result<()> {
    let mut builder = Builder::new(BufWriter::with_capacity(CHUNK, writer));
    for (name, path) in files {
        let failed =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let file = File::open(path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        let mut header = header_of(EntryType::Regular, size);
        // One that grew meanwhile would spoil what follows it.
        let file = BufReader::with_capacity(CHUNK, file.take(size));
        builder.append_data(&mut header, name, file)?;
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

/// Unpacks an archive up to its end mark.
pub(crate) fn unpack(reader: impl Read, directory: &Directory) -> io::Result<()> {
    let mut archive = Archive::new(BufReader::with_capacity(CHUNK, reader));
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.into_owned();
        match entry.header().entry_type() {
            EntryType::Directory => directory.make(&name)?,
            EntryType::Regular => {
                let size = entry.size();
                let file = Sequential::new(directory.open(&name, false)?);
                let mut file = BufWriter::with_capacity(CHUNK, file);
                let copied = io::copy(&mut entry, &mut file)?;
                file.flush()?;
                if copied != size {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            other => {
                let text = format!("{} is of type {other:?}", name.display());
                return Err(bad(text));
            }
        }
    }
    io::copy(&mut archive.into_inner(), &mut io::sink()).map(drop)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::Owner;

    fn unpack_into(bytes: &[u8], dir: &Path) -> io::Result<()> {
        let own = std::fs::metadata(dir).unwrap();
        let owner = Owner {
            uid: own.uid(),
            gid: own.gid(),
        };
        unpack(bytes, &Directory::new(dir.to_owned(), owner))
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
        unpack_into(&bytes, &to).unwrap();
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
        unpack_into(part, &other).unwrap_err();
        // Nothing is replaced.
        unpack_into(&bytes, &to).unwrap_err();
    }

    #[test]
    fn files_are_packed_by_name_and_stay() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir(&to).unwrap();
        std::fs::write(&from, "contents").unwrap();
        let mut bytes = Vec::new();
        let files = [
            ("a".to_owned(), from.clone()),
            ("b".to_owned(), from.clone()),
        ];
        pack_files(&files, &mut bytes).unwrap();
        unpack_into(&bytes, &to).unwrap();
        for name in ["a", "b"] {
            assert_eq!(std::fs::read(to.join(name)).unwrap(), b"contents");
        }
        assert!(from.exists());
        let absent = [("c".to_owned(), dir.path().join("absent"))];
        let error = pack_files(&absent, Vec::new()).unwrap_err();
        assert!(error.to_string().contains("absent"), "{error}");
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
            let result = unpack_into(&bytes, &inside);
            assert!(result.is_err(), "{name}");
        }
        assert!(!dir.path().join("out").exists());
        assert!(!Path::new("/tmp/trove-archive-out").exists());
        assert_eq!(std::fs::read_dir(&inside).unwrap().count(), 0);
    }
}
