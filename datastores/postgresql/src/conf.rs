//! `postgresql.conf` and its include files, changed line by line: what is not
//! touched stays as it was, byte for byte.
//!
//! The rules are those of the server's `guc-file.l`: a name, an optional `=`, a
//! value in quotes or without, a comment. Names have no case; the last line of
//! a name holds.

use std::fmt;
use std::path::Path;

use managed::OptionFile;

/// A configuration file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    lines: Vec<Line>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    /// With its line end, if it has one.
    text: String,
    setting: Option<Setting>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    name: String,
    value: String,
}

impl Document {
    /// Reads a file. Lines that make no sense are kept, for the server to
    /// complain about.
    pub fn parse(text: &str) -> Self {
        let lines = text.split_inclusive('\n').map(Line::parse).collect();
        Self { lines }
    }

    /// Names and values in the order of the file, directives among them.
    pub fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.lines
            .iter()
            .filter_map(|line| line.setting.as_ref())
            .map(|setting| (setting.name.as_str(), setting.value.as_str()))
    }

    /// The value of `name`, if the file sets it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.settings()
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .last()
            .map(|(_, value)| value)
    }

    /// Sets `name`, in the place of its last line or at the end.
    pub fn set(&mut self, name: &str, value: &str) {
        let line = Line::parse(&format!("{name} = {}\n", quoted(value)));
        match self.lines.iter().rposition(|line| line.sets(name)) {
            Some(index) => self.lines[index] = line,
            None => self.append(line),
        }
    }

    /// Removes every line that sets `name`.
    pub fn remove(&mut self, name: &str) {
        self.lines.retain(|line| !line.sets(name));
    }

    /// Directories whose files the server reads at that place.
    pub fn include_dirs(&self) -> impl Iterator<Item = &str> {
        self.settings()
            .filter(|(name, _)| name.eq_ignore_ascii_case("include_dir"))
            .map(|(_, value)| value)
    }

    fn append(&mut self, line: Line) {
        if let Some(last) = self.lines.last_mut()
            && !last.text.ends_with('\n')
        {
            last.text.push('\n');
        }
        self.lines.push(line);
    }
}

impl OptionFile for Document {
    const EXTENSION: &'static str = "conf";

    fn parse(text: &str) -> Self {
        Self::parse(text)
    }

    fn is_empty(&self) -> bool {
        self.settings().next().is_none()
    }

    fn comment_out(&mut self, name: &str, reason: &str) -> usize {
        let mut count = 0;
        for line in self.lines.iter_mut().filter(|line| line.sets(name)) {
            line.text = format!("# {reason}: {}", line.text);
            line.setting = None;
            count += 1;
        }
        count
    }

    fn includes(&self, dir: &Path) -> bool {
        self.include_dirs().any(|found| Path::new(found) == dir)
    }

    fn add_include_dir(&mut self, dir: &str) {
        self.append(Line::parse(&format!("include_dir = {}\n", quoted(dir))));
    }

    fn without_includes(&self) -> Self {
        let is_directive = |line: &&Line| {
            let setting = line.setting.as_ref();
            setting.is_some_and(|setting| is_include(&setting.name))
        };
        Self {
            lines: self
                .lines
                .iter()
                .filter(|line| !is_directive(line))
                .cloned()
                .collect(),
        }
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines
            .iter()
            .try_for_each(|line| f.write_str(&line.text))
    }
}

impl Line {
    fn parse(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            setting: Setting::parse(text),
        }
    }

    fn sets(&self, name: &str) -> bool {
        let setting = self.setting.as_ref();
        setting.is_some_and(|setting| setting.name.eq_ignore_ascii_case(name))
    }
}

impl Setting {
    fn parse(line: &str) -> Option<Self> {
        let line = line.strip_suffix('\n').unwrap_or(line);
        let rest = line.trim_start_matches(is_blank);
        let end = rest.find(|c| !is_name_char(c)).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        if !is_name(name) {
            return None;
        }
        let rest = rest.trim_start_matches(is_blank);
        let rest = rest.strip_prefix('=').unwrap_or(rest);
        let (value, rest) = value(rest.trim_start_matches(is_blank))?;
        let rest = rest.trim_start_matches(is_blank);
        (rest.is_empty() || rest.starts_with('#')).then(|| Self {
            name: name.to_owned(),
            value,
        })
    }
}

/// Whether `name` can be the name of a parameter; an extension's has its
/// prefix and a dot.
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.split('.').all(|part| {
            part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii())
                && part.chars().all(|c| is_name_char(c) && c != '.')
        })
}

