//! `$name`, `${name}` and `${group.name}` in values.
//!
//! The rules are those of Python's `string.Template` with oslo.config's name
//! pattern `[_a-z][._a-z0-9]*` in any case; `\$` is written as `$$` first.

/// A piece of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// Taken as it is.
    Literal(&'a str),
    /// Replaced by the value of the option with this name.
    Reference(&'a str),
}

/// Whether `text` has anything to replace; spares the copy in [`escape`].
pub(crate) fn is_plain(text: &str) -> bool {
    !text.contains('$')
}

/// Writes `\$` as `$$`, which [`parts`] understands.
pub(crate) fn escape(text: &str) -> String {
    text.replace("\\$", "$$")
}

/// Splits text from [`escape`] into literals and references.
pub(crate) fn parts(mut text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    while let Some(at) = text.find('$') {
        let (before, after) = (&text[..at], &text[at + 1..]);
        if !before.is_empty() {
            parts.push(Part::Literal(before));
        }
        if let Some(rest) = after.strip_prefix('$') {
            parts.push(Part::Literal("$"));
            text = rest;
        } else if let Some((name, rest)) = name(after).or_else(|| braced(after)) {
            parts.push(Part::Reference(name));
            text = rest;
        } else {
            parts.push(Part::Literal("$"));
            text = after;
        }
    }
    if !text.is_empty() {
        parts.push(Part::Literal(text));
    }
    parts
}

fn name(text: &str) -> Option<(&str, &str)> {
    text.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic())
        .then(|| {
            let end = text.find(|c: char| c != '_' && c != '.' && !c.is_ascii_alphanumeric());
            text.split_at(end.unwrap_or(text.len()))
        })
}

fn braced(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = name(text.strip_prefix('{')?)?;
    Some((name, rest.strip_prefix('}')?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// References as `<name>`, the rest as it is.
    fn show(text: &str) -> String {
        let escaped = escape(text);
        let shown = parts(&escaped).into_iter().map(|part| match part {
            Part::Literal(text) => text.to_owned(),
            Part::Reference(name) => format!("<{name}>"),
        });
        shown.collect()
    }

    #[test]
    fn splits_as_the_original() {
        let cases = [
            ("$b", "<b>"),
            ("${b}", "<b>"),
            ("$b$b", "<b><b>"),
            ("${b}x", "<b>x"),
            ("$bx", "<bx>"),
            ("$b.", "<b.>"),
            ("${g.q}.x", "<g.q>.x"),
            ("$g.q.z", "<g.q.z>"),
            ("$$b", "$b"),
            ("\\$b", "$b"),
            ("\\\\$b", "\\$b"),
            ("$", "$"),
            ("$ b", "$ b"),
            ("${", "${"),
            ("${b", "${b"),
            ("${ b}", "${ b}"),
            ("$1", "$1"),
            ("$B", "<B>"),
            ("$$$b", "$<b>"),
            ("$$$$", "$$"),
            ("${}", "${}"),
            ("$-", "$-"),
            ("$é", "$é"),
            ("$_a1-", "<_a1>-"),
        ];
        for (text, shown) in cases {
            assert_eq!(show(text), shown, "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in any::<String>(), near in "[$\\\\{}a.é1]{0,20}") {
            let _ = (show(&text), show(&near));
        }

        #[test]
        fn doubled_dollars_are_literal(text in any::<String>()) {
            let text = text.replace('\\', "");
            prop_assert_eq!(show(&text.replace('$', "$$")), text);
        }
    }
}
