//! Decisions: given two states, what must change.
//!
//! Nothing here reads a file, a socket or a clock. The server asks [`apply`] what an incoming
//! update means for its mailbox.

pub mod apply;
mod facts;

pub use facts::RecordFacts;