/// Whether `name` is no parameter but reads another file.
pub fn is_include(name: &str) -> bool {
    ["include", "include_if_exists", "include_dir"]
        .iter()
        .any(|directive| name.eq_ignore_ascii_case(directive))
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.') || !c.is_ascii()
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r')
}

/// The value at the start of `text`, and what follows.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('\'') else {
        let is_part = |c: char| is_name_char(c) || matches!(c, '-' | '+' | ':' | '/');
        let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut rest = quoted.chars();
    loop {
        match rest.next()? {
            '\'' if rest.as_str().starts_with('\'') => {
                rest.next();
                value.push('\'');
            }
            '\'' => return Some((value, rest.as_str())),
            '\\' => match rest.next()? {
                'b' => value.push('\u{8}'),
                'f' => value.push('\u{c}'),
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                digit @ '0'..='7' => value.push(octal(digit, &mut rest)),
                other => value.push(other),
            },
            c => value.push(c),
        }
    }
}

/// Up to three octal digits after a backslash are one byte.
fn octal(first: char, rest: &mut std::str::Chars<'_>) -> char {
    let mut byte = first.to_digit(8).unwrap_or_default();
    for _ in 0..2 {
        let Some(digit) = rest.as_str().chars().next().and_then(|c| c.to_digit(8)) else {
            break;
        };
        rest.next();
        byte = byte * 8 + digit;
    }
    // Beyond ASCII it would be a part of a character: nobody writes that.
    char::from((byte & 0xff) as u8)
}

/// A value in quotes.
fn quoted(value: &str) -> String {
    let mut text = String::with_capacity(value.len() + 2);
    text.push('\'');
    for c in value.chars() {
        match c {
            '\'' => text.push_str("''"),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            c => text.push(c),
        }
    }
    text.push('\'');
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_read_as_the_server_reads_them() {
        for (line, setting) in [
            (
                "max_connections = 100\t\t# (change requires restart)",
                Some(("max_connections", "100")),
            ),
            ("  Work_Mem 4MB\r", Some(("Work_Mem", "4MB"))),
            ("listen_addresses='*'", Some(("listen_addresses", "*"))),
            (
                "a.b = 'it''s \\'x\\' \\\\ \\n \\101'",
                Some(("a.b", "it's 'x' \\ \n A")),
            ),
            ("timezone = Etc/UTC", Some(("timezone", "Etc/UTC"))),
            ("x = -1.5e-3 # y", Some(("x", "-1.5e-3"))),
            ("include_dir = '/etc/x'", Some(("include_dir", "/etc/x"))),
            ("#max_connections = 100", None),
            ("x = 'open", None),
            ("x = 1 2", None),
            ("x =", None),
            ("1x = 2", None),
            ("", None),
        ] {
            let document = Document::parse(line);
            assert_eq!(document.settings().next(), setting, "{line}");
        }
    }

    #[test]
    fn changes_touch_their_lines_only() {
        let text = "# head\r\na = 1\nA = 2 # kept until set\n  junk junk junk\nb = 'x'";
        let mut document = Document::parse(text);
        assert_eq!(document.get("a"), Some("2"));
        document.set("a", "3");
        document.set("c", "d'e\\f");
        assert_eq!(
            document.to_string(),
            "# head\r\na = 1\na = '3'\n  junk junk junk\nb = 'x'\nc = 'd''e\\\\f'\n"
        );
        assert_eq!(document.comment_out("a", "Refused"), 2);
        document.remove("B");
        assert_eq!(
            document.to_string(),
            "# head\r\n# Refused: a = 1\n# Refused: a = '3'\n  junk junk junk\nc = 'd''e\\\\f'\n"
        );
        assert_eq!(document.get("a"), None);
    }

    #[test]
    fn directives_are_told_from_parameters() {
        let mut document = Document::parse("include 'a'\nx = 1\n");
        document.add_include_dir("/etc/postgresql/conf.d");
        let dirs: Vec<&str> = document.include_dirs().collect();
        assert_eq!(dirs, ["/etc/postgresql/conf.d"]);
        assert_eq!(document.without_includes().to_string(), "x = 1\n");
    }

    proptest! {
        #[test]
        fn what_is_not_touched_is_not_changed(text in "(?s)[a-c =#'\\\\\\PC\r\n\t]{0,200}") {
            prop_assert_eq!(Document::parse(&text).to_string(), text);
        }

        #[test]
        fn a_value_is_read_as_it_was_set(value in "[\\PC'\\\\\n\r\t# =]{0,40}", before in "[a-z =\n]{0,40}") {
            let mut document = Document::parse(&before);
            document.set("a_parameter", &value);
            let read = Document::parse(&document.to_string());
            prop_assert_eq!(read.get("a_parameter"), Some(value.as_str()));
            prop_assert_eq!(&read, &document);
        }
    }
}
