//! Message records (commands §1.2): the elements of a RECORD list.

mod decode;

pub(super) use decode::{RecordDecoder, wrap_date};

use std::fmt;

use crate::dlist::{LiteralStyle, write_flag, write_guid, write_number, write_text};
use crate::mail::{
    Annotation, ConversationId, FlagName, Guid, ModSeq, SYSTEM_FLAG_NAMES, SystemFlags, Uid,
    UnixTime,
};
use crate::protocol::greeting::RECORDS;

/// The index record of one message, as it travels.
///
/// A line may hold hundreds of thousands, so this is compact: user flags are bits whose names
/// stand in the [`FlagTable`] of the list, and the annotations that accompany every message
/// (commands §1.3, "pseudo annotations") are fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// UID of the message.
    pub uid: Uid,
    /// Modseq of the record's last change.
    pub modseq: ModSeq,
    /// Time of the record's last change.
    pub last_updated: UnixTime,
    /// System flags; `\Seen` is the owner's.
    pub system_flags: SystemFlags,
    /// `\Expunged`: only the record remains.
    pub expunged: bool,
    /// User flags, by their number in the list's [`FlagTable`].
    pub user_flags: UserFlags,
    /// IMAP INTERNALDATE.
    pub internal_date: UnixTime,
    /// Octets of the message file, as the sender knows them.
    pub size: u32,
    /// SHA-1 of the message file.
    pub guid: Guid,
    /// Conversation; 0 = not given.
    pub thread: ConversationId,
    /// Time the message came into this mailbox; 0 = not given.
    pub save_date: UnixTime,
    /// Modseq at which the message came into this mailbox; 0 = not given.
    pub created_modseq: ModSeq,
    /// All other annotations.
    pub annotations: Box<[Annotation]>,
}

/// Entry of the pseudo annotation that carries [`Record::thread`].
pub const THREAD_ENTRY: &str = "/vendor/cmu/cyrus-imapd/thrid";
/// Entry of the pseudo annotation that carries [`Record::save_date`].
pub const SAVE_DATE_ENTRY: &str = "/vendor/cmu/cyrus-imapd/savedate";
/// Entry of the pseudo annotation that carries [`Record::created_modseq`].
pub const CREATED_MODSEQ_ENTRY: &str = "/vendor/cmu/cyrus-imapd/createdmodseq";

/// A set of user flags: bit n stands for flag n of the [`FlagTable`].
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct UserFlags([u64; 2]);

impl UserFlags {
    /// Adds flag `number`; numbers from [`FlagTable::CAPACITY`] on are ignored.
    pub fn insert(&mut self, number: usize) {
        if let Some(word) = self.0.get_mut(number / 64) {
            *word |= 1 << (number % 64);
        }
    }

    /// Whether flag `number` is in the set.
    pub fn contains(self, number: usize) -> bool {
        self.0
            .get(number / 64)
            .is_some_and(|word| word & (1 << (number % 64)) != 0)
    }

    /// The numbers in the set, ascending.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        let UserFlags([low, high]) = self;
        let mut rest = u128::from(high) << 64 | u128::from(low);
        std::iter::from_fn(move || {
            let number = rest.trailing_zeros();
            rest &= rest.checked_sub(1)?;
            Some(number as usize)
        })
    }

    /// Whether no flag is in the set.
    pub fn is_empty(self) -> bool {
        self.0 == [0, 0]
    }
}

impl fmt::Debug for UserFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl FromIterator<usize> for UserFlags {
    fn from_iter<I: IntoIterator<Item = usize>>(numbers: I) -> UserFlags {
        let mut flags = UserFlags::default();
        numbers.into_iter().for_each(|number| flags.insert(number));
        flags
    }
}

/// The names of the user flags that a list of records uses. A list that was read numbers them
/// by first occurrence; one that is written, in mailbox order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlagTable(Vec<FlagName>);

impl FlagTable {
    /// User flags that one mailbox can have (mailbox-format §2.5).
    pub const CAPACITY: usize = 128;

