//! Which mailbox it is, and where its files are.

use std::path::PathBuf;

use super::IndexRecord;
use crate::mail::{InternalFlags, MailboxName, MailboxType, Partition, UniqueId, UserId};
use crate::spool::layout::{Layout, MailboxHome, MailboxPaths, UnknownPartition};

/// A mailbox as the mailbox list names it, with its paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxPlace {
    /// The internal name.
    pub name: MailboxName,
    /// The permanent id.
    pub unique_id: UniqueId,
    /// Kind and flags; the layout flag decides what the directory is named after.
    pub mailbox_type: MailboxType,
    /// The partition.
    pub partition: Partition,
    /// In whose tree it is; `None` for shared mailboxes.
    pub owner: Option<UserId>,
    /// Where its files are.
    pub paths: MailboxPaths,
}

impl MailboxPlace {
    /// The place of a mailbox with these properties, whether or not it exists.
    ///
    /// # Errors
    /// If the partition is not configured.
    pub fn new(
        layout: &Layout,
        name: MailboxName,
        unique_id: UniqueId,
        mailbox_type: MailboxType,
        partition: Partition,
    ) -> Result<MailboxPlace, UnknownPartition> {
        let home = MailboxHome::of(mailbox_type, &unique_id, &name);
        Ok(MailboxPlace {
            paths: layout.mailbox(&partition, home)?,
            owner: layout.namespace().owner_of(&name),
            name,
            unique_id,
            mailbox_type,
            partition,
        })
    }

    /// What its directory and its lock are named after.
    pub fn home(&self) -> MailboxHome<'_> {
        MailboxHome::of(self.mailbox_type, &self.unique_id, &self.name)
    }

    /// The file of a message, on the data or the archive partition as its record says.
    pub fn message_path(&self, record: &IndexRecord) -> PathBuf {
        if record.internal_flags.contains(InternalFlags::ARCHIVED) {
            self.paths.archived_message(record.uid)
        } else {
            self.paths.message(record.uid)
        }
    }
}
