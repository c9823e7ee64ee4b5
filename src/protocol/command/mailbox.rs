//! The MAILBOX item (commands §1): argument of APPLY MAILBOX, data line of several GETs, and
//! value of the sync cache (algorithm §12).

use super::error::DecodeError;
use super::meta::annotation_value;
use super::record::{RecordForm, RecordList, wrap_date, write_annotations, write_record};
use crate::dlist::{
    FieldError, FieldProblem, Fields, LiteralStyle, Value, write_flag, write_number, write_text,
};
use crate::mail::{
    Acl, Annotation, FlagName, MailboxName, MailboxOptions, MailboxType, ModSeq, Partition,
    SyncCrc, TypeFlags, Uid, UidValidity, UniqueId, UnixTime,
};

/// The state of a mailbox, without its records. Numbers that were not given are 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxItem {
    /// JMAP id (only from newer peers).
    pub jmap_id: Option<String>,
    /// Permanent id.
    pub unique_id: UniqueId,
    /// Internal name.
    pub name: MailboxName,
    /// Kind and flags.
    pub mailbox_type: MailboxType,
    /// The sync CRCs; 0 = unknown.
    pub crc: SyncCrc,
    /// Highest UID ever assigned.
    pub last_uid: Uid,
    /// Highest modseq of the mailbox.
    pub highest_modseq: ModSeq,
    /// Highest UID that the owner has seen as recent.
    pub recent_uid: Uid,
    /// When that was.
    pub recent_time: UnixTime,
    /// Last append.
    pub last_append_date: UnixTime,
    /// Last POP3 login.
    pub pop3_last_login: UnixTime,
    /// POP3 shows messages from this time on.
    pub pop3_show_after: UnixTime,
    /// The owner's conversations modseq; 0 = not given.
    pub conversations_modseq: ModSeq,
    /// The owner uses compact email ids (only from newer peers).
    pub compact_email_ids: Option<u32>,
    /// Reverse-ACL modseq; 0 = not given.
    pub racl_modseq: ModSeq,
    /// Groups of the owner, joined with tabs (only from newer peers).
    pub user_groups: Option<String>,
    /// Index version of the mailbox (only from newer peers).
    pub index_version: Option<u32>,
    /// UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// Where the receiver should put the mailbox; `None` for `NIL`.
    pub partition: Option<Partition>,
    /// Access control list.
    pub acl: Acl,
    /// Options.
    pub options: MailboxOptions,
    /// Quota root; told, but of no meaning to the receiver.
    pub quota_root: Option<String>,
    /// Modseq of creation; 0 = not given.
    pub created_modseq: ModSeq,
    /// Modseq of the last change of the mailbox-list entry; 0 = not given.
    pub folder_modseq: ModSeq,
    /// Highest modseq of a purged record (only from newer peers).
    pub deleted_modseq: Option<ModSeq>,
    /// Mailbox annotations, all of them.
    pub annotations: Vec<Annotation>,
    /// All user flags of the mailbox (only from newer peers).
    pub user_flags: Option<Vec<FlagName>>,
    /// The replica state that the update was computed against.
    pub since: Option<Since>,
}

/// The state of a replica that an update builds on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    /// Its highest modseq; not 0.
    pub modseq: ModSeq,
    /// Its sync CRCs.
    pub crc: SyncCrc,
}

/// A mailbox with records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxUpdate {
    /// The mailbox.
    pub item: MailboxItem,
    /// All its records, or those that changed.
    pub list: RecordList,
}

/// An intermediate or tombstone: only the mailbox list knows it (commands §1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderItem {
    /// Permanent id.
    pub unique_id: UniqueId,
    /// Internal name.
    pub name: MailboxName,
    /// Kind and flags, of which `i` or `d` is set.
    pub mailbox_type: MailboxType,
    /// Modseq of the last change, which becomes the entry's folder modseq.
    pub highest_modseq: ModSeq,
    /// Modseq of creation; 0 = not given.
    pub created_modseq: ModSeq,
    /// Modseq of the last change of the entry; 0 = not given.
    pub folder_modseq: ModSeq,
}

