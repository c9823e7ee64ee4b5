//! APPLY: changes of the store (commands §3, §4).

pub mod expunge;
pub mod folder;
pub mod mailbox;
pub mod meta;
pub mod quota;
pub mod remove;
pub mod rename;
pub mod sieve;
