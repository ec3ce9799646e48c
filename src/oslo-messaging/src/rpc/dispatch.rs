//! From a delivery to a finished request.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicRejectOptions};
use lapin::types::AMQPValue;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant as TokioInstant, interval_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span, debug, field, info_span, warn};

use super::duplicates::Duplicates;
use super::reply::{Replies, ReplyTo};
use super::{Handler, IncomingRequest, Pool, Serializer};
use crate::transport::{PublishError, Session};
use crate::wire::{DecodeError, RemoteError, Request, decode_body};

/// Requests taken from the broker but not finished. At this many the server
/// stops reading, and the rest stays in the queue.
const MAX_PENDING: usize = 1024;

/// The right to settle deliveries: it ends with the channel they came on.
/// What is not settled by then, the broker delivers again.
pub(super) struct Receipts {
    session: Arc<Session>,
    ended: CancellationToken,
}

impl Receipts {
    pub(super) fn new(session: Arc<Session>) -> Self {
        Self {
            session,
            ended: CancellationToken::new(),
        }
    }

    /// The channel is gone.
    pub(super) fn end(&self) {
        self.ended.cancel();
    }

    async fn guard(
        &self,
        settle: impl Future<Output = lapin::Result<bool>>,
    ) -> Result<bool, PublishError> {
        tokio::select! {
            biased;
            outcome = self.session.guard(settle) => outcome,
            () = self.ended.cancelled() => Err(PublishError::Lost("the channel is gone".to_owned())),
        }
    }
}

/// Runs what the server receives.
pub(super) struct Dispatcher {
    handler: Arc<dyn Handler>,
    serializer: Arc<dyn Serializer>,
    replies: Replies,
    duplicates: Mutex<Duplicates>,
    work: Semaphore,
    quick: Semaphore,
    pending: Arc<Semaphore>,
    pub(super) tasks: TaskTracker,
}

impl Dispatcher {
    pub(super) fn new(
        handler: Arc<dyn Handler>,
        serializer: Arc<dyn Serializer>,
        replies: Replies,
        pool_size: usize,
    ) -> Self {
        Self {
            handler,
            serializer,
            replies,
            duplicates: Mutex::new(Duplicates::default()),
            work: Semaphore::new(pool_size.max(1)),
            quick: Semaphore::new(pool_size.max(1)),
            pending: Arc::new(Semaphore::new(MAX_PENDING)),
            tasks: TaskTracker::new(),
        }
    }

    /// Takes one delivery over. Returns at once unless too much is pending.
    pub(super) async fn accept(self: &Arc<Self>, receipts: &Arc<Receipts>, delivery: Delivery) {
        let request = match decode(&delivery) {
            Ok(request) => request,
            Err(error) => {
                warn!(%error, bytes = delivery.data.len(), "Undecodable message rejected.");
                settle(
                    receipts
                        .guard(delivery.acker.reject(BasicRejectOptions { requeue: false }))
                        .await,
                );
                return;
            }
        };
        if let Some(id) = &request.unique_id
            && !self.duplicates().insert(id)
        {
            warn!(
                method = request.method,
                unique_id = id,
                redelivered = delivery.redelivered,
                "Duplicate request dropped."
            );
            settle(
                receipts
                    .guard(delivery.acker.ack(BasicAckOptions::default()))
                    .await,
            );
            return;
        }
        let Ok(slot) = self.pending.clone().acquire_owned().await else {
            return;
        };
        let span = info_span!(
            // Not inside the listener's span: its topic would stand in every line.
            parent: None,
            "rpc",
            method = request.method,
            request_id = field::Empty,
            msg_id = request.msg_id
        );
        let this = self.clone();
        let receipts = receipts.clone();
        self.tasks.spawn(
            async move { this.process(&receipts, delivery, request, slot).await }.instrument(span),
        );
    }

    async fn process(
        &self,
        receipts: &Receipts,
        delivery: Delivery,
        request: Request,
        _slot: OwnedSemaphorePermit,
    ) {
        let redelivered = delivery.redelivered;
        let caller_timeout = expiration(&delivery.properties);
        let ack = receipts.guard(delivery.acker.ack(BasicAckOptions::default()));
        let pool = self.handler.pool(&request.method);
        if pool == Pool::Quick {
            // Nothing waits for the acknowledgement of a short method: it goes out
            // as soon as the method first waits for anything, or together with its
            // reply. If it gets lost, the message comes again and is dropped as a
            // duplicate: this answer counts.
            tokio::join!(
                biased;
                self.serve(request, pool, caller_timeout, redelivered),
                async { settle(ack.await) },
            );
            return;
        }
        // Before execution: a request runs at most once (`amqpdriver.py`).
        match ack.await {
            Ok(true) => self.serve(request, pool, caller_timeout, redelivered).await,
            outcome => {
                if let Some(id) = &request.unique_id {
                    self.duplicates().forget(id);
                }
                warn!(error = ?outcome.err().map(|error| error.to_string()), "Request could not be acknowledged, leaving it to the broker.");
            }
        }
    }

