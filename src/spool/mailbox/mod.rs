//! One mailbox on disk: `cyrus.header`, `cyrus.index`, `cyrus.cache`, message annotations and
//! message files (mailbox-format).
//!
//! [`Mailboxes`] opens a mailbox under the locks of its owner and its name; an open [`Mailbox`]
//! holds the lock of the index as well, so that what it tells stays true. A [`WritableMailbox`] is
//! changed in two steps:
//!
//! * [`WritableMailbox::prepare`] starts a [`Preparation`], which computes what the change results
//!   in (records, counters, CRCs, quota) and writes nothing. It can be looked at and dropped.
//! * [`WritableMailbox::commit`] writes it. When that returns everything is durable, and not
//!   before: a power cut during the commit leaves every message as it was or as it was to be, new
//!   ones all or none, and never an index that the daemons refuse. What else it may leave are
//!   message files, cache records and annotations that no record refers to, charged quota, and
//!   counters and CRCs older than changed records; [`Preparation::recalculate`] mends the last.
//!
//! Mailboxes come into being by the rename of their index and end by a mark in it, so those are
//! all or nothing too.

pub mod cache;
mod changes;
mod cleanup;
mod commit;
mod header;
mod index_header;
mod integrity;
mod lifecycle;
mod message_annotations;
mod open;
mod place;
mod pseudo;
mod record;
mod records;
mod redo;
mod relocate;
#[cfg(test)]
mod test_vectors;
#[cfg(test)]
mod tests;
mod totals;
mod version;

pub use changes::{ChangeError, HeaderUpdate, Preparation, Prepared, RecordState, Source};
pub use cleanup::CleanedUp;
pub use commit::Committed;
pub use header::{FlagTable, FlagTableFull, MailboxHeader};
pub use index_header::{IndexHeader, MAX_HEADER_SIZE};
pub use lifecycle::NewMailbox;
pub use open::{Mailbox, MailboxSettings, Mailboxes, StoredRecord, WritableMailbox};
pub use place::MailboxPlace;
pub use record::{IndexRecord, MAX_RECORD_SIZE, UserFlags};
pub use records::{Records, RecordsOf};
pub use version::{FormatError, IndexVersion};
