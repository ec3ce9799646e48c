//! The listening side: declare, consume, and again after every break.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::stream::{SelectAll, StreamExt, once, select_all};
use lapin::message::Delivery;
use lapin::options::{
    BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, QueueDeleteOptions,
};
use lapin::{Channel, Consumer};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info, info_span, warn};

use super::declare::declare_queue;
use super::dispatch::{Dispatcher, Receipts};
use super::reply::Replies;
use super::topology::{QueueSpec, queues};
use super::{Handler, PlainSerializer, Serializer, Target};
use crate::RabbitOptions;
use crate::transport::{PROGRESS_INTERVAL, PublishError, Session, Transport, short};

/// Pause before listening is tried again on a connection that is fine otherwise.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// How long the broker may take to stop delivering at shutdown.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);

/// What an [`RpcServer`] needs to know.
#[derive(Clone)]
pub struct ServerConfig {
    /// Runs the requests.
    pub handler: Arc<dyn Handler>,
    /// Opens requests and seals results.
    pub serializer: Arc<dyn Serializer>,
    /// `executor_thread_pool_size`: how many requests of each
    /// [`crate::Pool`] run at the same time.
    pub pool_size: usize,
}

impl ServerConfig {
    /// Messages in clear and 64 workers, the default of oslo.messaging.
    pub fn new(handler: Arc<dyn Handler>) -> Self {
        Self {
            handler,
            serializer: Arc::new(PlainSerializer),
            pool_size: 64,
        }
    }
}

/// What a server is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// No connection, or the queues are being declared.
    Waiting {
        /// Why the queues could not be consumed last time.
        last_error: Option<String>,
    },
    /// Requests are delivered to it.
    Listening,
    /// Shut down.
    Stopped,
}

/// A counter that grows at least every [`crate::PROGRESS_INTERVAL`] while the
/// server reads what the broker delivers, connected or not. It stands still
/// when requests pile up beyond what may be pending.
#[derive(Clone, Debug)]
pub struct Progress(Arc<AtomicU64>);

impl Progress {
    /// The count now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Consumes a target's queues and runs what arrives.
pub struct RpcServer {
    stop: CancellationToken,
    state: watch::Receiver<ServerState>,
    progress: Arc<AtomicU64>,
    dispatcher: Arc<Dispatcher>,
    task: JoinHandle<()>,
}

impl RpcServer {
    /// Starts listening on `target` as soon as there is a connection; must be
    /// called inside a tokio runtime.
    pub fn start(transport: &Transport, target: Target, config: ServerConfig) -> Self {
        let replies = Replies::new(transport.clone());
        let ServerConfig {
            handler,
            serializer,
            pool_size,
        } = config;
        let dispatcher = Arc::new(Dispatcher::new(handler, serializer, replies, pool_size));
        let (sender, state) = watch::channel(ServerState::Waiting { last_error: None });
        let stop = CancellationToken::new();
        let progress = Arc::new(AtomicU64::new(0));
        let listener = Listener {
            transport: transport.clone(),
            queues: queues(&target, transport.options()),
            dispatcher: dispatcher.clone(),
            state: sender,
            stop: stop.clone(),
            progress: progress.clone(),
        };
        let span = info_span!("rpc_server", topic = target.topic);
        let task = tokio::spawn(listener.run().instrument(span));
        Self {
            stop,
            state,
            progress,
            dispatcher,
            task,
        }
    }

    /// What the server is doing, and changes of it.
    pub fn state(&self) -> watch::Receiver<ServerState> {
        self.state.clone()
    }

    /// A sign of life of the listener, for a watchdog.
    pub fn progress(&self) -> Progress {
        Progress(self.progress.clone())
    }

    /// Requests received and not finished yet.
    pub fn pending(&self) -> usize {
        self.dispatcher.tasks.len()
    }

