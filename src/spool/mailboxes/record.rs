//! The values of `mailboxes.db` (databases §9.2 to §9.4).

use crate::dlist::{self, FieldError, FieldProblem, Fields, LiteralStyle, ParseError, Value};
use crate::mail::{
    Acl, AclEntry, MailboxName, MailboxType, ModSeq, NameError, Namespace, Partition, TypeFlags,
    UidValidity, UniqueId, UnixTime,
};

/// What the mailbox list says of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxEntry {
    /// The internal name.
    pub name: MailboxName,
    /// The mailbox's permanent id.
    pub unique_id: UniqueId,
    /// Kind and flags.
    pub mailbox_type: MailboxType,
    /// Where the mailbox lies; absent in tombstones.
    pub partition: Option<Partition>,
    /// The server that holds the mailbox, in a Murder only.
    pub server: Option<String>,
    /// Must equal that of the index header.
    pub uid_validity: UidValidity,
    /// Modseq of the creation.
    pub created_modseq: ModSeq,
    /// Modseq of the last change of name, ACL or type.
    pub folder_modseq: ModSeq,
    /// When the entry was written; set by whoever writes it.
    pub mtime: UnixTime,
    /// The ACL. `None` is written as no ACL at all, as in tombstones; an entry that was read
    /// always has one, empty if need be, and so it is written again (as the original does).
    pub acl: Option<Acl>,
}

impl MailboxEntry {
    /// Whether a mailbox with a directory is behind the name, on this server.
    pub fn is_real(&self) -> bool {
        let without_mailbox = TypeFlags::DELETED
            | TypeFlags::INTERMEDIATE
            | TypeFlags::RESERVED
            | TypeFlags::REMOTE
            | TypeFlags::MOVING;
        !self.mailbox_type.flags.intersects(without_mailbox)
    }

    /// Whether the entry only remembers that there was a mailbox.
    pub fn is_tombstone(&self) -> bool {
        self.mailbox_type.flags.contains(TypeFlags::DELETED)
    }

    /// Whether the name exists only because names below it do.
    pub fn is_intermediate(&self) -> bool {
        !self.is_tombstone() && self.mailbox_type.flags.contains(TypeFlags::INTERMEDIATE)
    }

    /// The entry that remembers this mailbox after it was renamed away (databases §9.6).
    pub(super) fn tombstone(&self, folder_modseq: ModSeq) -> MailboxEntry {
        MailboxEntry {
            mailbox_type: MailboxType {
                kind: self.mailbox_type.kind,
                flags: self.mailbox_type.flags | TypeFlags::DELETED,
            },
            partition: None,
            server: None,
            folder_modseq,
            acl: None,
            ..self.clone()
        }
    }

    pub(super) fn as_former_name(&self) -> FormerName {
        FormerName {
            name: self.name.clone(),
            mtime: self.mtime,
            uid_validity: self.uid_validity,
            created_modseq: self.created_modseq,
            folder_modseq: self.folder_modseq,
            mailbox_type: self.mailbox_type,
            partition: self.partition.clone(),
        }
    }
}

/// A name that a mailbox had before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormerName {
    /// The internal name.
    pub name: MailboxName,
    /// When it was given up.
    pub mtime: UnixTime,
    /// The UIDVALIDITY under that name.
    pub uid_validity: UidValidity,
    /// Modseq of the creation.
    pub created_modseq: ModSeq,
    /// Modseq of the rename.
    pub folder_modseq: ModSeq,
    /// The type of the tombstone.
    pub mailbox_type: MailboxType,
    /// The partition, if it was recorded.
    pub partition: Option<Partition>,
}

/// A value that is no entry of the mailbox list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The syntax is wrong.
    #[error(transparent)]
    Syntax(#[from] ParseError),
    /// A field is missing or wrong.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// A name is not legal.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The value is one of Cyrus 2.4 or older.
    #[error("entry in the text form of Cyrus 2.4")]
    TextForm,
    /// The entry has a JMAP id, which its `J` record would have to follow.
    #[error("entry with a JMAP id, written by a Cyrus later than 3.12")]
    JmapId,
}

/// The value of the `N` record.
pub(super) fn encode_name_record(entry: &MailboxEntry) -> Vec<u8> {
    let id = ("I", Value::text(entry.unique_id.as_str()));
    Value::KvList(common_pairs(entry, id)).to_bytes(LiteralStyle::Plain)
}