    /// The number of a flag, which is added if it is new; `None` if the table is full.
    pub fn number(&mut self, name: &str) -> Result<Option<usize>, crate::mail::FlagNameError> {
        let known = |flag: &FlagName| flag.as_str().eq_ignore_ascii_case(name);
        if let Some(number) = self.0.iter().position(known) {
            return Ok(Some(number));
        }
        let name = FlagName::parse(name)?;
        if self.0.len() >= FlagTable::CAPACITY {
            return Ok(None);
        }
        self.0.push(name);
        Ok(Some(self.0.len() - 1))
    }

    /// The name of flag `number`.
    pub fn name(&self, number: usize) -> Option<&FlagName> {
        self.0.get(number)
    }

    /// All names in order.
    pub fn names(&self) -> &[FlagName] {
        &self.0
    }

    /// The names of a set, in order.
    pub fn of(&self, flags: UserFlags) -> impl Iterator<Item = &FlagName> {
        flags.iter().filter_map(|number| self.name(number))
    }
}

impl From<Vec<FlagName>> for FlagTable {
    fn from(names: Vec<FlagName>) -> FlagTable {
        FlagTable(names)
    }
}

/// A RECORD list: records ascending by UID.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordList {
    /// The user flags that the records use.
    pub flags: FlagTable,
    /// The records.
    pub records: Vec<Record>,
}

/// How the records of a list are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordForm {
    /// Each value behind its key, as the original writes and reads them.
    Pairs,
    /// The values alone, in a fixed order (docs/protocol-extensions.md, X-RECORDS).
    Compact,
}

impl RecordForm {
    /// The key of the list in a MAILBOX item.
    pub(super) fn list_key(self) -> &'static str {
        match self {
            RecordForm::Pairs => "RECORD",
            RecordForm::Compact => RECORDS,
        }
    }

    /// The form of the list behind a key; `None` if the key has another meaning.
    pub(super) fn of_list_key(key: &[u8]) -> Option<RecordForm> {
        [RecordForm::Pairs, RecordForm::Compact]
            .into_iter()
            .find(|form| key == form.list_key().as_bytes())
    }
}

/// Appends one record as an element of a list in this form.
pub fn write_record(
    out: &mut Vec<u8>,
    record: &Record,
    flags: &FlagTable,
    form: RecordForm,
    style: LiteralStyle,
) {
    match form {
        RecordForm::Pairs => write_pairs(out, record, flags, style),
        RecordForm::Compact => write_compact(out, record, flags, style),
    }
}

fn write_pairs(out: &mut Vec<u8>, record: &Record, flags: &FlagTable, style: LiteralStyle) {
    out.extend_from_slice(b"%(UID ");
    write_number(out, u64::from(record.uid.0));
    out.extend_from_slice(b" MODSEQ ");
    write_number(out, record.modseq.0);
    out.extend_from_slice(b" LAST_UPDATED ");
    write_number(out, u64::from(record.last_updated.0));
    out.extend_from_slice(b" FLAGS (");
    write_flags(out, record, flags);
    out.extend_from_slice(b") INTERNALDATE ");
    write_number(out, u64::from(record.internal_date.0));
    out.extend_from_slice(b" SIZE ");
    write_number(out, u64::from(record.size));
    out.extend_from_slice(b" GUID ");
    write_guid(out, &record.guid);
    write_record_annotations(out, record, style);
    out.push(b')');
}

