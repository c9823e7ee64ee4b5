//! Requests: GET, APPLY and RESTORE (commands, overview).

use super::error::DecodeError;
use super::files::{files, uids};
use super::line::DecodedLine;
use super::mailbox::{PairWriter, optional_partition};
use super::meta::{annotation_value, user_of};
use super::record::RecordList;
use super::{
    AnnotationKey, Fetch, MailboxArgument, Quota, Reserve, RestoreMailbox, Script, ScriptKey,
    SeenState, Subscription, mailbox_name, names_that_can_exist,
};
use crate::dlist::{Fields, FileHeader, LiteralStyle, Value, write_number, write_text};
use crate::mail::{MailboxName, Partition, Uid, UidValidity, UniqueId, UserId};
use crate::protocol::greeting::DIGEST;

/// The verbs that have a sub-command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Read.
    Get,
    /// Change.
    Apply,
    /// Add messages from a backup.
    Restore,
}

impl Verb {
    /// The verb in upper case.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Get => "GET",
            Verb::Apply => "APPLY",
            Verb::Restore => "RESTORE",
        }
    }
}

/// A request with a sub-command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// GET
    Get(Get),
    /// APPLY of anything but files.
    Apply(Apply),
    /// APPLY MESSAGE: these files were given to the sink.
    Message(Vec<FileHeader>),
    /// RESTORE
    Restore(Restore),
}

/// GET. A user id that no user can have is `None`: such a user simply has nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Get {
    /// Everything of a user.
    User(Option<UserId>),
    /// Seen state, subscriptions and scripts of a user.
    Meta(Option<UserId>),
    /// The mailboxes of these names, as far as they exist.
    Mailboxes(Vec<MailboxName>),
    /// The mailboxes of these ids, as far as they exist.
    UniqueIds(Vec<UniqueId>),
    /// A mailbox with its records.
    FullMailbox(MailboxName),
    /// A quota root; `None` = no root can have this name.
    Quota(Option<MailboxName>),
    /// The annotations of a mailbox, or of the server (`None`).
    Annotation(Option<MailboxName>),
    /// A message file.
    Fetch(Fetch),
    /// A Sieve script.
    FetchSieve(ScriptKey),
    /// The digests of these users' states (docs/protocol-extensions.md).
    Digests(Vec<UserId>),
}

/// How far a change of the mailbox list reaches. Without a Murder there is no difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Also the Murder's master list.
    Everywhere,
    /// Only this server: `LOCAL_…`.
    Local,
}

/// APPLY, without MESSAGE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Apply {
    /// Enable these capabilities.
    Capabilities(Vec<String>),
    /// Force mode.
    Force,
    /// Find message files.
    Reserve(Reserve),
    /// Bring a mailbox to this state.
    Mailbox(Scope, MailboxArgument),
    /// Mark records expunged silently.
    Expunge(Expunge),
    /// Rename or move a mailbox.
    Rename(Scope, Rename),
    /// Delete a mailbox.
    Unmailbox(Scope, Unmailbox),
    /// Subscribe.
    Sub(Subscription),
    /// Unsubscribe.
    Unsub(Subscription),
    /// Store the seen state of a user.
    Seen(UserId, SeenState),
    /// Set quota limits.
    Quota(Quota),
    /// Remove a quota root; `None` = no root can have this name.
    Unquota(Option<MailboxName>),
    /// Set an annotation to a value.
    Annotation(AnnotationKey, Vec<u8>),
    /// Remove an annotation.
    Unannotation(AnnotationKey),
    /// Store a Sieve script.
    Sieve(Script),
    /// Delete a Sieve script.
    Unsieve(ScriptKey),
    /// Activate a Sieve script.
    ActivateSieve(ScriptKey),
    /// Deactivate a user's Sieve script.
    UnactivateSieve(UserId),
    /// Remove a user; `None` = no user can have this id.
    Unuser(Scope, Option<UserId>),
}

/// RESTORE
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restore {
    /// Add messages to a mailbox, which is created if needed.
    Mailbox(Scope, Box<RestoreMailbox>),
}

/// Argument of APPLY EXPUNGE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expunge {
    /// The mailbox's name.
    pub mailbox: MailboxName,
    /// Its unique id.
    pub unique_id: UniqueId,
    /// The messages.
    pub uids: Vec<Uid>,
}

