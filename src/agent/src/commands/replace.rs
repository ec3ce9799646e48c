//! `replace`: another binary in the agent's place, and the old one back if it
//! does not come up. The database is a unit of its own and does not notice.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use guest::{Command, Unit, Watch};
use nix::fcntl::{Flock, FlockArg};
use oslo_config::Source;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tracing::Level;

use super::report::text_line;
use crate::logging::{self, events};
use crate::state_file::{self, AgentState};

/// Where the agent's unit has its configuration, unless another one is named.
const CONFIGURATION: &str = "/etc/trove/conf.d";

/// The unit's own limits: stopping drains, starting is quick.
const RESTART: Duration = Duration::from_secs(150);

/// For a new agent to listen where the old one did.
const LISTEN: Duration = Duration::from_secs(60);

/// A process that ends changes no file: looked at this often.
const LOOK: Duration = Duration::from_secs(1);

/// What to put in place.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Replace {
    /// The other binary; it is copied.
    binary: PathBuf,
    /// Even if an operation or a backup is running, which then fails.
    #[arg(long)]
    force: bool,
}

/// Replaces the binary of this process and restarts the agent. True when the
/// other one has come up, false when the one before is back.
///
/// # Errors
/// When nothing was changed, or when the one before does not come up either.
pub async fn replace(options: &Replace, sources: &[Source]) -> Result<bool> {
    let place = Place::new(std::env::current_exe().context("find this program's own file")?)?;
    let _alone = place.lock()?;
    let before = match state_file::read(Path::new(state_file::PATH)) {
        Ok((state, true)) => Some(state),
        _ => None,
    };
    if let Some(busy) = before.as_ref().and_then(busy)
        && !options.force
    {
        bail!("{busy}, and would fail: wait for its end, or use --force");
    }
    place.stage(&options.binary)?;
    let version = match check(&place.staged, sources).await {
        Ok(version) => version,
        Err(error) => {
            let _ = fs::remove_file(&place.staged);
            return Err(error);
        }
    };
    // Whoever looks on may leave; this goes on to its end.
    let _hangup = signal(SignalKind::hangup())?;
    let _interrupt = signal(SignalKind::interrupt())?;
    place.swap()?;
    let listened = before.is_some_and(|state| state.listening);
    let Err(error) = come_up(listened).await else {
        let message = format!("Agent replaced by {version}.");
        logging::tell(events::AGENT_REPLACED, Level::INFO, &message);
        text_line(&format!(
            "{message} The one before is {}.",
            place.previous.display()
        ));
        return Ok(true);
    };
    let message = format!("{version} did not come up, the agent before it is back: {error:#}");
    place.swap_back()?;
    come_up(listened)
        .await
        .with_context(|| format!("{message}; but it does not come up either"))?;
    logging::tell(events::AGENT_NOT_REPLACED, Level::ERROR, &message);
    text_line(&message);
    Ok(false)
}

/// What a restart would break.
fn busy(state: &AgentState) -> Option<String> {
    let operation = state.operation.as_ref().or(state.transfer.as_ref())?;
    Some(format!("{operation} is running"))
}

/// Whether the binary runs here and takes the configuration; its name and version.
async fn check(binary: &Path, sources: &[Source]) -> Result<String> {
    let version = Command::new(binary).arg("version").run().await;
    let version = version.context("the binary does not run here")?;
    let version = version.stdout_text().trim().to_owned();
    ensure!(
        version.starts_with("trove-guestagent "),
        "the binary is not a trove-guestagent: asked for its version, it says {version:?}"
    );
    let mut arguments: Vec<_> = sources
        .iter()
        .map(|source| match source {
            Source::File(path) => format!("--config-file={}", path.display()),
            Source::Dir(path) => format!("--config-dir={}", path.display()),
        })
        .collect();
    if arguments.is_empty() {
        arguments.push(format!("--config-dir={CONFIGURATION}"));
    }
    let checked = Command::new(binary).arg("check").args(arguments).run();
    checked
        .await
        .with_context(|| format!("{version} does not take the configuration"))?;
    Ok(version)
}

