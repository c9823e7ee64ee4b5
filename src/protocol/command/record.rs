//! Message records (commands §1.2): the elements of a RECORD list.

use std::fmt;

use super::error::{DecodeError, RecordProblem};
use crate::dlist::{
    Event, FieldProblem, LiteralStyle, parse_number, write_flag, write_guid, write_number,
    write_text,
};
use crate::mail::{
    Annotation, ConversationId, FlagName, Guid, ModSeq, SYSTEM_FLAG_NAMES, SystemFlags, Uid,
    UnixTime,
};

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
        (0..FlagTable::CAPACITY).filter(move |number| self.contains(*number))
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

/// Appends one record as an element of a RECORD list.
pub fn write_record(out: &mut Vec<u8>, record: &Record, flags: &FlagTable, style: LiteralStyle) {
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

/// The flags in the order of commands §1.2: `\Expunged` between `\Draft` and `\Seen`.
fn write_flags(out: &mut Vec<u8>, record: &Record, flags: &FlagTable) {
    let mut first = true;
    let mut write = |name: &str| {
        if !first {
            out.push(b' ');
        }
        first = false;
        write_flag(out, name.as_bytes());
    };
    for (flag, name) in SYSTEM_FLAG_NAMES {
        if flag == SystemFlags::SEEN && record.expunged {
            write("\\Expunged");
        }
        if record.system_flags.contains(flag) {
            write(name);
        }
    }
    flags
        .of(record.user_flags)
        .for_each(|name| write(name.as_str()));
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
    let mut sorted: Vec<&Annotation> = annotations.iter().collect();
    sorted.sort_by(|a, b| (&a.entry, &a.user).cmp(&(&b.entry, &b.user)));
    for (index, annotation) in sorted.into_iter().enumerate() {
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

/// Turns the events of a RECORD list into records, one at a time as they close. The first
/// error is kept and the rest of the list passes by.
#[derive(Debug, Default)]
pub(super) struct RecordDecoder {
    list: RecordList,
    level: Level,
    /// Brackets open inside something that is of no interest.
    ignored: usize,
    record: PartialRecord,
    annotation: PartialAnnotation,
    error: Option<DecodeError>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Level {
    #[default]
    List,
    Record,
    Flags,
    Annotations,
    Annotation,
}

#[derive(Debug, Default)]
struct PartialRecord {
    key: Key,
    seen: u16,
    value: Record,
    annotations: Vec<Annotation>,
}

/// Its strings are used again and again: most annotations are pseudo ones and leave nothing.
#[derive(Debug, Default)]
struct PartialAnnotation {
    key: Key,
    seen: u16,
    entry: String,
    user: String,
    modseq: ModSeq,
    value: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Key {
    #[default]
    Unknown,
    Uid,
    ModSeq,
    LastUpdated,
    Flags,
    InternalDate,
    Size,
    Guid,
    Annotations,
    Entry,
    UserId,
    Value,
}

/// The keys that every annotation must have.
const ANNOTATION_KEYS: [Key; 4] = [Key::Entry, Key::UserId, Key::ModSeq, Key::Value];

/// The keys that every record must have.
const MANDATORY: [Key; 7] = [
    Key::Uid,
    Key::ModSeq,
    Key::LastUpdated,
    Key::Flags,
    Key::InternalDate,
    Key::Size,
    Key::Guid,
];

impl Key {
    fn of(name: &[u8]) -> Key {
        match name {
            b"UID" => Key::Uid,
            b"MODSEQ" => Key::ModSeq,
            b"LAST_UPDATED" => Key::LastUpdated,
            b"FLAGS" => Key::Flags,
            b"INTERNALDATE" => Key::InternalDate,
            b"SIZE" => Key::Size,
            b"GUID" => Key::Guid,
            b"ANNOTATIONS" => Key::Annotations,
            b"ENTRY" => Key::Entry,
            b"USERID" => Key::UserId,
            b"VALUE" => Key::Value,
            _ => Key::Unknown,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Key::Unknown => "",
            Key::Uid => "UID",
            Key::ModSeq => "MODSEQ",
            Key::LastUpdated => "LAST_UPDATED",
            Key::Flags => "FLAGS",
            Key::InternalDate => "INTERNALDATE",
            Key::Size => "SIZE",
            Key::Guid => "GUID",
            Key::Annotations => "ANNOTATIONS",
            Key::Entry => "ENTRY",
            Key::UserId => "USERID",
            Key::Value => "VALUE",
        }
    }

    fn bit(self) -> u16 {
        1 << (self as u16)
    }
}

impl RecordDecoder {
    /// Takes one event from inside the list; true if it closed the list.
    pub(super) fn event(&mut self, event: &Event<'_>) -> bool {
        if self.ignored > 0 {
            match event {
                Event::ListStart | Event::KvListStart => self.ignored += 1,
                Event::End => self.ignored -= 1,
                _ => {}
            }
            return false;
        }
        match self.level {
            Level::List => return self.in_list(event),
            Level::Record => self.in_record(event),
            Level::Flags => self.in_flags(event),
            Level::Annotations => self.in_annotations(event),
            Level::Annotation => self.in_annotation(event),
        }
        false
    }

    /// A decoder of something that is no list: it only waits for its end.
    pub(super) fn failed(error: DecodeError) -> RecordDecoder {
        RecordDecoder {
            error: Some(error),
            ..RecordDecoder::default()
        }
    }

    /// The records, after the list was closed.
    pub(super) fn finish(self) -> Result<RecordList, DecodeError> {
        self.error.map_or(Ok(self.list), Err)
    }

    fn fail(&mut self, problem: RecordProblem) {
        if self.error.is_none() {
            self.error = Some(DecodeError::Record {
                index: self.list.records.len(),
                uid: self.record.value.uid,
                problem,
            });
        }
    }

    fn field_fails(&mut self, key: Key, problem: FieldProblem) {
        self.fail(RecordProblem::Field {
            key: key.name(),
            problem,
        });
    }

    fn annotation_fails(&mut self, key: Key, problem: FieldProblem) {
        self.fail(RecordProblem::Annotation {
            key: key.name(),
            problem,
        });
    }

    fn in_list(&mut self, event: &Event<'_>) -> bool {
        match event {
            Event::KvListStart => {
                self.record = PartialRecord::default();
                self.level = Level::Record;
            }
            Event::End => return true,
            Event::ListStart => {
                self.ignored = 1;
                self.field_fails(Key::Uid, FieldProblem::Missing);
            }
            Event::Nil | Event::Text(_) | Event::Flag(_) | Event::FileStart(_) => {
                self.field_fails(Key::Uid, FieldProblem::Missing);
            }
            Event::Key(_) | Event::FileData(_) | Event::FileEnd => {}
        }
        false
    }

    fn in_record(&mut self, event: &Event<'_>) {
        match event {
            Event::Key(name) => {
                let key = Key::of(name);
                // The first occurrence of a key counts.
                self.record.key = if self.record.seen & key.bit() == 0 {
                    key
                } else {
                    Key::Unknown
                };
            }
            Event::Text(text) => self.scalar(text),
            Event::ListStart if self.record.key == Key::Flags => {
                self.record.seen |= Key::Flags.bit();
                self.level = Level::Flags;
            }
            Event::ListStart if self.record.key == Key::Annotations => {
                self.record.seen |= Key::Annotations.bit();
                self.level = Level::Annotations;
            }
            Event::ListStart | Event::KvListStart => self.ignored = 1,
            Event::End => {
                self.level = Level::List;
                self.record_ends();
            }
            Event::Nil
            | Event::Flag(_)
            | Event::FileStart(_)
            | Event::FileData(_)
            | Event::FileEnd => {}
        }
    }

    fn scalar(&mut self, text: &[u8]) {
        let key = self.record.key;
        let number32 = || parse_number(text).and_then(|number| u32::try_from(number).ok());
        let record = &mut self.record.value;
        let read = match key {
            Key::Uid => number32().map(|number| record.uid = Uid(number)),
            Key::ModSeq => parse_number(text).map(|number| record.modseq = ModSeq(number)),
            Key::LastUpdated => date(text).map(|time| record.last_updated = time),
            Key::InternalDate => date(text).map(|time| record.internal_date = time),
            Key::Size => number32().map(|number| record.size = number),
            Key::Guid => guid(text).map(|guid| record.guid = guid),
            // A string where a list is expected is an empty list (wire-protocol §8).
            Key::Flags | Key::Annotations => Some(()),
            Key::Unknown | Key::Entry | Key::UserId | Key::Value => return,
        };
        if read.is_none() {
            let problem = if key == Key::Guid {
                FieldProblem::NotGuid
            } else {
                FieldProblem::NotNumber
            };
            self.field_fails(key, problem);
        }
        self.record.seen |= key.bit();
    }

    fn record_ends(&mut self) {
        let seen = self.record.seen;
        if let Some(missing) = MANDATORY.iter().find(|key| seen & key.bit() == 0) {
            self.field_fails(*missing, FieldProblem::Missing);
        }
        let uid = self.record.value.uid;
        let last = self.list.records.last().map_or(Uid(0), |record| record.uid);
        if uid <= last {
            self.fail(RecordProblem::NotAscending { after: last });
        }
        if self.error.is_some() {
            self.list = RecordList::default();
            return;
        }
        let mut record = std::mem::take(&mut self.record.value);
        record.annotations = std::mem::take(&mut self.record.annotations).into();
        self.list.records.push(record);
    }

    fn in_flags(&mut self, event: &Event<'_>) {
        match event {
            Event::Text(name) | Event::Flag(name) => self.flag(name),
            Event::ListStart | Event::KvListStart => self.ignored = 1,
            Event::End => self.level = Level::Record,
            _ => {}
        }
    }

    fn flag(&mut self, name: &[u8]) {
        if name.starts_with(b"\\") {
            let record = &mut self.record.value;
            if name.eq_ignore_ascii_case(b"\\Expunged") {
                record.expunged = true;
            }
            let known = SYSTEM_FLAG_NAMES
                .iter()
                .find(|(_, known)| name.eq_ignore_ascii_case(known.as_bytes()));
            if let Some((flag, _)) = known {
                record.system_flags |= *flag;
            }
            return;
        }
        let text = String::from_utf8_lossy(name);
        match self.list.flags.number(&text) {
            Ok(Some(number)) => self.record.value.user_flags.insert(number),
            Ok(None) => self.fail(RecordProblem::TooManyFlags),
            Err(_) => self.fail(RecordProblem::IllegalFlag {
                name: text.into_owned(),
            }),
        }
    }

    fn in_annotations(&mut self, event: &Event<'_>) {
        match event {
            Event::KvListStart => {
                self.annotation.key = Key::Unknown;
                self.annotation.seen = 0;
                self.level = Level::Annotation;
            }
            Event::End => self.level = Level::Record,
            Event::ListStart => {
                self.ignored = 1;
                self.annotation_fails(Key::Entry, FieldProblem::Missing);
            }
            Event::Nil | Event::Text(_) | Event::Flag(_) | Event::FileStart(_) => {
                self.annotation_fails(Key::Entry, FieldProblem::Missing);
            }
            Event::Key(_) | Event::FileData(_) | Event::FileEnd => {}
        }
    }

    fn in_annotation(&mut self, event: &Event<'_>) {
        match event {
            Event::Key(name) => self.annotation.key = Key::of(name),
            Event::Text(text) | Event::Flag(text) => self.annotation_field(text),
            // An empty value may be written so.
            Event::Nil if self.annotation.key == Key::Value => self.annotation_field(b""),
            Event::ListStart | Event::KvListStart => self.ignored = 1,
            Event::End => {
                self.level = Level::Annotations;
                self.annotation_ends();
            }
            _ => {}
        }
    }

    fn annotation_field(&mut self, text: &[u8]) {
        let annotation = &mut self.annotation;
        let key = annotation.key;
        if annotation.seen & key.bit() != 0 {
            return;
        }
        annotation.seen |= key.bit();
        let read = match key {
            Key::Entry => keep_text(&mut annotation.entry, text),
            Key::UserId => keep_text(&mut annotation.user, text),
            Key::ModSeq => match parse_number(text) {
                Some(number) => {
                    annotation.modseq = ModSeq(number);
                    Ok(())
                }
                None => Err(FieldProblem::NotNumber),
            },
            Key::Value => {
                annotation.value.clear();
                annotation.value.extend_from_slice(text);
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(problem) = read {
            self.annotation_fails(key, problem);
        }
    }

    fn annotation_ends(&mut self) {
        let seen = self.annotation.seen;
        if let Some(missing) = ANNOTATION_KEYS.iter().find(|key| seen & key.bit() == 0) {
            self.annotation_fails(*missing, FieldProblem::Missing);
        } else if !(self.annotation.user.is_empty() && self.pseudo_annotation()) {
            self.record.annotations.push(Annotation {
                entry: std::mem::take(&mut self.annotation.entry),
                user: std::mem::take(&mut self.annotation.user),
                modseq: self.annotation.modseq,
                value: std::mem::take(&mut self.annotation.value),
            });
        }
    }

    /// Takes an annotation that is a field of the record; false if it is an ordinary one.
    fn pseudo_annotation(&mut self) -> bool {
        let value = self.annotation.value.as_slice();
        let record = &mut self.record.value;
        let read = match self.annotation.entry.as_str() {
            THREAD_ENTRY => hexadecimal(value).map(|id| record.thread = ConversationId(id)),
            SAVE_DATE_ENTRY => date(value).map(|time| record.save_date = time),
            CREATED_MODSEQ_ENTRY => {
                parse_number(value).map(|number| record.created_modseq = ModSeq(number))
            }
            _ => return false,
        };
        if read.is_none() {
            self.annotation_fails(Key::Value, FieldProblem::NotNumber);
        }
        true
    }
}

/// Replaces the contents of `kept`.
fn keep_text(kept: &mut String, octets: &[u8]) -> Result<(), FieldProblem> {
    let text = std::str::from_utf8(octets).map_err(|_| FieldProblem::NotText)?;
    if text.contains('\0') {
        return Err(FieldProblem::NotText);
    }
    kept.clear();
    kept.push_str(text);
    Ok(())
}

/// A date; the original and its files keep the lower 32 bits (wire-protocol §8).
pub(super) fn date(text: &[u8]) -> Option<UnixTime> {
    parse_number(text).map(wrap_date)
}

/// The lower 32 bits of a date.
pub(super) fn wrap_date(seconds: u64) -> UnixTime {
    UnixTime(seconds as u32)
}

fn guid(text: &[u8]) -> Option<Guid> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn hexadecimal(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let digits = (1..=16).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    u64::from_str_radix(text, 16).ok().filter(|_| digits)
}

#[cfg(test)]
mod tests;
