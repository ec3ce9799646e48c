//! `trove-guestagent`: OpenStack Trove's guest agent as one static binary.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod assemble;
mod backups;
mod cli;
mod clock;
mod commands;
mod conductor;
mod config;
mod host;
mod injected;
mod isolation;
mod journal;
mod logging;
mod logs;
mod markers;
mod modules;
mod operations;
mod rpc;
mod run;
mod state_file;
mod status;
mod supervise;
mod tls;

use std::process::ExitCode;

use assemble::Assembly;
use cli::{Action, Cli};
use commands::text_line;
use oslo_config::Environment;

/// Exit status for a configuration that cannot be used (EX_USAGE of sysexits(3)).
const BAD_CONFIGURATION: u8 = 64;

fn main() -> ExitCode {
    // Before anything looks up a name or an account.
    guest::pin_name_services();
    let (cli, sources) = Cli::from_process();
    let action = cli.action.unwrap_or(Action::Run);
    match &action {
        Action::Version => {
            text_line(&format!("trove-guestagent {}", env!("CARGO_PKG_VERSION")));
            return ExitCode::SUCCESS;
        }
        Action::Status => return answer(commands::status()),
        Action::Replace(replace) => {
            return answer(
                runtime()
                    .and_then(|runtime| runtime.block_on(commands::replace(replace, &sources))),
            );
        }
        Action::Run | Action::Check | Action::Doctor | Action::Backup(_) => {}
    }
    let arguments = config::ConfigArgs {
        sources,
        environment: Environment::of_process(),
    };
    let loaded = match config::load(&arguments) {
        Ok(loaded) => loaded,
        Err(error) => return bad_configuration(&error.to_string()),
    };
    let assembly = match assemble::assemble(&loaded.settings) {
        Ok(assembly) => assembly,
        Err(error) => return bad_configuration(&format!("{error:#}")),
    };
    if action == Action::Check {
        text_line(&loaded.report.to_string());
        return ExitCode::SUCCESS;
    }
    answer(with_runtime(action, loaded, assembly))
}

/// One thread: the agent waits nearly all the time, requests start in the
/// order they arrive, and memory stays small.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    Ok(builder.enable_all().build()?)
}

fn with_runtime(
    action: Action,
    loaded: config::Loaded,
    assembly: Assembly,
) -> anyhow::Result<bool> {
    let runtime = runtime()?;
    match &action {
        Action::Doctor => {
            return Ok(runtime.block_on(commands::doctor(&loaded.settings, &assembly)));
        }
        Action::Backup(action) => {
            // What a person does is no business of the agent's own log.
            logging::start(&logging::LogSpec {
                file: None,
                ..assemble::log(&loaded.settings)
            })?;
            let datastore = assembly.datastore.as_ref();
            return runtime.block_on(commands::backup(action, &loaded.settings, datastore));
        }
        _ => {}
    }
    logging::start(&assemble::log(&loaded.settings))?;
    supervise::abort_on_panic();
    injected::close_to_others(&loaded.report.files);
    for note in &loaded.report.notes {
        tracing::info!("{note}");
    }
    runtime
        .block_on(run::run(loaded.settings, assembly))
        .map(|()| true)
}

/// One line per problem, each naming the program, as the journal shows lines.
fn bad_configuration(problems: &str) -> ExitCode {
    for problem in problems.lines() {
        eprint_line(problem);
    }
    ExitCode::from(BAD_CONFIGURATION)
}

fn answer(result: anyhow::Result<bool>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprint_line(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Standard error before logging has started; systemd has it in the journal.
fn eprint_line(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr().lock(), "trove-guestagent: {text}");
}
