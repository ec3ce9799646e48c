use std::sync::{Arc, Mutex};

use tokio::io::AsyncReadExt as _;

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

/// Waits until there is none: what is killed takes its moment to end.
async fn gone(marker: &str) {
    let ended = async {
        while runs(marker) {
            tokio::task::yield_now().await;
        }
    };
    time::timeout(REAP_GRACE, ended).await.unwrap();
}

#[tokio::test]
async fn killing_and_dropping_end_the_whole_group() {
    let script = |number| format!("sleep {number} & sleep {number}");
    let (_output, running) = shell(&script("9871.25")).start(nothing).unwrap();
    running.kill().await;
    gone("9871.25").await;
    let (_output, running) = shell(&script("9872.25")).start(nothing).unwrap();
    drop(running);
    gone("9872.25").await;
}
