//! One mailbox on disk: `cyrus.header`, `cyrus.index`, `cyrus.cache`, message annotations and
//! message files.

pub mod cache;
mod changes;
mod cleanup;
mod commit;
mod header;
mod index_header;
mod lifecycle;
mod message_annotations;
mod open;
mod place;
mod pseudo;
mod record;
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
pub use open::{Mailbox, MailboxSettings, Mailboxes, Records, StoredRecord, WritableMailbox};
pub use place::MailboxPlace;
pub use record::{IndexRecord, MAX_RECORD_SIZE, UserFlags};
pub use version::{FormatError, IndexVersion};
