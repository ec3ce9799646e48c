//! What a codec of option files has to offer.

use std::fmt::Display;

/// An option file of a server, read and changed without losing anything.
pub trait OptionFile: Display + Default + PartialEq {
    /// How the names of such files end, without the dot.
    const EXTENSION: &'static str;

    /// Reads a file; any text is one.
    fn parse(text: &str) -> Self;

    /// Whether it sets nothing.
    fn is_empty(&self) -> bool;
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
}
