//! Secure RPC in both directions: what is sealed, and what is refused.
//!
//! Control plane to guest: every argument, the context and the result are
//! sealed one by one. Guest to conductor: every argument is a JSON text
//! `{"entity": sealed, "csz-instance-id": guest}`
//! (`trove/common/rpc/{secure_serializer,conductor_guest_serializer}.py`).

use serde_json::{Map, Value, json};

use super::seal::{OpenError, SealKey};

const SEALED_CONTEXT: &str = "context";
const INSTANCE: &str = "csz-instance-id";

/// Why a request is not executed. Safe to send back in clear.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The peer seals, this guest has no key.
    #[error(
        "the request is encrypted, but this guest has no instance_rpc_encr_key in guest_info.conf"
    )]
    NoKey,
    /// The peer does not seal, this guest insists on it.
    #[error(
        "the request is not encrypted, but this guest has an instance_rpc_encr_key; \
         set allow_clear_text_rpc in [guest_agent] while migrating"
    )]
    ClearText,
    /// A part does not open.
    #[error(
        "{part} of the request does not open with this guest's instance_rpc_encr_key: {reason}"
    )]
    DoesNotOpen {
        /// "the context" or the argument's name.
        part: String,
        /// What is wrong with it.
        reason: OpenError,
    },
}

/// A request in clear.
#[derive(Debug)]
pub struct Opened {
    /// Arguments by name.
    pub args: Map<String, Value>,
    /// The context's keys.
    pub context: Map<String, Value>,
    /// Whether it came sealed, and so must its reply.
    pub sealed: bool,
}

/// This guest's side of secure RPC.
#[derive(Debug)]
pub struct Security {
    guest_id: String,
    key: Option<SealKey>,
    allow_clear_text: bool,
}

impl Security {
    /// `key` absent: everything in clear. `allow_clear_text` accepts requests
    /// in clear although there is a key, for migration only.
    pub fn new(guest_id: impl Into<String>, key: Option<SealKey>, allow_clear_text: bool) -> Self {
        Self {
            guest_id: guest_id.into(),
            key,
            allow_clear_text,
        }
    }

    /// Opens a request.
    ///
    /// # Errors
    /// [`Refused`]: it must not be executed.
    pub fn open(
        &self,
        args: Map<String, Value>,
        context: Map<String, Value>,
    ) -> Result<Opened, Refused> {
        let sealed_context = match context.get(SEALED_CONTEXT) {
            // Tracing headers may stand beside it in clear; a clear context has no such key.
            Some(Value::String(sealed)) => Some(sealed.clone()),
            _ => None,
        };
        match (&self.key, sealed_context) {
            (Some(key), Some(sealed)) => Self::open_sealed(key, args, &sealed),
            (Some(_), None) if !self.allow_clear_text => Err(Refused::ClearText),
            (None, Some(_)) => Err(Refused::NoKey),
            (_, None) => Ok(Opened {
                args,
                context,
                sealed: false,
            }),
        }
    }

