//! Data of users: seen state, subscriptions, annotations, Sieve scripts (commands §2, §4).

use super::error::DecodeError;
use super::mailbox::PairWriter;
use super::record::wrap_date;
use super::{mailbox_name, user_id};
use crate::dlist::{FieldError, FieldProblem, Fields, LiteralStyle, Value};
use crate::mail::{Guid, MailboxName, Uid, UniqueId, UnixTime, UserId};

/// What a user has seen of one mailbox (commands §2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenState {
    /// The mailbox.
    pub unique_id: UniqueId,
    /// When the user last read.
    pub last_read: UnixTime,
    /// Highest UID at that time.
    pub last_uid: Uid,
    /// When the state last changed.
    pub last_change: UnixTime,
    /// The UIDs seen, as an IMAP sequence set; may be empty.
    pub seen_uids: String,
}

impl SeenState {
    pub(super) fn decode(fields: Fields<'_>) -> Result<SeenState, DecodeError> {
        Ok(SeenState {
            unique_id: fields.parsed("UNIQUEID", "unique id", UniqueId::parse)?,
            last_read: wrap_date(fields.number("LASTREAD")?),
            last_uid: Uid(fields.number32("LASTUID")?),
            last_change: wrap_date(fields.number("LASTCHANGE")?),
            seen_uids: fields.parsed("SEENUIDS", "sequence set", sequence_set)?,
        })
    }

    /// Appends `%(…)`, with USERID in front if `user` is given.
    pub(super) fn write(&self, out: &mut Vec<u8>, user: Option<&UserId>, style: LiteralStyle) {
        out.extend_from_slice(b"%(");
        let mut pairs = PairWriter::new(out, style);
        pairs.optional_text("USERID", user.map(UserId::as_str));
        pairs.text("UNIQUEID", self.unique_id.as_str());
        pairs.number("LASTREAD", self.last_read.0);
        pairs.number("LASTUID", self.last_uid.0);
        pairs.number("LASTCHANGE", self.last_change.0);
        pairs.text("SEENUIDS", &self.seen_uids);
        out.push(b')');
    }
}

/// Takes the characters of a sequence set; the text goes into a database as it is.
fn sequence_set(text: &str) -> Result<String, ()> {
    let legal = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b':' | b',' | b'*'));
    legal.then(|| text.to_owned()).ok_or(())
}

/// Argument of APPLY SUB and UNSUB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The user.
    pub user: UserId,
    /// The mailbox, which need not exist.
    pub mailbox: MailboxName,
}

impl Subscription {
    pub(super) fn decode(fields: Fields<'_>) -> Result<Subscription, DecodeError> {
        let (user, mailbox) = (fields.text("USERID")?, fields.text("MBOXNAME")?);
        match (UserId::parse(user), MailboxName::parse(mailbox)) {
            (Ok(user), Ok(mailbox)) => Ok(Subscription { user, mailbox }),
            _ => Err(DecodeError::NoSuchSubscription(mailbox.to_owned())),
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>, style: LiteralStyle) {
        out.extend_from_slice(b"%(");
        let mut pairs = PairWriter::new(out, style);
        pairs.text("USERID", self.user.as_str());
        pairs.text("MBOXNAME", self.mailbox.as_str());
        out.push(b')');
    }
}

/// Which annotation (commands §4.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnotationKey {
    /// The mailbox; `None` = the server.
    pub mailbox: Option<MailboxName>,
    /// Entry without `/shared` or `/private`.
    pub entry: String,
    /// Empty for the shared value, else the user who owns the private one.
    pub user: String,
}

impl AnnotationKey {
    pub(super) fn decode(fields: Fields<'_>) -> Result<AnnotationKey, DecodeError> {
        Ok(AnnotationKey {
            entry: fields.text("ENTRY")?.to_owned(),
            user: fields.text("USERID")?.to_owned(),
            mailbox: match fields.text("MBOXNAME")? {
                "" => None,
                _ => Some(mailbox_name(fields, "MBOXNAME")?),
            },
        })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>, value: Option<&[u8]>, style: LiteralStyle) {
        out.extend_from_slice(b"%(");
        let mut pairs = PairWriter::new(out, style);
        let mailbox = self.mailbox.as_ref().map_or("", MailboxName::as_str);
        pairs.text("MBOXNAME", mailbox);
        pairs.text("ENTRY", &self.entry);
        pairs.text("USERID", &self.user);
        if let Some(value) = value {
            pairs.bytes("VALUE", value);
        }
        out.push(b')');
    }
}

/// The file name of a Sieve script, `<name>.script` or `<name>.bc`; safe in a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScriptFile(Box<str>);

