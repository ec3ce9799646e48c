//! The stores and Keystone against a server that fails in every way there is:
//! which error comes out, after how many requests.

#![allow(clippy::unwrap_used)]

mod keystone;
mod s3;
mod server;
mod swift;
mod tls;
