//! The one place that puts names and strings into SQL text, and reads texts
//! that nobody has checked.
//!
//! Values travel as `$1` parameters wherever a server takes them. Data
//! definition takes none, so its operands are quoted here. [`literal`] relies
//! on `standard_conforming_strings`, which every
//! [`Session`](crate::session::Session) sets.

use std::error::Error;

use tokio_postgres::types::{FromSql, Type};

/// A string literal, in which the quote is the only character with a meaning.
pub(crate) fn literal(value: &str) -> String {
    enclose(value, '\'')
}

/// A quoted identifier (PostgreSQL manual, "Identifiers and Key Words").
pub(crate) fn identifier(name: &str) -> String {
    enclose(name, '"')
}

fn enclose(value: &str, quote: char) -> String {
    let mut text = String::with_capacity(value.len() + 2);
    text.push(quote);
    for c in value.chars() {
        if c == quote {
            text.push(quote);
        }
        text.push(c);
    }
    text.push(quote);
    text
}

/// A name from the catalogues that all databases share. Whoever made it may
/// have used another encoding, and one odd name must not break a listing:
/// what is not UTF-8 is replaced.
#[derive(Debug)]
pub(crate) struct Text(pub(crate) String);

impl<'a> FromSql<'a> for Text {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(String::from_utf8_lossy(raw).into_owned()))
    }

    fn accepts(kind: &Type) -> bool {
        matches!(*kind, Type::NAME | Type::TEXT)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quotes_are_doubled_and_nothing_else_changes() {
        assert_eq!(literal(r"a'b\c"), r"'a''b\c'");
        assert_eq!(identifier("a\"b'c"), "\"a\"\"b'c\"");
        assert_eq!(literal(""), "''");
    }

    /// Reads one enclosed token back as the server's lexer does.
    fn unquote(token: &str, quote: char) -> Option<(String, &str)> {
        let mut value = String::new();
        let mut rest = token.strip_prefix(quote)?;
        loop {
            let end = rest.find(quote)?;
            value.push_str(&rest[..end]);
            rest = &rest[end + 1..];
            match rest.strip_prefix(quote) {
                Some(after) => {
                    value.push(quote);
                    rest = after;
                }
                None => return Some((value, rest)),
            }
        }
    }

    proptest! {
        #[test]
        fn a_literal_ends_where_it_was_meant_to(value in "[\\PC'\"\\\\\n]{0,40}") {
            let token = literal(&value) + " OR 1";
            prop_assert_eq!(unquote(&token, '\''), Some((value.clone(), " OR 1")));
            let token = identifier(&value) + ".x";
            prop_assert_eq!(unquote(&token, '"'), Some((value, ".x")));
        }

        #[test]
        fn any_bytes_are_a_text(bytes: Vec<u8>) {
            prop_assert!(Text::from_sql(&Type::NAME, &bytes).is_ok());
        }
    }
}