impl ScriptFile {
    /// Takes a file name.
    ///
    /// # Errors
    /// If it is empty, longer than a file name can be, begins with a dot, or holds a slash or
    /// control character.
    pub fn parse(text: &str) -> Result<ScriptFile, FieldProblem> {
        let legal = (1..=255).contains(&text.len())
            && !text.starts_with('.')
            && !text
                .bytes()
                .any(|byte| byte == b'/' || byte.is_ascii_control());
        if legal {
            Ok(ScriptFile(text.into()))
        } else {
            Err(FieldProblem::NotAllowed("file name"))
        }
    }

    /// The file name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the script if this is `<name>.script`.
    pub fn script_name(&self) -> Option<&str> {
        self.0
            .strip_suffix(".script")
            .filter(|name| !name.is_empty())
    }

    /// The name of the script if this is `<name>.bc`.
    pub fn bytecode_name(&self) -> Option<&str> {
        self.0.strip_suffix(".bc").filter(|name| !name.is_empty())
    }
}

/// One script of one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptKey {
    /// The user.
    pub user: UserId,
    /// The file.
    pub file: ScriptFile,
}

impl ScriptKey {
    pub(super) fn decode(fields: Fields<'_>) -> Result<ScriptKey, DecodeError> {
        Ok(ScriptKey {
            file: fields.parsed("FILENAME", "file name", ScriptFile::parse)?,
            user: user_id(fields, "USERID")?,
        })
    }

    fn write_pairs(&self, pairs: &mut PairWriter<'_>) {
        pairs.text("USERID", self.user.as_str());
        pairs.text("FILENAME", self.file.as_str());
    }

    pub(super) fn write(&self, out: &mut Vec<u8>, style: LiteralStyle) {
        out.extend_from_slice(b"%(");
        self.write_pairs(&mut PairWriter::new(out, style));
        out.push(b')');
    }
}

/// A script with its text: argument of APPLY SIEVE, answer to GET FETCH_SIEVE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Whose and which.
    pub key: ScriptKey,
    /// Time of the last change (not in the answer).
    pub last_update: Option<UnixTime>,
    /// The text.
    pub content: Vec<u8>,
}

impl Script {
    pub(super) fn decode(fields: Fields<'_>) -> Result<Script, DecodeError> {
        Ok(Script {
            last_update: fields.optional_number("LAST_UPDATE")?.map(wrap_date),
            content: fields.bytes("CONTENT")?.to_vec(),
            key: ScriptKey::decode(fields)?,
        })
    }

    /// As argument of a request, where LAST_UPDATE is mandatory.
    pub(super) fn decode_request(fields: Fields<'_>) -> Result<Script, DecodeError> {
        fields.number("LAST_UPDATE")?;
        Script::decode(fields)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>, style: LiteralStyle) {
        out.extend_from_slice(b"%(");
        let mut pairs = PairWriter::new(out, style);
        self.key.write_pairs(&mut pairs);
        pairs.optional_number("LAST_UPDATE", self.last_update.map(|time| time.0));
        pairs.bytes("CONTENT", &self.content);
        out.push(b')');
    }
}

/// A script as GET META lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptState {
    /// The file.
    pub file: ScriptFile,
    /// Time of the last change; 0 for a `.bc`.
    pub last_update: UnixTime,
    /// SHA-1 of the text; null if unknown, as for a `.bc`.
    pub guid: Guid,
    /// Whether this is the active script.
    pub active: bool,
}

impl ScriptState {
    pub(super) fn decode(fields: Fields<'_>) -> Result<ScriptState, DecodeError> {
        let guid = match fields.optional_text("GUID")? {
            Some(_) => fields.guid("GUID")?,
            None => Guid::NULL,
        };
        Ok(ScriptState {
            file: fields.parsed("FILENAME", "file name", ScriptFile::parse)?,
            last_update: wrap_date(fields.number("LAST_UPDATE")?),
            guid,
            active: fields.optional_number("ISACTIVE")?.unwrap_or(0) != 0,
        })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>, style: LiteralStyle) {
        out.extend_from_slice(b"%(");
        let mut pairs = PairWriter::new(out, style);
        pairs.text("FILENAME", self.file.as_str());
        pairs.number("LAST_UPDATE", self.last_update.0);
        pairs.text("GUID", &self.guid.to_string());
        pairs.number("ISACTIVE", u32::from(self.active));
        out.push(b')');
    }
}

/// The value of an annotation; `NIL` is an empty one.
pub(super) fn annotation_value(fields: Fields<'_>) -> Result<Vec<u8>, FieldError> {
    match fields.require("VALUE")? {
        Value::Nil => Ok(Vec::new()),
        _ => Ok(fields.bytes("VALUE")?.to_vec()),
    }
}

/// Argument of UNACTIVATE_SIEVE.
pub(super) fn user_of(fields: Fields<'_>) -> Result<UserId, DecodeError> {
    user_id(fields, "USERID")
}

impl From<FieldProblem> for DecodeError {
    fn from(problem: FieldProblem) -> DecodeError {
        FieldError::unnamed(problem).into()
    }
}
