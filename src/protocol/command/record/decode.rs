//! Reading records while they arrive.

mod compact;

use super::super::error::{DecodeError, RecordProblem};
use super::{
    CREATED_MODSEQ_ENTRY, FlagTable, Record, RecordForm, RecordList, SAVE_DATE_ENTRY, THREAD_ENTRY,
};
use crate::dlist::{Event, FieldProblem, parse_number};
use crate::mail::{Annotation, ConversationId, Guid, ModSeq, SYSTEM_FLAG_NAMES, Uid, UnixTime};

/// Turns the events of a list of records into records, one at a time as they close. The first
/// error is kept and the rest of the list passes by.
#[derive(Debug)]
pub(in crate::protocol::command) struct RecordDecoder {
    form: RecordForm,
    list: RecordList,
    /// Records so far, also those that were taken out.
    count: usize,
    last_uid: Uid,
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
    /// Values so far, if they have no keys.
    place: usize,
    value: Record,
    annotations: Vec<Annotation>,
}

/// Its strings are used again and again: most annotations are pseudo ones and leave nothing.
#[derive(Debug, Default)]
struct PartialAnnotation {
    key: Key,
    seen: u16,
    /// Values so far, if they have no keys.
    place: usize,
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
    Thread,
    SaveDate,
    CreatedModSeq,
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
            Key::Thread => "THRID",
            Key::SaveDate => "SAVEDATE",
            Key::CreatedModSeq => "CREATEDMODSEQ",
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
    /// A decoder of a list whose records have this form.
    pub(in crate::protocol::command) fn new(form: RecordForm) -> RecordDecoder {
        RecordDecoder {
            form,
            list: RecordList::default(),
            count: 0,
            last_uid: Uid(0),
            level: Level::default(),
            ignored: 0,
            record: PartialRecord::default(),
            annotation: PartialAnnotation::default(),
            error: None,
        }
    }

    /// Takes one event from inside the list; true if it closed the list.
    pub(in crate::protocol::command) fn event(&mut self, event: &Event<'_>) -> bool {
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
            Level::Record if self.form == RecordForm::Compact => self.in_compact_record(event),
            Level::Record => self.in_record(event),
            Level::Flags => self.in_flags(event),
            Level::Annotations => self.in_annotations(event),
            Level::Annotation => {
                if self.form == RecordForm::Compact {
                    self.next_place_of_annotation(event);
                }
                self.in_annotation(event);
            }
        }
        false
    }

    /// Takes out a record that was kept, and shows the flags so far. Asked for after each event it
    /// gives all records in their order.
    pub(in crate::protocol::command) fn take_record(&mut self) -> Option<(Record, &FlagTable)> {
        let record = self.list.records.pop()?;
        Some((record, &self.list.flags))
    }

    /// A decoder of something that is no list: it only waits for its end.
    pub(in crate::protocol::command) fn failed(error: DecodeError) -> RecordDecoder {
        RecordDecoder {
            error: Some(error),
            ..RecordDecoder::new(RecordForm::Pairs)
        }
    }

    /// The records, after the list was closed.
    pub(in crate::protocol::command) fn finish(self) -> Result<RecordList, DecodeError> {
        self.error.map_or(Ok(self.list), Err)
    }

    fn fail(&mut self, problem: RecordProblem) {
        if self.error.is_none() {
            self.error = Some(DecodeError::Record {
                index: self.count,
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
        match (event, self.form) {
            (Event::KvListStart, RecordForm::Pairs) | (Event::ListStart, RecordForm::Compact) => {
                self.record = PartialRecord::default();
                self.level = Level::Record;
            }
            (Event::End, _) => return true,
            (Event::ListStart | Event::KvListStart, _) => {
                self.ignored = 1;
                self.field_fails(Key::Uid, FieldProblem::Missing);
            }
            (Event::Nil | Event::Text(_) | Event::Flag(_) | Event::FileStart(_), _) => {
                self.field_fails(Key::Uid, FieldProblem::Missing);
            }
            (Event::Key(_) | Event::FileData(_) | Event::FileEnd, _) => {}
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
            Key::Thread => parse_number(text).map(|id| record.thread = ConversationId(id)),
            Key::SaveDate => date(text).map(|time| record.save_date = time),
            Key::CreatedModSeq => {
                parse_number(text).map(|number| record.created_modseq = ModSeq(number))
            }
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
        let mandatory = match self.form {
            RecordForm::Pairs => MANDATORY.as_slice(),
            RecordForm::Compact => compact::KEYS.as_slice(),
        };
        if let Some(missing) = mandatory.iter().find(|key| seen & key.bit() == 0) {
            self.field_fails(*missing, FieldProblem::Missing);
        }
        let uid = self.record.value.uid;
        let last = self.last_uid;
        if uid <= last {
            self.fail(RecordProblem::NotAscending { after: last });
        }
        if self.error.is_some() {
            self.list = RecordList::default();
            return;
        }
        let mut record = std::mem::take(&mut self.record.value);
        record.annotations = std::mem::take(&mut self.record.annotations).into();
        self.count += 1;
        self.last_uid = uid;
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
            Event::KvListStart => self.annotation_begins(),
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

    fn annotation_begins(&mut self) {
        self.annotation.key = Key::Unknown;
        self.annotation.seen = 0;
        self.annotation.place = 0;
        self.level = Level::Annotation;
    }

    fn in_annotation(&mut self, event: &Event<'_>) {
        match event {
            Event::Key(name) => self.annotation.key = Key::of(name),
            Event::Text(text) | Event::Flag(text) => self.annotation_field(text),
            // An empty value may be written so.
            Event::Nil if self.annotation.key == Key::Value => self.annotation_field(b""),
            Event::ListStart | Event::KvListStart => self.ignored = 1,
            Event::End => {
                self.level = match self.form {
                    RecordForm::Pairs => Level::Annotations,
                    RecordForm::Compact => Level::Record,
                };
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
fn date(text: &[u8]) -> Option<UnixTime> {
    parse_number(text).map(wrap_date)
}

/// The lower 32 bits of a date.
pub(in crate::protocol::command) fn wrap_date(seconds: u64) -> UnixTime {
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
mod tests {
    use super::*;

    #[test]
    fn conversation_ids_are_hexadecimal() {
        assert_eq!(
            hexadecimal(b"4e35718f4f112505"),
            Some(0x4e35_718f_4f11_2505)
        );
        for text in ["", "+1", "4e35718f4f1125050", "x"] {
            assert_eq!(hexadecimal(text.as_bytes()), None, "{text:?}");
        }
    }
}
