//! What a codec of option files has to offer.

use std::fmt::Display;
use std::path::Path;

/// An option file of a server, read and changed without losing anything.
pub trait OptionFile: Display + Default + PartialEq {
    /// How the names of such files end, without the dot.
    const EXTENSION: &'static str;

    /// Reads a file; any text is one.
    fn parse(text: &str) -> Self;

    /// Whether it sets nothing.
    fn is_empty(&self) -> bool;

    /// Turns every line that sets `name` for the server into a comment that
    /// begins with `reason`; tells how many there were.
    fn comment_out(&mut self, name: &str, reason: &str) -> usize;

    /// Whether the server reads the files of this directory, too.
    fn includes(&self, dir: &Path) -> bool;

    /// Lets the server read the files of a directory, too.
    fn add_include_dir(&mut self, dir: &str);

    /// The same without what makes the server read other files.
    #[must_use]
    fn without_includes(&self) -> Self;
}

/// A file of lines `name = value`, for tests.
#[cfg(test)]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lines(String);

#[cfg(test)]
impl Display for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
impl OptionFile for Lines {
    const EXTENSION: &'static str = "conf";

    fn parse(text: &str) -> Self {
        Self(text.to_owned())
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn comment_out(&mut self, name: &str, reason: &str) -> usize {
        let (mut lines, mut count) = (String::new(), 0);
        for line in self.0.lines() {
            match line.starts_with(&format!("{name} = ")) {
                true => {
                    count += 1;
                    lines += &format!("# {reason}: {line}\n");
                }
                false => lines += &format!("{line}\n"),
            }
        }
        self.0 = lines;
        count
    }

    fn includes(&self, dir: &Path) -> bool {
        self.0.contains(&format!("include {}\n", dir.display()))
    }

    fn add_include_dir(&mut self, dir: &str) {
        self.0 += &format!("include {dir}\n");
    }

    fn without_includes(&self) -> Self {
        let keep = |line: &&str| !line.starts_with("include ");
        let lines = self.0.lines().filter(keep);
        Self(lines.map(|line| format!("{line}\n")).collect())
    }
}
