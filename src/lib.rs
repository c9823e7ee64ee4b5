//! cyrus-sync: replication for Cyrus IMAP mail stores.
//!
//! Each module may use those below it, never those above:
//! `operator`, `client` and `server`, then `exchange`, `plan`, `protocol`, `spool` and `auth`,
//! `service`, `config`, `dlist`, `mail`.

pub mod auth;
pub mod client;
pub mod config;
pub mod dlist;
pub mod exchange;
pub mod mail;
pub mod operator;
pub mod plan;
pub mod protocol;
pub mod server;
pub mod service;
pub mod spool;