/// Argument of APPLY RENAME.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    /// The name it has.
    pub old: MailboxName,
    /// The name it gets.
    pub new: MailboxName,
    /// The partition it goes to; `None` (`NIL`) = stays.
    pub partition: Option<Partition>,
    /// UIDVALIDITY; the original ignores it.
    pub uid_validity: Option<UidValidity>,
}

/// Argument of APPLY UNMAILBOX.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmailbox {
    /// The mailbox's name.
    pub name: MailboxName,
    /// Which mailbox is meant, if the capability UNMAILBOX-ID lets the client say it.
    pub identity: Option<MailboxIdentity>,
}

/// Which mailbox is meant, whatever its name means by now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxIdentity {
    /// Its unique id.
    pub unique_id: UniqueId,
    /// Its UIDVALIDITY; `None` = any.
    pub uid_validity: Option<UidValidity>,
}

impl Request {
    /// The sub-command, for the log.
    pub fn name(&self) -> &'static str {
        match self {
            Request::Get(get) => get.name(),
            Request::Apply(apply) => apply.name(),
            Request::Message(_) => "MESSAGE",
            Request::Restore(_) => "MAILBOX",
        }
    }

    /// Makes a request of a line.
    ///
    /// # Errors
    /// If the sub-command is unknown, or its argument cannot be used.
    pub fn decode(verb: Verb, line: DecodedLine) -> Result<Request, DecodeError> {
        let DecodedLine {
            name,
            value,
            records,
        } = line;
        match verb {
            Verb::Get => Get::decode(&name, &value).map(Request::Get),
            Verb::Apply if name == "MESSAGE" => Ok(Request::Message(files(&value))),
            Verb::Apply => Apply::decode(&name, &value, records).map(Request::Apply),
            Verb::Restore => Restore::decode(&name, &value, records).map(Request::Restore),
        }
    }
}

impl Get {
    /// The sub-command in upper case.
    pub fn name(&self) -> &'static str {
        match self {
            Get::User(_) => "USER",
            Get::Meta(_) => "META",
            Get::Mailboxes(_) => "MAILBOXES",
            Get::UniqueIds(_) => "UNIQUEIDS",
            Get::FullMailbox(_) => "FULLMAILBOX",
            Get::Quota(_) => "QUOTA",
            Get::Annotation(_) => "ANNOTATION",
            Get::Fetch(_) => "FETCH",
            Get::FetchSieve(_) => "FETCH_SIEVE",
            Get::Digests(_) => DIGEST,
        }
    }

    fn decode(name: &str, value: &Value) -> Result<Get, DecodeError> {
        Ok(match name {
            "USER" => Get::User(user_that_may_exist(value)?),
            "META" => Get::Meta(user_that_may_exist(value)?),
            "MAILBOXES" => {
                Get::Mailboxes(names_that_can_exist(value.as_list()?, MailboxName::parse))
            }
            "UNIQUEIDS" => Get::UniqueIds(names_that_can_exist(value.as_list()?, UniqueId::parse)),
            "FULLMAILBOX" => Get::FullMailbox(existing_mailbox(value)?),
            "QUOTA" => Get::Quota(MailboxName::parse(value.as_text()?).ok()),
            "ANNOTATION" => Get::Annotation(match value.as_text()? {
                "" => None,
                _ => Some(existing_mailbox(value)?),
            }),
            "FETCH" => Get::Fetch(Fetch::decode(value.fields()?)?),
            DIGEST => Get::Digests(names_that_can_exist(value.as_list()?, UserId::parse)),
            "FETCH_SIEVE" => Get::FetchSieve(ScriptKey::decode(value.fields()?)?),
            _ => return Err(unknown(Verb::Get, name)),
        })
    }

    /// Appends the whole command.
    pub fn write(&self, out: &mut Vec<u8>, style: LiteralStyle) {
        out.extend_from_slice(b"GET ");
        match self {
            Get::User(user) => write_named(out, "USER", user.as_ref().map(UserId::as_str), style),
            Get::Meta(user) => write_named(out, "META", user.as_ref().map(UserId::as_str), style),
            Get::Mailboxes(names) => {
                out.extend_from_slice(b"MAILBOXES ");
                PairWriter::new(out, style).texts(names.iter().map(MailboxName::as_str));
            }
            Get::UniqueIds(ids) => {
                out.extend_from_slice(b"UNIQUEIDS ");
                PairWriter::new(out, style).texts(ids.iter().map(UniqueId::as_str));
            }
            Get::FullMailbox(name) => write_named(out, "FULLMAILBOX", Some(name.as_str()), style),
            Get::Quota(root) => {
                write_named(out, "QUOTA", root.as_ref().map(MailboxName::as_str), style);
            }
            Get::Annotation(mailbox) => write_named(
                out,
                "ANNOTATION",
                mailbox.as_ref().map(MailboxName::as_str),
                style,
            ),
            Get::Fetch(fetch) => {
                out.extend_from_slice(b"FETCH ");
                fetch.write(out, style);
            }
            Get::FetchSieve(script) => {
                out.extend_from_slice(b"FETCH_SIEVE ");
                script.write(out, style);
            }
            Get::Digests(users) => {
                out.extend_from_slice(DIGEST.as_bytes());
                out.push(b' ');
                PairWriter::new(out, style).texts(users.iter().map(UserId::as_str));
            }
        }
        out.extend_from_slice(b"\r\n");
    }
}

