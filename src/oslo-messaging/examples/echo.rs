//! An RPC server with a handful of methods, to try the crate against a broker:
//!
//! ```text
//! cargo run -p oslo-messaging --example echo -- rabbit://guest:guest@localhost/ openstack echo host1
//! ```
//!
//! Methods: `echo(…)` returns its arguments, `slow(seconds, …)` does so later,
//! `fail(text)` fails, `count()` says how many requests ran, and `notify(topic,
//! …)` casts its arguments to another topic. Ctrl-C or SIGTERM drains and ends.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use oslo_messaging::{
    Cast, Caster, Handler, IncomingRequest, LAPIN_TARGET, PlainSerializer, Pool, RabbitOptions,
    RemoteError, RpcServer, ServerConfig, Target, Transport, TransportConfig, TransportUrl,
    check_version,
};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, filter};

const VERSION: &str = "1.3";
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

struct Echo {
    caster: Caster,
    exchange: String,
    requests: AtomicU64,
}

#[async_trait::async_trait]
impl Handler for Echo {
    async fn handle(&self, request: IncomingRequest) -> Result<Value, RemoteError> {
        if !check_version(&request.version, VERSION) {
            return Err(RemoteError::unsupported_version(
                &request.version,
                &request.method,
            ));
        }
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        match request.method.as_str() {
            "echo" => Ok(json!({ "args": request.args, "context": request.context })),
            "slow" => {
                let seconds = request
                    .args
                    .get("seconds")
                    .and_then(Value::as_f64)
                    .unwrap_or(1.0);
                tokio::time::sleep(Duration::from_secs_f64(seconds.clamp(0.0, 600.0))).await;
                Ok(request.args.into())
            }
            "fail" => {
                let text = request
                    .args
                    .get("text")
                    .and_then(Value::as_str)
                    .unwrap_or("as asked");
                Err(RemoteError::new("echo", "AsAsked", text))
            }
            "count" => Ok(number.into()),
            "notify" => self.notify(request).await,
            other => Err(RemoteError::no_such_method(other)),
        }
    }

    fn pool(&self, method: &str) -> Pool {
        if method == "slow" {
            Pool::Work
        } else {
            Pool::Quick
        }
    }
}

impl Echo {
    async fn notify(&self, request: IncomingRequest) -> Result<Value, RemoteError> {
        let cast = Cast {
            exchange: self.exchange.clone(),
            routing_key: request
                .args
                .get("topic")
                .and_then(Value::as_str)
                .unwrap_or("echo")
                .to_owned(),
            method: "notified".to_owned(),
            version: "1.0".to_owned(),
            args: request.args,
            context: request.context,
        };
        match self.caster.cast(cast, Duration::from_secs(30)).await {
            Ok(()) => Ok(Value::Null),
            Err(error) => Err(RemoteError::new("echo", "NotSent", error.to_string())),
        }
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    // The AMQP library's own log would repeat, louder, what this crate reports.
    let quiet = filter::filter_fn(|metadata| {
        !metadata.target().starts_with(LAPIN_TARGET) && *metadata.level() <= tracing::Level::INFO
    });
    let log = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false);
    tracing_subscriber::registry()
        .with(log.with_filter(quiet))
        .init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, exchange, topic, server] = arguments.as_slice() else {
        tracing::error!("Usage: echo TRANSPORT_URL EXCHANGE TOPIC SERVER");
        return ExitCode::from(64);
    };
    match run(url, exchange, topic, server).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "Not started.");
            ExitCode::FAILURE
        }
    }
}

async fn run(
    url: &str,
    exchange: &str,
    topic: &str,
    server: &str,
) -> Result<(), Box<dyn std::error::Error>> {
    let url = TransportUrl::parse(url, |name| RabbitOptions::canonical_name(name).is_some())?;
    let mut options = RabbitOptions::default();
    for (name, value) in &url.overrides {
        options.set(name, value)?;
    }
    let name = format!("echo:{}:{}", std::process::id(), uuid::Uuid::new_v4());
    let transport = Transport::start(&TransportConfig::new(url, options, name))?;
    let handler = Echo {
        caster: Caster::new(&transport, Arc::new(PlainSerializer)),
        exchange: exchange.to_owned(),
        requests: AtomicU64::new(0),
    };
    let target = Target::new(exchange, topic, server);
    let server = RpcServer::start(&transport, target, ServerConfig::new(Arc::new(handler)));
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result?,
        _ = terminate.recv() => {}
    }
    server.shutdown(DRAIN_LIMIT).await;
    transport.close().await;
    Ok(())
}
