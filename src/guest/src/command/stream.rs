//! Children that gigabytes pass through: what they print is handed on as it
//! comes.

use std::{io, os::fd::AsFd, process::ExitStatus};

use nix::fcntl::{FcntlArg, fcntl};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::{Child, ChildStderr, ChildStdout},
    task::JoinHandle,
    time,
};
use tracing::debug;

use super::{Command, CommandError, Output, PIPE_GRACE, ProcessGroup, REAP_GRACE, STDERR_LIMIT};

/// What an unprivileged process may ask for (`/proc/sys/fs/pipe-max-size`).
const PIPE_SIZE: i32 = 1 << 20;
/// Longer lines reach the callback in pieces.
const LINE_LIMIT: u64 = 16 << 10;

impl Command {
    /// Starts the program and hands out its standard output. `on_line` gets
    /// every line of its standard error, while the program runs.
    ///
    /// There is no limit in time: the reader sets the pace. A program whose
    /// output is dropped before its end gets `SIGPIPE`.
    pub fn start(
        self,
        on_line: impl FnMut(&str) + Send + 'static,
    ) -> Result<(ChildStdout, Running), CommandError> {
        let mut child = self.spawn(false)?;
        debug!(command = ?self, "Command started.");
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let running = Running {
            group: ProcessGroup(child.id()),
            child,
            program: self.name(),
            log: tokio::spawn(read_lines(stderr, on_line)),
        };
        match stdout {
            Some(stdout) => {
                enlarge_pipe(&stdout);
                Ok((stdout, running))
            }
            None => Err(CommandError::Spawn {
                program: running.program.clone(),
                reason: io::ErrorKind::BrokenPipe.into(),
            }),
        }
    }
}

/// A child whose output is being read. Dropping it kills its process group.
pub struct Running {
    // Before `child`, so that the group dies before its leader is handed to
    // the runtime to be reaped.
    group: ProcessGroup,
    child: Child,
    program: String,
    log: JoinHandle<Vec<u8>>,
}

impl Running {
    /// Waits for the end, after the output has been read or dropped; the
    /// result has no output but the last of standard error. Any status but 0
    /// is an error.
    pub async fn wait(mut self) -> Result<Output, CommandError> {
        let status: ExitStatus = self
            .child
            .wait()
            .await
            .map_err(|reason| CommandError::Spawn {
                program: self.program.clone(),
                reason,
            })?;
        self.group.release();
        let output = Output {
            status,
            stdout: Vec::new(),
            stderr: joined(self.log).await,
        };
        debug!(program = self.program, %status, "Command finished.");
        match status.success() {
            true => Ok(output),
            false => Err(output.into_error(self.program)),
        }
    }

    /// Kills the child with its process group, and waits until it is gone.
    pub async fn kill(mut self) {
        self.group.kill();
        let _reaped = time::timeout(REAP_GRACE, self.child.wait()).await;
    }
}

/// Reads standard error to its end; returns the last 64 KiB.
async fn read_lines(pipe: Option<ChildStderr>, mut on_line: impl FnMut(&str)) -> Vec<u8> {
    let mut tail = Vec::new();
    let Some(pipe) = pipe else { return tail };
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = (&mut reader).take(LINE_LIMIT);
        if !matches!(limited.read_until(b'\n', &mut line).await, Ok(1..)) {
            break;
        }
        tail.extend_from_slice(&line);
        // Cut only now and then: moving 64 KiB for each short line is waste.
        if tail.len() > 2 * STDERR_LIMIT {
            tail.drain(..tail.len() - STDERR_LIMIT);
        }
        on_line(String::from_utf8_lossy(&line).trim_end());
    }
    tail.drain(..tail.len().saturating_sub(STDERR_LIMIT));
    tail
}

/// What a reader of a pipe has read; a process that the child left behind may
/// hold the pipe open.
async fn joined(mut reader: JoinHandle<Vec<u8>>) -> Vec<u8> {
    match time::timeout(PIPE_GRACE, &mut reader).await {
        Ok(read) => read.unwrap_or_default(),
        Err(_) => {
            reader.abort();
            Vec::new()
        }
    }
}

/// Lets a pipe hold 1 MiB, so that a system call moves more than the usual
/// 64 KiB. A refusal only costs speed.
pub fn enlarge_pipe(pipe: &impl AsFd) {
    if let Err(error) = fcntl(pipe, FcntlArg::F_SETPIPE_SZ(PIPE_SIZE)) {
        debug!(%error, "Pipe not enlarged.");
    }
}

#[cfg(test)]
mod tests;
