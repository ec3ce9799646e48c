//! PostgreSQL guests, 13 and later.
//!
//! [`Server`] implements [`datastore::Datastore`]. The agent reaches the
//! server over its Unix socket as the superuser `postgres`, by the identity of
//! its own process: there is no password to keep. Behaviour that differs
//! between versions is decided by the version that the server itself reports.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod access;
mod apply;
pub mod conf;
mod config;
mod databases;
mod datastore_impl;
mod errors;
mod hba;
mod init;
mod installation;
mod logs;
mod marker;
mod names;
mod overrides;
mod password;
mod root;
mod server;
mod service;
mod session;
mod settings;
mod sql;
mod status;
mod tls;
mod tls_check;
mod users;
mod version;
mod wal;

pub use server::{Server, datastore};
pub use settings::{Layout, Settings};
pub use version::ServerVersion;