    /// Stops consuming, lets what was delivered finish and sends the replies,
    /// `limit` at most. Returns how many requests were still running then;
    /// they are left to run on until the program ends.
    pub async fn shutdown(self, limit: Duration) -> usize {
        let deadline = Instant::now() + limit;
        self.stop.cancel();
        let mut task = self.task;
        if tokio::time::timeout_at(deadline, &mut task).await.is_err() {
            warn!("Consumer did not stop in time.");
            task.abort();
        }
        self.dispatcher.tasks.close();
        if tokio::time::timeout_at(deadline, self.dispatcher.tasks.wait())
            .await
            .is_err()
        {
            warn!(
                pending = self.dispatcher.tasks.len(),
                "Requests still running at shutdown."
            );
        }
        self.dispatcher.tasks.len()
    }
}

enum Item {
    Delivery(Box<Delivery>),
    Ended(String),
}

struct Consuming {
    channel: Channel,
    tags: Vec<String>,
    items: SelectAll<futures_util::stream::BoxStream<'static, Item>>,
}

struct Listener {
    transport: Transport,
    queues: Vec<QueueSpec>,
    dispatcher: Arc<Dispatcher>,
    state: watch::Sender<ServerState>,
    stop: CancellationToken,
    progress: Arc<AtomicU64>,
}

impl Listener {
    async fn run(self) {
        let stop = self.stop.clone();
        let mut pause = RETRY_FIRST;
        while !stop.is_cancelled() {
            let session = tokio::select! {
                () = stop.cancelled() => break,
                session = self.ticking(self.transport.session()) => session,
            };
            let Some(session) = session else { break };
            let started = Instant::now();
            let why = self.listen(&session).await;
            if stop.is_cancelled() {
                break;
            }
            self.state.send_replace(ServerState::Waiting {
                last_error: Some(why.clone()),
            });
            if session.is_open() {
                warn!(error = why, retry_in = ?pause, "Not listening.");
            } else {
                debug!(error = why, "Not listening.");
            }
            if started.elapsed() > RETRY_MAX {
                pause = RETRY_FIRST;
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.ticking(self.pause(&session, pause)) => {}
            }
            pause = if session.is_open() {
                (pause * 2).min(RETRY_MAX)
            } else {
                RETRY_FIRST
            };
        }
        self.state.send_replace(ServerState::Stopped);
    }

