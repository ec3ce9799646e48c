//! Errors of the operating system, as a user reads them.

use std::io;
use std::path::Path;

use datastore::{Error, ErrorKind};

/// An error of the operating system, whose text names path or program.
pub fn os_error(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    let message = capitalised(&error.to_string());
    Error::with_source(ErrorKind::Failed, message, error)
}

/// An error of the operating system about a file.
pub fn io_failed(action: &str, path: &Path, error: io::Error) -> Error {
    let message = format!("Cannot {action} {}: {error}", path.display());
    Error::with_source(ErrorKind::Failed, message, error)
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_file() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let text = io_failed("read", Path::new("/x"), full()).to_string();
        assert!(text.starts_with("Cannot read /x: "), "{text}");
        let text = os_error(full()).to_string();
        assert!(text.starts_with(char::is_uppercase), "{text}");
    }
}