/// Argument of APPLY MAILBOX.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MailboxArgument {
    /// An intermediate or tombstone.
    Folder(FolderItem),
    /// A mailbox with records.
    Update(Box<MailboxUpdate>),
}

/// Argument of RESTORE MAILBOX (commands §5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreMailbox {
    /// Internal name.
    pub name: MailboxName,
    /// Permanent id.
    pub unique_id: Option<UniqueId>,
    /// Kind and flags.
    pub mailbox_type: MailboxType,
    /// Highest modseq.
    pub highest_modseq: Option<ModSeq>,
    /// UIDVALIDITY.
    pub uid_validity: Option<UidValidity>,
    /// Partition.
    pub partition: Option<Partition>,
    /// Access control list.
    pub acl: Option<Acl>,
    /// Options.
    pub options: MailboxOptions,
    /// Modseq of creation; 0 = not given.
    pub created_modseq: ModSeq,
    /// Modseq of the mailbox-list entry; 0 = not given.
    pub folder_modseq: ModSeq,
    /// Mailbox annotations.
    pub annotations: Vec<Annotation>,
    /// Messages to add.
    pub list: RecordList,
}

/// Whether LAST_APPENDDATE may be missing (commands §1).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A server reads a request.
    Request,
    /// A client reads an answer.
    Answer,
}

/// The name of a mailbox that may be about to be created.
fn name(fields: Fields<'_>) -> Result<MailboxName, DecodeError> {
    let text = fields.text("MBOXNAME")?;
    MailboxName::parse(text).map_err(|_| DecodeError::BadNewName(text.to_owned()))
}

impl MailboxItem {
    /// Reads an item from its pairs, as a client reads an answer or its cache.
    ///
    /// # Errors
    /// If a mandatory key is missing or a known key malformed.
    pub fn from_fields(fields: Fields<'_>) -> Result<MailboxItem, DecodeError> {
        MailboxItem::decode(fields, Role::Answer)
    }

    pub(super) fn decode(fields: Fields<'_>, role: Role) -> Result<MailboxItem, DecodeError> {
        let since = modseq(fields, "SINCE_MODSEQ")?;
        Ok(MailboxItem {
            jmap_id: text(fields, "JMAPID")?,
            unique_id: fields.parsed("UNIQUEID", "unique id", UniqueId::parse)?,
            name: name(fields)?,
            mailbox_type: mailbox_type(fields)?,
            crc: SyncCrc {
                basic: fields.optional_number32("SYNC_CRC")?.unwrap_or(0),
                annotations: fields.optional_number32("SYNC_CRC_ANNOT")?.unwrap_or(0),
            },
            last_uid: Uid(fields.number32("LAST_UID")?),
            highest_modseq: ModSeq(fields.number("HIGHESTMODSEQ")?),
            recent_uid: Uid(fields.number32("RECENTUID")?),
            recent_time: wrap_date(fields.number("RECENTTIME")?),
            last_append_date: match role {
                Role::Request => wrap_date(fields.number("LAST_APPENDDATE")?),
                Role::Answer => optional_date(fields, "LAST_APPENDDATE")?,
            },
            pop3_last_login: wrap_date(fields.number("POP3_LAST_LOGIN")?),
            pop3_show_after: optional_date(fields, "POP3_SHOW_AFTER")?,
            conversations_modseq: modseq(fields, "XCONVMODSEQ")?,
            compact_email_ids: fields.optional_number32("COMPACT_EMAILIDS")?,
            racl_modseq: modseq(fields, "RACLMODSEQ")?,
            user_groups: text(fields, "USERGROUPS")?,
            index_version: fields.optional_number32("VERSION")?,
            uid_validity: UidValidity(fields.number32("UIDVALIDITY")?),
            partition: partition(fields)?,
            acl: fields.parsed("ACL", "ACL", Acl::parse)?,
            options: MailboxOptions::from_wire(fields.text("OPTIONS")?),
            quota_root: text(fields, "QUOTAROOT")?,
            created_modseq: modseq(fields, "CREATEDMODSEQ")?,
            folder_modseq: modseq(fields, "FOLDERMODSEQ")?,
            deleted_modseq: fields.optional_number("DELETEDMODSEQ")?.map(ModSeq),
            annotations: annotations(fields)?,
            user_flags: user_flags(fields)?,
            since: (since.0 != 0)
                .then(|| -> Result<Since, FieldError> {
                    Ok(Since {
                        modseq: since,
                        crc: SyncCrc {
                            basic: fields.optional_number32("SINCE_CRC")?.unwrap_or(0),
                            annotations: fields.optional_number32("SINCE_CRC_ANNOT")?.unwrap_or(0),
                        },
                    })
                })
                .transpose()?,
        })
    }

