//! Decisions: given two states, what must change.
//!
//! Nothing here reads a file, a socket or a clock. The server asks [`apply`] what an incoming
//! update means for its mailbox. The client asks [`folders`] which mailboxes to rename, delete or
//! update, [`update`] what to send of one, [`merge`] how to repair one that both sides have
//! changed, [`batches`] in how many pieces to send a large one, [`attempts`] how often to try, [`meta`] what else of a user differs, and [`log`] what
//! a sync log asks for.

pub mod apply;
pub mod attempts;
pub mod batches;
mod facts;
pub mod folders;
pub mod log;
pub mod merge;
pub mod meta;
pub mod update;

#[cfg(test)]
mod simulation;

pub use facts::{NotAscending, RecordFacts};
