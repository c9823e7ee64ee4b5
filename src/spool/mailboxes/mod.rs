//! The mailbox list, `mailboxes.db` (databases §9).

mod record;

pub use record::{FormerName, MailboxEntry, RecordError};
