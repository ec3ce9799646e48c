//! The INI dialect of oslo.config (`oslo_config/iniparser.py`,
//! `cfg.ConfigParser`).
//!
//! It is not the dialect of Python's `configparser`: comments start only in
//! column 0, there are none after a value, a line that starts with a space or
//! tab always continues the value above it, and a blank line ends a value.

use std::fmt;

use crate::pystr::{is_space, lstrip, rstrip, strip};

/// One assignment of a file, in the order of the file.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Section as written; compare with [`normalize_group`].
    pub section: String,
    /// Key as written; keys are case-sensitive.
    pub key: String,
    /// Value without its outer quotes; continuation lines joined by newlines.
    pub value: String,
    /// Line of the key, from 1.
    pub line: usize,
}

impl fmt::Debug for Entry {
    // No value: any of them may be a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {} (line {})", self.section, self.key, self.line)
    }
}

/// Why a line is not INI. The line itself is not shown: it may hold a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    /// A line without `=` and `:`.
    #[error("no '=' or ':' in the assignment")]
    NoSeparator,
    /// `= value`.
    #[error("the key is empty")]
    EmptyKey,
    /// An assignment before the first section.
    #[error("the assignment comes before the first [section]")]
    NoSection,
    /// An indented line with no value above it.
    #[error("the line starts with white space, but there is no value above it to continue")]
    UnexpectedContinuation,
    /// `[name` or text after `]`.
    #[error("a section must end with ']', with nothing after it")]
    SectionNotClosed,
    /// `[]`.
    #[error("the section has no name")]
    EmptySection,
    /// A key, section or value that this dialect has no form for ([`write()`]).
    #[error("the key, section or value cannot be written in this format")]
    Unwritable,
}

/// Section names are case-insensitive, except `DEFAULT`: `[default]` is an
/// ordinary section that nothing reads (`cfg._normalize_group_name`).
pub fn normalize_group(section: &str) -> String {
    if section == "DEFAULT" {
        section.to_owned()
    } else {
        section.to_lowercase()
    }
}

/// Parses `text`. An error carries its line, from 1.
pub fn parse(text: &str) -> Result<Vec<Entry>, (usize, SyntaxError)> {
    let mut parser = Parser::default();
    for (index, line) in lines(text).enumerate() {
        let line_number = index + 1;
        parser
            .line(rstrip(line), line_number)
            .map_err(|error| (line_number, error))?;
    }
    parser.flush();
    Ok(parser.entries)
}

/// Lines as Python's universal newlines see them: `\n`, `\r\n` or `\r`.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n')
        .flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

#[derive(Default)]
struct Parser {
    entries: Vec<Entry>,
    section: Option<String>,
    pending: Option<Entry>,
}

impl Parser {
    fn line(&mut self, line: &str, number: usize) -> Result<(), SyntaxError> {
        if line.is_empty() {
            self.flush();
            return Ok(());
        }
        if line.starts_with([' ', '\t']) {
            let pending = self
                .pending
                .as_mut()
                .ok_or(SyntaxError::UnexpectedContinuation)?;
            pending.value.push('\n');
            pending.value.push_str(lstrip(line));
            return Ok(());
        }
        self.flush();
        if line.starts_with('[') {
            self.section = Some(section_name(line)?.to_owned());
        } else if !line.starts_with(['#', ';']) {
            let (key, value) = assignment(line)?;
            let section = self.section.clone().ok_or(SyntaxError::NoSection)?;
            self.pending = Some(Entry {
                section,
                key,
                value,
                line: number,
            });
        }
        Ok(())
    }

    fn flush(&mut self) {
        self.entries.extend(self.pending.take());
    }
}

fn section_name(line: &str) -> Result<&str, SyntaxError> {
    let inner = line
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    match inner {
        None => Err(SyntaxError::SectionNotClosed),
        Some("") => Err(SyntaxError::EmptySection),
        Some(name) => Ok(name),
    }
}

fn assignment(line: &str) -> Result<(String, String), SyntaxError> {
    let (key, value) = line
        .split_once(['=', ':'])
        .ok_or(SyntaxError::NoSeparator)?;
    let key = strip(key);
    if key.is_empty() {
        return Err(SyntaxError::EmptyKey);
    }
    Ok((key.to_owned(), unquote(strip(value)).to_owned()))
}

/// Takes matching outer quotes off. A lone quote character counts as both its
/// own ends and becomes the empty text, as in the original.
fn unquote(value: &str) -> &str {
    for quote in ['"', '\''] {
        if value.len() == 1 && value.starts_with(quote) {
            return "";
        }
        if let Some(inner) = value
            .strip_prefix(quote)
            .and_then(|v| v.strip_suffix(quote))
        {
            return inner;
        }
    }
    value
}

/// Writes `(section, key, value)` so that [`parse`] returns the same.
///
/// Errors with [`SyntaxError::Unwritable`] for what the format cannot hold: a
/// value with blank or indented lines, a key with a separator in it, ...
pub fn write<'a>(
    entries: impl IntoIterator<Item = (&'a str, &'a str, &'a str)>,
) -> Result<String, SyntaxError> {
    let mut out = String::new();
    let mut current: Option<&str> = None;
    for (section, key, value) in entries {
        if !is_section(section) || !is_key(key) {
            return Err(SyntaxError::Unwritable);
        }
        if current != Some(section) {
            out.push_str(&format!("[{section}]\n"));
            current = Some(section);
        }
        out.push_str(&format!("{key} = {}\n", quote_value(value)?));
    }
    Ok(out)
}

fn is_section(name: &str) -> bool {
    !name.is_empty() && !name.contains(['\n', '\r'])
}

fn is_key(key: &str) -> bool {
    !key.is_empty()
        && strip(key) == key
        && !key.contains(['=', ':', '\n', '\r'])
        && !key.starts_with(['[', '#', ';'])
}

fn quote_value(value: &str) -> Result<String, SyntaxError> {
    if value.contains('\r') {
        return Err(SyntaxError::Unwritable);
    }
    let mut lines = value.split('\n');
    let first = lines.next().unwrap_or_default();
    let mut out = if strip(first) != first || unquote(first) != first {
        format!("\"{first}\"")
    } else {
        first.to_owned()
    };
    for line in lines {
        if line.is_empty() || line.starts_with(is_space) || line.ends_with(is_space) {
            return Err(SyntaxError::Unwritable);
        }
        out.push_str(&format!("\n  {line}"));
    }
    Ok(out)
}

#[cfg(test)]
#[path = "ini_tests.rs"]
mod tests;
