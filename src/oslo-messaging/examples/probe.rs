//! Tests each hop to the brokers of a transport URL:
//!
//! ```text
//! cargo run -p oslo-messaging --example probe -- rabbit://guest:guest@localhost/ openstack echo
//! ```

use std::io::Write;
use std::process::ExitCode;

use oslo_messaging::{ProbeTarget, RabbitOptions, TransportConfig, TransportUrl, probe};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::from(64)
        }
    }
}

async fn run() -> Result<bool, Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments
        .next()
        .ok_or("usage: probe TRANSPORT_URL [EXCHANGE [QUEUE]]")?;
    let url = TransportUrl::parse(&url, |name| RabbitOptions::canonical_name(name).is_some())?;
    let mut options = RabbitOptions::default();
    for (name, value) in &url.overrides {
        options.set(name, value)?;
    }
    let target = ProbeTarget {
        exchange: arguments.next(),
        queue: arguments.next(),
    };
    let steps = probe(&TransportConfig::new(url, options, "probe"), &target).await;
    let mut out = std::io::stdout().lock();
    for step in &steps {
        match &step.outcome {
            Ok(detail) => writeln!(out, "ok    {} {:?}: {detail}", step.broker, step.hop)?,
            Err(error) => {
                writeln!(
                    out,
                    "FAIL  {} {:?}: {error}; {}",
                    step.broker,
                    step.hop,
                    error.kind.hint()
                )?;
            }
        }
    }
    Ok(steps.iter().all(|step| step.outcome.is_ok()))
}
