//! The version of a server, as the server itself reports it.

use std::fmt;

/// The number, with the text it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerVersion {
    /// The release series, which fixes the format of the data.
    pub major: u32,
    /// The release within it.
    pub minor: u32,
    /// The text as reported, e.g. `15.18 (Debian 15.18-0+deb12u1)`.
    pub text: String,
}

impl ServerVersion {
    /// Reads the server's parameter `server_version`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits = |text: &str| {
            let end = text
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(text.len());
            text[..end].parse().ok()
        };
        let minor = match text.split_once('.') {
            Some((_, minor)) => digits(minor)?,
            // `18beta1`, `19devel`
            None => 0,
        };
        Some(Self {
            major: digits(text)?,
            minor,
            text: text.to_owned(),
        })
    }

    /// Reads the output of `postgres --version`: `postgres (PostgreSQL) 15.18`
    /// and what the distribution adds.
    pub fn parse_program_output(output: &str) -> Option<Self> {
        Self::parse(output.split_once("(PostgreSQL) ")?.1)
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgreSQL {}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_that_real_servers_report() {
        for (text, number) in [
            ("15.18 (Debian 15.18-0+deb12u1)", (15, 18)),
            ("13.4", (13, 4)),
            ("18beta1", (18, 0)),
            ("19devel", (19, 0)),
            ("17.0 (Ubuntu 17.0-1.pgdg22.04+1)", (17, 0)),
        ] {
            let version = ServerVersion::parse(text).unwrap();
            assert_eq!((version.major, version.minor), number, "{text}");
        }
        for text in ["", "PostgreSQL", ".1", "15.", "99999999999.1"] {
            assert_eq!(ServerVersion::parse(text), None, "{text}");
        }
        let output = "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n";
        let version = ServerVersion::parse_program_output(output).unwrap();
        assert_eq!(version.to_string(), "PostgreSQL 15.18");
        assert_eq!(version.text, "15.18 (Debian 15.18-0+deb12u1)");
        assert_eq!(ServerVersion::parse_program_output("postgres 15.1"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
            let _ = ServerVersion::parse(&text);
            let _ = ServerVersion::parse_program_output(&text);
        }
    }
}
