//! The sync_server engine: takes connections, lets administrators in, carries out what they ask.
//!
//! A connection costs no more than a task until its peer has authenticated. From then on the
//! session runs on a thread of its own, so that waiting for a lock or a disk delays nobody else;
//! the requests of one session are carried out one after the other.

mod admission;
mod apply;
mod engine;
mod failure;
mod gate;
mod get;
mod listener;
mod login;
mod output;
mod reserve;
mod restore;
mod session;

pub use listener::{Server, ServerSettings};
