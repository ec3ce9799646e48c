//! Splits an option such as `format_options` into arguments as Python's
//! `shlex.split` does: quotes and backslashes, no comments, no expansion.

/// The arguments, or `None` for an open quote or a backslash at the end.
pub(crate) fn split(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => double_quoted(&mut chars, word.get_or_insert_default())?,
            '\\' => word.get_or_insert_default().push(chars.next()?),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

/// In double quotes a backslash protects only itself and the quote.
fn double_quoted(chars: &mut std::str::Chars<'_>, word: &mut String) -> Option<()> {
    loop {
        match chars.next()? {
            '"' => return Some(()),
            '\\' => match chars.next()? {
                c @ ('"' | '\\') => word.push(c),
                c => word.extend(['\\', c]),
            },
            c => word.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn as_shlex_splits() {
        let cases: &[(&str, &[&str])] = &[
            ("-m 5", &["-m", "5"]),
            ("", &[]),
            ("  a\tb\n", &["a", "b"]),
            ("-L 'my disk' -E \"a b\"", &["-L", "my disk", "-E", "a b"]),
            ("a'b'\"c\"d", &["abcd"]),
            ("''", &[""]),
            ("a\\ b", &["a b"]),
            ("\"a\\\"b\\c\"", &["a\"b\\c"]),
            ("'a\\'", &["a\\"]),
            ("-x #y", &["-x", "#y"]),
        ];
        for (text, words) in cases {
            assert_eq!(split(text).unwrap(), *words, "{text:?}");
        }
        for text in ["'a", "\"a", "a\\", "\"a\\"] {
            assert_eq!(split(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_quoted_words_survive(
            text in any::<String>(),
            words in proptest::collection::vec("[^']{0,6}", 0..5),
        ) {
            let _ = split(&text);
            let quoted: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
            prop_assert_eq!(split(&quoted.join(" ")).unwrap(), words);
        }
    }
}
