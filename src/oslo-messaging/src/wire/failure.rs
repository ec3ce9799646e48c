//! How a failed call looks to its caller.

use serde_json::json;

const DISPATCHER: &str = "oslo_messaging.rpc.dispatcher";

/// The failure of a request, as the caller rebuilds it
/// (`oslo_messaging/_drivers/common.py`, `deserialize_remote_exception`).
///
/// It travels in clear even where results are sealed, so it must never hold a
/// secret. A `module` the caller does not allow turns it into a `RemoteError`
/// whose text is exactly `message`, without a traceback.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{class}: {message}")]
pub struct RemoteError {
    /// Python module the class claims to live in.
    pub module: String,
    /// Name of the exception class.
    pub class: String,
    /// What the user reads.
    pub message: String,
}

impl RemoteError {
    /// A failure of the given module, class and text.
    pub fn new(
        module: impl Into<String>,
        class: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            module: module.into(),
            class: class.into(),
            message: message.into(),
        }
    }

    /// The endpoint is older than the request. Class, module and text are those
    /// of `oslo_messaging/rpc/dispatcher.py`.
    pub fn unsupported_version(version: &str, method: &str) -> Self {
        let message =
            format!("Endpoint does not support RPC version {version}. Attempted method: {method}");
        Self::new(DISPATCHER, "UnsupportedVersion", message)
    }

    /// The endpoint has no such public method. Class, module and text are those
    /// of `oslo_messaging/rpc/dispatcher.py`.
    pub fn no_such_method(method: &str) -> Self {
        let message = format!("Endpoint does not support RPC method {method}");
        Self::new(DISPATCHER, "NoSuchMethod", message)
    }

    /// The JSON text that goes into a reply's `failure`.
    pub fn to_failure(&self) -> String {
        json!({
            "class": self.class,
            "module": self.module,
            "message": self.message,
            "tb": [],
            "args": [],
            "kwargs": {},
        })
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_dispatcher() {
        let error = RemoteError::unsupported_version("1.4", "rpc_ping");
        assert_eq!(
            error.message,
            "Endpoint does not support RPC version 1.4. Attempted method: rpc_ping"
        );
        let error = RemoteError::no_such_method("nosuch");
        assert_eq!(error.message, "Endpoint does not support RPC method nosuch");
        let failure: serde_json::Value = serde_json::from_str(&error.to_failure()).unwrap();
        assert_eq!(failure["class"], "NoSuchMethod");
        assert_eq!(failure["module"], "oslo_messaging.rpc.dispatcher");
        assert_eq!(failure["tb"], json!([]));
        assert_eq!(failure["kwargs"], json!({}));
    }
}
