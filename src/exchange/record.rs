//! Records of a mailbox in the store as records of the wire (commands §1.2).

use crate::mail::{Annotation, FlagName};
use crate::protocol::command::{FlagTable, Record, UserFlags};
use crate::spool::SpoolError;
use crate::spool::mailbox::{IndexRecord, Mailbox, MailboxHeader, StoredRecord};

/// The user flags of a mailbox, numbered for the wire in mailbox order.
#[derive(Clone, Debug)]
pub struct Records {
    flags: FlagTable,
    /// The number of each slot of the mailbox's own table; free slots have none.
    numbers: Vec<Option<usize>>,
}

impl Records {
    /// The numbering for a mailbox.
    pub fn of(header: &MailboxHeader) -> Records {
        let mut names: Vec<FlagName> = Vec::new();
        let mut numbers = Vec::new();
        for (slot, name) in header.flags.names() {
            // A name that is no atom cannot travel; the original's own writers make none.
            let Ok(name) = FlagName::parse(name) else {
                continue;
            };
            numbers.resize(slot + 1, None);
            numbers[slot] = Some(names.len());
            names.push(name);
        }
        Records {
            flags: FlagTable::from(names),
            numbers,
        }
    }

    /// The names to the numbers.
    pub fn flags(&self) -> &FlagTable {
        &self.flags
    }

    /// A record with its annotations.
    ///
    /// # Errors
    /// If the annotations cannot be read.
    pub fn record(
        &self,
        mailbox: &Mailbox<'_>,
        stored: &StoredRecord,
    ) -> Result<Record, SpoolError> {
        let annotations = mailbox.annotations_of(stored.record.uid)?;
        let user_flags = stored
            .record
            .user_flags
            .slots()
            .filter_map(|slot| self.numbers.get(slot).copied().flatten())
            .collect();
        Ok(wire_record(&stored.record, user_flags, annotations))
    }
}

/// An index record as it travels, with its flags and stored annotations.
pub fn wire_record(
    record: &IndexRecord,
    user_flags: UserFlags,
    annotations: Vec<Annotation>,
) -> Record {
    Record {
        uid: record.uid,
        modseq: record.modseq,
        last_updated: record.last_updated,
        system_flags: record.system_flags,
        expunged: record.is_expunged(),
        user_flags,
        internal_date: record.internal_date,
        size: record.size,
        guid: record.guid,
        thread: record.conversation,
        save_date: record.save_date,
        created_modseq: record.created_modseq,
        annotations: annotations.into_boxed_slice(),
    }
}
