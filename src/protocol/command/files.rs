//! Transfer of message files: RESERVE, MESSAGE, FETCH (commands §2.7, §3).

use super::error::DecodeError;
use super::mailbox::PairWriter;
use super::{mailbox_name, names_that_can_exist};
use crate::dlist::{FieldError, FieldProblem, Fields, FileHeader, LiteralStyle, Value};
use crate::mail::{Guid, MailboxName, Partition, Uid, UniqueId};

/// Argument of APPLY RESERVE: find these messages in these mailboxes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserve {
    /// Where to stage the messages.
    pub partition: Partition,
    /// Where to look; names that cannot exist are left out.
    pub mailboxes: Vec<MailboxName>,
    /// What to look for.
    pub guids: Vec<Guid>,
}

impl Reserve {
    pub(super) fn decode(fields: Fields<'_>) -> Result<Reserve, DecodeError> {
        Ok(Reserve {
            partition: fields.parsed("PARTITION", "partition", Partition::parse)?,
            mailboxes: names_that_can_exist(fields.list("MBOXNAME")?, MailboxName::parse),
            guids: guids("GUID", fields.list("GUID")?)?,
        })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>, style: LiteralStyle) {
        out.extend_from_slice(b"%(");
        let mut pairs = PairWriter::new(out, style);
        pairs.text("PARTITION", self.partition.as_str());
        pairs.key("MBOXNAME");
        pairs.texts(self.mailboxes.iter().map(MailboxName::as_str));
        pairs.key("GUID");
        write_guids(out, &self.guids);
        out.push(b')');
    }
}

/// The GUIDs of a list.
pub(super) fn guids(key: &str, values: &[Value]) -> Result<Vec<Guid>, FieldError> {
    values
        .iter()
        .map(|value| {
            value
                .as_guid()
                .map_err(|problem| FieldError::new(key, problem))
        })
        .collect()
}

/// Appends GUIDs as a list.
pub(super) fn write_guids(out: &mut Vec<u8>, guids: &[Guid]) {
    out.push(b'(');
    for (index, guid) in guids.iter().enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        crate::dlist::write_guid(out, guid);
    }
    out.push(b')');
}

/// Argument of GET FETCH: one message file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// The mailbox's name.
    pub mailbox: MailboxName,
    /// The client's name for the mailbox's partition.
    pub partition: Partition,
    /// The mailbox's unique id.
    pub unique_id: UniqueId,
    /// SHA-1 that the file must have.
    pub guid: Guid,
    /// UID of the message.
    pub uid: Uid,
}

impl Fetch {
    pub(super) fn decode(fields: Fields<'_>) -> Result<Fetch, DecodeError> {
        Ok(Fetch {
            partition: fields.parsed("PARTITION", "partition", Partition::parse)?,
            unique_id: fields.parsed("UNIQUEID", "unique id", UniqueId::parse)?,
            guid: fields.guid("GUID")?,
            uid: Uid(fields.number32("UID")?),
            mailbox: mailbox_name(fields, "MBOXNAME")?,
        })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>, style: LiteralStyle) {
        out.extend_from_slice(b"%(");
        let mut pairs = PairWriter::new(out, style);
        pairs.text("MBOXNAME", self.mailbox.as_str());
        pairs.text("PARTITION", self.partition.as_str());
        pairs.text("UNIQUEID", self.unique_id.as_str());
        pairs.text("GUID", &self.guid.to_string());
        pairs.number("UID", self.uid.0);
        out.push(b')');
    }
}

/// The files of APPLY MESSAGE, or the one of the answer to GET FETCH. Elements that are no
/// file literals are ignored (commands §3.2).
pub(super) fn files(value: &Value) -> Vec<FileHeader> {
    let file = |value: &Value| match value {
        Value::File(file) => Some(file.clone()),
        _ => None,
    };
    match value {
        Value::List(items) => items.iter().filter_map(file).collect(),
        other => file(other).into_iter().collect(),
    }
}

/// Reads UIDs of a list.
pub(super) fn uids(key: &str, values: &[Value]) -> Result<Vec<Uid>, FieldError> {
    values
        .iter()
        .map(|value| {
            let number = value
                .as_number()
                .map_err(|problem| FieldError::new(key, problem))?;
            u32::try_from(number)
                .map(Uid)
                .map_err(|_| FieldError::new(key, FieldProblem::NotNumber))
        })
        .collect()
}
