//! Replies: to the caller's queue, patiently, but not for ever.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::sleep;
use tracing::{debug, warn};

use crate::transport::{Lane, Publication, PublishError, Transport};
use crate::wire::{Map, RemoteError, reply};

/// Pause between attempts while the reply queue is missing.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// How long, and how many, reply queues found missing are remembered
/// (`amqpdriver.py`, `ObsoleteReplyQueuesCache`).
const OBSOLETE_TTL: Duration = Duration::from_secs(60);
const OBSOLETE_SIZE: usize = 200;

/// Where one call's answer goes.
#[derive(Clone, Debug)]
pub(super) struct ReplyTo {
    pub(super) msg_id: String,
    pub(super) queue: String,
}

/// Sends replies on the shared connection.
pub(super) struct Replies {
    transport: Transport,
    obsolete: Mutex<Obsolete>,
}

impl Replies {
    pub(super) fn new(transport: Transport) -> Self {
        Self {
            transport,
            obsolete: Mutex::new(Obsolete::default()),
        }
    }

    /// Sends the final answer of a call: waits for a connection as long as it
    /// takes, and for the reply queue `kombu_missing_consumer_retry_timeout`.
    pub(super) async fn send(&self, to: &ReplyTo, outcome: Result<Value, RemoteError>) {
        let payload = match &outcome {
            Ok(result) => reply(&to.msg_id, Ok(result.clone()), true),
            Err(error) => reply(&to.msg_id, Err(error), true),
        };
        self.deliver(to, &payload).await;
    }

    /// Tells a call monitor that the request is still being worked on.
    pub(super) async fn still_running(&self, to: &ReplyTo) {
        self.deliver(to, &reply(&to.msg_id, Ok(Value::Null), false))
            .await;
    }

    async fn deliver(&self, to: &ReplyTo, payload: &Map) {
        if self.lock().contains(&to.queue) {
            debug!(queue = to.queue, "Reply dropped, the caller is gone.");
            return;
        }
        let options = self.transport.options().clone();
        let mandatory = options.direct_mandatory_flag;
        let message =
            match Publication::new("", &to.queue, mandatory, payload, options.kombu_compression) {
                Ok(message) => message,
                Err(error) => {
                    warn!(%error, "Reply cannot be sent.");
                    return;
                }
            };
        let patience = Duration::from_secs(options.kombu_missing_consumer_retry_timeout.into());
        let mut missing_since = None;
        while let Some(session) = self.transport.session().await {
            match session.publish(Lane::Replies, &message).await {
                Ok(()) => return,
                Err(PublishError::Unroutable(text)) => {
                    let since: Instant = *missing_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= patience {
                        warn!(
                            queue = to.queue,
                            error = text,
                            "Reply dropped, the reply queue does not exist."
                        );
                        self.lock().insert(&to.queue);
                        return;
                    }
                }
                Err(error) => debug!(%error, queue = to.queue, "Reply not sent, retrying."),
            }
            sleep(RETRY_INTERVAL).await;
        }
        warn!(queue = to.queue, "Reply dropped, the transport is closed.");
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Obsolete> {
        self.obsolete.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reply queues that turned out not to exist.
#[derive(Default)]
struct Obsolete(VecDeque<(String, Instant)>);

impl Obsolete {
    fn insert(&mut self, queue: &str) {
        self.0.retain(|(known, _)| known != queue);
        self.0.push_back((queue.to_owned(), Instant::now()));
        if self.0.len() > OBSOLETE_SIZE {
            self.0.pop_front();
        }
    }

    fn contains(&mut self, queue: &str) -> bool {
        self.0.retain(|(_, since)| since.elapsed() < OBSOLETE_TTL);
        self.0.iter().any(|(known, _)| known == queue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn obsolete_queues_are_bounded_and_age() {
        let mut obsolete = Obsolete::default();
        obsolete.insert("a");
        assert!(obsolete.contains("a") && !obsolete.contains("b"));
        for number in 0..OBSOLETE_SIZE {
            obsolete.insert(&number.to_string());
        }
        assert!(!obsolete.contains("a"));
        assert_eq!(obsolete.0.len(), OBSOLETE_SIZE);
        let Some(old) = Instant::now().checked_sub(OBSOLETE_TTL) else {
            return;
        };
        obsolete.0.push_back(("old".to_owned(), old));
        assert!(!obsolete.contains("old"));
    }
}