impl Apply {
    fn decode(
        name: &str,
        value: &Value,
        records: Option<Result<RecordList, DecodeError>>,
    ) -> Result<Apply, DecodeError> {
        let (scope, plain) = scope(name);
        match plain {
            "MAILBOX" => MailboxArgument::decode(value.fields()?, records)
                .map(|argument| Apply::Mailbox(scope, argument)),
            "RENAME" => Rename::decode(value.fields()?).map(|rename| Apply::Rename(scope, rename)),
            "UNMAILBOX" => {
                Unmailbox::decode(value).map(|argument| Apply::Unmailbox(scope, argument))
            }
            "UNUSER" => user_that_may_exist(value).map(|user| Apply::Unuser(scope, user)),
            _ => Apply::decode_without_scope(name, value),
        }
    }

    fn decode_without_scope(name: &str, value: &Value) -> Result<Apply, DecodeError> {
        let fields = || value.fields();
        Ok(match name {
            "CAPABILITIES" => Apply::Capabilities(names_that_can_exist(value.as_list()?, |name| {
                Ok::<_, std::convert::Infallible>(name.to_owned())
            })),
            "FORCE" => Apply::Force,
            "RESERVE" => Apply::Reserve(Reserve::decode(fields()?)?),
            "EXPUNGE" => Apply::Expunge(Expunge::decode(fields()?)?),
            "SUB" => Apply::Sub(Subscription::decode(fields()?)?),
            "UNSUB" => Apply::Unsub(Subscription::decode(fields()?)?),
            "SEEN" => Apply::Seen(
                fields()?.parsed("USERID", "user id", UserId::parse)?,
                SeenState::decode(fields()?)?,
            ),
            "QUOTA" => Apply::Quota(Quota::decode(fields()?)?),
            "UNQUOTA" => Apply::Unquota(MailboxName::parse(value.as_text()?).ok()),
            "ANNOTATION" => Apply::Annotation(
                AnnotationKey::decode(fields()?)?,
                annotation_value(fields()?)?,
            ),
            "UNANNOTATION" => Apply::Unannotation(AnnotationKey::decode(fields()?)?),
            "SIEVE" => Apply::Sieve(Script::decode_request(fields()?)?),
            "UNSIEVE" => Apply::Unsieve(ScriptKey::decode(fields()?)?),
            "ACTIVATE_SIEVE" => Apply::ActivateSieve(ScriptKey::decode(fields()?)?),
            "UNACTIVATE_SIEVE" => Apply::UnactivateSieve(user_of(fields()?)?),
            _ => return Err(unknown(Verb::Apply, name)),
        })
    }

