//! Who may run beside whom, and what is told about an operation's end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Notify;

use self::bench::{Bench, bench, call, context};
use self::memory::Memory;
use crate::status::Phase;

mod backups;
mod bench;
mod heartbeats;
mod memory;
mod prepare;
mod recovery;
mod tls;
mod turns;
