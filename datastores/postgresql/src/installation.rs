//! The installed server that fits the data.
//!
//! Several release series can be installed side by side, and each reads only
//! the data it has written. The unit starts whatever a link points at; the
//! agent turns it before every start.

use std::io;
use std::path::{Path, PathBuf};

use datastore::{Error, ErrorKind, Result};
use guest::Command;
use tracing::{debug, info};

use crate::errors::{io_failed, os_error};
use crate::{Server, ServerVersion};

impl Server {
    /// Directory of the server programs: those that wrote the data, or for new
    /// data those of `wanted`'s series, or the newest.
    pub(crate) fn programs(&self, wanted: Option<&str>) -> Result<PathBuf> {
        let layout = &self.settings.layout;
        if let Some(dir) = &layout.programs_dir {
            return Ok(dir.clone());
        }
        let installed = installed_in(&layout.versions_dir);
        let newest = installed.last().copied();
        let major = match self.data_major()? {
            Some(major) if installed.contains(&major) => major,
            Some(major) => {
                return Err(Error::failed(format!(
                    "The data in {} is of PostgreSQL {major}, but installed in {} is {}: install \
                     PostgreSQL {major}",
                    layout.data_dir().display(),
                    layout.versions_dir.display(),
                    names(&installed)
                )));
            }
            None => wanted
                .and_then(ServerVersion::parse)
                .map(|version| version.major)
                .filter(|major| installed.contains(major))
                .or(newest)
                .ok_or_else(|| {
                    Error::failed(format!(
                        "No PostgreSQL server is installed: there is none in {}",
                        layout.versions_dir.display()
                    ))
                })?,
        };
        Ok(programs_of(&layout.versions_dir, major))
    }

    /// Programs of a release series, if that is installed.
    pub(crate) fn programs_of_series(&self, major: u32) -> Result<PathBuf> {
        let layout = &self.settings.layout;
        let installed = installed_in(&layout.versions_dir);
        match installed.contains(&major) {
            true => Ok(programs_of(&layout.versions_dir, major)),
            false => Err(Error::new(
                ErrorKind::NotSupported,
                format!(
                    "PostgreSQL {major} is not installed in {}, there is {}: rebuild the instance \
                     with an image that has both the present series and {major}",
                    layout.versions_dir.display(),
                    names(&installed)
                ),
            )),
        }
    }

    /// Path of an installed program, such as `pg_basebackup`.
    pub(crate) fn program(&self, name: &str) -> Result<PathBuf> {
        Ok(self.programs(None)?.join(name))
    }

    /// The release series of the data, if there is data.
    pub(crate) fn data_major(&self) -> Result<Option<u32>> {
        let path = self.settings.layout.data_dir().join("PG_VERSION");
        match guest::read_optional(&path).map_err(os_error)? {
            None => Ok(None),
            Some(text) => text.trim().parse().map(Some).map_err(|_| {
                Error::failed(format!("{} holds no version: {text:?}", path.display()))
            }),
        }
    }

    /// Points the unit at the programs that fit the data.
    pub(crate) fn link_programs(&self) -> Result<()> {
        let link = &self.settings.layout.programs_link;
        let programs = self.programs(None)?;
        let failed = |error| io_failed("link", link, error);
        match std::fs::read_link(link) {
            Ok(present) if present == programs => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        // Beside it first: the unit must never find no link.
        let mut temporary = link.clone().into_os_string();
        temporary.push(".new");
        guest::remove_if_exists(Path::new(&temporary)).map_err(os_error)?;
        std::os::unix::fs::symlink(&programs, &temporary).map_err(failed)?;
        std::fs::rename(&temporary, link).map_err(failed)?;
        info!(programs = %programs.display(), "Server programs chosen.");
        Ok(())
    }

    /// Version of the installed program, running or not.
    pub async fn installed_version(&self, wanted: Option<&str>) -> Result<ServerVersion> {
        version_in(&self.programs(wanted)?).await
    }
}

/// Version of the server in a directory of programs.
pub(crate) async fn version_in(programs: &Path) -> Result<ServerVersion> {
    let program = programs.join("postgres");
    let command = Command::new(&program).arg("--version");
    let output = command.run().await.map_err(os_error)?.stdout_text();
    let version = ServerVersion::parse_program_output(&output).ok_or_else(|| {
        Error::failed(format!(
            "{} does not tell its version: {output:?}",
            program.display()
        ))
    })?;
    debug!(program = %program.display(), %version, "Server program found.");
    Ok(version)
}

fn programs_of(versions: &Path, major: u32) -> PathBuf {
    versions.join(major.to_string()).join("bin")
}

/// Release series in `versions` that have a server, in order.
fn installed_in(versions: &Path) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir(versions) else {
        return Vec::new();
    };
    let mut found: Vec<u32> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&major| programs_of(versions, major).join("postgres").is_file())
        .collect();
    found.sort_unstable();
    found
}

fn names(installed: &[u32]) -> String {
    if installed.is_empty() {
        return "none".to_owned();
    }
    let names: Vec<String> = installed.iter().map(u32::to_string).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::tests::server_in;

    fn install(versions: &Path, major: u32) {
        let programs = programs_of(versions, major);
        std::fs::create_dir_all(&programs).unwrap();
        std::fs::write(programs.join("postgres"), "").unwrap();
    }

    #[test]
    fn data_is_read_by_who_wrote_it() {
        let dir = tempfile::tempdir().unwrap();
        let server = server_in(dir.path());
        let layout = &server.settings.layout;
        let none = server.programs(None).unwrap_err().to_string();
        assert!(none.contains("No PostgreSQL server is installed"), "{none}");
        for major in [15, 17, 9] {
            install(&layout.versions_dir, major);
        }
        let series = |wanted| {
            let programs = server.programs(wanted).unwrap();
            let name = programs.parent().unwrap().file_name().unwrap();
            name.to_str().unwrap().parse::<u32>().unwrap()
        };
        assert_eq!(series(None), 17);
        assert_eq!(series(Some("15.4")), 15);
        assert_eq!(series(Some("16")), 17);
        std::fs::create_dir_all(layout.data_dir()).unwrap();
        std::fs::write(layout.data_dir().join("PG_VERSION"), "15\n").unwrap();
        assert_eq!(series(Some("17")), 15);
        server.link_programs().unwrap();
        server.link_programs().unwrap();
        let link = &layout.programs_link;
        assert_eq!(
            std::fs::read_link(link).unwrap(),
            programs_of(&layout.versions_dir, 15)
        );
        std::fs::write(layout.data_dir().join("PG_VERSION"), "16\n").unwrap();
        let text = server.link_programs().unwrap_err().to_string();
        assert!(text.contains("install PostgreSQL 16"), "{text}");
        std::fs::write(layout.data_dir().join("PG_VERSION"), "17\n").unwrap();
        server.link_programs().unwrap();
        assert_eq!(
            std::fs::read_link(link).unwrap(),
            programs_of(&layout.versions_dir, 17)
        );
    }
}
