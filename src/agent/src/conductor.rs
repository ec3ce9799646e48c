//! Casts to trove-conductor.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use datastore::ServiceStatus;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::clock::SentClock;
use crate::rpc::context::Context;
use crate::rpc::security::Security;

/// Least time between two casts of one method. The conductor handles casts
/// concurrently: two within half a second can be applied in the wrong order,
/// and the older state then stays.
const DISTANCE: Duration = Duration::from_secs(1);

/// The longest text the conductor stores for an instance fault.
const MESSAGE_LIMIT: usize = 255;

/// A cast that was not delivered.
#[derive(Debug, thiserror::Error)]
#[error("cast {method} to the conductor: {reason}")]
pub struct CastError {
    /// The conductor's method.
    pub method: String,
    /// Why.
    pub reason: String,
}

/// The way out to the conductor's queue.
#[async_trait]
pub trait Cast: Send + Sync {
    /// Publishes one cast and waits until the broker has confirmed it.
    async fn cast(
        &self,
        method: &str,
        args: Map<String, Value>,
        context: Map<String, Value>,
    ) -> Result<(), CastError>;
}

/// The conductor as the guest sees it.
pub struct Conductor {
    out: Arc<dyn Cast>,
    security: Arc<Security>,
    guest_id: String,
    clock: SentClock,
    /// When each method was last cast.
    paces: Mutex<BTreeMap<&'static str, Arc<Mutex<Option<Instant>>>>>,
}

impl Conductor {
    /// A conductor reached through `out`.
    pub fn new(
        out: Arc<dyn Cast>,
        security: Arc<Security>,
        guest_id: String,
        clock: SentClock,
    ) -> Self {
        Self {
            out,
            security,
            guest_id,
            clock,
            paces: Mutex::default(),
        }
    }

    /// Reports the state of the service.
    ///
    /// # Errors
    /// When the broker did not take it in time.
    pub async fn heartbeat(&self, status: ServiceStatus) -> Result<(), CastError> {
        let args = json!({
            "instance_id": self.guest_id,
            "payload": {"service_status": status.description()},
        });
        self.cast("heartbeat", true, args, Context::anonymous())
            .await
    }

    /// Reports that root is enabled, for root history.
    ///
    /// # Errors
    /// When the broker did not take it in time.
    pub async fn report_root(&self, context: &Context) -> Result<(), CastError> {
        let args = json!({"instance_id": self.guest_id});
        self.cast("report_root", false, args, context.for_conductor())
            .await
    }

    /// Reports the state of a backup; `fields` are columns of its record.
    ///
    /// # Errors
    /// When the broker did not take it in time.
    pub async fn update_backup(&self, fields: Value, context: Value) -> Result<(), CastError> {
        let mut args = fields;
        args["instance_id"] = self.guest_id.clone().into();
        self.cast("update_backup", true, args, context).await
    }

    /// Completes the notification that began this work.
    ///
    /// # Errors
    /// When the broker did not take it in time.
    pub async fn notify_end(
        &self,
        mut notification: Map<String, Value>,
        context: Value,
    ) -> Result<(), CastError> {
        notification
            .entry("instance_id")
            .or_insert_with(|| self.guest_id.clone().into());
        let args = json!({"serialized_notification": notification, "notification_args": {}});
        self.cast("notify_end", false, args, context).await
    }

    /// Ends the notification with an error; `message` becomes the fault the
    /// user sees.
    ///
    /// # Errors
    /// When the broker did not take it in time.
    pub async fn notify_failure(
        &self,
        mut notification: Map<String, Value>,
        context: Value,
        message: &str,
    ) -> Result<(), CastError> {
        notification.insert("instance_id".into(), self.guest_id.clone().into());
        let message: String = message.chars().take(MESSAGE_LIMIT).collect();
        // The conductor inserts a line into `exception`, so it must be a list.
        let args = json!({
            "serialized_notification": notification,
            "message": message,
            "exception": [message],
        });
        self.cast("notify_exc_info", false, args, context).await
    }

    async fn cast(
        &self,
        method: &'static str,
        stamped: bool,
        args: Value,
        context: Value,
    ) -> Result<(), CastError> {
        let pace = self.paces.lock().await.entry(method).or_default().clone();
        let mut last = pace.lock().await;
        if let Some(last) = *last {
            tokio::time::sleep_until(last + DISTANCE).await;
        }
        let Value::Object(mut args) = args else {
            return Err(CastError {
                method: method.into(),
                reason: "no arguments".into(),
            });
        };
        if stamped {
            args.insert("sent".into(), json!(self.clock.next(method)));
        }
        let (args, context) = self.security.seal_cast(args, context);
        let result = self.out.cast(method, args, context).await;
        *last = Some(Instant::now());
        result
    }
}

#[cfg(test)]
pub mod tests {
    use std::sync::Mutex as StdMutex;

    use super::*;

    /// Keeps every cast in memory.
    #[derive(Default)]
    pub struct Recorder(pub StdMutex<Vec<(Instant, String, Value)>>);

    #[async_trait]
    impl Cast for Recorder {
        async fn cast(
            &self,
            method: &str,
            args: Map<String, Value>,
            _context: Map<String, Value>,
        ) -> Result<(), CastError> {
            self.0
                .lock()
                .unwrap()
                .push((Instant::now(), method.into(), Value::Object(args)));
            Ok(())
        }
    }

    impl Recorder {
        /// The statuses of the heartbeats so far.
        pub fn heartbeats(&self) -> Vec<String> {
            let casts = self.0.lock().unwrap();
            casts
                .iter()
                .filter(|(_, method, _)| method == "heartbeat")
                .map(|(_, _, args)| {
                    args["payload"]["service_status"]
                        .as_str()
                        .unwrap()
                        .to_owned()
                })
                .collect()
        }
    }

    /// A conductor that records instead of casting.
    pub fn recording() -> (Arc<Recorder>, Arc<Conductor>, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let recorder = Arc::new(Recorder::default());
        let security = Arc::new(Security::new("g", None, false));
        let clock = SentClock::load(dir.path().join("sent.json"));
        let conductor = Conductor::new(recorder.clone(), security, "g".into(), clock);
        (recorder, Arc::new(conductor), dir)
    }

    #[tokio::test(start_paused = true)]
    async fn casts_of_one_kind_keep_their_distance() {
        let (recorder, conductor, _dir) = recording();
        let (one, two) = tokio::join!(
            conductor.heartbeat(ServiceStatus::Building),
            conductor.heartbeat(ServiceStatus::Healthy)
        );
        one.unwrap();
        two.unwrap();
        let casts = recorder.0.lock().unwrap();
        assert!(casts[1].0 - casts[0].0 >= DISTANCE);
        assert!(casts[1].2["sent"].as_f64() > casts[0].2["sent"].as_f64());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_names_the_instance_and_fits_the_fault_column() {
        let (recorder, conductor, _dir) = recording();
        let mut notification = Map::new();
        notification.insert("request_id".into(), "req-1".into());
        conductor
            .notify_failure(notification, Value::Null, &"x".repeat(400))
            .await
            .unwrap();
        let casts = recorder.0.lock().unwrap();
        let args = &casts[0].2;
        assert_eq!(args["serialized_notification"]["instance_id"], "g");
        assert_eq!(args["message"].as_str().unwrap().len(), MESSAGE_LIMIT);
        assert!(args["exception"].is_array());
    }
}
