//! What crosses the wire: secure RPC, requests, dispatch and replies.

pub mod args;
pub mod context;
pub mod dispatch;
pub mod failure;
pub mod methods;
pub mod seal;
pub mod security;
