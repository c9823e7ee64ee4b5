//! Quota limits (commands §4.9).

use super::error::DecodeError;
use super::mailbox::PairWriter;
use crate::dlist::{FieldError, Fields, LiteralStyle};
use crate::mail::{MailboxName, ModSeq};

/// A quota root and its limits; `None` = unlimited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The root.
    pub root: MailboxName,
    /// Storage, in KiB.
    pub storage: Option<u32>,
    /// Messages.
    pub messages: Option<u32>,
    /// Annotation storage, in KiB.
    pub annotation_storage: Option<u32>,
    /// Folders.
    pub folders: Option<u32>,
    /// Modseq; `None` = the server assigns the next.
    pub modseq: Option<ModSeq>,
}

/// "Unlimited" on the wire.
const UNLIMITED: u32 = u32::MAX;

impl Quota {
    pub(super) fn decode(fields: Fields<'_>) -> Result<Quota, DecodeError> {
        let limit = |keys: [&str; 2]| -> Result<Option<u32>, FieldError> {
            for key in keys {
                if let Some(limit) = fields.optional_number32(key)? {
                    return Ok(Some(limit).filter(|limit| *limit != UNLIMITED));
                }
            }
            Ok(None)
        };
        Ok(Quota {
            root: fields.parsed("ROOT", "quota root", MailboxName::parse)?,
            storage: limit(["STORAGE", "LIMIT"])?,
            messages: limit(["MESSAGE", "MESSAGE"])?,
            annotation_storage: limit(["ANNOTATION-STORAGE", "X-ANNOTATION-STORAGE"])?,
            folders: limit(["MAILBOX", "X-NUM-FOLDERS"])?,
            modseq: fields.optional_number("MODSEQ")?.map(ModSeq),
        })
    }

    /// Only the older resource names are written: every version reads those.
    pub(super) fn write(&self, out: &mut Vec<u8>, style: LiteralStyle) {
        out.extend_from_slice(b"%(");
        let mut pairs = PairWriter::new(out, style);
        pairs.text("ROOT", self.root.as_str());
        pairs.number("LIMIT", self.storage.unwrap_or(UNLIMITED));
        pairs.optional_number("STORAGE", self.storage);
        pairs.optional_number("MESSAGE", self.messages);
        pairs.optional_number("X-ANNOTATION-STORAGE", self.annotation_storage);
        pairs.optional_number("X-NUM-FOLDERS", self.folders);
        pairs.optional_number("MODSEQ", self.modseq.map(|modseq| modseq.0));
        out.push(b')');
    }
}