    /// Waits for a worker, runs the request and answers.
    async fn serve(
        &self,
        request: Request,
        pool: Pool,
        caller_timeout: Option<Duration>,
        redelivered: bool,
    ) {
        let received = Instant::now();
        let to = reply_to(&request);
        let workers = match pool {
            Pool::Work => &self.work,
            Pool::Quick => &self.quick,
        };
        let Ok(worker) = workers.acquire().await else {
            return;
        };
        let waited = received.elapsed();
        if to.is_some() && caller_timeout.is_some_and(|limit| waited > limit) {
            warn!(
                ?waited,
                "Request dropped, its caller gave up while it waited for a worker."
            );
            return;
        }
        let outcome = self
            .run(request, to.as_ref(), caller_timeout, redelivered)
            .await;
        drop(worker);
        match to {
            Some(to) => self.answer(&to, outcome).await,
            None => log_cast(outcome),
        }
    }

    async fn run(
        &self,
        request: Request,
        to: Option<&ReplyTo>,
        caller_timeout: Option<Duration>,
        redelivered: bool,
    ) -> Result<Value, RemoteError> {
        let (context, args) = self
            .serializer
            .open_request(request.context, request.args)
            .inspect_err(|error| warn!(name: "request_unreadable", %error, "Request refused, it does not open."))?;
        if let Some(id) = context.get("request_id").and_then(Value::as_str) {
            Span::current().record("request_id", id);
        }
        debug!("Request received.");
        let incoming = IncomingRequest {
            method: request.method,
            version: request.version,
            namespace: request.namespace,
            args,
            context,
            msg_id: request.msg_id,
            unique_id: request.unique_id,
            caller_timeout,
            redelivered,
        };
        let handling = AssertUnwindSafe(self.handler.handle(incoming)).catch_unwind();
        let outcome = match (to, request.monitor_timeout.map(|timeout| timeout / 2)) {
            (Some(to), Some(period)) if period >= Duration::from_secs(1) => tokio::select! {
                outcome = handling => outcome,
                () = self.keep_alive(to, period) => return Err(panicked()),
            },
            _ => handling.await,
        };
        outcome.unwrap_or_else(|_| Err(panicked()))
    }

    /// Signs of life for a call monitor; never ends.
    async fn keep_alive(&self, to: &ReplyTo, period: Duration) {
        let mut ticks = interval_at(TokioInstant::now() + period, period);
        loop {
            ticks.tick().await;
            self.replies.still_running(to).await;
        }
    }

    async fn answer(&self, to: &ReplyTo, outcome: Result<Value, RemoteError>) {
        let sealed = outcome.and_then(|result| self.serializer.seal_result(result));
        if let Err(error) = &sealed {
            // The handler knows what failed and has said so.
            debug!(%error, "Failure replied.");
        }
        self.replies.send(to, sealed).await;
        debug!("Reply sent.");
    }

    fn duplicates(&self) -> std::sync::MutexGuard<'_, Duplicates> {
        self.duplicates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn decode(delivery: &Delivery) -> Result<Request, DecodeError> {
    let properties = &delivery.properties;
    let encoding = properties
        .content_encoding()
        .as_ref()
        .map(|name| name.as_str());
    let compression = properties
        .headers()
        .as_ref()
        .and_then(|headers| headers.inner().get("compression"));
    let compression = match compression {
        Some(AMQPValue::LongString(name)) => {
            Some(String::from_utf8_lossy(name.as_bytes()).into_owned())
        }
        Some(AMQPValue::ShortString(name)) => Some(name.to_string()),
        _ => None,
    };
    Request::from_payload(decode_body(
        &delivery.data,
        encoding,
        compression.as_deref(),
    )?)
}

/// Calls carry their timeout as the message's expiration, in milliseconds.
fn expiration(properties: &BasicProperties) -> Option<Duration> {
    let text = properties.expiration().as_ref()?;
    text.as_str().parse().ok().map(Duration::from_millis)
}

fn reply_to(request: &Request) -> Option<ReplyTo> {
    match (&request.msg_id, &request.reply_q) {
        (Some(msg_id), Some(queue)) if queue.len() <= 255 => Some(ReplyTo {
            msg_id: msg_id.clone(),
            queue: queue.clone(),
        }),
        (Some(_), _) => {
            warn!("Call without a usable reply queue; it is treated as a cast.");
            None
        }
        _ => None,
    }
}

fn panicked() -> RemoteError {
    RemoteError::new("builtins", "RuntimeError", "internal error")
}

fn log_cast(outcome: Result<Value, RemoteError>) {
    match outcome {
        Ok(_) => debug!("Cast done."),
        Err(error) => debug!(%error, "Cast failed."),
    }
}

fn settle(outcome: Result<bool, PublishError>) {
    if let Err(error) = outcome {
        debug!(%error, "Message could not be settled, the broker will send it again.");
    }
}