/// Restarts the unit and waits until it does its work: it stays up and, if its
/// predecessor did, listens to the broker.
async fn come_up(listened: bool) -> Result<()> {
    let unit = Unit::new(logging::UNIT);
    unit.restart(RESTART).await?;
    let path = Path::new(state_file::PATH);
    let mut watch = Watch::new()?;
    let deadline = Instant::now() + LISTEN;
    let pid = unit.state().await?.main_pid;
    loop {
        watch.follow(path);
        ensure!(
            pid.is_some() && unit.state().await?.main_pid == pid,
            "it ended again; its last words: {}",
            unit.journal_tail(10).await
        );
        let state = state_file::read(path).ok().map(|(state, _)| state);
        let state = state.filter(|state| Some(state.pid) == pid);
        if state
            .as_ref()
            .is_some_and(|state| state.listening || !listened)
        {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let broker = state.map_or("nothing".to_owned(), |state| state.broker);
            bail!(
                "it does not listen, as its predecessor did, after {} s; of the broker it says: \
                 {broker}",
                LISTEN.as_secs()
            );
        }
        watch.changed(deadline.min(Instant::now() + LOOK)).await;
    }
}

/// The files of a replacement, all in the installed binary's directory, so that
/// a rename is all that happens to it.
struct Place {
    directory: PathBuf,
    installed: PathBuf,
    staged: PathBuf,
    previous: PathBuf,
}

impl Place {
    fn new(installed: PathBuf) -> Result<Self> {
        let (Some(directory), Some(name)) = (installed.parent(), installed.file_name()) else {
            bail!("{} is not a file in a directory", installed.display());
        };
        let name = name.to_string_lossy();
        Ok(Self {
            directory: directory.to_owned(),
            staged: directory.join(format!(".{name}.new")),
            previous: directory.join(format!("{name}.previous")),
            installed,
        })
    }

    /// Keeps others from doing the same.
    fn lock(&self) -> Result<Flock<File>> {
        let directory = File::open(&self.directory)
            .with_context(|| format!("open {}", self.directory.display()))?;
        Flock::lock(directory, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| {
            anyhow::anyhow!(
                "{} is being replaced already: {error}",
                self.installed.display()
            )
        })
    }

    /// Copies the other binary beside the installed one: what is checked is what
    /// is put in place, wherever it came from.
    fn stage(&self, binary: &Path) -> Result<()> {
        let staged = || -> std::io::Result<()> {
            fs::copy(binary, &self.staged)?;
            fs::set_permissions(&self.staged, Permissions::from_mode(0o755))?;
            File::open(&self.staged)?.sync_all()
        };
        staged().with_context(|| format!("copy {} to {}", binary.display(), self.staged.display()))
    }

    /// Puts the staged binary in place and keeps the one before.
    fn swap(&self) -> Result<()> {
        self.link(&self.installed, &self.previous)?;
        fs::rename(&self.staged, &self.installed)
            .with_context(|| format!("replace {}", self.installed.display()))?;
        self.sync()
    }

    /// Puts the one before back in place.
    fn swap_back(&self) -> Result<()> {
        self.link(&self.previous, &self.installed)?;
        self.sync()
    }

    /// Makes `new` another name of `old`; at no time is there no `new`.
    fn link(&self, old: &Path, new: &Path) -> Result<()> {
        let temporary = self.staged.with_extension("link");
        guest::remove_if_exists(&temporary)?;
        fs::hard_link(old, &temporary)
            .and_then(|()| fs::rename(&temporary, new))
            .with_context(|| format!("keep {} as {}", old.display(), new.display()))
    }

    fn sync(&self) -> Result<()> {
        let directory = File::open(&self.directory).and_then(|directory| directory.sync_all());
        directory.with_context(|| format!("sync {}", self.directory.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binaries_change_places_and_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let read = |name: &str| fs::read_to_string(path(name)).unwrap();
        fs::write(path("agent"), "old").unwrap();
        fs::write(path("download"), "new").unwrap();
        let place = Place::new(path("agent")).unwrap();
        let alone = place.lock().unwrap();
        assert!(place.lock().is_err());
        for _ in 0..2 {
            place.stage(&path("download")).unwrap();
            place.swap().unwrap();
            assert_eq!(
                (read("agent"), read("agent.previous")),
                ("new".into(), "old".into())
            );
            place.swap_back().unwrap();
            assert_eq!(read("agent"), "old");
        }
        drop(alone);
        place.lock().unwrap();
        let names = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(names, 3, "nothing else is left");
    }

    #[tokio::test]
    async fn what_is_no_agent_is_refused() {
        let error = check(Path::new("/bin/echo"), &[]).await.unwrap_err();
        assert!(
            error.to_string().contains("not a trove-guestagent"),
            "{error}"
        );
        let error = check(Path::new("/etc/passwd"), &[]).await.unwrap_err();
        assert!(error.to_string().contains("does not run here"), "{error}");
    }
}
