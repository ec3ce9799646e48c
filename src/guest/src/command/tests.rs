use std::fs;

use proptest::prelude::*;

use super::*;

#[tokio::test]
async fn runs_with_a_clean_environment_and_keeps_both_outputs() {
    let output = Command::new("env").env("EXTRA", "1").run().await.unwrap();
    let mut lines: Vec<_> = output.stdout_text().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(
        lines,
        ["EXTRA=1", "LC_ALL=C.UTF-8", &format!("PATH={SEARCH_PATH}")]
    );
    assert_eq!(
        Command::new("pwd").run().await.unwrap().stdout_text(),
        "/\n"
    );
}

#[tokio::test]
async fn input_larger_than_a_pipe_comes_back_whole() {
    let input: Vec<u8> = (0..3_000_000u32).map(|i| i.to_le_bytes()[0]).collect();
    let output = Command::new("cat")
        .stdin(input.clone())
        .run()
        .await
        .unwrap();
    let same = output
        .stdout
        .iter()
        .zip(&input)
        .take_while(|(a, b)| a == b)
        .count();
    assert_eq!((output.stdout.len(), same), (input.len(), input.len()));
    // A child that does not read is no error.
    Command::new("true").stdin(input).run().await.unwrap();
}

#[tokio::test]
async fn failure_names_program_status_and_last_words() {
    let error = Command::new("ls")
        .arg("/nonexistent-directory")
        .run()
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("ls: exit status: 2: /usr/bin/ls: cannot access"),
        "{text}"
    );
    let error = Command::new("no-such-program").run().await.unwrap_err();
    assert!(matches!(&error, CommandError::NotFound { program } if program == "no-such-program"));
    assert!(error.is_permanent());
    let error = Command::new("/etc/passwd").run().await.unwrap_err();
    assert!(matches!(error, CommandError::NotFound { .. }));
}

#[tokio::test]
async fn signal_is_reported() {
    let error = Command::new("sh")
        .args(["-c", "kill -9 $$"])
        .run()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("signal: 9"), "{error}");
}

/// Runs `sh` whose grandchild writes its number to a file, and returns that
/// number once it is known.
async fn grandchild(pid_file: &Path, timeout: Duration) -> (i32, Result<Output, CommandError>) {
    let script = format!(
        "sleep 600 & echo $! > {0}.new; mv {0}.new {0}; wait",
        pid_file.display()
    );
    let result = Command::new("sh")
        .args(["-c", &script])
        .timeout(timeout)
        .output()
        .await;
    (
        fs::read_to_string(pid_file)
            .unwrap()
            .trim()
            .parse()
            .unwrap(),
        result,
    )
}

async fn wait_gone(pid: i32) {
    let gone = async {
        // A zombie of another parent still has a directory but no command line.
        while fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty()) {
            tokio::task::yield_now().await;
        }
    };
    time::timeout(Duration::from_secs(10), gone)
        .await
        .expect("process was killed");
}

#[tokio::test]
async fn timeout_kills_the_whole_group() {
    let directory = tempfile::tempdir().unwrap();
    let (pid, result) = grandchild(&directory.path().join("pid"), Duration::from_secs(2)).await;
    assert!(
        matches!(result, Err(CommandError::Timeout { .. })),
        "{result:?}"
    );
    wait_gone(pid).await;
}

#[tokio::test]
async fn dropping_the_future_kills_the_whole_group() {
    let directory = tempfile::tempdir().unwrap();
    let pid_file = directory.path().join("pid");
    let written = async {
        while !pid_file.exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = grandchild(&pid_file, Duration::from_secs(60)) => panic!("the script ended by itself"),
        () = written => {}
    }
    let pid = fs::read_to_string(&pid_file)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    wait_gone(pid).await;
}

#[tokio::test]
async fn a_process_left_behind_does_not_hold_the_caller() {
    let started = Instant::now();
    let script = "setsid sleep 5 & echo done";
    let output = Command::new("sh").args(["-c", script]).run().await.unwrap();
    assert_eq!(output.stdout_text(), "done\n");
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn output_is_bounded() {
    let error = Command::new("cat")
        .arg("/dev/zero")
        .run()
        .await
        .unwrap_err();
    assert!(
        matches!(error, CommandError::OutputTooLarge { .. }),
        "{error}"
    );
    let script = "head -c 300000 /dev/zero | tr '\\0' x >&2; echo end >&2; exit 3";
    let output = Command::new("sh")
        .args(["-c", script])
        .output()
        .await
        .unwrap();
    assert_eq!(output.stderr.len(), STDERR_LIMIT);
    assert!(output.stderr.ends_with(b"xend\n"));
    assert!(output.stderr_tail().len() <= ERROR_TEXT_LIMIT);
}

#[tokio::test]
async fn runs_as_another_user_without_groups() {
    if !nix::unistd::geteuid().is_root() {
        let error = Command::new("id").user(0, 0).run().await.unwrap_err();
        assert!(matches!(error, CommandError::Spawn { .. }));
        return;
    }
    let output = Command::new("id").user(4321, 4322).run().await.unwrap();
    assert_eq!(output.stdout_text(), "uid=4321 gid=4322 groups=4322\n");
}

#[test]
fn neither_input_nor_environment_is_shown() {
    let command = Command::new("x")
        .arg("shown")
        .env("K", "hidden")
        .stdin("hidden");
    assert_eq!(format!("{command:?}"), r#"["x", "shown"]"#);
}

proptest! {
    #[test]
    fn tails_are_bounded_suffixes(text in "\\PC{0,80}", limit in 0usize..40) {
        let tail = text_tail(text.as_bytes(), limit);
        prop_assert!(tail.len() <= limit);
        prop_assert!(text.trim_end().ends_with(&tail));
    }
}
