//! The datastore against a real server.
//!
//! `POSTGRES_BINARY` names the server program or its directory; without it the
//! newest one below `/usr/lib/postgresql` is taken. A missing server is a failure, not a reason
//! to skip. Every server is private to this run: a temporary directory, a Unix
//! socket and a port of the loopback interface, and it is stopped at the end.
//! Run as root, the servers run as an unprivileged user.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod access;
mod backup;
mod chain;
mod config;
mod databases;
mod faults;
mod first_start;
mod harness;
mod logs;
mod managed;
mod native;
mod rebuild;
mod replicas;
mod replication;
mod rewinds;
mod roll_back;
mod root;
mod snapshot;
mod standby;
mod tls;
mod upgrade;
mod users;
mod vectors;
mod wal;
mod writer;

use datastore::{Datastore, ErrorKind};
use harness::{Cases, Fixture};

/// Everything that shares one server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server() {
    let mut cases = Cases::default();
    databases::cases(&mut cases);
    users::cases(&mut cases);
    access::cases(&mut cases);
    root::cases(&mut cases);
    config::cases(&mut cases);
    wal::cases(&mut cases);
    tls::cases(&mut cases);
    cases.run(Fixture::start().await).await;
}

/// The kind of the error in `result`, which must not be a success.
fn kind_of<T: std::fmt::Debug>(result: datastore::Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

/// The datastore of a fixture; a shorthand for the cases.
fn ds(fixture: &Fixture) -> &dyn Datastore {
    &fixture.datastore
}
