//! The journal's native protocol: entries with fields, by which tools can wait
//! for an event instead of reading sentences.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use tracing::Level;

/// Where journald listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// The identifier the unit gives to what comes on standard error.
const IDENTIFIER: &str = "trove-guestagent";

/// A way into the journal.
pub struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Journal {
    /// The journal, if this process's standard error goes there; whoever runs
    /// a command in a terminal wants to read it there.
    pub fn of_process() -> Option<Self> {
        let stream = std::env::var("JOURNAL_STREAM").ok()?;
        // sd_journal_stream_fd(3): the variable reaches children whose standard
        // error is something else; device and inode tell.
        let error = io::stderr().as_fd().try_clone_to_owned().ok()?;
        let metadata = File::from(error).metadata().ok()?;
        (stream == format!("{}:{}", metadata.dev(), metadata.ino()))
            .then(|| Self::open().ok())
            .flatten()
    }

    /// The system's journal.
    pub fn open() -> io::Result<Self> {
        Self::at(Path::new(SOCKET))
    }

    /// The journal that listens at `path`.
    fn at(path: &Path) -> io::Result<Self> {
        Ok(Self {
            socket: UnixDatagram::unbound()?,
            path: path.to_owned(),
        })
    }

    /// Sends one entry.
    ///
    /// # Errors
    /// When journald is away, or the entry is larger than a datagram may be.
    pub fn send(&self, entry: &Entry) -> io::Result<()> {
        self.socket.send_to(entry.0.as_bytes(), &self.path)?;
        Ok(())
    }
}

/// One entry, as the protocol has it.
pub struct Entry(String);

impl Entry {
    /// An entry with the fields that all of them have. `message` is one line.
    pub fn new(level: Level, message: &str) -> Self {
        let mut entry = Self(String::with_capacity(256 + message.len()));
        entry.line("MESSAGE", message);
        entry.line("PRIORITY", &priority(level).to_string());
        entry.line("SYSLOG_IDENTIFIER", IDENTIFIER);
        entry
    }

    /// Makes it findable as one of the events of the catalogue.
    pub fn id(&mut self, id: &str) {
        self.line("MESSAGE_ID", id);
    }

    /// Shows it among the entries of `unit`, to which this process does not
    /// belong.
    pub fn about(&mut self, unit: &str) {
        self.line("OBJECT_SYSTEMD_UNIT", unit);
    }

    /// Adds a field of an event: `status` becomes `TROVE_STATUS`.
    pub fn field(&mut self, name: &str, value: &str) {
        let name: String = name
            .chars()
            .map(|c| match c.to_ascii_uppercase() {
                c if c.is_ascii_alphanumeric() => c,
                _ => '_',
            })
            .collect();
        self.line(&format!("TROVE_{name}"), value);
    }

    fn line(&mut self, name: &str, value: &str) {
        // A line end would begin another field; the protocol's binary form
        // would keep it, but entries are to be read by people.
        let value = value.replace('\n', "\\n");
        let _ = writeln!(self.0, "{name}={value}");
    }
}

/// syslog(3) severities.
pub fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_arrive_with_their_fields() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journald = UnixDatagram::bind(&path).unwrap();
        let mut entry = Entry::new(Level::WARN, "Two\nlines.");
        entry.id("0123456789abcdef0123456789abcdef");
        entry.about("some.service");
        entry.field("request-id", "req-1\nPRIORITY=0");
        Journal::at(&path).unwrap().send(&entry).unwrap();
        let mut buffer = [0; 512];
        let length = journald.recv(&mut buffer).unwrap();
        assert_eq!(
            std::str::from_utf8(&buffer[..length]).unwrap(),
            "MESSAGE=Two\\nlines.\nPRIORITY=4\nSYSLOG_IDENTIFIER=trove-guestagent\n\
             MESSAGE_ID=0123456789abcdef0123456789abcdef\nOBJECT_SYSTEMD_UNIT=some.service\n\
             TROVE_REQUEST_ID=req-1\\nPRIORITY=0\n"
        );
    }

    #[test]
    fn an_absent_journal_is_an_error_and_not_a_hang() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::at(&dir.path().join("nobody")).unwrap();
        assert!(journal.send(&Entry::new(Level::INFO, "Lost.")).is_err());
    }
}
