//! The version that the control plane asks for.

use std::fmt;

use datastore::{Error, Result};

/// A version by number or name: `17`, `17.11`, `mysql-8.4.2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The first number.
    pub major: u32,
    /// The second, if there is one; any will do without.
    pub minor: Option<u32>,
    /// The third.
    pub patch: Option<u32>,
}

impl Target {
    /// Reads the first number in a name.
    ///
    /// # Errors
    /// When there is none; `product` is named then.
    pub fn parse(text: &str, product: &str) -> Result<Self> {
        Self::read(text).ok_or_else(|| {
            Error::bad_request(format!(
                "{text:?} names no version of {product}: register the datastore version with a \
                 number"
            ))
        })
    }

    fn read(text: &str) -> Option<Self> {
        let is_digit = |c: char| c.is_ascii_digit();
        let mut rest = &text[text.find(is_digit)?..];
        let mut parts = [None; 3];
        for part in &mut parts {
            let end = rest.find(|c| !is_digit(c)).unwrap_or(rest.len());
            *part = Some(rest[..end].parse().ok()?);
            match rest[end..].strip_prefix('.') {
                Some(more) if more.starts_with(is_digit) => rest = more,
                _ => break,
            }
        }
        let [major, minor, patch] = parts;
        Some(Self {
            major: major?,
            minor,
            patch,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.major)?;
        for part in [self.minor, self.patch].into_iter().flatten() {
            write!(f, ".{part}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_and_names() {
        for (text, expected) in [
            ("17", "17"),
            ("17.11", "17.11"),
            ("postgresql-17.4-2", "17.4"),
            ("v18", "18"),
            ("17.x", "17"),
            ("17-next", "17"),
            ("15.18 (Debian 15.18-0+deb12u1)", "15.18"),
            ("10.11.19-MariaDB-0+deb12u1", "10.11.19"),
            ("8.0.36.1", "8.0.36"),
        ] {
            let target = Target::parse(text, "X").unwrap();
            assert_eq!(target.to_string(), expected, "{text}");
        }
        for text in ["", "latest", "99999999999", "17.99999999999"] {
            let error = Target::parse(text, "PostgreSQL").unwrap_err();
            assert!(error.to_string().contains("PostgreSQL"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,30}") {
            let _ = Target::parse(&text, "X");
        }
    }
}
