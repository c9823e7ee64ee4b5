//! A Cyrus mail store on disk; the only place that knows its formats.

pub mod annotations;
pub mod counters;
pub mod creation;
pub mod cyrusdb;
pub mod disk;
pub mod error;
pub mod idle;
pub mod layout;
pub mod lock;
pub mod mailbox;
pub mod mailboxes;
pub mod message;
pub mod quota;
pub mod seen;
pub mod sieve;
pub mod staging;
pub mod statuscache;
pub mod store;
pub mod subscriptions;
pub mod synclog;

pub use error::SpoolError;
