//! The sync_server engine: takes connections, lets administrators in, carries out what they ask.
//!
//! A connection costs no more than a task until its peer has authenticated. From then on the
//! session runs on a thread of its own, so that waiting for a lock or a disk delays nobody else;
//! the requests of one session are carried out one after the other.

mod activity;
mod admission;
mod apply;
mod engine;
mod failure;
mod gate;
mod get;
mod listener;
mod login;
pub mod options;
mod output;
mod received;
mod reserve;
mod restore;
mod run;
mod session;
mod subject;
mod write_paths;

pub use listener::{Foundation, Server, ServerSettings};
pub use run::{RunError, run};
