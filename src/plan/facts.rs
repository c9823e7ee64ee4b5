//! What a decision needs to know of a message record, wherever the record comes from.

use crate::mail::{Guid, ModSeq, Uid};

/// The identity of a message record. A record of the wire and one of an index both have it, so
/// that neither must be copied into the other's form to be compared.
pub trait RecordFacts {
    /// UID of the message.
    fn uid(&self) -> Uid;
    /// Modseq of the record's last change.
    fn modseq(&self) -> ModSeq;
    /// GUID of the message file.
    fn guid(&self) -> Guid;
    /// Whether the message is expunged and only its record remains.
    fn is_expunged(&self) -> bool;
}

impl<T: RecordFacts + ?Sized> RecordFacts for &T {
    fn uid(&self) -> Uid {
        (**self).uid()
    }

    fn modseq(&self) -> ModSeq {
        (**self).modseq()
    }

    fn guid(&self) -> Guid {
        (**self).guid()
    }

    fn is_expunged(&self) -> bool {
        (**self).is_expunged()
    }
}

/// Two records that do not ascend by UID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not ascending: uid {uid} follows {after}")]
pub struct NotAscending {
    /// The offending UID.
    pub uid: Uid,
    /// The UID before it; zero if it is the first.
    pub after: Uid,
}

/// Why the next record cannot be had.
#[derive(Debug)]
pub(super) enum AscendingError<E> {
    NotAscending(NotAscending),
    Unreadable(E),
}

/// A list of records that is checked to ascend while it is read, with one record of look-ahead.
pub(super) struct Ascending<R, I> {
    records: I,
    held: Option<R>,
    previous_uid: Uid,
}

impl<R: RecordFacts, E, I: Iterator<Item = Result<R, E>>> Ascending<R, I> {
    pub(super) fn new(records: I) -> Ascending<R, I> {
        Ascending {
            records,
            held: None,
            previous_uid: Uid(0),
        }
    }

    /// The UID read last; zero before the first.
    pub(super) fn last_read(&self) -> Uid {
        self.previous_uid
    }

    pub(super) fn next(&mut self) -> Result<Option<R>, AscendingError<E>> {
        if let Some(record) = self.held.take() {
            return Ok(Some(record));
        }
        let Some(record) = self.records.next() else {
            return Ok(None);
        };
        let record = record.map_err(AscendingError::Unreadable)?;
        if record.uid() <= self.previous_uid {
            return Err(AscendingError::NotAscending(NotAscending {
                uid: record.uid(),
                after: self.previous_uid,
            }));
        }
        self.previous_uid = record.uid();
        Ok(Some(record))
    }

    /// Gives back the record that `next` returned last.
    pub(super) fn put_back(&mut self, record: R) {
        self.held = Some(record);
    }

    /// The record of this UID, skipping all below; to be asked for with ascending UIDs.
    pub(super) fn take(&mut self, uid: Uid) -> Result<Option<R>, AscendingError<E>> {
        while let Some(record) = self.next()? {
            if record.uid() == uid {
                return Ok(Some(record));
            }
            if record.uid() > uid {
                self.put_back(record);
                break;
            }
        }
        Ok(None)
    }
}
