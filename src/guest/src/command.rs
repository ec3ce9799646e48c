//! Child processes: bounded in time and in output, never through a shell.

mod error;
mod stream;

use std::{
    ffi::{OsStr, OsString},
    fmt, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command as Process},
    time::{self, Instant},
};
use tracing::debug;
use zeroize::Zeroizing;

pub use error::CommandError;
pub use stream::{Running, enlarge_pipe};

/// Where programs are looked for, and the `PATH` of every child. It does not
/// depend on how the agent was started.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// More than any program run here prints; a child that prints more is broken.
const STDOUT_LIMIT: usize = 16 << 20;
const STDERR_LIMIT: usize = 64 << 10;
/// How much of a child's last words goes into an error text, in bytes.
const ERROR_TEXT_LIMIT: usize = 2 << 10;
/// How long the pipes may stay open after the child itself has ended, because
/// a process it left behind still holds them.
const PIPE_GRACE: Duration = Duration::from_secs(1);
/// How long a killed child is waited for: one in uninterruptible sleep (a dead
/// disk) does not go away, and the caller's deadline has passed already.
const REAP_GRACE: Duration = Duration::from_secs(2);

/// A program to run once, with its arguments.
///
/// The child gets a clean environment (`PATH`, `LC_ALL=C.UTF-8` and what
/// [`env`](Self::env) adds), `/` as working directory, no standard input
/// unless [`stdin`](Self::stdin) is given, and a process group of its own,
/// which is killed when time is up or when the future is dropped.
pub struct Command {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    stdin: Option<Zeroizing<Vec<u8>>>,
    timeout: Duration,
    identity: Option<(u32, u32)>,
}

impl Command {
    /// `program` is a path, or a bare name that is looked for in the system
    /// directories (the agent's own `PATH` does not matter).
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            stdin: None,
            timeout: DEFAULT_TIMEOUT,
            identity: None,
        }
    }

    /// Adds one argument. Arguments are visible to every user of the machine
    /// and are logged: no secrets.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds several arguments; see [`arg`](Self::arg).
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        for argument in arguments {
            self = self.arg(argument);
        }
        self
    }

    /// What the child reads; the way to hand it secrets. Wiped from memory
    /// after use. A child that does not read it all is not an error.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(Zeroizing::new(bytes.into()));
        self
    }

    /// How long the child may run; 30 s unless set.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs the child as this user and group, without supplementary groups.
    #[must_use]
    pub fn user(mut self, uid: u32, gid: u32) -> Self {
        self.identity = Some((uid, gid));
        self
    }

    /// Adds a variable to the child's environment. Never logged.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment
            .push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs the program to its end, whatever its exit status.
    pub async fn output(mut self) -> Result<Output, CommandError> {
        let started = Instant::now();
        let mut child = self.spawn(self.stdin.is_some())?;
        let input = self.stdin.take();
        // Declared after `child`, so that the group dies before its leader is
        // handed to the runtime to be reaped.
        let mut group = ProcessGroup(child.id());
        let finished = time::timeout(self.timeout, communicate(&mut child, input)).await;
        let Ok(result) = finished else {
            group.kill();
            let _reaped = time::timeout(REAP_GRACE, child.wait()).await;
            return Err(CommandError::Timeout {
                program: self.name(),
                after: self.timeout,
            });
        };
        let output = result.map_err(|reason| match reason {
            Interrupted::TooLarge => CommandError::OutputTooLarge {
                program: self.name(),
                limit: STDOUT_LIMIT,
            },
            Interrupted::Io(reason) => CommandError::Spawn {
                program: self.name(),
                reason,
            },
        })?;
        group.release();
        debug!(
            command = ?self, status = %output.status,
            elapsed_ms = started.elapsed().as_millis(), "Command finished."
        );
        Ok(output)
    }

    /// Runs the program to its end; any status but 0 is an error.
    pub async fn run(self) -> Result<Output, CommandError> {
        let program = self.name();
        let output = self.output().await?;
        if output.status.success() {
            Ok(output)
        } else {
            Err(output.into_error(program))
        }
    }

    fn name(&self) -> String {
        self.program.display().to_string()
    }

    fn spawn(&self, feeds: bool) -> Result<Child, CommandError> {
        let path = find(&self.program).ok_or_else(|| CommandError::NotFound {
            program: self.name(),
        })?;
        let mut process = Process::new(path);
        process
            .args(&self.arguments)
            .env_clear()
            .env("PATH", SEARCH_PATH)
            .env("LC_ALL", "C.UTF-8")
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .current_dir("/")
            .stdin(if feeds { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        if let Some((uid, gid)) = self.identity {
            // The standard library also clears the supplementary groups.
            process.uid(uid).gid(gid);
        }
        process.spawn().map_err(|reason| CommandError::Spawn {
            program: self.name(),
            reason,
        })
    }
}

/// Program and arguments; neither the input nor the environment.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entry(&self.program)
            .entries(&self.arguments)
            .finish()
    }
}