    /// Appends the item as a complete `%(…)` without records.
    pub fn write(&self, out: &mut Vec<u8>, style: LiteralStyle) {
        out.extend_from_slice(b"%(");
        self.write_pairs(out, style);
        out.push(b')');
    }

    /// The pairs in the order of commands §1.
    fn write_pairs(&self, out: &mut Vec<u8>, style: LiteralStyle) {
        let mut pairs = PairWriter::new(out, style);
        pairs.optional_text("JMAPID", self.jmap_id.as_deref());
        pairs.text("UNIQUEID", self.unique_id.as_str());
        pairs.text("MBOXNAME", self.name.as_str());
        let on_wire = self.mailbox_type.on_wire();
        if on_wire != MailboxType::default() {
            pairs.text("MBOXTYPE", &on_wire.to_string());
        }
        pairs.number("SYNC_CRC", self.crc.basic);
        pairs.unless_zero("SYNC_CRC_ANNOT", self.crc.annotations);
        pairs.number("LAST_UID", self.last_uid.0);
        pairs.number("HIGHESTMODSEQ", self.highest_modseq.0);
        pairs.number("RECENTUID", self.recent_uid.0);
        pairs.number("RECENTTIME", self.recent_time.0);
        pairs.number("LAST_APPENDDATE", self.last_append_date.0);
        pairs.number("POP3_LAST_LOGIN", self.pop3_last_login.0);
        pairs.number("POP3_SHOW_AFTER", self.pop3_show_after.0);
        pairs.unless_zero("XCONVMODSEQ", self.conversations_modseq.0);
        pairs.optional_number("COMPACT_EMAILIDS", self.compact_email_ids);
        pairs.unless_zero("RACLMODSEQ", self.racl_modseq.0);
        pairs.optional_text("USERGROUPS", self.user_groups.as_deref());
        pairs.optional_number("VERSION", self.index_version);
        pairs.number("UIDVALIDITY", self.uid_validity.0);
        match &self.partition {
            Some(partition) => pairs.text("PARTITION", partition.as_str()),
            None => pairs.nil("PARTITION"),
        }
        pairs.text("ACL", &self.acl.to_string());
        pairs.text("OPTIONS", &self.options.to_wire());
        pairs.optional_text("QUOTAROOT", self.quota_root.as_deref());
        pairs.unless_zero("CREATEDMODSEQ", self.created_modseq.0);
        pairs.unless_zero("FOLDERMODSEQ", self.folder_modseq.0);
        pairs.optional_number("DELETEDMODSEQ", self.deleted_modseq.map(|modseq| modseq.0));
        if !self.annotations.is_empty() {
            pairs.key("ANNOTATIONS");
            pairs.out.push(b'(');
            write_annotations(pairs.out, &self.annotations, style);
            pairs.out.push(b')');
        }
        if let Some(flags) = &self.user_flags {
            pairs.key("USERFLAGS");
            pairs.flags(flags);
        }
        if let Some(since) = self.since {
            pairs.number("SINCE_MODSEQ", since.modseq.0);
            pairs.number("SINCE_CRC", since.crc.basic);
            pairs.number("SINCE_CRC_ANNOT", since.crc.annotations);
        }
    }
}