    /// Waits before the next try, but not once this session is gone.
    async fn pause(&self, session: &Session, pause: Duration) {
        tokio::select! {
            () = sleep(pause) => {}
            () = session.closed() => {
                // The supervisor may not have noticed yet.
                sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Declares, consumes and dispatches; returns why that ended.
    async fn listen(&self, session: &Arc<Session>) -> String {
        let consuming = tokio::select! {
            () = self.stop.cancelled() => return "shutting down".to_owned(),
            consuming = self.ticking(self.consume(session)) => consuming,
        };
        let mut consuming = match consuming {
            Ok(consuming) => consuming,
            Err(error) => return error.to_string(),
        };
        let receipts = Arc::new(Receipts::new(session.clone()));
        session.mark_useful();
        info!(
            name: "listening",
            host = session.broker,
            queues = consuming.tags.len(),
            "Listening."
        );
        self.state.send_replace(ServerState::Listening);
        let why = self.dispatch(&receipts, &mut consuming).await;
        if self.stop.is_cancelled() {
            self.drain(session, &receipts, &mut consuming).await;
            return why;
        }
        receipts.end();
        if consuming.channel.status().connected() {
            let _ = timeout(
                CANCEL_TIMEOUT,
                session.guard(consuming.channel.close(200, "OK".into())),
            )
            .await;
        }
        why
    }

    async fn dispatch(&self, receipts: &Arc<Receipts>, consuming: &mut Consuming) -> String {
        loop {
            let item = tokio::select! {
                biased;
                () = self.stop.cancelled() => return "shutting down".to_owned(),
                item = self.ticking(consuming.items.next()) => item,
            };
            match item {
                Some(Item::Delivery(delivery)) => {
                    self.progress.fetch_add(1, Ordering::Relaxed);
                    self.dispatcher.accept(receipts, *delivery).await;
                }
                Some(Item::Ended(why)) => return why,
                None => return "all consumers ended".to_owned(),
            }
        }
    }

    async fn consume(&self, session: &Session) -> Result<Consuming, PublishError> {
        let options = self.transport.options();
        let mut declared = Vec::new();
        for spec in &self.queues {
            match declare_queue(session, spec).await {
                Ok(()) => declared.push(spec),
                Err(error) if spec.essential || !session.is_open() => return Err(error),
                Err(error) => {
                    warn!(queue = spec.name, %error, "Queue is not available; continuing without it.")
                }
            }
        }
        let channel = listening_channel(session, options).await?;
        let mut tags = Vec::new();
        let mut streams = Vec::new();
        for (number, spec) in declared.into_iter().enumerate() {
            // Consumer tags "1", "2", "3" are those oslo.messaging uses.
            let tag = (number + 1).to_string();
            let consumer = session
                .guard(channel.basic_consume(
                    short(&spec.name, "queue name")?,
                    tag.as_str().into(),
                    BasicConsumeOptions::default(),
                    spec.consumer_arguments.clone(),
                ))
                .await?;
            streams.push(items(consumer, spec.name.clone()));
            tags.push(tag);
        }
        Ok(Consuming {
            channel,
            tags,
            items: select_all(streams),
        })
    }

    /// Tells the broker to stop, dispatches what was delivered until then, and
    /// removes the queue that only this process could use.
    async fn drain(&self, session: &Session, receipts: &Arc<Receipts>, consuming: &mut Consuming) {
        let cancel = async {
            for tag in &consuming.tags {
                session
                    .guard(
                        consuming
                            .channel
                            .basic_cancel(tag.as_str().into(), BasicCancelOptions::default()),
                    )
                    .await?;
            }
            Ok::<_, PublishError>(())
        };
        match timeout(CANCEL_TIMEOUT, cancel).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%error, "Consumers not cancelled."),
            Err(_) => warn!("Broker did not confirm the end of consumption in time."),
        }
        while let Ok(Some(item)) = timeout(CANCEL_TIMEOUT, consuming.items.next()).await {
            if let Item::Delivery(delivery) = item {
                self.dispatcher.accept(receipts, *delivery).await;
            }
        }
        for spec in self.queues.iter().filter(|spec| spec.delete_on_close) {
            let Ok(name) = short(&spec.name, "queue name") else {
                continue;
            };
            let deleting = consuming
                .channel
                .queue_delete(name, QueueDeleteOptions::default());
            let _ = timeout(CANCEL_TIMEOUT, session.guard(deleting)).await;
        }
    }

    /// Runs `future`, counting progress meanwhile.
    async fn ticking<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        loop {
            match timeout(PROGRESS_INTERVAL / 2, &mut future).await {
                Ok(result) => return result,
                Err(_) => {
                    self.progress.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

async fn listening_channel(
    session: &Session,
    options: &RabbitOptions,
) -> Result<Channel, PublishError> {
    let channel = session.channel().await?;
    let prefetch = options.rabbit_qos_prefetch_count;
    if prefetch > 0 {
        session
            .guard(channel.basic_qos(prefetch, BasicQosOptions { global: false }))
            .await?;
    }
    Ok(channel)
}

/// Deliveries of one consumer, and one last item when it ends.
fn items(consumer: Consumer, queue: String) -> futures_util::stream::BoxStream<'static, Item> {
    let ended = format!("the broker ended the consumer of {queue}");
    let failed = move |error: lapin::Error| Item::Ended(format!("consumer of {queue}: {error}"));
    consumer
        .map(move |delivery| match delivery {
            Ok(delivery) => Item::Delivery(Box::new(delivery)),
            Err(error) => failed(error),
        })
        .chain(once(async move { Item::Ended(ended) }))
        .boxed()
}
