//! Every expected value below is what oslo.config 10.7 answered for the input.

use proptest::prelude::*;

use super::*;

/// Values of `a` and `b` in `[DEFAULT]`, last one wins.
fn ab(text: &str) -> Result<(Option<String>, Option<String>), (usize, SyntaxError)> {
    let entries = parse(text)?;
    let last = |key: &str| {
        let mut found = entries
            .iter()
            .filter(|e| normalize_group(&e.section) == "DEFAULT" && e.key == key);
        found.next_back().map(|e| e.value.clone())
    };
    Ok((last("a"), last("b")))
}

#[test]
fn values_as_the_original_reads_them() {
    let cases: &[(&str, Option<&str>, Option<&str>)] = &[
        ("a = 1:2=3\nb: x=y", Some("1:2=3"), Some("x=y")),
        ("a:=x\nb=:y", Some("=x"), Some(":y")),
        ("a = v # c\nb = v ; c", Some("v # c"), Some("v ; c")),
        ("a = \"v\"\nb = 'it\"s'", Some("v"), Some("it\"s")),
        ("a = \"\nb = ''", Some(""), Some("")),
        ("a = \"v'\nb = \"\"v\"\"", Some("\"v'"), Some("\"v\"")),
        ("a = x\n  y\n\tz  \nb = 1", Some("x\ny\nz"), Some("1")),
        ("a = x\n  # y\n  z\nb = 1", Some("x\n# y\nz"), Some("1")),
        (
            "a = \"x\"\n  \"y\"\nb = 'x\n y'",
            Some("x\n\"y\""),
            Some("'x\ny'"),
        ),
        ("a =\n  y\n  z\nb =", Some("\ny\nz"), Some("")),
        (
            "a=1\na=2\nb=1\n[x]\nq=1\n[DEFAULT]\nb=3",
            Some("2"),
            Some("3"),
        ),
        ("[x]y]\na=1\n[DEFAULT]\na=2", Some("2"), None),
        ("[ DEFAULT ]\na=1\n[default]\nb=1", None, None),
        ("[Default]\na=1", None, None),
        ("a=\u{a0}x\u{a0}\nb=\u{1c}q\u{1c}", Some("x"), Some("q")),
        ("a=x\u{b}y\nb=\u{c}z\u{c}", Some("x\u{b}y"), Some("z")),
        ("a=x\u{2028}y\nb=\u{85}z", Some("x\u{2028}y"), Some("z")),
        ("a=x\0y", Some("x\0y"), None),
        ("a  = 1\nb\t:2", Some("1"), Some("2")),
        ("A=1\nB=2", None, None),
        ("\r\na=1\r\nb=2\r\n", Some("1"), Some("2")),
        ("\ra=1\rb=2", Some("1"), Some("2")),
        ("#a=0\n;b=0\na=1", Some("1"), None),
    ];
    for (text, a, b) in cases {
        let read = ab(&format!("[DEFAULT]\n{text}")).unwrap();
        assert_eq!((read.0.as_deref(), read.1.as_deref()), (*a, *b), "{text:?}");
    }
}

#[test]
fn lines_the_original_refuses() {
    use SyntaxError::*;
    let cases: &[(&str, usize, SyntaxError)] = &[
        (
            "[DEFAULT]\na = x\n# c\n  z\nb = 1",
            4,
            UnexpectedContinuation,
        ),
        ("[DEFAULT]\na = x\n\n  z\nb = 1", 4, UnexpectedContinuation),
        (
            "[DEFAULT]\na = x\n   \n  z\nb = 1",
            4,
            UnexpectedContinuation,
        ),
        ("[DEFAULT]\n  z\nb = 1", 2, UnexpectedContinuation),
        (" # x\n[DEFAULT]\na=1", 1, UnexpectedContinuation),
        (" [DEFAULT]\na=1", 1, UnexpectedContinuation),
        ("[DEFAULT]\na=1\njunk", 3, NoSeparator),
        ("\u{feff}[DEFAULT]\na=1", 1, NoSeparator),
        ("[DEFAULT]\na=1\n= v", 3, EmptyKey),
        // The original names the line after the assignment; the key's own helps more.
        ("\n\na=1\nb=2\n", 3, NoSection),
        ("[DEFAULT\na=1", 1, SectionNotClosed),
        ("[DEFAULT] # c\na=1", 1, SectionNotClosed),
        ("[", 1, SectionNotClosed),
        ("[]\na=1", 1, EmptySection),
    ];
    for (text, line, error) in cases {
        assert_eq!(parse(text), Err((*line, *error)), "{text:?}");
    }
}

#[test]
fn entries_keep_the_line_of_their_key() {
    let entries = parse("# c\n[x]\na = 1\n  2\n\n[X]\nb = 3\n").unwrap();
    let seen: Vec<_> = entries
        .iter()
        .map(|e| (e.section.as_str(), e.line))
        .collect();
    assert_eq!(seen, [("x", 3), ("X", 7)]);
}

#[test]
fn debug_shows_no_value() {
    let entries = parse("[DEFAULT]\nkey = canary-value\n").unwrap();
    assert!(!format!("{entries:?}").contains("canary"));
}

#[test]
fn refuses_to_write_what_cannot_be_read_back() {
    for value in ["a\n\nb", "a\n b", "a\n", "a\rb"] {
        assert_eq!(
            write([("s", "k", value)]),
            Err(SyntaxError::Unwritable),
            "{value:?}"
        );
    }
    for key in ["", " k", "k=", "[k", "#k"] {
        assert_eq!(
            write([("s", key, "v")]),
            Err(SyntaxError::Unwritable),
            "{key:?}"
        );
    }
}

proptest! {
    #[test]
    fn never_panics(text in any::<String>()) {
        let _ = parse(&text);
    }

    #[test]
    fn never_panics_on_near_ini(text in "([\\[\\]a=:#;\"' \t\r\n]|é){0,60}") {
        let _ = parse(&text);
    }

    #[test]
    fn what_is_written_reads_back(
        entries in proptest::collection::vec(
            ("[a-zA-Z_ ]{1,8}", "[a-z_]{1,8}", "([ \"'=:#\\[$éa\u{a0}]|\n){0,12}"), 0..8)
    ) {
        let borrowed = entries.iter().map(|(s, k, v)| (s.as_str(), k.as_str(), v.as_str()));
        if let Ok(text) = write(borrowed) {
            let read: Vec<_> = parse(&text).unwrap().into_iter()
                .map(|e| (e.section, e.key, e.value)).collect();
            prop_assert_eq!(read, entries);
        }
    }

    #[test]
    fn every_single_line_value_can_be_written(value in "[^\r\n]*") {
        let text = write([("DEFAULT", "k", value.as_str())]).unwrap();
        prop_assert_eq!(&parse(&text).unwrap()[0].value, &value);
    }
}