fn write_compact(out: &mut Vec<u8>, record: &Record, flags: &FlagTable, style: LiteralStyle) {
    out.push(b'(');
    for number in [
        u64::from(record.uid.0),
        record.modseq.0,
        u64::from(record.last_updated.0),
        u64::from(record.internal_date.0),
        u64::from(record.size),
    ] {
        write_number(out, number);
        out.push(b' ');
    }
    write_guid(out, &record.guid);
    for number in [
        record.thread.0,
        u64::from(record.save_date.0),
        record.created_modseq.0,
    ] {
        out.push(b' ');
        write_number(out, number);
    }
    for name in flag_names(record, flags) {
        out.push(b' ');
        write_flag(out, name.as_bytes());
    }
    for annotation in in_wire_order(&record.annotations) {
        out.extend_from_slice(b" (");
        write_text(out, annotation.entry.as_bytes(), style);
        out.push(b' ');
        write_text(out, annotation.user.as_bytes(), style);
        out.push(b' ');
        write_number(out, annotation.modseq.0);
        out.push(b' ');
        write_text(out, &annotation.value, style);
        out.push(b')');
    }
    out.push(b')');
}

fn write_flags(out: &mut Vec<u8>, record: &Record, flags: &FlagTable) {
    for (index, name) in flag_names(record, flags).enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        write_flag(out, name.as_bytes());
    }
}

/// The flags in the order of commands §1.2: `\Expunged` between `\Draft` and `\Seen`.
fn flag_names<'a>(record: &Record, flags: &'a FlagTable) -> impl Iterator<Item = &'a str> {
    let &Record {
        system_flags,
        expunged,
        user_flags,
        ..
    } = record;
    let system = SYSTEM_FLAG_NAMES.into_iter().flat_map(move |(flag, name)| {
        let before = (flag == SystemFlags::SEEN && expunged).then_some("\\Expunged");
        let set = system_flags.contains(flag).then_some(name);
        before.into_iter().chain(set)
    });
    system.chain(flags.of(user_flags).map(FlagName::as_str))
}

fn write_record_annotations(out: &mut Vec<u8>, record: &Record, style: LiteralStyle) {
    let mut pseudo = Vec::new();
    if record.thread.0 != 0 {
        pseudo.push((THREAD_ENTRY, record.thread.to_wire()));
    }
    if record.save_date.0 != 0 {
        pseudo.push((SAVE_DATE_ENTRY, record.save_date.to_string()));
    }
    if record.created_modseq.0 != 0 {
        pseudo.push((CREATED_MODSEQ_ENTRY, record.created_modseq.to_string()));
    }
    if pseudo.is_empty() && record.annotations.is_empty() {
        return;
    }
    out.extend_from_slice(b" ANNOTATIONS (");
    write_annotations(out, &record.annotations, style);
    for (entry, value) in pseudo {
        if !out.ends_with(b"(") {
            out.push(b' ');
        }
        write_annotation(out, entry, "", ModSeq(0), value.as_bytes(), style);
    }
    out.push(b')');
}

/// Appends annotations in wire order, by entry and user, separated by spaces.
pub(super) fn write_annotations(
    out: &mut Vec<u8>,
    annotations: &[Annotation],
    style: LiteralStyle,
) {
    for (index, annotation) in in_wire_order(annotations).into_iter().enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        let Annotation {
            entry,
            user,
            modseq,
            value,
        } = annotation;
        write_annotation(out, entry, user, *modseq, value, style);
    }
}

/// Sorted by entry and user.
fn in_wire_order(annotations: &[Annotation]) -> Vec<&Annotation> {
    let mut sorted: Vec<&Annotation> = annotations.iter().collect();
    sorted.sort_by(|a, b| (&a.entry, &a.user).cmp(&(&b.entry, &b.user)));
    sorted
}

fn write_annotation(
    out: &mut Vec<u8>,
    entry: &str,
    user: &str,
    modseq: ModSeq,
    value: &[u8],
    style: LiteralStyle,
) {
    out.extend_from_slice(b"%(ENTRY ");
    write_text(out, entry.as_bytes(), style);
    out.extend_from_slice(b" USERID ");
    write_text(out, user.as_bytes(), style);
    out.extend_from_slice(b" MODSEQ ");
    write_number(out, modseq.0);
    out.extend_from_slice(b" VALUE ");
    write_text(out, value, style);
    out.push(b')');
}

#[cfg(test)]
mod tests;
