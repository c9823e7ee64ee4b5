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
