//! Answers for options: which source wins, interpolation, conversion.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::environment::Environment;
use crate::error::{Problem, ValueError};
use crate::ini::{Entry, normalize_group};
use crate::interpolate::{self, Part};
use crate::kind::Kind;
use crate::opt::Opt;
use crate::value::Value;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The option table.
    Default,
    /// A file.
    File {
        /// Its path.
        path: PathBuf,
        /// Line of the key, from 1.
        line: usize,
    },
    /// An environment variable, by name.
    Environment(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(variable) => write!(f, "environment {variable}"),
        }
    }
}

/// The effective value of an option.
#[derive(Clone)]
pub struct Resolved {
    /// The value; `None` when nothing sets it or a number is left empty.
    pub value: Option<Value>,
    /// Where it came from.
    pub origin: Origin,
    /// Whether it is secret: declared so, or `$name` brought a secret into it.
    pub secret: bool,
    /// The deprecated `(group, name)` it was read from.
    pub deprecated: Option<(&'static str, &'static str)>,
}

impl fmt::Debug for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Resolved");
        match &self.value {
            Some(_) if self.secret => out.field("value", &"***"),
            value => out.field("value", value),
        };
        out.field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// A key as it stands in a file, for reports. The value is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting<'a> {
    /// Section, lower case unless `DEFAULT`.
    pub group: String,
    /// Key.
    pub name: &'a str,
    /// File.
    pub path: &'a Path,
    /// Line, from 1.
    pub line: usize,
}

#[derive(Debug)]
pub(crate) struct ParsedFile {
    pub(crate) path: PathBuf,
    pub(crate) entries: Vec<Entry>,
}

type Key = (String, String);

/// Everything read, and the table of options to read it by.
pub struct Config {
    options: Vec<Opt>,
    by_name: HashMap<(&'static str, &'static str), usize>,
    files: Vec<ParsedFile>,
    /// Per file, the entries of each normalised `(section, key)`.
    index: Vec<HashMap<Key, Vec<usize>>>,
    environment: Environment,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

/// Raw text that won, before interpolation.
struct Found<'a> {
    texts: Vec<&'a str>,
    origin: Origin,
    name: (&'static str, &'static str),
}

impl Config {
    pub(crate) fn new(
        options: impl IntoIterator<Item = Opt>,
        files: Vec<ParsedFile>,
        environment: Environment,
    ) -> Self {
        let options: Vec<Opt> = options.into_iter().collect();
        let by_name = options
            .iter()
            .enumerate()
            .map(|(i, o)| ((o.group, o.name), i))
            .collect();
        let index = files.iter().map(|file| {
            let mut index: HashMap<Key, Vec<usize>> = HashMap::new();
            for (i, entry) in file.entries.iter().enumerate() {
                let key = (normalize_group(&entry.section), entry.key.clone());
                index.entry(key).or_default().push(i);
            }
            index
        });
        let index = index.collect();
        Self {
            options,
            by_name,
            files,
            index,
            environment,
        }
    }

    /// The options of the table, in its order.
    pub fn options(&self) -> impl Iterator<Item = &Opt> {
        self.options.iter()
    }

    /// The declaration of an option.
    pub fn option(&self, group: &str, name: &str) -> Option<&Opt> {
        self.by_name.get(&(group, name)).map(|i| &self.options[*i])
    }

    /// The files read, in the order of reading.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }

    /// The effective value of an option, or `None` when the table has no such
    /// option.
    pub fn get(&self, group: &str, name: &str) -> Option<Result<Resolved, Box<ValueError>>> {
        self.option(group, name).map(|opt| self.resolve(opt))
    }

    /// The effective value of an option.
    ///
    /// A source above wins over one below: environment, files from the last to
    /// the first, default. In a file the current name wins over the deprecated
    /// ones, and the last line of a name over those before it.
    pub fn resolve(&self, opt: &Opt) -> Result<Resolved, Box<ValueError>> {
        self.resolve_in(opt, &mut Vec::new())
    }

