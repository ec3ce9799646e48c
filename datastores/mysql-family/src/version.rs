//! The version of a server, as the server itself reports it.

use std::fmt;

/// Which of the two products a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Vendor {
    /// Oracle's MySQL and builds that call themselves so (Percona Server).
    MySql,
    /// MariaDB.
    MariaDb,
}

impl fmt::Display for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MySql => "MySQL",
            Self::MariaDb => "MariaDB",
        })
    }
}

/// Product and number, with the text they were read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerVersion {
    /// The product.
    pub vendor: Vendor,
    /// `(major, minor, patch)`; a missing patch is 0.
    pub number: (u32, u32, u32),
    /// The text as reported, e.g. `10.11.19-MariaDB-0+deb12u1-log`.
    pub text: String,
}

impl ServerVersion {
    /// Reads the answer of `SELECT VERSION()` or of the protocol's greeting.
    ///
    /// MariaDB 10 and 11 put `5.5.5-` in front of their greeting, because
    /// replicas of old MySQL releases refuse a major version of two digits
    /// (MariaDB's `sql/sql_acl.cc`, `RPL_VERSION_HACK`).
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let is_mariadb = text.to_ascii_lowercase().contains("mariadb");
        let digits = match text.strip_prefix("5.5.5-") {
            Some(rest) if is_mariadb => rest,
            _ => text,
        };
        let vendor = if is_mariadb {
            Vendor::MariaDb
        } else {
            Vendor::MySql
        };
        Some(Self {
            vendor,
            number: leading_number(digits)?,
            text: digits.to_owned(),
        })
    }

    /// Reads the output of `mysqld --version` or `mariadbd --version`:
    /// `<path>  Ver <version> for <platform> (<comment>)`.
    pub fn parse_program_output(output: &str) -> Option<Self> {
        let mut words = output.split_whitespace().skip_while(|word| *word != "Ver");
        words.next()?;
        let mut version = Self::parse(words.next()?)?;
        // A source build's comment is the only place that names the product.
        if output.to_ascii_lowercase().contains("mariadb") {
            version.vendor = Vendor::MariaDb;
        }
        Some(version)
    }

    /// Major and minor version: a release series.
    pub(crate) fn series(&self) -> (u32, u32) {
        (self.number.0, self.number.1)
    }

    /// Whether this is `vendor` at `major.minor.patch` or later.
    pub fn is_at_least(&self, vendor: Vendor, number: (u32, u32, u32)) -> bool {
        self.vendor == vendor && self.number >= number
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor, patch) = self.number;
        write!(f, "{} {major}.{minor}.{patch}", self.vendor)
    }
}

/// Reads `major.minor[.patch]` and stops at the first thing that is no number.
pub(crate) fn leading_number(text: &str) -> Option<(u32, u32, u32)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let mut parts = text[..end].split('.');
    let mut next = || parts.next().filter(|part| !part.is_empty());
    let major = next()?.parse().ok()?;
    let minor = next()?.parse().ok()?;
    let patch = match next() {
        Some(part) => part.parse().ok()?,
        None => 0,
    };
    Some((major, minor, patch))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_that_real_servers_report() {
        use Vendor::{MariaDb, MySql};
        for (text, vendor, number) in [
            ("5.7.44", MySql, (5, 7, 44)),
            ("5.7.44-log", MySql, (5, 7, 44)),
            ("8.0.36-28", MySql, (8, 0, 36)),
            ("8.0.37-0ubuntu0.22.04.3", MySql, (8, 0, 37)),
            ("8.4.2", MySql, (8, 4, 2)),
            ("9.7.4-2", MySql, (9, 7, 4)),
            (
                "5.5.5-10.4.34-MariaDB-1:10.4.34+maria~ubu2004",
                MariaDb,
                (10, 4, 34),
            ),
            ("10.11.19-MariaDB-0+deb12u1-log", MariaDb, (10, 11, 19)),
            ("11.8.3-MariaDB-ubu2404", MariaDb, (11, 8, 3)),
            ("12.0.2-MariaDB", MariaDb, (12, 0, 2)),
        ] {
            let version = ServerVersion::parse(text).unwrap();
            assert_eq!((version.vendor, version.number), (vendor, number), "{text}");
        }
        for text in [
            "",
            "MariaDB",
            "8",
            "8.",
            ".8.0",
            "x8.0.1",
            "8.99999999999.1",
        ] {
            assert_eq!(ServerVersion::parse(text), None, "{text}");
        }
    }

    #[test]
    fn version_output_of_programs() {
        for (text, vendor, number) in [
            (
                "/usr/sbin/mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))\n",
                Vendor::MySql,
                (9, 7, 4),
            ),
            (
                "mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)",
                Vendor::MariaDb,
                (10, 11, 19),
            ),
            (
                "mysqld  Ver 11.4.2 for Linux on x86_64 (MariaDB source build)",
                Vendor::MariaDb,
                (11, 4, 2),
            ),
        ] {
            let version = ServerVersion::parse_program_output(text).unwrap();
            assert_eq!((version.vendor, version.number), (vendor, number), "{text}");
        }
        assert_eq!(
            ServerVersion::parse_program_output("mysqld: not found"),
            None
        );
        assert_eq!(ServerVersion::parse_program_output("mysqld Ver"), None);
    }

    #[test]
    fn comparisons_never_cross_products() {
        let mariadb = ServerVersion::parse("10.11.19-MariaDB").unwrap();
        assert!(!mariadb.is_at_least(Vendor::MySql, (8, 0, 0)));
        assert!(mariadb.is_at_least(Vendor::MariaDb, (10, 4, 0)));
        assert!(!mariadb.is_at_least(Vendor::MariaDb, (10, 11, 20)));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
            let _ = ServerVersion::parse(&text);
            let _ = ServerVersion::parse_program_output(&text);
        }

        #[test]
        fn numbers_survive(major in 0u32..100, minor in 0u32..100, patch in 0u32..100, tail in "(-[a-z0-9.+~:-]*)?") {
            let text = format!("{major}.{minor}.{patch}{tail}");
            prop_assert_eq!(ServerVersion::parse(&text).map(|v| v.number), Some((major, minor, patch)));
        }
    }
}
