//! The one place that puts names and strings into SQL text.
//!
//! Values travel as `?` parameters wherever a server takes them. Account
//! management and data definition take none (MySQL manual, "SQL Syntax
//! Permitted in Prepared Statements"; placeholders stand for data values
//! only), so their operands are quoted here. [`literal`] relies on the
//! session running with `NO_BACKSLASH_ESCAPES`, which
//! [`Session`](crate::session::Session) sets before anything else.

/// A string literal for a session in `NO_BACKSLASH_ESCAPES` mode, where the
/// quote is the only character with a meaning inside a literal.
pub(crate) fn literal(value: &str) -> String {
    enclose(value, '\'')
}

/// A quoted identifier (MySQL manual, "Schema Object Names"). Valid in every
/// SQL mode.
pub(crate) fn identifier(name: &str) -> String {
    enclose(name, '`')
}

/// `'user'@'host'`.
pub(crate) fn account(user: &str, host: &str) -> String {
    format!("{}@{}", literal(user), literal(host))
}

/// `n` placeholders for an `IN (...)` of names compared as bytes, so that no
/// collation folds them.
pub(crate) fn binary_placeholders(n: usize) -> String {
    vec!["CAST(? AS BINARY)"; n].join(", ")
}

/// The pattern that matches exactly `database` in a GRANT: there, `_` and `%`
/// are wildcards and the backslash escapes (MySQL manual, "GRANT Statement").
/// Without the escapes a grant on `a_b` would open `axb` as well.
pub(crate) fn grant_pattern(database: &str) -> String {
    let mut pattern = String::with_capacity(database.len());
    for c in database.chars() {
        if matches!(c, '\\' | '_' | '%') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// The database a granted pattern names. Patterns written without escapes, as
/// older guests wrote them, are returned as they are.
pub(crate) fn database_of_pattern(pattern: &str) -> String {
    let mut database = String::with_capacity(pattern.len());
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some(&next @ ('\\' | '_' | '%'))) => {
                database.push(next);
                chars.next();
            }
            _ => database.push(c),
        }
    }
    database
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quotes_are_doubled_and_nothing_else_changes() {
        assert_eq!(literal(r"a'b\c"), r"'a''b\c'");
        assert_eq!(identifier("a`b'c"), "`a``b'c`");
        assert_eq!(account("o'x", "%"), "'o''x'@'%'");
        assert_eq!(literal(""), "''");
    }

    #[test]
    fn wildcards_of_grants_are_escaped() {
        assert_eq!(grant_pattern(r"a_b%c\d"), r"a\_b\%c\\d");
        assert_eq!(database_of_pattern(r"a\_b\%c\\d"), r"a_b%c\d");
        assert_eq!(database_of_pattern("a_b"), "a_b");
        assert_eq!(database_of_pattern(r"a\"), r"a\");
        assert_eq!(database_of_pattern(r"a\b"), r"a\b");
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
        fn a_literal_ends_where_it_was_meant_to(value in "[\\PC'`\\\\\n\0]{0,40}") {
            let token = literal(&value) + " OR 1";
            prop_assert_eq!(unquote(&token, '\''), Some((value.clone(), " OR 1")));
            let token = identifier(&value) + ".x";
            prop_assert_eq!(unquote(&token, '`'), Some((value, ".x")));
        }

        #[test]
        fn patterns_name_their_database(database in "[a-c_%\\\\]{0,20}") {
            prop_assert_eq!(database_of_pattern(&grant_pattern(&database)), database);
        }
    }
}
