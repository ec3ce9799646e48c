//! Override files: `<group>-<NNN>-<id>.<extension>` in the directory that the
//! base file includes. Servers read them in the order of their names, so a
//! later group wins (`trove/guestagent/common/configuration.py`).

use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use datastore::Result;
use guest::Attributes;

use crate::OptionFile;
use crate::errors::{io_failed, os_error};

/// Overrides are public, and the server may not write what it obeys.
pub const PUBLIC: Attributes = Attributes {
    mode: 0o644,
    owner: None,
};

/// The id of the files that every guest has.
pub const COMMON: &str = "common";

/// Who an override file belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// The agent's defaults: stronger than the base file, weaker than the
    /// tenant.
    SystemEarly,
    /// The attached configuration group.
    User,
    /// The agent, stronger than the tenant.
    SystemLate,
}

impl Group {
    fn prefix(self) -> &'static str {
        match self {
            Self::SystemEarly => "10-system",
            Self::User => "20-user",
            Self::SystemLate => "50-system",
        }
    }
}

/// The directory of override files, written as `D` is.
#[derive(Debug)]
pub struct Overrides<'a, D> {
    dir: &'a Path,
    written_as: PhantomData<D>,
}

impl<'a, D: OptionFile> Overrides<'a, D> {
    /// The overrides in `dir`. Nothing is looked at yet.
    pub fn new(dir: &'a Path) -> Self {
        Self {
            dir,
            written_as: PhantomData,
        }
    }

    /// The file of `(group, id)`; empty when there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, group: Group, id: &str) -> Result<D> {
        match self.find(group, id)? {
            Some(path) => read(&path),
            None => Ok(D::default()),
        }
    }

    /// All files of a group, in the order in which they are obeyed.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn read_all(&self, group: Group) -> Result<Vec<D>> {
        let files = self.files(group)?;
        files.iter().map(|file| read(&file.path)).collect()
    }

    /// Writes the file of `(group, id)`, a new one behind the group's others.
    ///
    /// # Errors
    /// When it cannot be written; it is then what it was.
    pub fn write(&self, group: Group, id: &str, document: &D) -> Result<()> {
        let path = match self.find(group, id)? {
            Some(path) => path,
            None => {
                let index = self.files(group)?.last().map_or(1, |file| file.index + 1);
                let prefix = group.prefix();
                self.dir
                    .join(format!("{prefix}-{index:03}-{id}.{}", D::EXTENSION))
            }
        };
        guest::write_atomic(&path, document.to_string().as_bytes(), &PUBLIC).map_err(os_error)
    }

    /// Writes the file of `(group, id)`, or removes it when it would set
    /// nothing.
    ///
    /// # Errors
    /// When it cannot be written or removed.
    pub fn put(&self, group: Group, id: &str, document: &D) -> Result<()> {
        match document.is_empty() {
            true => self.remove(group, id),
            false => self.write(group, id, document),
        }
    }

    /// Removes the file of `(group, id)`, if there is one.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, group: Group, id: &str) -> Result<()> {
        if let Some(path) = self.find(group, id)? {
            guest::remove_if_exists(&path).map_err(os_error)?;
        }
        Ok(())
    }

    /// Whether there is a file of `(group, id)`, even an empty one.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn has(&self, group: Group, id: &str) -> Result<bool> {
        Ok(self.find(group, id)?.is_some())
    }

    fn find(&self, group: Group, id: &str) -> Result<Option<PathBuf>> {
        let found = self.files(group)?.into_iter().find(|file| file.id == id);
        Ok(found.map(|file| file.path))
    }

    /// Files of a group by index; none where there is no directory.
    fn files(&self, group: Group) -> Result<Vec<OverrideFile>> {
        let failed = |error| io_failed("read directory", self.dir, error);
        let entries = match std::fs::read_dir(self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            files.extend(OverrideFile::of(path, group, D::EXTENSION));
        }
        files.sort_by_key(|file| file.index);
        Ok(files)
    }
}

fn read<D: OptionFile>(path: &Path) -> Result<D> {
    let text = guest::read_optional(path).map_err(os_error)?;
    Ok(D::parse(&text.unwrap_or_default()))
}

struct OverrideFile {
    index: u32,
    id: String,
    path: PathBuf,
}

impl OverrideFile {
    fn of(path: PathBuf, group: Group, extension: &str) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let (index, id) = name
            .strip_suffix(extension)?
            .strip_suffix('.')?
            .strip_prefix(group.prefix())?
            .strip_prefix('-')?
            .split_once('-')?;
        Some(Self {
            index: index.parse().ok()?,
            id: id.to_owned(),
            path,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::option_file::Lines;

    #[test]
    fn files_are_numbered_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let overrides = Overrides::<Lines>::new(dir.path());
        let document = Lines::parse("a = 1\n");
        let other = Lines::parse("b = 2\n");
        let late = Group::SystemLate;
        overrides.write(late, COMMON, &document).unwrap();
        overrides
            .write(late, "slave-replication", &document)
            .unwrap();
        overrides.write(late, COMMON, &other).unwrap();
        overrides.put(Group::User, COMMON, &document).unwrap();
        std::fs::write(dir.path().join("50-system-003-xconf"), "").unwrap();
        std::fs::write(dir.path().join("50-system-x-y.conf"), "").unwrap();
        let mut names: Vec<String> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.contains('x'))
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "20-user-001-common.conf",
                "50-system-001-common.conf",
                "50-system-002-slave-replication.conf"
            ]
        );
        assert_eq!(overrides.read(late, COMMON).unwrap(), other);
        assert_eq!(overrides.read_all(late).unwrap(), [other, document]);
        for _ in 0..2 {
            overrides
                .put(Group::User, COMMON, &Lines::default())
                .unwrap();
            assert!(!overrides.has(Group::User, COMMON).unwrap());
        }
        assert_eq!(
            overrides.read(Group::User, COMMON).unwrap(),
            Lines::default()
        );
    }

    #[test]
    fn no_directory_has_no_files() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        let overrides = Overrides::<Lines>::new(&missing);
        assert!(!overrides.has(Group::User, COMMON).unwrap());
        let document = Lines::parse("a = 1\n");
        assert!(overrides.write(Group::User, COMMON, &document).is_err());
    }
}
