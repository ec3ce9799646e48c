use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::io::{AsyncReadExt as _, ReadBuf};

use super::*;

fn shell(script: &str) -> Command {
    Command::new("sh").args(["-c", script])
}

fn nothing(_line: &str) {}

#[tokio::test]
async fn output_comes_while_the_program_runs_and_lines_of_the_log_too() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&lines);
    let script = "echo first >&2; head -c 3000000 /dev/zero; echo 'last word' >&2";
    let (mut output, running) = shell(script)
        .start(move |line| seen.lock().unwrap().push(line.to_owned()))
        .unwrap();
    let mut bytes = Vec::new();
    output.read_to_end(&mut bytes).await.unwrap();
    let ended = running.wait().await.unwrap();
    assert_eq!(bytes.len(), 3_000_000);
    assert_eq!(ended.stderr_tail(), "first\nlast word");
    assert_eq!(*lines.lock().unwrap(), ["first", "last word"]);
}

#[tokio::test]
async fn a_status_is_an_error_with_the_last_words() {
    let (mut output, running) = shell("echo half; echo no space >&2; exit 3")
        .start(nothing)
        .unwrap();
    let mut bytes = Vec::new();
    output.read_to_end(&mut bytes).await.unwrap();
    let error = running.wait().await.unwrap_err().to_string();
    assert_eq!(error, "sh: exit status: 3: no space");
}

/// Whether a process of that command line is there.
fn runs(marker: &str) -> bool {
    let own = std::process::id().to_string();
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        entry.file_name().to_str() != Some(own.as_str())
            && std::fs::read(entry.path().join("cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(marker))
    })
}

#[tokio::test]
async fn killing_and_dropping_end_the_whole_group() {
    let script = |number| format!("sleep {number} & sleep {number}");
    let (_output, running) = shell(&script("9871.25")).start(nothing).unwrap();
    running.kill().await;
    assert!(!runs("9871.25"));
    let (_output, running) = shell(&script("9872.25")).start(nothing).unwrap();
    drop(running);
    time::timeout(REAP_GRACE, async {
        while runs("9872.25") {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_program_is_fed_from_a_reader() {
    let input: Vec<u8> = (0..3_000_000u32).map(|i| i.to_le_bytes()[0]).collect();
    let sum = shell("wc -c").feed(&*input, nothing).await.unwrap();
    assert_eq!(sum.stdout_text().trim(), "3000000");
}

#[tokio::test]
async fn whoever_stops_reading_is_asked_why() {
    let input = tokio::io::repeat(7);
    let script = "head -c 100000 >/dev/null; echo disk is full >&2; exit 1";
    let error = shell(script).feed(input, nothing).await.unwrap_err();
    assert_eq!(error.to_string(), "sh: exit status: 1: disk is full");
    let error = shell("exit 0").feed(tokio::io::repeat(7), nothing).await;
    let text = error.unwrap_err().to_string();
    assert!(text.contains("ended before it had read"), "{text}");
    // Not even a source that gives nothing keeps it waiting.
    let (silent, _writer) = tokio::io::simplex(16);
    let text = shell("exit 5").feed(silent, nothing).await.unwrap_err();
    assert!(text.to_string().contains("status: 5"), "{text}");
}

#[tokio::test]
async fn a_broken_source_ends_the_program() {
    let broken = Broken(false);
    let error = shell("cat; sleep 9873.25").feed(broken, nothing).await;
    assert!(matches!(error, Err(FeedError::Source(_))));
    time::timeout(REAP_GRACE, async {
        while runs("9873.25") {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

/// Some bytes, then an error.
struct Broken(bool);

impl AsyncRead for Broken {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(Err(io::Error::other("checksum differs")));
        }
        buffer.put_slice(b"some bytes");
        Poll::Ready(Ok(()))
    }
}
