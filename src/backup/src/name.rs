//! What an object's name says about its bytes.

use crate::{Compression, Error, Result};

/// How a stored stream is coded, from the outside in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coding {
    /// Encryption around everything.
    pub sealed: Sealing,
    /// Compression.
    pub packed: Packing,
}

/// Encryption of a stored stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sealing {
    /// Not encrypted.
    Clear,
    /// age, with a passphrase (`.age`).
    Age,
    /// `openssl enc`, of Trove before Victoria (`.enc`).
    Legacy,
}

/// Compression of a stored stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// gzip (`.gz`).
    Gzip,
    /// Zstandard (`.zst`).
    Zstd,
    /// Not compressed.
    Plain,
}

/// The name of a backup's object: `<id>.<archive>[.gz|.zst][.age]`, which for
/// gzip without encryption is upstream's (`backup/drivers`).
pub fn object_name(id: &str, archive: &str, compression: Compression, encrypted: bool) -> String {
    let packed = match compression {
        Compression::Gzip(_) => ".gz",
        Compression::Zstd(_) => ".zst",
        Compression::None => "",
    };
    let sealed = if encrypted { ".age" } else { "" };
    format!("{id}.{archive}{packed}{sealed}")
}

/// Takes a name apart: the archive's suffix and how it is coded.
///
/// # Errors
/// When it does not look like a backup's name.
pub fn coding_of(name: &str) -> Result<(&str, Coding)> {
    let (rest, sealed) = match name {
        _ if name.ends_with(".enc") => (&name[..name.len() - 4], Sealing::Legacy),
        _ if name.ends_with(".age") => (&name[..name.len() - 4], Sealing::Age),
        _ => (name, Sealing::Clear),
    };
    let (rest, packed) = match rest {
        _ if rest.ends_with(".gz") => (&rest[..rest.len() - 3], Packing::Gzip),
        _ if rest.ends_with(".zst") => (&rest[..rest.len() - 4], Packing::Zstd),
        _ => (rest, Packing::Plain),
    };
    match rest.rsplit_once('.') {
        Some((id, archive)) if !id.is_empty() && !archive.is_empty() => {
            Ok((archive, Coding { sealed, packed }))
        }
        _ => Err(Error::Unreadable(format!(
            "{name} is not the name of a backup: expected <id>.<archive>.gz, .zst or nothing, \
             with .age or .enc when it is encrypted"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_upstream() {
        let clear = |packed| Coding {
            sealed: Sealing::Clear,
            packed,
        };
        assert_eq!(
            coding_of("1-2.xbstream.gz").unwrap(),
            ("xbstream", clear(Packing::Gzip))
        );
        assert_eq!(
            coding_of("1.tar.gz").unwrap(),
            ("tar", clear(Packing::Gzip))
        );
        let legacy = coding_of("1.xbstream.gz.enc").unwrap();
        assert_eq!(legacy.1.sealed, Sealing::Legacy);
        assert_eq!(
            object_name("1", "xbstream", Compression::Gzip(1), false),
            "1.xbstream.gz"
        );
    }

    #[test]
    fn what_is_built_is_understood() {
        for (compression, packed) in [
            (Compression::Gzip(1), Packing::Gzip),
            (Compression::Zstd(3), Packing::Zstd),
            (Compression::None, Packing::Plain),
        ] {
            for (encrypted, sealed) in [(false, Sealing::Clear), (true, Sealing::Age)] {
                let name = object_name("id", "tar", compression, encrypted);
                assert_eq!(
                    coding_of(&name).unwrap(),
                    ("tar", Coding { sealed, packed })
                );
            }
        }
    }

    #[test]
    fn other_names_are_refused() {
        for name in ["", "gz", ".gz", "x.gz", ".tar.gz", "tar.enc"] {
            assert!(coding_of(name).is_err(), "{name}");
        }
    }
}
