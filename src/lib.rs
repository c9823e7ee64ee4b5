//! cyrus-sync: replication for Cyrus IMAP mail stores.
//!
//! Each module may use those below it, never those above:
//! `service`, then `client` and `server`, `plan`, `protocol`, `spool` and `auth`, `config`, `dlist`, `mail`.

pub mod auth;
pub mod config;
pub mod dlist;
pub mod mail;
pub mod plan;
pub mod protocol;
pub mod service;
pub mod spool;
