//! Declarations of options.

use crate::kind::Kind;

/// One option of a program. Build with [`Opt::new`] and the methods after it;
/// all are `const`, so that a table can be a constant.
#[derive(Debug, Clone, Copy)]
pub struct Opt {
    /// Section, `DEFAULT` or lower case.
    pub group: &'static str,
    /// Name as in the file, with underscores.
    pub name: &'static str,
    /// Type and bounds.
    pub kind: Kind,
    /// Default in the form of a file's value; `None` leaves the option unset.
    pub default: Option<&'static str>,
    /// Other names it is read from, `(group, name)`, first one first. In one
    /// file the current name wins; a later file wins over an earlier one
    /// whatever the name.
    pub deprecated: &'static [(&'static str, &'static str)],
    /// Whether the value is kept from logs, errors and reports. Such an option
    /// must be [`Kind::Str`].
    pub secret: bool,
    /// One line for people.
    pub help: &'static str,
}

impl Opt {
    /// An option without default.
    pub const fn new(group: &'static str, name: &'static str, kind: Kind) -> Self {
        Self {
            group,
            name,
            kind,
            default: None,
            deprecated: &[],
            secret: false,
            help: "",
        }
    }

    /// Sets the default, written as in a file.
    pub const fn default(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    /// Sets the deprecated names.
    pub const fn deprecated(mut self, names: &'static [(&'static str, &'static str)]) -> Self {
        self.deprecated = names;
        self
    }

    /// Marks the value as secret.
    pub const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// Sets the help line.
    pub const fn help(mut self, help: &'static str) -> Self {
        self.help = help;
        self
    }

    /// All places the option is read from in a file: its own name first.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        std::iter::once((self.group, self.name)).chain(self.deprecated.iter().copied())
    }
}
