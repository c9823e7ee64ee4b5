//! The replication protocol on the wire: no disk and no policy.
//!
//! Server and client print and parse the same types, so that they cannot disagree.

pub mod command;
pub mod connection;
pub mod greeting;
pub mod reply;
pub mod run_id;
pub mod sasl;
pub mod stream;
pub mod tls;
