//! Where log lines go: standard error for the journal, and the configured
//! file for the "guest" log that users can publish.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
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

/// What to log and where to.
#[derive(Debug, Clone)]
pub struct LogSpec {
    /// Least severity written.
    pub level: LevelFilter,
    /// A file beside standard error.
    pub file: Option<PathBuf>,
}

/// Starts logging for the life of the process.
///
/// # Errors
/// When the log file cannot be opened.
pub fn start(spec: &LogSpec) -> anyhow::Result<()> {
    let file = spec.file.as_deref().map(LogFile::open).transpose()?;
    let file = file.map(Mutex::new);
    // Under systemd the journal adds time and unit; `<N>` tells it the severity (sd-daemon(3)).
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    Registry::default()
        .with(spec.level)
        .with(Lines { journal, file })
        .try_init()
        .context("start logging")
}

/// The log file is begun anew beyond this size; the one before is kept.
const LARGEST: u64 = 32 << 20;

/// The log file, which does not grow for ever.
struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
}

impl LogFile {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let file = open(path)?;
        let size = file.metadata()?.len();
        Ok(Self {
            path: path.to_owned(),
            file,
            size,
        })
    }

    fn write(&mut self, line: &str) {
        if self.size > LARGEST
            && let Err(error) = self.begin_anew()
        {
            // Tried again when as much has been written once more.
            self.size = 0;
            let path = self.path.display();
            let _ = writeln!(
                io::stderr().lock(),
                "Log file {path} not begun anew: {error:#}"
            );
        }
        let _ = self.file.write_all(line.as_bytes());
        self.size += line.len() as u64;
    }

    fn begin_anew(&mut self) -> anyhow::Result<()> {
        let mut old = self.path.clone().into_os_string();
        old.push(".1");
        std::fs::rename(&self.path, old)?;
        *self = Self::open(&self.path)?;
        Ok(())
    }
}

fn open(path: &Path) -> anyhow::Result<File> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("create the log directory {}", directory.display()))?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o640)
        .open(path)
        .with_context(|| format!("open the log file {}", path.display()))
}

/// Writes one line per event: message, its fields, then the fields of the
/// spans around it (an RPC's method and request id).
struct Lines {
    journal: bool,
    file: Option<Mutex<LogFile>>,
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let plain = !value.is_empty()
            && value
                .chars()
                .all(|c| c.is_ascii_graphic() && c != '"' && c != '=');
        let _ = match field.name() {
            "message" => write!(self.message, "{value}"),
            name if plain => write!(self.fields, " {name}={value}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
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
                text.fields.push_str(&outer.fields);
            }
        }
        let level = *event.metadata().level();
        // One event is one line, whatever a database or a tool printed.
        let body = format!("{}{}", text.message, text.fields).replace('\n', "\\n");
        let prefix = if self.journal {
            severity(level).to_owned()
        } else {
            format!("{level:5} ")
        };
        let _ = writeln!(io::stderr().lock(), "{prefix}{body}");
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

fn severity(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        Level::DEBUG | Level::TRACE => "<7>",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_file_is_begun_anew_when_it_is_large() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log/agent.log");
        let mut log = LogFile::open(&path).unwrap();
        log.write("one\n");
        log.size = LARGEST + 1;
        log.write("two\n");
        log.write("three\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\nthree\n");
        let old = dir.path().join("log/agent.log.1");
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "one\n");
    }
}
