//! The mode in `guest_info.conf`: one line is changed, all others stay.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use datastore::{Error, Result, TlsMode};
use guest::Attributes;

const SECTION: &str = "[DEFAULT]";
const KEY: &str = "ssl_mode";

/// Writes the mode into the file at `path`.
///
/// # Errors
/// When the file cannot be read or written.
pub fn write_mode(path: &Path, mode: Option<TlsMode>) -> Result<()> {
    let failed = |error: &dyn std::fmt::Display| Error::failed(error.to_string());
    let text = guest::read_optional(path).map_err(|error| failed(&error))?;
    let attributes = match std::fs::metadata(path) {
        Ok(found) => Attributes {
            mode: found.mode() & 0o7777,
            owner: Some((found.uid(), found.gid())),
        },
        Err(_) => Attributes {
            mode: 0o600,
            owner: None,
        },
    };
    let text = with_mode(&text.unwrap_or_default(), mode);
    guest::write_atomic(path, text.as_bytes(), &attributes).map_err(|error| failed(&error))
}

fn with_mode(text: &str, mode: Option<TlsMode>) -> String {
    // As Trove itself writes it.
    let wanted = format!("{KEY}={}\n", mode.map_or("None", TlsMode::name));
    let mut lines: Vec<&str> = Vec::new();
    let (mut inside, mut skipping, mut end) = (false, false, None);
    let mut place = None;
    for line in text.split_inclusive('\n') {
        if line.starts_with('[') {
            inside = line.trim_end() == SECTION;
        }
        // A line that goes on belongs to the value above it.
        skipping = (skipping && line.starts_with([' ', '\t'])) || (inside && is_mode(line));
        if skipping {
            place = place.or(Some(lines.len()));
            continue;
        }
        lines.push(line);
        if inside && !line.trim().is_empty() {
            end = Some(lines.len());
        }
    }
    let head = format!("{SECTION}\n");
    let mut result: Vec<&str> = lines;
    match place.or(end) {
        Some(place) => result.insert(place, &wanted),
        None => result.extend([head.as_str(), &wanted]),
    }
    let mut text = String::new();
    for line in result {
        // The last line may have had no end.
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(line);
    }
    text
}

fn is_mode(line: &str) -> bool {
    let key = line.split(['=', ':']).next().unwrap_or_default();
    line.contains(['=', ':']) && key.trim_end() == KEY
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_the_mode_changes() {
        for (before, after) in [
            (
                "[DEFAULT]\nguest_id=1\nssl_mode=None\n# c\nkey: v\n",
                "[DEFAULT]\nguest_id=1\nssl_mode=mtls\n# c\nkey: v\n",
            ),
            (
                "[DEFAULT]\nssl_mode : basic\n  more\nx=1\nssl_mode=basic",
                "[DEFAULT]\nssl_mode=mtls\nx=1\n",
            ),
            (
                "[DEFAULT]\nx=1\n\n[other]\nssl_mode=kept",
                "[DEFAULT]\nx=1\nssl_mode=mtls\n\n[other]\nssl_mode=kept",
            ),
            ("[DEFAULT]\nx=1", "[DEFAULT]\nx=1\nssl_mode=mtls\n"),
            ("", "[DEFAULT]\nssl_mode=mtls\n"),
            (
                "[default]\nx=1\n",
                "[default]\nx=1\n[DEFAULT]\nssl_mode=mtls\n",
            ),
        ] {
            assert_eq!(with_mode(before, Some(TlsMode::Mtls)), after);
            assert_eq!(with_mode(after, Some(TlsMode::Mtls)), after);
        }
        assert_eq!(with_mode("[DEFAULT]\n", None), "[DEFAULT]\nssl_mode=None\n");
    }

    #[test]
    fn the_file_keeps_its_permissions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guest_info.conf");
        std::fs::write(&path, "[DEFAULT]\ninstance_rpc_encr_key=x\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        write_mode(&path, Some(TlsMode::Basic)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "[DEFAULT]\ninstance_rpc_encr_key=x\nssl_mode=basic\n");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
    }
}
