//! Transactions (databases §2.4).
//!
//! Changes gather in memory and reach the file at the commit, or before when they become many.
//! Either way the order on the disk is: DIRTY header, records and pointers, COMMIT, clean header,
//! each durable before the next.

use super::format::{BLANK, Kind, MAX_LEVEL, Record, blanks_before, padding};
use super::search::Place;
use super::{DbError, Header, Twoskip};
use crate::spool::cyrusdb::pages::UNWRITTEN_MAX;

impl Twoskip {
    pub(super) fn put_record(&mut self, key: &[u8], value: &[u8]) -> Result<(), DbError> {
        if key.is_empty() {
            return Err(DbError::Unstorable {
                path: self.file.path().to_owned(),
                why: "its key is empty",
            });
        }
        let mut place = self.search(key)?;
        if let Some(record) = &place.found {
            let (_, old) = self.read_pair(record)?;
            if old == value {
                return Ok(());
            }
        }
        self.insert(&mut place, key, value)
    }

    /// Appends a record and links it in at `place`, instead of the one found there if there is
    /// one. Afterwards `place` is that of a key right after this one, if none was found.
    pub(super) fn insert(
        &mut self,
        place: &mut Place,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), DbError> {
        let level = self.levels.draw(MAX_LEVEL);
        let mut record = Record::new(Kind::Record, level, key, value);
        record.pointers[1..=level].copy_from_slice(&place.forward[..level]);
        let offset = self.append(record, key, value)?;

        let following = place.forward;
        place.forward[..level].fill(offset);
        let old_level = place.found.as_ref().map_or(0, |old| old.level);
        self.link(place, level.max(old_level))?;
        place.back[..level].fill(offset);
        place.forward[..level].copy_from_slice(&following[..level]);
        if place.found.is_none() {
            self.records += 1;
        }
        Ok(())
    }

    pub(super) fn delete_record(&mut self, key: &[u8]) -> Result<bool, DbError> {
        let mut place = self.search(key)?;
        let Some(old) = &place.found else {
            return Ok(false);
        };
        let old_level = old.level;
        let next = self.record_or_target(place.forward[0])?;
        let mut record = Record::new(Kind::Delete, 0, b"", b"");
        record.pointers[0] = next.map_or(0, |next| next.offset);
        place.forward[0] = self.append(record, b"", b"")?;
        self.link(&place, old_level)?;
        self.records = self.records.saturating_sub(1);
        Ok(true)
    }

    /// Points the back records to the forward records on the skip levels below `levels`.
    fn link(&mut self, place: &Place, levels: usize) -> Result<(), DbError> {
        let committed = self.header.current_size;
        let mut level = 0;
        while level < levels {
            let mut back = self.record(place.back[level])?;
            if back.level <= level {
                return Err(self.corrupt(back.offset, "a record is linked above its level"));
            }
            while level < levels.min(back.level) {
                back.set_successor(level, place.forward[level], committed);
                level += 1;
            }
            self.write(back.offset, &back.encode_head())?;
        }
        Ok(())
    }

    /// Appends a record to the transaction; returns its offset.
    pub(super) fn append(
        &mut self,
        mut record: Record,
        key: &[u8],
        value: &[u8],
    ) -> Result<u64, DbError> {
        let blanks = blanks_before(self.end, record.head_length());
        let mut bytes = BLANK.repeat(blanks);
        record.offset = self.end + bytes.len() as u64;
        bytes.extend(record.encode_head());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(padding(key.len() as u64 + value.len() as u64));
        let start = self.end;
        self.end = record.end();
        self.write(start, &bytes)?;
        Ok(record.offset)
    }

    /// Changes octets before `end`, in memory or on the disk.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DbError> {
        self.pages.write(&self.file, offset, bytes)?;
        match self.pages.unwritten() > UNWRITTEN_MAX {
            true => self.flush(),
            false => Ok(()),
        }
    }

    /// Brings to the disk what was changed, after the DIRTY header.
    pub(super) fn flush(&mut self) -> Result<(), DbError> {
        if !self.header.dirty {
            let dirty = Header {
                dirty: true,
                ..self.header.clone()
            };
            self.write_header(dirty)?;
        }
        Ok(self.pages.flush(&self.file, self.end)?)
    }

    pub(super) fn commit_changes(&mut self) -> Result<(), DbError> {
        if self.end == self.header.current_size {
            return Ok(());
        }
        self.append_commit(self.header.current_size)?;
        self.flush()?;
        self.file.sync_all()?;
        self.write_header(Header {
            records: self.records,
            current_size: self.end,
            dirty: false,
            ..self.header.clone()
        })
    }

    /// Ends the transaction that started at `start`.
    pub(super) fn append_commit(&mut self, start: u64) -> Result<(), DbError> {
        let mut record = Record::new(Kind::Commit, 0, b"", b"");
        record.pointers[0] = start;
        self.append(record, b"", b"").map(drop)
    }

    pub(super) fn undo_changes(&mut self) -> Result<(), DbError> {
        self.pages.clear();
        self.end = self.header.current_size;
        match self.header.dirty {
            true => self.recover(),
            false => Ok(()),
        }
    }
}