    /// Keys in files that no option reads.
    pub fn unknown(&self) -> Vec<Setting<'_>> {
        let known: std::collections::HashSet<_> =
            self.options.iter().flat_map(Opt::names).collect();
        let all = self
            .files
            .iter()
            .flat_map(|file| file.entries.iter().map(move |e| (file, e)));
        let unknown = all.filter_map(|(file, entry)| {
            let group = normalize_group(&entry.section);
            let setting = Setting {
                group,
                name: &entry.key,
                path: &file.path,
                line: entry.line,
            };
            (!known.contains(&(setting.group.as_str(), setting.name))).then_some(setting)
        });
        unknown.collect()
    }

    fn resolve_in(&self, opt: &Opt, stack: &mut Vec<Key>) -> Result<Resolved, Box<ValueError>> {
        let Some(found) = self.find(opt) else {
            return Ok(Resolved {
                value: None,
                origin: Origin::Default,
                secret: opt.secret,
                deprecated: None,
            });
        };
        let key = (opt.group.to_owned(), opt.name.to_owned());
        if stack.contains(&key) {
            return Err(error(opt, &found, opt.secret, Problem::Cycle));
        }
        stack.push(key);
        let result = self.convert(opt, &found, stack);
        stack.pop();
        result
    }

    fn find(&self, opt: &Opt) -> Option<Found<'_>> {
        let own = (opt.group, opt.name);
        let variable = Environment::variable(opt.group, opt.name);
        if let Some(text) = self.environment.get(&variable) {
            return Some(Found {
                texts: vec![text],
                origin: Origin::Environment(variable),
                name: own,
            });
        }
        let mut found: Option<Found<'_>> = None;
        for (file, index) in self.files.iter().zip(&self.index).rev() {
            for name in opt.names() {
                let Some(entries) = index.get(&(name.0.to_owned(), name.1.to_owned())) else {
                    continue;
                };
                let last = entries.last().map_or(0, |i| file.entries[*i].line);
                let origin = Origin::File {
                    path: file.path.clone(),
                    line: last,
                };
                let texts = entries.iter().map(|i| file.entries[*i].value.as_str());
                if opt.kind != Kind::Multi {
                    return Some(Found {
                        texts: texts.rev().take(1).collect(),
                        origin,
                        name,
                    });
                }
                let found = found.get_or_insert(Found {
                    texts: Vec::new(),
                    origin,
                    name,
                });
                found.texts.splice(0..0, texts);
            }
        }
        let default = opt.default.map(|text| Found {
            texts: vec![text],
            origin: Origin::Default,
            name: own,
        });
        found.or(default)
    }

    fn convert(
        &self,
        opt: &Opt,
        found: &Found<'_>,
        stack: &mut Vec<Key>,
    ) -> Result<Resolved, Box<ValueError>> {
        let mut secret = opt.secret;
        let mut values = Vec::new();
        for text in &found.texts {
            let text = self.substitute(opt, text, &mut secret, stack);
            let text = text.map_err(|problem| error(opt, found, secret, problem))?;
            let value = if opt.secret {
                opt.kind.convert_secret(&text)
            } else {
                opt.kind.convert(&text)
            };
            let value = value.map_err(|expected| {
                let mut error = error(opt, found, secret, Problem::NotAllowed(expected));
                error.value = error.value.map(|_| text);
                error
            })?;
            values.extend(value);
        }
        let value = match opt.kind {
            Kind::Multi => {
                let items = values.iter().filter_map(Value::as_list).flatten().cloned();
                Some(Value::List(items.collect()))
            }
            _ => values.pop(),
        };
        let deprecated = (found.name != (opt.group, opt.name)).then_some(found.name);
        Ok(Resolved {
            value,
            origin: found.origin.clone(),
            secret,
            deprecated,
        })
    }

    /// Replaces references; sets `secret` when one of them is secret.
    fn substitute(
        &self,
        opt: &Opt,
        text: &str,
        secret: &mut bool,
        stack: &mut Vec<Key>,
    ) -> Result<String, Problem> {
        if interpolate::is_plain(text) {
            return Ok(text.to_owned());
        }
        let escaped = interpolate::escape(text);
        let mut out = String::new();
        for part in interpolate::parts(&escaped) {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Reference(name) => {
                    let shown = || (!opt.secret).then(|| name.to_owned());
                    let target = self
                        .reference(opt.group, name)
                        .ok_or_else(|| Problem::UnknownReference(shown()))?;
                    let resolved = self.resolve_in(target, stack).map_err(|error| {
                        let inner = (!opt.secret).then(|| error.clone());
                        let cycle = error.problem == Problem::Cycle;
                        if cycle {
                            Problem::Cycle
                        } else {
                            Problem::BadReference(inner)
                        }
                    })?;
                    *secret |= resolved.secret;
                    out.push_str(&resolved.value.map(|v| v.substitution()).unwrap_or_default());
                }
            }
        }
        Ok(out)
    }

    /// `name` of the own group or else of `DEFAULT`, or `group.name`; the
    /// original has no `DEFAULT.name`.
    fn reference(&self, own_group: &str, name: &str) -> Option<&Opt> {
        match name.split_once('.') {
            Some(("DEFAULT", _)) => None,
            Some((group, option)) => self.named(group, option),
            None => self
                .named(own_group, name)
                .or_else(|| self.named("DEFAULT", name)),
        }
    }

    /// An option by its name or by a deprecated one.
    fn named(&self, group: &str, name: &str) -> Option<&Opt> {
        let deprecated = || {
            self.options
                .iter()
                .rfind(|opt| opt.deprecated.contains(&(group, name)))
        };
        self.option(group, name).or_else(deprecated)
    }
}

fn error(opt: &Opt, found: &Found<'_>, secret: bool, problem: Problem) -> Box<ValueError> {
    let text = found.texts.last().copied().unwrap_or_default();
    let hidden = secret || opt.secret;
    Box::new(ValueError {
        origin: found.origin.clone(),
        group: found.name.0.to_owned(),
        name: found.name.1.to_owned(),
        value: (!hidden).then(|| text.to_owned()),
        problem,
    })
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