/// The value of the `I` record, with the former names, newest first.
pub(super) fn encode_id_record(
    entry: &MailboxEntry,
    history: &[FormerName],
    namespace: &Namespace,
) -> Vec<u8> {
    let name = ("N", Value::Text(namespace.db_name(&entry.name)));
    let mut pairs = common_pairs(entry, name);
    let history = history
        .iter()
        .map(|former| former_name_value(former, namespace))
        .collect();
    pairs.push(("H".to_owned(), Value::List(history)));
    Value::KvList(pairs).to_bytes(LiteralStyle::Plain)
}

fn common_pairs(entry: &MailboxEntry, identity: (&str, Value)) -> Vec<(String, Value)> {
    let partition = entry.partition.as_ref().map(Partition::as_str);
    let text = |text: Option<&str>| text.map(Value::text);
    let fields = [
        ("T", Some(Value::text(entry.mailbox_type.to_string()))),
        (identity.0, Some(identity.1)),
        ("P", text(partition)),
        ("S", text(entry.server.as_deref())),
        ("V", number(entry.uid_validity.0)),
        ("C", number(entry.created_modseq.0)),
        ("F", number(entry.folder_modseq.0)),
        ("M", Some(Value::number(entry.mtime.0))),
        ("A", entry.acl.as_ref().map(acl_value)),
    ];
    present(fields)
}

fn former_name_value(former: &FormerName, namespace: &Namespace) -> Value {
    let partition = former.partition.as_ref().map(Partition::as_str);
    Value::KvList(present([
        ("N", Some(Value::Text(namespace.db_name(&former.name)))),
        ("M", number(former.mtime.0)),
        ("V", number(former.uid_validity.0)),
        ("C", number(former.created_modseq.0)),
        ("F", number(former.folder_modseq.0)),
        ("T", Some(Value::text(former.mailbox_type.to_string()))),
        ("P", partition.map(Value::text)),
    ]))
}

/// Zero is left out.
fn number(number: impl Into<u64>) -> Option<Value> {
    Some(number.into())
        .filter(|number| *number != 0)
        .map(Value::number)
}

fn present<const N: usize>(fields: [(&str, Option<Value>); N]) -> Vec<(String, Value)> {
    fields
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect()
}

fn acl_value(acl: &Acl) -> Value {
    let pair = |entry: &AclEntry| (entry.identifier.clone(), Value::text(&entry.rights));
    Value::KvList(acl.entries().iter().map(pair).collect())
}

/// Reads the value of the `N` record of `name`.
pub(super) fn decode_name_record(
    name: MailboxName,
    value: &[u8],
) -> Result<MailboxEntry, RecordError> {
    let value = parse(value)?;
    let fields = value.fields()?;
    let id = fields.parsed("I", "unique id", UniqueId::parse)?;
    entry(name, id, fields)
}

/// Reads the value of the `I` record of `unique_id`.
pub(super) fn decode_id_record(
    unique_id: UniqueId,
    value: &[u8],
    namespace: &Namespace,
) -> Result<(MailboxEntry, Vec<FormerName>), RecordError> {
    let value = parse(value)?;
    let fields = value.fields()?;
    let name = namespace.from_db_name(fields.bytes("N")?)?;
    let history = match fields.get("H") {
        None => Vec::new(),
        Some(history) => history
            .as_list()
            .map_err(|problem| FieldError::new("H", problem))?
            .iter()
            .map(|former| former_name(former.fields()?, namespace))
            .collect::<Result<_, RecordError>>()?,
    };
    Ok((entry(name, unique_id, fields)?, history))
}

fn parse(value: &[u8]) -> Result<Value, RecordError> {
    if value.first() != Some(&b'%') {
        return Err(RecordError::TextForm);
    }
    Ok(dlist::parse_value(value)?)
}

fn entry(
    name: MailboxName,
    unique_id: UniqueId,
    fields: Fields<'_>,
) -> Result<MailboxEntry, RecordError> {
    if fields.get("J").is_some() {
        return Err(RecordError::JmapId);
    }
    Ok(MailboxEntry {
        name,
        unique_id,
        mailbox_type: mailbox_type(fields)?,
        partition: partition(fields)?,
        server: fields.optional_text("S")?.map(str::to_owned),
        uid_validity: UidValidity(number32(fields, "V")?),
        created_modseq: ModSeq(number64(fields, "C")?),
        folder_modseq: ModSeq(number64(fields, "F")?),
        mtime: UnixTime(number32(fields, "M")?),
        acl: Some(acl(fields)?),
    })
}