    /// Appends the whole command. A MAILBOX with many records is better written piece by piece
    /// with [`Apply::write_mailbox_prefix`] and [`super::MailboxWriter`].
    pub fn write(&self, out: &mut Vec<u8>, style: LiteralStyle) {
        match self {
            Apply::Mailbox(scope, argument) => {
                Apply::write_mailbox_prefix(out, *scope);
                argument.write(out, style);
            }
            Apply::Rename(scope, rename) => {
                write_prefix(out, *scope, "RENAME ");
                rename.write(out, style);
            }
            Apply::Unmailbox(scope, argument) => {
                write_prefix(out, *scope, "UNMAILBOX ");
                argument.write(out, style);
            }
            Apply::Unuser(scope, user) => {
                write_prefix(out, *scope, "");
                write_named(out, "UNUSER", user.as_ref().map(UserId::as_str), style);
            }
            _ => {
                write_prefix(out, Scope::Everywhere, "");
                self.write_without_scope(out, style);
            }
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Appends `APPLY MAILBOX `, before the item.
    pub fn write_mailbox_prefix(out: &mut Vec<u8>, scope: Scope) {
        write_prefix(out, scope, "MAILBOX ");
    }

    fn write_without_scope(&self, out: &mut Vec<u8>, style: LiteralStyle) {
        let name = self.name();
        out.extend_from_slice(name.as_bytes());
        out.push(b' ');
        match self {
            Apply::Capabilities(names) => {
                PairWriter::new(out, style).texts(names.iter().map(String::as_str));
            }
            Apply::Force => out.extend_from_slice(b"%()"),
            Apply::Reserve(reserve) => reserve.write(out, style),
            Apply::Expunge(expunge) => expunge.write(out, style),
            Apply::Sub(subscription) | Apply::Unsub(subscription) => {
                subscription.write(out, style);
            }
            Apply::Seen(user, seen) => seen.write(out, Some(user), style),
            Apply::Quota(quota) => quota.write(out, style),
            Apply::Unquota(root) => {
                let root = root.as_ref().map_or("", MailboxName::as_str);
                write_text(out, root.as_bytes(), style);
            }
            Apply::Annotation(key, value) => key.write(out, Some(value), style),
            Apply::Unannotation(key) => key.write(out, None, style),
            Apply::Sieve(script) => script.write(out, style),
            Apply::Unsieve(script) | Apply::ActivateSieve(script) => script.write(out, style),
            Apply::UnactivateSieve(user) => {
                out.extend_from_slice(b"%(");
                PairWriter::new(out, style).text("USERID", user.as_str());
                out.push(b')');
            }
            Apply::Mailbox(..) | Apply::Rename(..) | Apply::Unmailbox(..) | Apply::Unuser(..) => {}
        }
    }

    /// The sub-command in upper case, without `LOCAL_`.
    pub fn name(&self) -> &'static str {
        match self {
            Apply::Capabilities(_) => "CAPABILITIES",
            Apply::Force => "FORCE",
            Apply::Reserve(_) => "RESERVE",
            Apply::Mailbox(..) => "MAILBOX",
            Apply::Expunge(_) => "EXPUNGE",
            Apply::Rename(..) => "RENAME",
            Apply::Unmailbox(..) => "UNMAILBOX",
            Apply::Sub(_) => "SUB",
            Apply::Unsub(_) => "UNSUB",
            Apply::Seen(..) => "SEEN",
            Apply::Quota(_) => "QUOTA",
            Apply::Unquota(_) => "UNQUOTA",
            Apply::Annotation(..) => "ANNOTATION",
            Apply::Unannotation(_) => "UNANNOTATION",
            Apply::Sieve(_) => "SIEVE",
            Apply::Unsieve(_) => "UNSIEVE",
            Apply::ActivateSieve(_) => "ACTIVATE_SIEVE",
            Apply::UnactivateSieve(_) => "UNACTIVATE_SIEVE",
            Apply::Unuser(..) => "UNUSER",
        }
    }
}

impl Restore {
    fn decode(
        name: &str,
        value: &Value,
        records: Option<Result<RecordList, DecodeError>>,
    ) -> Result<Restore, DecodeError> {
        match scope(name) {
            (scope, "MAILBOX") => {
                let restore = RestoreMailbox::decode(value.fields()?, records)?;
                Ok(Restore::Mailbox(scope, Box::new(restore)))
            }
            _ => Err(unknown(Verb::Restore, name)),
        }
    }

    /// Appends the whole command.
    pub fn write(&self, out: &mut Vec<u8>, style: LiteralStyle) {
        let Restore::Mailbox(scope, restore) = self;
        out.extend_from_slice(match scope {
            Scope::Everywhere => b"RESTORE MAILBOX ".as_slice(),
            Scope::Local => b"RESTORE LOCAL_MAILBOX ",
        });
        restore.write(out, style);
        out.extend_from_slice(b"\r\n");
    }
}

impl Expunge {
    fn decode(fields: Fields<'_>) -> Result<Expunge, DecodeError> {
        Ok(Expunge {
            unique_id: fields.parsed("UNIQUEID", "unique id", UniqueId::parse)?,
            uids: uids("UID", fields.list("UID")?)?,
            mailbox: mailbox_name(fields, "MBOXNAME")?,
        })
    }

