//! The log file that users can publish as the "guest" log; it does not grow
//! for ever.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// The log file is begun anew beyond this size; the one before is kept.
const LARGEST: u64 = 32 << 20;

/// An open log file.
pub struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
}

impl LogFile {
    /// Opens the file, which is made with its directory if need be.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let file = open(path)?;
        let size = file.metadata()?.len();
        Ok(Self {
            path: path.to_owned(),
            file,
            size,
        })
    }

    /// Writes a line that is complete with its end.
    pub fn write(&mut self, line: &str) {
        if self.size > LARGEST
            && let Err(error) = self.begin_anew()
        {
            // Tried again when as much has been written once more.
            self.size = 0;
            let path = self.path.display();
            let _ = writeln!(
                io::stderr().lock(),
                "Log file {path} not begun anew: {error:#}"
            );
        }
        let _ = self.file.write_all(line.as_bytes());
        self.size += line.len() as u64;
    }

    fn begin_anew(&mut self) -> anyhow::Result<()> {
        let mut old = self.path.clone().into_os_string();
        old.push(".1");
        std::fs::rename(&self.path, old)?;
        *self = Self::open(&self.path)?;
        Ok(())
    }
}

fn open(path: &Path) -> anyhow::Result<File> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("create the log directory {}", directory.display()))?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o640)
        .open(path)
        .with_context(|| format!("open the log file {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_file_is_begun_anew_when_it_is_large() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log/agent.log");
        let mut log = LogFile::open(&path).unwrap();
        log.write("one\n");
        log.size = LARGEST + 1;
        log.write("two\n");
        log.write("three\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\nthree\n");
        let old = dir.path().join("log/agent.log.1");
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "one\n");
    }
}