/// Writes a MAILBOX item with records one at a time, so that they need not be in memory
/// together. The octets of `out` may be sent between any two calls.
#[derive(Debug)]
pub struct MailboxWriter {
    form: RecordForm,
    style: LiteralStyle,
    first: bool,
}

impl MailboxWriter {
    /// Appends the item up to the opening bracket of its records, which are to have this form.
    pub fn begin(
        out: &mut Vec<u8>,
        item: &MailboxItem,
        form: RecordForm,
        style: LiteralStyle,
    ) -> MailboxWriter {
        out.extend_from_slice(b"%(");
        item.write_pairs(out, style);
        out.push(b' ');
        out.extend_from_slice(form.list_key().as_bytes());
        out.extend_from_slice(b" (");
        MailboxWriter {
            form,
            style,
            first: true,
        }
    }

    /// Appends one record; they must come ascending by UID.
    pub fn record(&mut self, out: &mut Vec<u8>, record: &super::Record, flags: &super::FlagTable) {
        if !std::mem::take(&mut self.first) {
            out.push(b' ');
        }
        write_record(out, record, flags, self.form, self.style);
    }

    /// Appends the closing brackets.
    pub fn end(self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"))");
    }
}

impl MailboxUpdate {
    /// Appends the whole `%(…)`, the records as pairs.
    pub fn write(&self, out: &mut Vec<u8>, style: LiteralStyle) {
        let mut writer = MailboxWriter::begin(out, &self.item, RecordForm::Pairs, style);
        for record in &self.list.records {
            writer.record(out, record, &self.list.flags);
        }
        writer.end(out);
    }
}

impl MailboxArgument {
    /// Reads the argument in the order of algorithm §6, steps 1 to 3.
    pub(super) fn decode(
        fields: Fields<'_>,
        list: Option<Result<RecordList, DecodeError>>,
    ) -> Result<MailboxArgument, DecodeError> {
        let folder = FolderItem {
            unique_id: fields.parsed("UNIQUEID", "unique id", UniqueId::parse)?,
            name: name(fields)?,
            highest_modseq: ModSeq(fields.number("HIGHESTMODSEQ")?),
            mailbox_type: mailbox_type(fields)?,
            created_modseq: modseq(fields, "CREATEDMODSEQ")?,
            folder_modseq: modseq(fields, "FOLDERMODSEQ")?,
        };
        let only_listed = TypeFlags::INTERMEDIATE | TypeFlags::DELETED;
        if folder.mailbox_type.flags.intersects(only_listed) {
            return Ok(MailboxArgument::Folder(folder));
        }
        let item = MailboxItem::decode(fields, Role::Request)?;
        if item.partition.is_none() {
            return Err(FieldError::new("PARTITION", FieldProblem::Nil).into());
        }
        Ok(MailboxArgument::Update(Box::new(MailboxUpdate {
            item,
            list: required(list)?,
        })))
    }

    /// Appends the whole `%(…)`.
    pub fn write(&self, out: &mut Vec<u8>, style: LiteralStyle) {
        match self {
            MailboxArgument::Folder(folder) => folder.write(out, style),
            MailboxArgument::Update(update) => update.write(out, style),
        }
    }
}

impl FolderItem {
    /// Appends the whole `%(…)`.
    pub fn write(&self, out: &mut Vec<u8>, style: LiteralStyle) {
        out.extend_from_slice(b"%(");
        let mut pairs = PairWriter::new(out, style);
        pairs.text("UNIQUEID", self.unique_id.as_str());
        pairs.text("MBOXNAME", self.name.as_str());
        pairs.text("MBOXTYPE", &self.mailbox_type.on_wire().to_string());
        pairs.number("HIGHESTMODSEQ", self.highest_modseq.0);
        pairs.unless_zero("CREATEDMODSEQ", self.created_modseq.0);
        pairs.unless_zero("FOLDERMODSEQ", self.folder_modseq.0);
        out.push(b')');
    }
}

