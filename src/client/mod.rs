//! The sync_client engine: what differs between this store and a replica is sent there.
//!
//! [`run`] is the whole program behind the command line: it opens the store, connects, and
//! replicates users, mailboxes, or what the sync log names.

mod activity;
mod batches;
mod cache;
mod connect;
mod crew;
mod error;
mod folders;
mod jobs;
mod local;
mod log_run;
mod mailbox;
mod meta;
pub mod options;
mod peer;
mod queue;
mod renewal;
mod repair;
mod report;
mod requeue;
mod rolling;
mod run;
mod scripts;
mod session;
mod stop;
mod summary;
mod suspicion;
#[cfg(test)]
mod test_store;
mod unchanged;
mod upload;
mod user;
mod watch;
mod worker;

pub use error::SyncError;
pub use run::{RunError, run};
pub use stop::Stop;
