//! Finds and parses the files of a command line.

use std::path::{Path, PathBuf};

use crate::config::{Config, ParsedFile};
use crate::environment::Environment;
use crate::error::LoadError;
use crate::filesystem::FileSystem;
use crate::ini;
use crate::opt::Opt;

/// One `--config-file` or `--config-dir` of the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `--config-file PATH`
    File(PathBuf),
    /// `--config-dir PATH`: its `*.conf` files in the order of their names.
    Dir(PathBuf),
}

/// Reads sources in the order of `oslo_config/cfg.py`: the default files unless
/// a file is named, the default directories unless a directory is named, then
/// the command line from left to right. Later values win.
pub struct Loader<'a> {
    project: &'a str,
    programs: &'a [&'a str],
    environment: Environment,
    file_system: &'a dyn FileSystem,
}

impl<'a> Loader<'a> {
    /// A loader for the program, known under `programs`, of a project. Both
    /// name the default files: `~/.project/project.conf`, `/etc/project/program.conf` ...
    ///
    /// `HOME`, `SNAP` and `SNAP_COMMON` are taken from `environment`.
    pub fn new(
        project: &'a str,
        programs: &'a [&'a str],
        environment: Environment,
        file_system: &'a dyn FileSystem,
    ) -> Self {
        Self {
            project,
            programs,
            environment,
            file_system,
        }
    }

    /// Reads everything; errors are collected, so that one look tells all.
    pub fn load(
        self,
        sources: &[Source],
        options: impl IntoIterator<Item = Opt>,
    ) -> Result<Config, Vec<LoadError>> {
        let mut errors = Vec::new();
        let mut files = Vec::new();
        for path in self.paths(sources, &mut errors) {
            match self.parse(&path) {
                Ok(entries) => files.push(ParsedFile { path, entries }),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() {
            Ok(Config::new(options, files, self.environment))
        } else {
            Err(errors)
        }
    }

    fn paths(&self, sources: &[Source], errors: &mut Vec<LoadError>) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        if !sources
            .iter()
            .any(|source| matches!(source, Source::File(_)))
        {
            paths.extend(self.defaults(".conf"));
        }
        let mut directories = Vec::new();
        if !sources
            .iter()
            .any(|source| matches!(source, Source::Dir(_)))
        {
            directories.extend(self.defaults(".conf.d").into_iter().map(Source::Dir));
        }
        for source in directories.iter().chain(sources) {
            match source {
                Source::File(path) => paths.push(self.expand(path)),
                Source::Dir(path) => match self.conf_files(&self.expand(path)) {
                    Ok(files) => paths.extend(files),
                    Err(error) => errors.push(error),
                },
            }
        }
        paths
    }

    /// The default files or directories that exist: for the project and each
    /// program the first one found.
    fn defaults(&self, extension: &str) -> Vec<PathBuf> {
        let directories = self.default_directories();
        let names = std::iter::once(&self.project).chain(self.programs);
        let found = names.filter_map(|name| {
            let candidates = directories
                .iter()
                .map(|dir| dir.join(format!("{name}{extension}")));
            candidates
                .into_iter()
                .find(|path| self.file_system.exists(path))
        });
        found.collect()
    }

    fn default_directories(&self) -> Vec<PathBuf> {
        let mut directories = Vec::new();
        if let Some(home) = self.home() {
            directories.extend([home.join(format!(".{}", self.project)), home]);
        }
        directories.extend([Path::new("/etc").join(self.project), PathBuf::from("/etc")]);
        for variable in ["SNAP_COMMON", "SNAP"] {
            if let Some(root) = self
                .environment
                .get(variable)
                .filter(|root| !root.is_empty())
            {
                directories.push(Path::new(root).join("etc").join(self.project));
            }
        }
        directories
    }

    fn home(&self) -> Option<PathBuf> {
        self.environment
            .get("HOME")
            .filter(|home| !home.is_empty())
            .map(PathBuf::from)
    }

    /// `~` at the start is the home directory; the path becomes absolute.
    fn expand(&self, path: &Path) -> PathBuf {
        let path = match (path.strip_prefix("~"), self.home()) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => path.to_owned(),
        };
        std::path::absolute(&path).unwrap_or(path)
    }

    /// `directory/*.conf` as a shell would list it: hidden files don't count.
    fn conf_files(&self, directory: &Path) -> Result<Vec<PathBuf>, LoadError> {
        if !self.file_system.exists(directory) {
            return Err(LoadError::DirectoryNotFound(directory.to_owned()));
        }
        let names = self.file_system.list(directory);
        let mut names = names.map_err(|error| LoadError::Directory {
            path: directory.to_owned(),
            error,
        })?;
        names.retain(|name| {
            let name = name.as_encoded_bytes();
            name.ends_with(b".conf") && !name.starts_with(b".")
        });
        names.sort();
        Ok(names.into_iter().map(|name| directory.join(name)).collect())
    }

    fn parse(&self, path: &Path) -> Result<Vec<ini::Entry>, LoadError> {
        let content = self.file_system.read(path).map_err(|error| {
            if error.kind() == std::io::ErrorKind::NotFound {
                LoadError::FileNotFound(path.to_owned())
            } else {
                LoadError::File {
                    path: path.to_owned(),
                    error,
                }
            }
        })?;
        let text = std::str::from_utf8(&content).map_err(|error| {
            let before = &content[..error.valid_up_to()];
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            LoadError::NotUtf8 {
                path: path.to_owned(),
                line,
            }
        })?;
        ini::parse(text).map_err(|(line, error)| LoadError::Syntax {
            path: path.to_owned(),
            line,
            error,
        })
    }
}

#[cfg(test)]
#[path = "loader_tests.rs"]
mod tests;
