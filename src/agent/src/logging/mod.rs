//! Where log lines go: the journal, or standard error where there is none, and
//! the configured file for the "guest" log that users can publish.

pub mod events;
mod file;
mod journal;

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Mutex;

use anyhow::Context as _;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::util::SubscriberInitExt;

use file::LogFile;
use journal::{Entry, Journal};

/// The agent's own unit.
pub const UNIT: &str = "trove-guestagent.service";

/// What to log and where to.
#[derive(Debug, Clone)]
pub struct LogSpec {
    /// Least severity written.
    pub level: LevelFilter,
    /// A file beside the journal.
    pub file: Option<PathBuf>,
}

/// Starts logging for the life of the process.
///
/// # Errors
/// When the log file cannot be opened.
pub fn start(spec: &LogSpec) -> anyhow::Result<()> {
    let file = spec.file.as_deref().map(LogFile::open).transpose()?;
    let file = file.map(Mutex::new);
    let journal = Journal::of_process();
    Registry::default()
        .with(spec.level)
        .with(Lines { journal, file })
        .try_init()
        .context("start logging")
}

/// Records an event about the agent's unit in the journal, from a process that
/// is not that unit. For the record only: that there is no journal is no error.
pub fn tell(event: &str, level: Level, message: &str) {
    let mut entry = Entry::new(level, message);
    if let Some(id) = events::id(event) {
        entry.id(id);
    }
    entry.about(UNIT);
    let _ = Journal::open().and_then(|journal| journal.send(&entry));
}

/// Writes one line per event: message, its fields, then the fields of the
/// spans around it (an RPC's method and request id).
struct Lines {
    journal: Option<Journal>,
    file: Option<Mutex<LogFile>>,
}

#[derive(Default)]
struct Text {
    message: String,
    fields: Vec<Value>,
}

/// A field of an event or of a span around it.
#[derive(Clone)]
struct Value {
    name: &'static str,
    text: String,
    /// Whether a line shows it in quotation marks.
    quoted: bool,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        match field.name() {
            "message" => {
                let _ = write!(self.message, "{value:?}");
            }
            name => self.fields.push(Value {
                name,
                text: format!("{value:?}"),
                quoted: false,
            }),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let plain = !value.is_empty()
            && value
                .chars()
                .all(|c| c.is_ascii_graphic() && c != '"' && c != '=');
        match field.name() {
            "message" => self.message.push_str(value),
            name => self.fields.push(Value {
                name,
                text: value.to_owned(),
                quoted: !plain,
            }),
        }
    }
}

impl Text {
    /// One event is one line, whatever a database or a tool printed.
    fn line(&self) -> String {
        let mut line = self.message.clone();
        for Value { name, text, quoted } in &self.fields {
            let _ = match quoted {
                true => write!(line, " {name}={text:?}"),
                false => write!(line, " {name}={text}"),
            };
        }
        line.replace('\n', "\\n")
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(
        &self,
        attributes: &tracing::span::Attributes<'_>,
        id: &tracing::span::Id,
        context: Context<'_, S>,
    ) {
        let mut text = Text::default();
        attributes.record(&mut text);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(text);
        }
    }

    fn on_record(
        &self,
        id: &tracing::span::Id,
        values: &tracing::span::Record<'_>,
        context: Context<'_, S>,
    ) {
        if let Some(span) = context.span(id)
            && let Some(text) = span.extensions_mut().get_mut::<Text>()
        {
            values.record(text);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if !wanted(event.metadata()) {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<Text>() {
                text.fields.extend(outer.fields.iter().cloned());
            }
        }
        let (level, body) = (*event.metadata().level(), text.line());
        self.show(event.metadata().name(), level, &body, &text.fields);
        if let Some(file) = &self.file {
            let now = OffsetDateTime::now_utc()
                .format(&Rfc3339)
                .unwrap_or_default();
            let line = format!("{now} {level:5} {body}\n");
            let mut file = file
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            file.write(&line);
        }
    }
}

impl Lines {
    /// To the journal with fields, else to standard error as a line.
    fn show(&self, name: &str, level: Level, body: &str, fields: &[Value]) {
        let prefix = match &self.journal {
            None => format!("{level:5} "),
            Some(journal) => {
                let mut entry = Entry::new(level, body);
                if let Some(id) = events::id(name) {
                    entry.id(id);
                }
                for value in fields {
                    entry.field(value.name, &value.text);
                }
                if journal.send(&entry).is_ok() {
                    return;
                }
                // Standard error is the journal's as well, by another way, which
                // takes lines of any length (sd-daemon(3)).
                format!("<{}>", journal::priority(level))
            }
        };
        let _ = writeln!(io::stderr().lock(), "{prefix}{body}");
    }
}

/// Our own crates at the configured level; others only when something is
/// wrong, and the AMQP library never: at its lowest level it logs credentials,
/// and what matters of it is reported by `oslo_messaging`.
fn wanted(metadata: &tracing::Metadata<'_>) -> bool {
    const OWN: [&str; 9] = [
        "trove_guestagent",
        "datastore",
        "guest",
        "mariadb",
        "mysql",
        "mysql_family",
        "postgresql",
        "oslo_config",
        "oslo_messaging",
    ];
    let name = metadata.target().split("::").next().unwrap_or_default();
    OWN.contains(&name)
        || (*metadata.level() <= Level::WARN && name != oslo_messaging::LAPIN_TARGET)
}