/// What a finished child left behind.
#[derive(Debug, Clone)]
pub struct Output {
    /// Exit status or signal.
    pub status: ExitStatus,
    /// Everything it printed; more than 16 MiB is an error.
    pub stdout: Vec<u8>,
    /// The last 64 KiB of its standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Standard output as text, undecodable bytes replaced.
    #[must_use]
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The end of standard error (at most 2 KiB), fit for an error text.
    #[must_use]
    pub fn stderr_tail(&self) -> String {
        text_tail(&self.stderr, ERROR_TEXT_LIMIT)
    }

    /// The error for a status the caller does not accept. Programs that
    /// complain on standard output (e2fsck) are quoted from there.
    #[must_use]
    pub fn into_error(self, program: impl Into<String>) -> CommandError {
        let mut words = self.stderr_tail();
        if words.is_empty() {
            words = text_tail(&self.stdout, ERROR_TEXT_LIMIT);
        }
        CommandError::Failed {
            program: program.into(),
            status: self.status,
            stderr: words,
        }
    }
}

/// Kills a child's process group when dropped, unless it was released.
struct ProcessGroup(Option<u32>);

impl ProcessGroup {
    /// The child has been reaped: its number may already belong to another.
    fn release(&mut self) {
        self.0 = None;
    }

    fn kill(&mut self) {
        let leader = self.0.take().and_then(|id| i32::try_from(id).ok());
        if let Some(leader) = leader {
            // ESRCH only says that all of them have ended already.
            let _ended = killpg(Pid::from_raw(leader), Signal::SIGKILL);
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.kill();
    }
}

enum Interrupted {
    TooLarge,
    Io(io::Error),
}

impl From<io::Error> for Interrupted {
    fn from(reason: io::Error) -> Self {
        Self::Io(reason)
    }
}

/// Feeds and drains all three pipes at once (a child blocks on a full pipe)
/// until the child has ended.
async fn communicate(
    child: &mut Child,
    input: Option<Zeroizing<Vec<u8>>>,
) -> Result<Output, Interrupted> {
    let (stdin, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let status = {
        let feed = async {
            if let (Some(mut pipe), Some(bytes)) = (stdin, input) {
                // EPIPE: the child did not want all of it.
                let _unread = pipe.write_all(&bytes).await;
            }
        };
        let drain = async {
            let all = read_all(out, &mut stdout);
            let (all, tail, ()) = tokio::join!(all, read_tail(err, &mut stderr), feed);
            tail?;
            all
        };
        tokio::pin!(drain);
        tokio::select! {
            drained = &mut drain => { drained?; child.wait().await? }
            status = child.wait() => {
                if let Ok(drained) = time::timeout(PIPE_GRACE, &mut drain).await { drained?; }
                status?
            }
        }
    };
    Ok(Output {
        status,
        stdout,
        stderr,
    })
}

async fn read_all(
    pipe: Option<impl AsyncRead + Unpin>,
    buffer: &mut Vec<u8>,
) -> Result<(), Interrupted> {
    let Some(mut pipe) = pipe else { return Ok(()) };
    while pipe.read_buf(buffer).await? != 0 {
        if buffer.len() > STDOUT_LIMIT {
            return Err(Interrupted::TooLarge);
        }
    }
    Ok(())
}

async fn read_tail(
    pipe: Option<impl AsyncRead + Unpin>,
    buffer: &mut Vec<u8>,
) -> Result<(), Interrupted> {
    let Some(mut pipe) = pipe else { return Ok(()) };
    while pipe.read_buf(buffer).await? != 0 {
        // Cut only now and then: moving 64 KiB for each short line is waste.
        if buffer.len() > 2 * STDERR_LIMIT {
            buffer.drain(..buffer.len() - STDERR_LIMIT);
        }
    }
    buffer.drain(..buffer.len().saturating_sub(STDERR_LIMIT));
    Ok(())
}

/// The program's path, if it is there and executable.
fn find(program: &Path) -> Option<PathBuf> {
    let executable = |path: &Path| {
        path.metadata()
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    if program.components().count() > 1 {
        return executable(program).then(|| program.to_owned());
    }
    SEARCH_PATH
        .split(':')
        .map(|directory| Path::new(directory).join(program))
        .find(|p| executable(p))
}

/// The last `limit` bytes as trimmed text.
pub(crate) fn text_tail(bytes: &[u8], limit: usize) -> String {
    let cut = bytes.len().saturating_sub(limit);
    // Continuation bytes at the cut belong to a character that is lost anyway.
    let start = (cut..bytes.len()).find(|&i| cut == 0 || bytes[i] & 0xC0 != 0x80);
    String::from_utf8_lossy(&bytes[start.unwrap_or(bytes.len())..])
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests;
