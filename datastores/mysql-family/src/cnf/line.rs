//! One line of an option file.

/// A line with its terminator, and what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Blank, a comment, or text that the server ignores or refuses.
    Other,
    Group(String),
    Include,
    IncludeDir(String),
    Option {
        name: String,
        value: Option<String>,
    },
}

impl Line {
    pub(super) fn parse(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            kind: Kind::of(text),
        }
    }

    pub(super) fn group(name: &str) -> Self {
        Self::parse(&format!("[{name}]\n"))
    }

    pub(super) fn include_dir(dir: &str) -> Self {
        Self::parse(&format!("!includedir {dir}\n"))
    }

    pub(super) fn option(name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => Self::parse(&format!("{name} = {value}\n")),
            None => Self::parse(&format!("{name}\n")),
        }
    }

    /// This line as a comment.
    pub(super) fn commented(&self, reason: &str) -> Self {
        Self::parse(&format!("# {reason}: {}", self.text.trim_start()))
    }

    pub(super) fn terminate(&mut self) {
        if !self.text.ends_with('\n') {
            self.text.push('\n');
        }
    }
}

impl Kind {
    fn of(line: &str) -> Self {
        let text = line.trim_matches(is_blank);
        match text.chars().next() {
            None | Some('#' | ';') => Self::Other,
            Some('!') => Self::directive(text),
            Some('[') => match text[1..].split_once(']') {
                Some((name, _)) => Self::Group(name.trim_end_matches(is_blank).to_owned()),
                None => Self::Other,
            },
            Some(_) => Self::option(text),
        }
    }

    fn directive(text: &str) -> Self {
        // The longer word first: both start with "!include".
        if let Some(dir) = argument(text, "!includedir") {
            Self::IncludeDir(dir.to_owned())
        } else if argument(text, "!include").is_some() {
            Self::Include
        } else {
            Self::Other
        }
    }

    fn option(text: &str) -> Self {
        let text = without_comment(text);
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.trim_matches(is_blank).to_owned())),
            None => (text, None),
        };
        match name.trim_end_matches(is_blank) {
            "" => Self::Other,
            name => Self::Option {
                name: name.to_owned(),
                value,
            },
        }
    }
}

/// The argument of a directive, if `text` is that directive.
fn argument<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let rest = text.strip_prefix(word)?;
    rest.starts_with(is_blank)
        .then(|| rest.trim_matches(is_blank))
}

/// Cuts a comment off: the first `#` outside quotes. Inside quotes a
/// backslash keeps the next quote from ending them (`remove_end_comment` in
/// `mysys/my_default.c`).
fn without_comment(text: &str) -> &str {
    let mut quote = None;
    let mut escaped = false;
    for (index, c) in text.char_indices() {
        if !escaped && (c == '\'' || c == '"') {
            match quote {
                None => quote = Some(c),
                Some(open) if open == c => quote = None,
                Some(_) => {}
            }
        }
        if quote.is_none() && c == '#' {
            return text[..index].trim_end_matches(is_blank);
        }
        escaped = quote.is_some() && c == '\\' && !escaped;
    }
    text
}

/// `isspace` of the C locale, which is what servers use.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}
