//! Data lines: what a server tells before its status line (commands §2, §3).

use super::error::DecodeError;
use super::files::{files, guids, write_guids};
use super::line::DecodedLine;
use super::mailbox::{PairWriter, Role};
use super::meta::annotation_value;
use super::record::{RecordForm, RecordList};
use super::{
    AnnotationKey, MailboxItem, Quota, Script, ScriptState, SeenState, UserDigest,
    names_that_can_exist,
};
use crate::dlist::{FileHeader, LiteralStyle, write_file_header};
use crate::mail::{Guid, MailboxName};
use crate::protocol::greeting::DIGEST;

/// A data line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// A mailbox.
    Mailbox(Box<MailboxAnswer>),
    /// A quota root.
    Quota(Quota),
    /// Seen state of the user who was asked for.
    Seen(SeenState),
    /// Subscriptions of the user; names that no mailbox can have are left out.
    Lsub(Vec<MailboxName>),
    /// A Sieve script of the user.
    Sieve(ScriptState),
    /// A Sieve script with its text.
    Script(Script),
    /// An annotation and its value.
    Annotation(AnnotationKey, Vec<u8>),
    /// The messages that RESERVE did not find.
    Missing(Vec<Guid>),
    /// The digest of a user's state (docs/protocol-extensions.md).
    Digest(UserDigest),
    /// The capabilities that are enabled.
    Enabled(Vec<String>),
    /// A message file, which was given to the sink; `None` (`NIL`) if the file is damaged.
    Message(Option<FileHeader>),
}

/// A mailbox, with records in the answer to GET FULLMAILBOX.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxAnswer {
    /// The mailbox.
    pub item: MailboxItem,
    /// Its records, if the answer has a RECORD list.
    pub records: Option<RecordList>,
}

impl Answer {
    /// Makes an answer of a line, which begins behind `* `.
    ///
    /// # Errors
    /// If the kind is unknown or the contents cannot be used.
    pub fn decode(line: DecodedLine) -> Result<Answer, DecodeError> {
        let DecodedLine {
            name,
            value,
            records,
        } = line;
        let fields = || value.fields();
        Ok(match name.as_str() {
            "MAILBOX" => Answer::Mailbox(Box::new(MailboxAnswer {
                item: MailboxItem::decode(fields()?, Role::Answer)?,
                records: records.transpose()?,
            })),
            "QUOTA" => Answer::Quota(Quota::decode(fields()?)?),
            "SEEN" => Answer::Seen(SeenState::decode(fields()?)?),
            "LSUB" => Answer::Lsub(names_that_can_exist(value.as_list()?, MailboxName::parse)),
            "SIEVE" if fields()?.get("CONTENT").is_some() => {
                Answer::Script(Script::decode(fields()?)?)
            }
            "SIEVE" => Answer::Sieve(ScriptState::decode(fields()?)?),
            "ANNOTATION" => Answer::Annotation(
                AnnotationKey::decode(fields()?)?,
                annotation_value(fields()?)?,
            ),
            "MISSING" => Answer::Missing(guids("MISSING", value.as_list()?)?),
            DIGEST => Answer::Digest(UserDigest::decode(fields()?)?),
            "ENABLED" => Answer::Enabled(names_that_can_exist(value.as_list()?, |name| {
                Ok::<_, std::convert::Infallible>(name.to_owned())
            })),
            "MESSAGE" => Answer::Message(files(&value).pop()),
            _ => return Err(DecodeError::UnknownAnswer(name)),
        })
    }

    /// Appends the whole line, but of a message file only the announcement: its octets and
    /// CR LF must follow. A long mailbox is better written with [`super::MailboxWriter`] behind
    /// [`Answer::write_mailbox_prefix`].
    pub fn write(&self, out: &mut Vec<u8>, style: LiteralStyle) {
        out.extend_from_slice(b"* ");
        match self {
            Answer::Mailbox(mailbox) => {
                out.extend_from_slice(b"MAILBOX ");
                mailbox.write(out, style);
            }
            Answer::Quota(quota) => {
                out.extend_from_slice(b"QUOTA ");
                quota.write(out, style);
            }
            Answer::Seen(seen) => {
                out.extend_from_slice(b"SEEN ");
                seen.write(out, None, style);
            }
            Answer::Lsub(names) => {
                out.extend_from_slice(b"LSUB ");
                PairWriter::new(out, style).texts(names.iter().map(MailboxName::as_str));
            }
            Answer::Sieve(script) => {
                out.extend_from_slice(b"SIEVE ");
                script.write(out, style);
            }
            Answer::Script(script) => {
                out.extend_from_slice(b"SIEVE ");
                script.write(out, style);
            }
            Answer::Annotation(key, value) => {
                out.extend_from_slice(b"ANNOTATION ");
                key.write(out, Some(value), style);
            }
            Answer::Missing(guids) => {
                out.extend_from_slice(b"MISSING ");
                write_guids(out, guids);
            }
            Answer::Digest(digest) => {
                out.extend_from_slice(DIGEST.as_bytes());
                out.push(b' ');
                digest.write(out, style);
            }
            Answer::Enabled(names) => {
                out.extend_from_slice(b"ENABLED ");
                PairWriter::new(out, style).texts(names.iter().map(String::as_str));
            }
            Answer::Message(file) => {
                out.extend_from_slice(b"MESSAGE ");
                match file {
                    Some(file) => return write_file_header(out, file),
                    None => out.extend_from_slice(b"NIL"),
                }
            }
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Appends `* MAILBOX `, before the item.
    pub fn write_mailbox_prefix(out: &mut Vec<u8>) {
        out.extend_from_slice(b"* MAILBOX ");
    }
}

impl MailboxAnswer {
    fn write(&self, out: &mut Vec<u8>, style: LiteralStyle) {
        match &self.records {
            None => self.item.write(out, style),
            Some(list) => {
                let mut writer =
                    super::MailboxWriter::begin(out, &self.item, RecordForm::Pairs, style);
                for record in &list.records {
                    writer.record(out, record, &list.flags);
                }
                writer.end(out);
            }
        }
    }
}