fn former_name(fields: Fields<'_>, namespace: &Namespace) -> Result<FormerName, RecordError> {
    Ok(FormerName {
        name: namespace.from_db_name(fields.bytes("N")?)?,
        mtime: UnixTime(number32(fields, "M")?),
        uid_validity: UidValidity(number32(fields, "V")?),
        created_modseq: ModSeq(number64(fields, "C")?),
        folder_modseq: ModSeq(number64(fields, "F")?),
        mailbox_type: mailbox_type(fields)?,
        partition: partition(fields)?,
    })
}

fn mailbox_type(fields: Fields<'_>) -> Result<MailboxType, FieldError> {
    let text = fields.optional_text("T")?.unwrap_or_default();
    MailboxType::parse(text)
        .map_err(|_| FieldError::new("T", FieldProblem::NotAllowed("mailbox type")))
}

fn partition(fields: Fields<'_>) -> Result<Option<Partition>, FieldError> {
    fields
        .optional_text("P")?
        .map(Partition::parse)
        .transpose()
        .map_err(|_| FieldError::new("P", FieldProblem::NotAllowed("partition")))
}

fn acl(fields: Fields<'_>) -> Result<Acl, FieldError> {
    if matches!(fields.get("A"), None | Some(Value::Nil)) {
        return Ok(Acl::default());
    }
    let rights = |(identifier, value): &(String, Value)| {
        Ok(AclEntry {
            identifier: identifier.clone(),
            rights: value.as_text()?.to_owned(),
        })
    };
    let pairs = fields.fields("A")?.pairs();
    let entries: Result<Vec<AclEntry>, FieldProblem> = pairs.iter().map(rights).collect();
    let entries = entries.map_err(|problem| FieldError::new("A", problem))?;
    Ok(Acl::from_entries(entries))
}

fn number32(fields: Fields<'_>, key: &str) -> Result<u32, FieldError> {
    Ok(fields.optional_number32(key)?.unwrap_or_default())
}