impl RestoreMailbox {
    pub(super) fn decode(
        fields: Fields<'_>,
        list: Option<Result<RecordList, DecodeError>>,
    ) -> Result<RestoreMailbox, DecodeError> {
        let options = fields.optional_text("OPTIONS")?.unwrap_or_default();
        Ok(RestoreMailbox {
            name: name(fields)?,
            unique_id: parsed(fields, "UNIQUEID", "unique id", UniqueId::parse)?,
            mailbox_type: mailbox_type(fields)?,
            highest_modseq: fields.optional_number("HIGHESTMODSEQ")?.map(ModSeq),
            uid_validity: fields.optional_number32("UIDVALIDITY")?.map(UidValidity),
            partition: optional_partition(fields)?,
            acl: parsed(fields, "ACL", "ACL", Acl::parse)?,
            options: MailboxOptions::from_wire(options),
            created_modseq: modseq(fields, "CREATEDMODSEQ")?,
            folder_modseq: modseq(fields, "FOLDERMODSEQ")?,
            annotations: annotations(fields)?,
            list: required(list)?,
        })
    }

    /// Appends the whole `%(…)`.
    pub fn write(&self, out: &mut Vec<u8>, style: LiteralStyle) {
        out.extend_from_slice(b"%(");
        let mut pairs = PairWriter::new(out, style);
        pairs.text("MBOXNAME", self.name.as_str());
        pairs.optional_text("UNIQUEID", self.unique_id.as_ref().map(UniqueId::as_str));
        let on_wire = self.mailbox_type.on_wire();
        if on_wire != MailboxType::default() {
            pairs.text("MBOXTYPE", &on_wire.to_string());
        }
        pairs.optional_number("HIGHESTMODSEQ", self.highest_modseq.map(|modseq| modseq.0));
        pairs.optional_number("UIDVALIDITY", self.uid_validity.map(|validity| validity.0));
        pairs.optional_text("PARTITION", self.partition.as_ref().map(Partition::as_str));
        pairs.optional_text("ACL", self.acl.as_ref().map(Acl::to_string).as_deref());
        pairs.text("OPTIONS", &self.options.to_wire());
        pairs.unless_zero("CREATEDMODSEQ", self.created_modseq.0);
        pairs.unless_zero("FOLDERMODSEQ", self.folder_modseq.0);
        if !self.annotations.is_empty() {
            pairs.key("ANNOTATIONS");
            pairs.out.push(b'(');
            write_annotations(pairs.out, &self.annotations, style);
            pairs.out.push(b')');
        }
        pairs.key("RECORD");
        pairs.out.push(b'(');
        for (index, record) in self.list.records.iter().enumerate() {
            if index > 0 {
                pairs.out.push(b' ');
            }
            write_record(
                pairs.out,
                record,
                &self.list.flags,
                RecordForm::Pairs,
                style,
            );
        }
        out.extend_from_slice(b"))");
    }
}

/// Appends `KEY value` pairs with spaces between them.
pub(super) struct PairWriter<'a> {
    pub(super) out: &'a mut Vec<u8>,
    style: LiteralStyle,
    first: bool,
}