    fn open_sealed(
        key: &SealKey,
        args: Map<String, Value>,
        context: &str,
    ) -> Result<Opened, Refused> {
        let refuse = |part: &str, reason| Refused::DoesNotOpen {
            part: part.to_owned(),
            reason,
        };
        let context = match key
            .open(context)
            .map_err(|reason| refuse("the context", reason))?
        {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        let args = args
            .into_iter()
            .map(|(name, value)| {
                let opened = match &value {
                    Value::String(sealed) => key.open(sealed),
                    _ => Err(OpenError::Base64),
                };
                match opened {
                    Ok(opened) => Ok((name, opened)),
                    Err(reason) => Err(refuse(&format!("argument {name:?}"), reason)),
                }
            })
            .collect::<Result<_, _>>()?;
        Ok(Opened {
            args,
            context,
            sealed: true,
        })
    }

    /// The result as it goes into the reply to a request that came `sealed`.
    pub fn seal_result(&self, result: Value, sealed: bool) -> Value {
        match &self.key {
            Some(key) if sealed => Value::String(key.seal(&result)),
            _ => result,
        }
    }

    /// Arguments and context of a cast to the conductor.
    pub fn seal_cast(
        &self,
        args: Map<String, Value>,
        context: Value,
    ) -> (Map<String, Value>, Map<String, Value>) {
        match &self.key {
            None => {
                let context = match context {
                    Value::Object(map) => map,
                    _ => Map::new(),
                };
                (args, context)
            }
            Some(key) => {
                let args = args
                    .into_iter()
                    .map(|(name, value)| {
                        let entity = json!({"entity": key.seal(&value), INSTANCE: self.guest_id});
                        (name, Value::String(entity.to_string()))
                    })
                    .collect();
                let mut sealed = Map::new();
                sealed.insert(SEALED_CONTEXT.into(), key.seal(&context).into());
                sealed.insert(INSTANCE.into(), self.guest_id.clone().into());
                (args, sealed)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    fn key() -> SealKey {
        SealKey::derive(&SecretString::from(
            "R9JsSzRhBmQdkKBnpZnYlgxVdd1Vb1Mq".to_owned(),
        ))
    }

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            _ => panic!("an object"),
        }
    }

    /// A whole request recorded from the reference implementation.
    fn recorded() -> (Map<String, Value>, Map<String, Value>) {
        (
            object(json!({
                "limit": "AAECAwQFBgcICQoLDA0ODw7+JW3iZCCPRbpuuRlblmw=",
                "marker": "AAECAwQFBgcICQoLDA0OD8khzGFM9qzE2kI+skFpPRY=",
                "include_marker": "AAECAwQFBgcICQoLDA0ODwwy5rF3Coi02KrlYQRt/B8=",
            })),
            object(json!({"context": "AAECAwQFBgcICQoLDA0OD1bodabeJIBoKkFcUBhHl9I="})),
        )
    }

    #[test]
    fn a_sealed_request_opens() {
        let security = Security::new("g", Some(key()), false);
        let (args, context) = recorded();
        let opened = security.open(args, context).unwrap();
        assert_eq!(
            Value::Object(opened.args),
            json!({"limit": 20, "marker": null, "include_marker": false})
        );
        assert_eq!(Value::Object(opened.context), json!({"user": "u1"}));
        assert!(opened.sealed);
    }

    #[test]
    fn what_does_not_open_is_refused() {
        let other = SealKey::derive(&SecretString::from("other".to_owned()));
        let (args, context) = recorded();
        let refused = Security::new("g", Some(other), true)
            .open(args, context)
            .unwrap_err();
        assert!(matches!(refused, Refused::DoesNotOpen { .. }), "{refused}");

        // A clear argument beside a sealed context is no migration case: refused even when clear text is allowed.
        let (mut args, context) = recorded();
        args.insert("limit".into(), json!(20));
        let refused = Security::new("g", Some(key()), true)
            .open(args, context)
            .unwrap_err();
        assert!(refused.to_string().contains("\"limit\""), "{refused}");
    }

    #[test]
    fn clear_text_needs_permission() {
        let clear = || (object(json!({"limit": 20})), object(json!({"user": "u1"})));
        let (args, context) = clear();
        assert_eq!(
            Security::new("g", Some(key()), false)
                .open(args, context)
                .unwrap_err(),
            Refused::ClearText
        );
        let (args, context) = clear();
        let security = Security::new("g", Some(key()), true);
        let opened = security.open(args, context).unwrap();
        assert!(!opened.sealed);
        assert_eq!(
            security.seal_result(json!(true), opened.sealed),
            json!(true)
        );
    }

    #[test]
    fn a_sealed_request_without_a_key_is_refused() {
        let (args, context) = recorded();
        assert_eq!(
            Security::new("g", None, false)
                .open(args, context)
                .unwrap_err(),
            Refused::NoKey
        );
    }

    #[test]
    fn casts_carry_the_guest_id_in_every_argument() {
        let security = Security::new("guest-1", Some(key()), false);
        let (args, context) = security.seal_cast(
            object(json!({"instance_id": "guest-1"})),
            json!({"user": null}),
        );
        let entity: Value = serde_json::from_str(args["instance_id"].as_str().unwrap()).unwrap();
        assert_eq!(entity[INSTANCE], "guest-1");
        assert_eq!(
            key().open(entity["entity"].as_str().unwrap()),
            Ok(json!("guest-1"))
        );
        assert_eq!(context[INSTANCE], "guest-1");
        assert_eq!(
            key().open(context["context"].as_str().unwrap()),
            Ok(json!({"user": null}))
        );
    }
}
