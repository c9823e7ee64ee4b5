//! Requests and data lines (commands), typed, both ways.
//!
//! A server reads a [`Request`] and writes [`Answer`]s; a client does the opposite. Long lists
//! of records and message files pass through without being held: see [`MailboxWriter`],
//! [`LineDecoder`] and [`FileSink`].

mod answer;
mod digest;
mod error;
mod files;
mod line;
mod mailbox;
mod meta;
mod quota;
mod record;
mod request;

pub use answer::{Answer, MailboxAnswer};
pub use digest::{StateDigest, StateDigestError, UserDigest};
pub use error::{DecodeError, RecordProblem};
pub use files::{Fetch, Reserve};
pub use line::{DecodedLine, FileSink, LineDecoder, NoFiles};
pub use mailbox::{
    FolderItem, MailboxArgument, MailboxItem, MailboxUpdate, MailboxWriter, RestoreMailbox, Since,
};
pub use meta::{
    AnnotationKey, Script, ScriptFile, ScriptKey, ScriptState, SeenState, Subscription,
};
pub use quota::Quota;
pub use record::{
    CREATED_MODSEQ_ENTRY, FlagTable, Record, RecordForm, RecordList, SAVE_DATE_ENTRY, THREAD_ENTRY,
    UserFlags, write_record,
};
pub use request::{
    Apply, Expunge, Get, MailboxIdentity, Rename, Request, Restore, Scope, Unmailbox, Verb,
};

use crate::dlist::{Fields, Value};
use crate::mail::{MailboxName, UserId};

/// The name of a mailbox that must exist: one that cannot is answered as "no such mailbox".
fn mailbox_name(fields: Fields<'_>, key: &str) -> Result<MailboxName, DecodeError> {
    let text = fields.text(key)?;
    MailboxName::parse(text).map_err(|_| DecodeError::NoSuchMailbox(text.to_owned()))
}

/// The id of a user who must exist.
fn user_id(fields: Fields<'_>, key: &str) -> Result<UserId, DecodeError> {
    let text = fields.text(key)?;
    UserId::parse(text).map_err(|_| DecodeError::NoSuchUser(text.to_owned()))
}

/// The names of a list, without those that nothing can have.
fn names_that_can_exist<T, E>(values: &[Value], parse: impl Fn(&str) -> Result<T, E>) -> Vec<T> {
    values
        .iter()
        .filter_map(|value| parse(value.as_text().ok()?).ok())
        .collect()
}

#[cfg(test)]
mod tests;
