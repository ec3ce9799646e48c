//! Where modules are kept: on the data volume, which outlives the root disk.
//!
//! `modules/<type>/<id>/{contents.dat,result.json}`, as upstream's agent has
//! them in the home directory of its account.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use datastore::{Error, Result};
use guest::{Attributes, VolumeSpec};
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::Applied;
use super::request::Contents;

const DIRECTORY: &str = "modules";
const CONTENTS: &str = "contents.dat";
const RESULT: &str = "result.json";

/// Only root reads what is kept: contents may be licence keys.
const FILES: Attributes = Attributes {
    mode: 0o600,
    owner: None,
};
const DIRECTORIES: Attributes = Attributes {
    mode: 0o700,
    owner: None,
};

/// The modules on the volume.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    /// The volume that must be mounted there.
    volume: Option<VolumeSpec>,
    /// What upstream's agent has left on the root disk.
    inherited: Option<PathBuf>,
}

impl Store {
    /// The store on `volume`. `guest_info` belongs to the account that
    /// upstream's agent ran as, if it ever ran here.
    pub fn on(volume: VolumeSpec, guest_info: &Path) -> Self {
        Self {
            directory: volume.mount_point.join(DIRECTORY),
            volume: Some(volume),
            inherited: home_of_owner(guest_info).map(|home| home.join(DIRECTORY)),
        }
    }

    /// A store in any directory, for tests.
    #[cfg(test)]
    pub fn at(directory: &Path, inherited: Option<&Path>) -> Self {
        Self {
            directory: directory.join(DIRECTORY),
            volume: None,
            inherited: inherited.map(|home| home.join(DIRECTORY)),
        }
    }

    /// Every result, also those of modules that were removed.
    pub(super) fn all(&self) -> Result<Vec<Applied>> {
        self.open()?;
        Ok(results(&self.directory)?
            .into_iter()
            .map(|(_, applied)| applied)
            .collect())
    }

    /// The result of one module, if it was ever applied.
    pub(super) fn find(&self, kind: &str, id: &str) -> Result<Option<Applied>> {
        self.open()?;
        read_result(&self.place(kind, id)?)
    }

    /// The contents of a module.
    pub(super) fn contents(&self, applied: &Applied) -> Result<Contents> {
        let path = self.place(&applied.kind, &applied.id)?.join(CONTENTS);
        read(&path)
    }

    /// Keeps a result with its contents, or without any.
    pub(super) fn write(&self, applied: &Applied, contents: Option<&Contents>) -> Result<()> {
        self.open()?;
        let place = self.place(&applied.kind, &applied.id)?;
        for directory in [self.directory.as_path(), parent(&place), &place] {
            guest::ensure_directory(directory, &DIRECTORIES).map_err(failed)?;
        }
        let path = place.join(CONTENTS);
        match contents {
            Some(contents) => guest::write_atomic(&path, contents, &FILES).map_err(failed)?,
            None => drop(guest::remove_if_exists(&path).map_err(failed)?),
        }
        let result = Applied {
            contents: None,
            ..applied.clone()
        };
        let text = serde_json::to_vec_pretty(&result).map_err(failed)?;
        guest::write_atomic(&place.join(RESULT), &text, &FILES).map_err(failed)
    }

    /// Removes everything.
    pub(super) fn clear(&self) -> Result<()> {
        self.check_volume()?;
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(format!(
                "remove {}: {error}",
                self.directory.display()
            ))),
            _ => Ok(()),
        }
    }

    /// Makes sure that this is the volume, and that all there is is on it.
    fn open(&self) -> Result<()> {
        self.check_volume()?;
        match &self.inherited {
            Some(inherited) if inherited.is_dir() => self.adopt(inherited),
            _ => Ok(()),
        }
    }

    /// Below the mount point would be the root disk.
    fn check_volume(&self) -> Result<()> {
        let Some(volume) = &self.volume else {
            return Ok(());
        };
        match volume.is_mounted().map_err(failed)? {
            true => Ok(()),
            false => Err(Error::failed(format!(
                "Modules are kept on the data volume, which is not mounted at {} now",
                volume.mount_point.display()
            ))),
        }
    }

    /// Takes over what upstream's agent has left, where everybody could read
    /// it. What is known here already is newer.
    fn adopt(&self, inherited: &Path) -> Result<()> {
        for (place, applied) in results(inherited)? {
            let Ok(here) = self.place(&applied.kind, &applied.id) else {
                continue;
            };
            if !here.join(RESULT).exists() {
                let contents = match &applied.removed {
                    None => Some(read(&place.join(CONTENTS))?),
                    Some(_) => None,
                };
                // Not `write`, which would come back here.
                Self {
                    directory: self.directory.clone(),
                    volume: None,
                    inherited: None,
                }
                .write(&applied, contents.as_ref())?;
                info!(
                    module = applied.name,
                    "Module of the other agent taken over."
                );
            }
            for name in [CONTENTS, RESULT] {
                guest::remove_if_exists(&place.join(name)).map_err(failed)?;
            }
            // Only if nothing else is in them.
            let _left = fs::remove_dir(&place);
            let _left = fs::remove_dir(parent(&place));
        }
        let _left = fs::remove_dir(inherited);
        Ok(())
    }

    /// The directory of a module.
    fn place(&self, kind: &str, id: &str) -> Result<PathBuf> {
        check_names(kind, id)?;
        Ok(self.directory.join(kind).join(id))
    }
}

/// Type and id of a module come from outside: each is one name and no path.
pub(super) fn check_names(kind: &str, id: &str) -> Result<()> {
    let is_name = |name: &str| {
        let mut bytes = name.bytes();
        !name.is_empty() && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    match [kind, id].into_iter().find(|name| !is_name(name)) {
        None => Ok(()),
        Some(name) => Err(Error::bad_request(format!(
            "'{}' is not a module's type or id",
            name.escape_debug()
        ))),
    }
}

/// The results below a directory, with where they are. One that cannot be read
/// does not hide the others.
fn results(directory: &Path) -> Result<Vec<(PathBuf, Applied)>> {
    let mut found = Vec::new();
    for kind in entries(directory)? {
        for place in entries(&kind)? {
            match read_result(&place) {
                Ok(Some(applied)) => found.push((place, applied)),
                Ok(None) => {}
                Err(error) => warn!(%error, "Result of a module not readable."),
            }
        }
    }
    Ok(found)
}

/// The directories in a directory, if there is one.
fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let read = || -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                found.push(entry.path());
            }
        }
        Ok(found)
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|error| failed(format!("read {}: {error}", directory.display()))),
    }
}

fn read_result(place: &Path) -> Result<Option<Applied>> {
    let path = place.join(RESULT);
    let Some(text) = guest::read_optional(&path).map_err(failed)? else {
        return Ok(None);
    };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| failed(format!("{} is damaged: {error}", path.display())))
}

fn read(path: &Path) -> Result<Contents> {
    fs::read(path)
        .map(Zeroizing::new)
        .map_err(|error| failed(format!("read {}: {error}", path.display())))
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::failed(error.to_string())
}

/// The home directory of the account a file belongs to.
fn home_of_owner(file: &Path) -> Option<PathBuf> {
    let owner = fs::metadata(file).ok()?.uid();
    let user = nix::unistd::User::from_uid(owner.into()).ok()??;
    Some(user.dir)
}
