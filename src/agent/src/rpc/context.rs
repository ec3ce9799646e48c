//! The request context Trove sends with every call.

use serde_json::{Map, Value, json};

/// Context of one request (`trove/common/context.py`). It holds the user's
/// token: never log it.
#[derive(Clone, Default)]
pub struct Context(Map<String, Value>);

impl Context {
    /// Wraps an opened context.
    pub fn new(map: Map<String, Value>) -> Self {
        Self(map)
    }

    /// Id of the API request that caused the call, for logs on both sides.
    pub fn request_id(&self) -> Option<&str> {
        self.0.get("request_id")?.as_str()
    }

    /// The notification that the end of this work has to complete, if any.
    pub fn notification(&self) -> Option<&Map<String, Value>> {
        self.0.get("trove_notification")?.as_object()
    }

    /// The user's token, for stores that belong to the user.
    pub fn token(&self) -> Option<&str> {
        self.0.get("auth_token")?.as_str()
    }

    /// The user's project (`tenant` before Yoga).
    pub fn project_id(&self) -> Option<&str> {
        ["project_id", "project", "tenant"]
            .into_iter()
            .find_map(|key| self.0.get(key)?.as_str())
    }

    /// Whether the user is an administrator of the cloud.
    pub fn is_admin(&self) -> bool {
        self.0.get("is_admin").and_then(Value::as_bool) == Some(true)
    }

    /// The service catalogue that came with the token; null if none did.
    pub fn service_catalog(&self) -> Value {
        self.0.get("service_catalog").cloned().unwrap_or_default()
    }

    /// The context to send with a cast that this request causes: who asked,
    /// without the token and the catalogue, which the conductor never needs.
    pub fn for_conductor(&self) -> Value {
        let mut map = self.0.clone();
        map.remove("auth_token");
        map.remove("service_catalog");
        Value::Object(map)
    }

    /// A context without a user, as heartbeats carry it.
    pub fn anonymous() -> Value {
        json!({"user": null, "project_id": null, "is_admin": false, "roles": []})
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Context").field(&self.request_id()).finish()
    }
}