    fn write(&self, out: &mut Vec<u8>, style: LiteralStyle) {
        out.extend_from_slice(b"%(");
        let mut pairs = PairWriter::new(out, style);
        pairs.text("MBOXNAME", self.mailbox.as_str());
        pairs.text("UNIQUEID", self.unique_id.as_str());
        pairs.key("UID");
        out.push(b'(');
        for (index, uid) in self.uids.iter().enumerate() {
            if index > 0 {
                out.push(b' ');
            }
            write_number(out, u64::from(uid.0));
        }
        out.extend_from_slice(b"))");
    }
}

impl Rename {
    fn decode(fields: Fields<'_>) -> Result<Rename, DecodeError> {
        let new = fields.text("NEWMBOXNAME")?;
        fields.require("PARTITION")?;
        Ok(Rename {
            partition: optional_partition(fields)?,
            uid_validity: fields.optional_number32("UIDVALIDITY")?.map(UidValidity),
            old: mailbox_name(fields, "OLDMBOXNAME")?,
            new: MailboxName::parse(new).map_err(|_| DecodeError::BadNewName(new.to_owned()))?,
        })
    }

    fn write(&self, out: &mut Vec<u8>, style: LiteralStyle) {
        out.extend_from_slice(b"%(");
        let mut pairs = PairWriter::new(out, style);
        pairs.text("OLDMBOXNAME", self.old.as_str());
        pairs.text("NEWMBOXNAME", self.new.as_str());
        match &self.partition {
            Some(partition) => pairs.text("PARTITION", partition.as_str()),
            None => pairs.nil("PARTITION"),
        }
        pairs.optional_number("UIDVALIDITY", self.uid_validity.map(|validity| validity.0));
        out.push(b')');
    }
}

impl Unmailbox {
    fn decode(value: &Value) -> Result<Unmailbox, DecodeError> {
        if !matches!(value, Value::KvList(_)) {
            let name = existing_mailbox(value)?;
            return Ok(Unmailbox {
                name,
                identity: None,
            });
        }
        let fields = value.fields()?;
        let name = fields.text("MBOXNAME")?;
        Ok(Unmailbox {
            name: MailboxName::parse(name)
                .map_err(|_| DecodeError::NoSuchMailbox(name.to_owned()))?,
            identity: Some(MailboxIdentity {
                unique_id: fields.parsed("UNIQUEID", "unique id", UniqueId::parse)?,
                uid_validity: fields.optional_number32("UIDVALIDITY")?.map(UidValidity),
            }),
        })
    }

    fn write(&self, out: &mut Vec<u8>, style: LiteralStyle) {
        let Some(identity) = &self.identity else {
            write_text(out, self.name.as_str().as_bytes(), style);
            return;
        };
        out.extend_from_slice(b"%(");
        let mut pairs = PairWriter::new(out, style);
        pairs.text("MBOXNAME", self.name.as_str());
        pairs.text("UNIQUEID", identity.unique_id.as_str());
        let uid_validity = identity.uid_validity.map(|validity| validity.0);
        pairs.optional_number("UIDVALIDITY", uid_validity);
        out.push(b')');
    }
}

fn unknown(verb: Verb, name: &str) -> DecodeError {
    DecodeError::UnknownCommand {
        verb: verb.name(),
        name: name.to_owned(),
    }
}

fn scope(name: &str) -> (Scope, &str) {
    match name.strip_prefix("LOCAL_") {
        Some(plain) => (Scope::Local, plain),
        None => (Scope::Everywhere, name),
    }
}

fn write_prefix(out: &mut Vec<u8>, scope: Scope, name: &str) {
    out.extend_from_slice(b"APPLY ");
    if scope == Scope::Local {
        out.extend_from_slice(b"LOCAL_");
    }
    out.extend_from_slice(name.as_bytes());
}

fn write_named(out: &mut Vec<u8>, name: &str, argument: Option<&str>, style: LiteralStyle) {
    out.extend_from_slice(name.as_bytes());
    out.push(b' ');
    write_text(out, argument.unwrap_or_default().as_bytes(), style);
}

fn existing_mailbox(value: &Value) -> Result<MailboxName, DecodeError> {
    let text = value.as_text()?;
    MailboxName::parse(text).map_err(|_| DecodeError::NoSuchMailbox(text.to_owned()))
}

/// `NIL` and unusable ids are users who do not exist.
fn user_that_may_exist(value: &Value) -> Result<Option<UserId>, DecodeError> {
    match value {
        Value::Nil => Ok(None),
        _ => Ok(UserId::parse(value.as_text()?).ok()),
    }
}
