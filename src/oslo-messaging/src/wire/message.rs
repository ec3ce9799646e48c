//! Request and reply payloads (`amqpdriver.py`, `amqp.py`).

use std::time::Duration;

use serde_json::{Value, json};

use super::{DecodeError, Map, RemoteError};

const CONTEXT_PREFIX: &str = "_context_";

/// A request as it came off the wire: arguments and context may still be sealed.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Method name.
    pub method: String,
    /// Named arguments.
    pub args: Map,
    /// Version asked for; `1.0` when absent.
    pub version: String,
    /// Endpoint namespace, if any.
    pub namespace: Option<String>,
    /// Identity of a call, repeated in its reply; `None` for casts.
    pub msg_id: Option<String>,
    /// Queue the caller waits on.
    pub reply_q: Option<String>,
    /// Call monitor: the caller wants a sign of life within this time.
    pub monitor_timeout: Option<Duration>,
    /// Identity for duplicate suppression.
    pub unique_id: Option<String>,
    /// The `_context_*` fields, without the prefix.
    pub context: Map,
}

impl Request {
    /// Takes a payload apart. Unknown fields are ignored.
    ///
    /// # Errors
    /// [`DecodeError::Shape`] without a method name or with arguments that are
    /// no object.
    pub fn from_payload(payload: Map) -> Result<Self, DecodeError> {
        let mut request = Self {
            method: String::new(),
            args: Map::new(),
            version: "1.0".to_owned(),
            namespace: None,
            msg_id: None,
            reply_q: None,
            monitor_timeout: None,
            unique_id: None,
            context: Map::new(),
        };
        for (key, value) in payload {
            match (key.as_str(), value) {
                ("method", Value::String(method)) => request.method = method,
                ("args", Value::Object(args)) => request.args = args,
                ("args", Value::Null) => {}
                ("args", _) => return Err(DecodeError::Shape("args is not an object")),
                ("version", Value::String(version)) => request.version = version,
                ("namespace", Value::String(namespace)) => request.namespace = Some(namespace),
                ("_msg_id", Value::String(id)) => request.msg_id = Some(id),
                ("_reply_q", Value::String(queue)) => request.reply_q = Some(queue),
                ("_timeout", value) => request.monitor_timeout = seconds(&value),
                ("_unique_id", Value::String(id)) => request.unique_id = Some(id),
                (name, value) => {
                    if let Some(name) = name.strip_prefix(CONTEXT_PREFIX) {
                        request.context.insert(name.to_owned(), value);
                    }
                }
            }
        }
        if request.method.is_empty() {
            return Err(DecodeError::Shape("the request names no method"));
        }
        Ok(request)
    }
}

fn seconds(value: &Value) -> Option<Duration> {
    let seconds = value.as_f64().filter(|seconds| *seconds > 0.0)?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// The payload of a cast: no `_msg_id`, so nobody answers.
pub fn encode_request(
    method: &str,
    version: &str,
    args: Map,
    context: Map,
    unique_id: &str,
) -> Map {
    let mut payload = Map::new();
    payload.insert("method".to_owned(), method.into());
    payload.insert("args".to_owned(), args.into());
    payload.insert("version".to_owned(), version.into());
    payload.insert("_unique_id".to_owned(), unique_id.into());
    for (key, value) in context {
        payload.insert(format!("{CONTEXT_PREFIX}{key}"), value);
    }
    payload
}

/// The payload of a reply. `ending` is false only for the sign of life a call
/// monitor asked for.
pub fn reply(msg_id: &str, outcome: Result<Value, &RemoteError>, ending: bool) -> Map {
    let (result, failure) = match outcome {
        Ok(result) => (result, Value::Null),
        Err(error) => (Value::Null, Value::String(error.to_failure())),
    };
    let payload = json!({
        "result": result,
        "failure": failure,
        "ending": ending,
        "_msg_id": msg_id,
        "_unique_id": unique_id(),
    });
    match payload {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// A fresh identity: 32 hexadecimal digits.
pub fn unique_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