fn number64(fields: Fields<'_>, key: &str) -> Result<u64, FieldError> {
    Ok(fields.optional_number(key)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> MailboxName {
        MailboxName::parse(text).unwrap()
    }

    fn id(text: &str) -> UniqueId {
        UniqueId::parse(text).unwrap()
    }

    /// The values of databases §9.2.
    #[test]
    fn name_records_of_the_original() {
        let value = b"%(T e I 3ebx1jtiouppvysltsj6xo4v P default V 1733000000 C 1 F 4 \
            M 1733000123 A %(alice lrswipkxtecdan anyone lr))";
        let entry = decode_name_record(name("user.alice"), value).unwrap();
        assert_eq!(entry.unique_id, id("3ebx1jtiouppvysltsj6xo4v"));
        assert_eq!(entry.folder_modseq, ModSeq(4));
        assert_eq!(
            entry.acl.as_ref().unwrap().to_string(),
            "alice\tlrswipkxtecdan\tanyone\tlr\t"
        );
        assert!(entry.is_real());
        assert_eq!(encode_name_record(&entry), value);

        let tombstone = b"%(T ed I 3ebx1jtiouppvysltsj6xo4v V 1733000000 C 1 F 9 M 1733000555)";
        let mut entry = decode_name_record(name("user.alice.x"), tombstone).unwrap();
        assert!(entry.is_tombstone() && !entry.is_real() && !entry.is_intermediate());
        assert_eq!(entry.acl, Some(Acl::default()));
        entry.acl = None;
        assert_eq!(encode_name_record(&entry), tombstone);
    }

    #[test]
    fn id_records_of_the_original() {
        let namespace = Namespace::default();
        let value = b"%(T e N user\x1falice\x1fNew P default V 1795330975 C 1 F 7 M 1795330975 \
            A %(alice lrswipkxtecdan) H (%(N user\x1falice\x1fOld M 1795330975 V 1795330975 \
            C 1 F 7 T ed)))";
        let (entry, history) = decode_id_record(id("aa"), value, &namespace).unwrap();
        assert_eq!(entry.name, name("user.alice.New"));
        assert_eq!(history.len(), 1);
        assert_eq!(history[0].name, name("user.alice.Old"));
        assert_eq!(history[0].mailbox_type.to_string(), "ed");
        assert_eq!(encode_id_record(&entry, &history, &namespace), value);

        let virtual_domains = Namespace {
            virtual_domains: true,
            ..Namespace::default()
        };
        let value = b"%(T el N \"example.com\x1duser\x1falice\" P default V 1795333411 C 1 F 3 \
            M 1795333411 A %(alice@example.com lrswipkxtecdan bob@example.com lr) H ())";
        let (entry, history) = decode_id_record(id("aa"), value, &virtual_domains).unwrap();
        assert_eq!(entry.name, name("example.com!user.alice"));
        assert!(entry.mailbox_type.flags.contains(TypeFlags::LEGACY_LAYOUT));
        assert_eq!(encode_id_record(&entry, &history, &virtual_domains), value);
    }

    #[test]
    fn older_and_newer_values() {
        let old = b"%(A %(alice lr) I 3ebx1jtiouppvysltsj6xo4v P default V 5 M 9)";
        let entry = decode_name_record(name("user.alice"), old).unwrap();
        assert_eq!(entry.mailbox_type, MailboxType::default());
        let unknown = b"%(T e I 3ebx1jtiouppvysltsj6xo4v X (1 2) M 9)";
        assert!(decode_name_record(name("user.alice"), unknown).is_ok());
        assert_eq!(
            decode_name_record(name("user.a"), b"0 default alice\tlr\t"),
            Err(RecordError::TextForm)
        );
        assert_eq!(
            decode_name_record(name("user.a"), b"%(T e I aaa J NIL M 9)"),
            Err(RecordError::JmapId)
        );
        for bad in [
            &b"%(T e M 9)"[..],
            b"%(T q I aa M 9)",
            b"%(T e I aa M 9) ",
            b"%(T e I aa V x)",
            b"%(T e I aa P ../x)",
            b"%(T e I aa A (a b))",
        ] {
            assert!(
                decode_name_record(name("user.a"), bad).is_err(),
                "{}",
                bad.escape_ascii()
            );
        }
    }

    #[test]
    fn a_tombstone_keeps_type_and_id() {
        let value = b"%(T fl I 3ebx1jtiouppvysltsj6xo4v P default V 5 C 1 F 4 M 6 A %(a lr))";
        let entry = decode_name_record(name("user.a"), value).unwrap();
        assert_eq!(
            encode_name_record(&entry.tombstone(ModSeq(9))),
            b"%(T fdl I 3ebx1jtiouppvysltsj6xo4v V 5 C 1 F 9 M 6)"
        );
    }

    proptest! {
        #[test]
        fn records_round_trip(
            kind in "[enbcaspf]d?i?l?",
            partition in proptest::option::of("[a-z0-9]{1,20}"),
            server in proptest::option::of("[a-z.]{1,20}"),
            numbers: (u32, u64, u64, u32),
            acl in proptest::option::of(proptest::collection::vec(("-?[!-~ ]{1,10}", "[lrswipkxtecdan0-9]{0,14}"), 0..4)),
            former in proptest::collection::vec(("[a-zA-Z0-9 ^]{1,12}", any::<u32>()), 0..4),
        ) {
            let entry = MailboxEntry {
                name: name("user.john^doe.Sub"),
                unique_id: id("3ebx1jtiouppvysltsj6xo4v"),
                mailbox_type: MailboxType::parse(&kind).unwrap(),
                partition: partition.map(|text| Partition::parse(&text).unwrap()),
                server,
                uid_validity: UidValidity(numbers.0),
                created_modseq: ModSeq(numbers.1),
                folder_modseq: ModSeq(numbers.2),
                mtime: UnixTime(numbers.3),
                acl: acl.map(|acl| Acl::from_entries(
                    acl.into_iter().map(|(identifier, rights)| AclEntry { identifier, rights }).collect(),
                )),
            };
            let history: Vec<FormerName> = former
                .into_iter()
                .map(|(text, number)| FormerName {
                    name: name(&format!("user.a.{text}")),
                    mtime: UnixTime(number),
                    uid_validity: UidValidity(number),
                    created_modseq: ModSeq(1),
                    folder_modseq: ModSeq(0),
                    mailbox_type: MailboxType::parse("ed").unwrap(),
                    partition: None,
                })
                .collect();
            let namespace = Namespace::default();
            let read = MailboxEntry { acl: Some(entry.acl.clone().unwrap_or_default()), ..entry.clone() };
            prop_assert_eq!(
                decode_name_record(entry.name.clone(), &encode_name_record(&entry)).unwrap(),
                read.clone()
            );
            let octets = encode_id_record(&entry, &history, &namespace);
            let decoded = decode_id_record(entry.unique_id.clone(), &octets, &namespace).unwrap();
            prop_assert_eq!(decoded, (read, history));
        }
    }
}
