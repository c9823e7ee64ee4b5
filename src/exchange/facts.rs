//! What the decisions of `plan` need to know of records, on the wire and in the store.

use crate::mail::{Guid, ModSeq, Uid};
use crate::plan::RecordFacts;
use crate::protocol::command::Record;
use crate::spool::mailbox::StoredRecord;

impl RecordFacts for Record {
    fn uid(&self) -> Uid {
        self.uid
    }

    fn modseq(&self) -> ModSeq {
        self.modseq
    }

    fn guid(&self) -> Guid {
        self.guid
    }

    fn is_expunged(&self) -> bool {
        self.expunged
    }
}

impl RecordFacts for StoredRecord {
    fn uid(&self) -> Uid {
        self.record.uid
    }

    fn modseq(&self) -> ModSeq {
        self.record.modseq
    }

    fn guid(&self) -> Guid {
        self.record.guid
    }

    fn is_expunged(&self) -> bool {
        self.record.is_expunged()
    }
}
