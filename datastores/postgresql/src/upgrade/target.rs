//! The version that the control plane asks for.

use std::fmt;

use datastore::{Error, ErrorKind, Result};

use crate::ServerVersion;

/// A version by number or name: `17`, `17.11`, `postgresql-18.1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) major: u32,
    /// Any release of the series will do without.
    pub(super) minor: Option<u32>,
}

impl Target {
    /// Reads the first number in a name.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let nonsense = || {
            Error::bad_request(format!(
                "{text:?} names no version of PostgreSQL: register the datastore version with a \
                 number, such as 17 or 17.6"
            ))
        };
        let is_digit = |c: char| c.is_ascii_digit();
        let begin = text.find(is_digit).ok_or_else(nonsense)?;
        let rest = &text[begin..];
        let number = |text: &str| {
            let end = text.find(|c| !is_digit(c)).unwrap_or(text.len());
            (text[..end].parse::<u32>().ok(), end)
        };
        let (major, end) = number(rest);
        let minor = match rest[end..].strip_prefix('.') {
            Some(rest) if rest.starts_with(is_digit) => Some(number(rest).0.ok_or_else(nonsense)?),
            _ => None,
        };
        Ok(Self {
            major: major.ok_or_else(nonsense)?,
            minor,
        })
    }

    /// Refuses what is newer than the installed server of its series.
    pub(super) fn check(&self, installed: &ServerVersion) -> Result<()> {
        match self.minor.is_some_and(|minor| minor > installed.minor) {
            false => Ok(()),
            true => Err(Error::new(
                ErrorKind::NotSupported,
                format!(
                    "PostgreSQL {self} is not installed, there is {installed}: rebuild the \
                     instance with a newer image"
                ),
            )),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.major)?;
        self.minor.map_or(Ok(()), |minor| write!(f, ".{minor}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_and_names() {
        for (text, major, minor) in [
            ("17", 17, None),
            ("17.11", 17, Some(11)),
            ("18.6", 18, Some(6)),
            ("postgresql-17.4-2", 17, Some(4)),
            ("v18", 18, None),
            ("17.x", 17, None),
            ("17-next", 17, None),
            ("15.18 (Debian 15.18-0+deb12u1)", 15, Some(18)),
        ] {
            assert_eq!(
                Target::parse(text).unwrap(),
                Target { major, minor },
                "{text}"
            );
        }
        for text in ["", "latest", "99999999999", "17.99999999999"] {
            assert!(Target::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_what_is_installed_is_reached() {
        let installed = ServerVersion::parse("17.6").unwrap();
        for text in ["17", "17.0", "17.6"] {
            Target::parse(text).unwrap().check(&installed).unwrap();
        }
        let error = Target::parse("17.7")
            .unwrap()
            .check(&installed)
            .unwrap_err();
        assert!(
            error.to_string().contains("there is PostgreSQL 17.6"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,30}") {
            let _ = Target::parse(&text);
        }
    }
}
