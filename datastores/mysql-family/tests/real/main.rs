//! The family against real servers.
//!
//! `MYSQLD_BINARY` and `MARIADBD_BINARY` name the server programs; without
//! them they are looked for in `PATH`. A missing server is a failure, not a
//! reason to skip. Every server is private to this run: a temporary directory,
//! a Unix socket and a port of the loopback interface, and it is stopped at
//! the end. Run as root, the servers run as an unprivileged user.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod access;
mod backup;
mod chain;
mod changes;
mod clone;
mod config;
mod databases;
mod first_start;
mod groups;
mod harness;
mod logs;
mod replication;
mod root;
mod snapshot;
mod tls;
mod users;
mod vectors;
mod xtrabackup;

use datastore::{Datastore, ErrorKind};
use harness::{Cases, Fixture, Product};

/// Everything that shares one server.
fn cases(product: Product) -> Cases {
    let mut cases = Cases::default();
    databases::cases(&mut cases);
    users::cases(&mut cases);
    changes::cases(&mut cases);
    access::cases(&mut cases, product);
    root::cases(&mut cases);
    config::cases(&mut cases);
    groups::cases(&mut cases);
    logs::cases(&mut cases);
    tls::cases(&mut cases, product);
    cases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb() {
    let fixture = Fixture::start(Product::Mariadb).await;
    cases(Product::Mariadb).run(fixture).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mysql() {
    let fixture = Fixture::start(Product::Mysql).await;
    cases(Product::Mysql).run(fixture).await;
}

/// The kind of the error in `result`, which must not be a success.
fn kind_of<T: std::fmt::Debug>(result: datastore::Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

/// The datastore of a fixture; a shorthand for the cases.
fn ds(fixture: &Fixture) -> &dyn Datastore {
    fixture.datastore.as_ref()
}