impl<'a> PairWriter<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>, style: LiteralStyle) -> PairWriter<'a> {
        PairWriter {
            out,
            style,
            first: true,
        }
    }

    pub(super) fn key(&mut self, key: &str) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b' ');
        }
        self.out.extend_from_slice(key.as_bytes());
        self.out.push(b' ');
    }

    pub(super) fn text(&mut self, key: &str, text: &str) {
        self.bytes(key, text.as_bytes());
    }

    pub(super) fn bytes(&mut self, key: &str, octets: &[u8]) {
        self.key(key);
        write_text(self.out, octets, self.style);
    }

    pub(super) fn nil(&mut self, key: &str) {
        self.key(key);
        self.out.extend_from_slice(b"NIL");
    }

    pub(super) fn number(&mut self, key: &str, number: impl Into<u64>) {
        self.key(key);
        write_number(self.out, number.into());
    }

    pub(super) fn optional_text(&mut self, key: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, text);
        }
    }

    pub(super) fn optional_number(&mut self, key: &str, number: Option<impl Into<u64>>) {
        if let Some(number) = number {
            self.number(key, number);
        }
    }

    pub(super) fn unless_zero(&mut self, key: &str, number: impl Into<u64>) {
        let number = number.into();
        if number != 0 {
            self.number(key, number);
        }
    }

    /// The elements of a list, in brackets.
    pub(super) fn texts<'t>(&mut self, texts: impl IntoIterator<Item = &'t str>) {
        self.out.push(b'(');
        for (index, text) in texts.into_iter().enumerate() {
            if index > 0 {
                self.out.push(b' ');
            }
            write_text(self.out, text.as_bytes(), self.style);
        }
        self.out.push(b')');
    }

    fn flags(&mut self, flags: &[FlagName]) {
        self.out.push(b'(');
        for (index, flag) in flags.iter().enumerate() {
            if index > 0 {
                self.out.push(b' ');
            }
            write_flag(self.out, flag.as_str().as_bytes());
        }
        self.out.push(b')');
    }
}

fn required(list: Option<Result<RecordList, DecodeError>>) -> Result<RecordList, DecodeError> {
    list.unwrap_or_else(|| Err(FieldError::new("RECORD", FieldProblem::Missing).into()))
}

fn text(fields: Fields<'_>, key: &str) -> Result<Option<String>, FieldError> {
    Ok(fields.optional_text(key)?.map(str::to_owned))
}

fn parsed<T, E>(
    fields: Fields<'_>,
    key: &str,
    what: &'static str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<T>, FieldError> {
    match fields.optional_text(key)? {
        None => Ok(None),
        Some(_) => fields.parsed(key, what, parse).map(Some),
    }
}

fn modseq(fields: Fields<'_>, key: &str) -> Result<ModSeq, FieldError> {
    Ok(ModSeq(fields.optional_number(key)?.unwrap_or(0)))
}

fn optional_date(fields: Fields<'_>, key: &str) -> Result<UnixTime, FieldError> {
    Ok(wrap_date(fields.optional_number(key)?.unwrap_or(0)))
}

fn mailbox_type(fields: Fields<'_>) -> Result<MailboxType, FieldError> {
    Ok(parsed(fields, "MBOXTYPE", "mailbox type", MailboxType::parse)?.unwrap_or_default())
}

/// PARTITION must be there, but may be `NIL`.
fn partition(fields: Fields<'_>) -> Result<Option<Partition>, FieldError> {
    fields.require("PARTITION")?;
    optional_partition(fields)
}

pub(super) fn optional_partition(fields: Fields<'_>) -> Result<Option<Partition>, FieldError> {
    parsed(fields, "PARTITION", "partition", Partition::parse)
}

fn annotations(fields: Fields<'_>) -> Result<Vec<Annotation>, FieldError> {
    let list = match fields.get("ANNOTATIONS") {
        None | Some(Value::Nil) => &[],
        Some(_) => fields.list("ANNOTATIONS")?,
    };
    list.iter()
        .map(|value| {
            let fields = value.fields()?;
            Ok(Annotation {
                entry: fields.text("ENTRY")?.to_owned(),
                user: fields.text("USERID")?.to_owned(),
                modseq: ModSeq(fields.number("MODSEQ")?),
                value: annotation_value(fields)?,
            })
        })
        .collect()
}

fn user_flags(fields: Fields<'_>) -> Result<Option<Vec<FlagName>>, FieldError> {
    if matches!(fields.get("USERFLAGS"), None | Some(Value::Nil)) {
        return Ok(None);
    }
    let problem = |problem| FieldError::new("USERFLAGS", problem);
    fields
        .list("USERFLAGS")?
        .iter()
        .map(|value| {
            FlagName::parse(value.as_text().map_err(problem)?)
                .map_err(|_| problem(FieldProblem::NotAllowed("flag")))
        })
        .collect::<Result<_, _>>()
        .map(Some)
}
