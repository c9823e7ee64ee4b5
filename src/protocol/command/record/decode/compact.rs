//! Records without keys (docs/protocol-extensions.md, X-RECORDS): what a value is says its place.

use super::{ANNOTATION_KEYS, Event, Key, Level, RecordDecoder};

/// What the first values of a record are; flags and annotations follow.
pub(super) const KEYS: [Key; 9] = [
    Key::Uid,
    Key::ModSeq,
    Key::LastUpdated,
    Key::InternalDate,
    Key::Size,
    Key::Guid,
    Key::Thread,
    Key::SaveDate,
    Key::CreatedModSeq,
];

impl RecordDecoder {
    pub(super) fn in_compact_record(&mut self, event: &Event<'_>) {
        match event {
            Event::Text(text) | Event::Flag(text) => match KEYS.get(self.record.place) {
                Some(key) => {
                    self.record.key = *key;
                    self.record.place += 1;
                    self.scalar(text);
                }
                None => self.flag(text),
            },
            // No value: if one is needed at this place, it is missing.
            Event::Nil | Event::FileStart(_) => self.record.place += 1,
            Event::KvListStart => {
                self.record.place += 1;
                self.ignored = 1;
            }
            Event::ListStart => self.annotation_begins(),
            Event::End => {
                self.level = Level::List;
                self.record_ends();
            }
            Event::Key(_) | Event::FileData(_) | Event::FileEnd => {}
        }
    }

    /// Gives the value that begins with this event the key that it would have had.
    pub(super) fn next_place_of_annotation(&mut self, event: &Event<'_>) {
        if matches!(event, Event::End | Event::FileData(_) | Event::FileEnd) {
            return;
        }
        let annotation = &mut self.annotation;
        let key = ANNOTATION_KEYS.get(annotation.place);
        annotation.key = key.copied().unwrap_or_default();
        annotation.place += 1;
    }
}
