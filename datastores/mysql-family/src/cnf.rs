//! Option files (`my.cnf`), read and changed without losing anything.
//!
//! Rules: MySQL manual, "Using Option Files", and `mysys/my_default.c` for
//! what the manual leaves open: a comment starts at `#` or `;` in the first
//! column of text, and at any `#` outside quotes; blanks around names and
//! values don't count; `-` and `_` are equal in names; the last of several
//! equal names wins. Values stay the text they are: nothing is typed, quoted
//! or unquoted.

mod line;
#[cfg(test)]
mod tests;

use std::path::Path;

use line::{Kind, Line};
use managed::OptionFile;

/// An option file. Printing it gives back every byte it was read from, except
/// for the lines that were changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    lines: Vec<Line>,
}

/// One option as it stands in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionEntry<'a> {
    /// The group it is in; empty before the first group.
    pub group: &'a str,
    /// The name as written.
    pub name: &'a str,
    /// The value as written, trimmed and without a trailing comment; absent
    /// for a bare name.
    pub value: Option<&'a str>,
}

impl Document {
    /// Reads a file. Any text is a document; lines without meaning are kept.
    pub fn parse(text: &str) -> Self {
        Self {
            lines: text.split_inclusive('\n').map(Line::parse).collect(),
        }
    }

    /// Every option in file order.
    pub fn options(&self) -> impl Iterator<Item = OptionEntry<'_>> {
        self.entries().map(|(_, entry)| entry)
    }

    /// The value in force for `name` in `group`: `None` when the option is
    /// absent, `Some(None)` when it has no value.
    pub fn get(&self, group: &str, name: &str) -> Option<Option<&str>> {
        self.options()
            .filter(|entry| entry.group == group && same_name(entry.name, name))
            .last()
            .map(|entry| entry.value)
    }

    /// Sets an option in `group`: the last line that has it is replaced and
    /// earlier ones are dropped; otherwise it is added at the end of the
    /// group, which is created if need be. `value` must be one line.
    pub fn set(&mut self, group: &str, name: &str, value: Option<&str>) {
        let new = Line::option(name, value);
        let found: Vec<usize> = self
            .entries()
            .filter(|(_, entry)| entry.group == group && same_name(entry.name, name))
            .map(|(index, _)| index)
            .collect();
        if let Some((&last, earlier)) = found.split_last() {
            self.lines[last] = new;
            for &index in earlier.iter().rev() {
                self.lines.remove(index);
            }
        } else {
            let at = self.end_of_group(group).unwrap_or_else(|| {
                self.lines.push(Line::group(group));
                self.lines.len()
            });
            self.lines.insert(at, new);
        }
        self.terminate_lines();
    }

    /// Arguments of every `!includedir`, as written.
    pub fn include_dirs(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().filter_map(|line| match &line.kind {
            Kind::IncludeDir(dir) => Some(dir.as_str()),
            _ => None,
        })
    }

    /// Options with the index of their line.
    fn entries(&self) -> impl Iterator<Item = (usize, OptionEntry<'_>)> {
        let mut group = "";
        self.lines
            .iter()
            .enumerate()
            .filter_map(move |(index, line)| match &line.kind {
                Kind::Group(name) => {
                    group = name;
                    None
                }
                Kind::Option { name, value } => Some((
                    index,
                    OptionEntry {
                        group,
                        name,
                        value: value.as_deref(),
                    },
                )),
                _ => None,
            })
    }

    /// Where to add a line to `group`: after the last line with a meaning of
    /// its last occurrence.
    fn end_of_group(&self, group: &str) -> Option<usize> {
        let is_start = |line: &Line| matches!(&line.kind, Kind::Group(name) if name == group);
        let start = self.lines.iter().rposition(is_start)?;
        let length = self.lines[start + 1..]
            .iter()
            .take_while(|line| !matches!(line.kind, Kind::Group(_)))
            .collect::<Vec<_>>()
            .iter()
            .rposition(|line| matches!(line.kind, Kind::Option { .. }))
            .map_or(0, |last| last + 1);
        Some(start + 1 + length)
    }

    /// Ends every line but the last, which may have lacked its newline.
    fn terminate_lines(&mut self) {
        for line in &mut self.lines {
            line.terminate();
        }
    }
}

impl OptionFile for Document {
    const EXTENSION: &'static str = "cnf";

    fn parse(text: &str) -> Self {
        Self::parse(text)
    }

    fn is_empty(&self) -> bool {
        self.options().next().is_none()
    }

    fn comment_out(&mut self, name: &str, reason: &str) -> usize {
        let found: Vec<usize> = self
            .entries()
            .filter(|(_, entry)| is_server_group(entry.group) && same_name(entry.name, name))
            .map(|(index, _)| index)
            .collect();
        for &index in &found {
            self.lines[index] = self.lines[index].commented(reason);
        }
        found.len()
    }

    fn includes(&self, dir: &Path) -> bool {
        self.include_dirs().any(|found| Path::new(found) == dir)
    }

    fn add_include_dir(&mut self, dir: &str) {
        self.lines.push(Line::include_dir(dir));
        self.terminate_lines();
    }

    fn without_includes(&self) -> Self {
        let keep = |line: &&Line| !matches!(line.kind, Kind::IncludeDir(_) | Kind::Include);
        Self {
            lines: self.lines.iter().filter(keep).cloned().collect(),
        }
    }
}

impl std::fmt::Display for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.lines
            .iter()
            .try_for_each(|line| f.write_str(&line.text))
    }
}

/// Whether two option names mean the same option to a server.
pub fn same_name(one: &str, other: &str) -> bool {
    let fold = |c: u8| if c == b'-' { b'_' } else { c };
    one.bytes().map(fold).eq(other.bytes().map(fold))
}

/// Whether servers read `group`: `[mysqld]`, `[server]`, `[mariadb]`, their
/// forms with a version and MariaDB's `[galera]` (MariaDB manual, "Option
/// Groups").
pub fn is_server_group(group: &str) -> bool {
    let base = group.split_once('-').map_or(group, |(base, _)| base);
    matches!(
        base,
        "mysqld" | "server" | "mariadb" | "mariadbd" | "galera"
    )
}
