//! Reading along the skip list (databases §2.3).
//!
//! Keys must grow along every path, which also keeps damaged pointers from leading in circles.

use super::format::{DUMMY_OFFSET, Kind, MAX_LEVEL, Record};
use super::{DbError, Twoskip};
use crate::spool::cyrusdb::Stretch;

/// Where a key stands or would stand.
#[derive(Debug)]
pub(super) struct Place {
    /// The record with exactly this key.
    pub found: Option<Record>,
    /// For each skip level the last record with a smaller key.
    pub back: [u64; MAX_LEVEL],
    /// For each skip level what follows the key: the successor of the record found on the levels
    /// that it takes part in, else that of the back record.
    pub forward: [u64; MAX_LEVEL],
}

impl Place {
    /// The only place of an empty database.
    pub(super) const START: Place = Place {
        found: None,
        back: [DUMMY_OFFSET; MAX_LEVEL],
        forward: [0; MAX_LEVEL],
    };
}

impl Twoskip {
    pub(super) fn search(&mut self, key: &[u8]) -> Result<Place, DbError> {
        let mut place = Place::START;
        let mut here = self.record(DUMMY_OFFSET)?;
        let mut here_key = Vec::new();
        let mut next_key = Vec::new();
        // The record last found not to be smaller.
        let mut beyond: Option<(Record, bool)> = None;
        for level in (0..MAX_LEVEL).rev() {
            loop {
                let next = here.successor(level, self.end);
                place.back[level] = here.offset;
                place.forward[level] = next;
                let known = |(record, _): &(Record, bool)| record.offset == next;
                if next == 0 || beyond.as_ref().is_some_and(known) {
                    break;
                }
                let Some(record) = self.record_or_target(next)? else {
                    break;
                };
                if record.level <= level {
                    return Err(self.corrupt(next, "a record is linked above its level"));
                }
                self.read_key(&record, &mut next_key)?;
                if next_key.as_slice() >= key {
                    let equal = next_key == key;
                    beyond = Some((record, equal));
                    break;
                }
                if next_key <= here_key {
                    return Err(self.out_of_order(&record));
                }
                here = record;
                std::mem::swap(&mut here_key, &mut next_key);
            }
        }
        if let Some((record, true)) = beyond {
            for level in 0..record.level {
                place.forward[level] = record.successor(level, self.end);
            }
            place.found = Some(record);
        }
        Ok(place)
    }

    /// The record at `offset`, or the one to which the DELETE at `offset` leads; `None` for 0.
    pub(super) fn record_or_target(&mut self, offset: u64) -> Result<Option<Record>, DbError> {
        if offset == 0 {
            return Ok(None);
        }
        let mut record = self.record(offset)?;
        if record.kind == Kind::Delete {
            let target = record.pointers[0];
            if target == 0 {
                return Ok(None);
            }
            record = self.record(target)?;
        }
        match record.kind {
            Kind::Record => Ok(Some(record)),
            _ => Err(self.corrupt(record.offset, "a pointer leads to what is no record")),
        }
    }

    pub(super) fn read_stretch(
        &mut self,
        prefix: &[u8],
        after: Option<&[u8]>,
    ) -> Result<Stretch, DbError> {
        let place = self.search(after.unwrap_or(prefix))?;
        let mut next = match (place.found, after) {
            (Some(record), None) => Some(record),
            _ => self.record_or_target(place.forward[0])?,
        };
        let mut last = after.unwrap_or_default().to_owned();
        let mut stretch = Stretch::default();
        while let Some(record) = next {
            let (key, value) = self.read_pair(&record)?;
            if !key.starts_with(prefix) {
                break;
            }
            if key <= last {
                return Err(self.out_of_order(&record));
            }
            last.clone_from(&key);
            stretch.push((key, value));
            if stretch.is_full() {
                break;
            }
            next = self.record_or_target(record.successor(0, self.end))?;
        }
        Ok(stretch)
    }

    /// Walks everything and checks order, linkage on all levels, checksums and the count.
    pub(super) fn check_all(&mut self) -> Result<(), DbError> {
        let dummy = self.record(DUMMY_OFFSET)?;
        let mut expected = [0; MAX_LEVEL];
        for (level, next) in expected.iter_mut().enumerate() {
            *next = dummy.successor(level, self.end);
        }
        let mut last = Vec::new();
        let mut count = 0;
        while let Some(record) = self.record_or_target(expected[0])? {
            let (key, _) = self.read_pair(&record)?;
            if key <= last {
                return Err(self.out_of_order(&record));
            }
            for (level, next) in expected.iter_mut().enumerate().take(record.level) {
                if level > 0 && *next != record.offset {
                    let what = format!("the pointer of level {level} leads past this record");
                    return Err(self.corrupt(record.offset, what));
                }
                *next = record.successor(level, self.end);
            }
            last = key;
            count += 1;
        }
        if let Some(level) = expected.iter().skip(1).position(|next| *next != 0) {
            let what = format!("level {} goes on where level 0 ends", level + 1);
            return Err(self.corrupt(expected[level + 1], what));
        }
        if count != self.records {
            let what = format!("{} records are counted, there are {count}", self.records);
            return Err(self.corrupt(0, what));
        }
        Ok(())
    }

    fn out_of_order(&self, record: &Record) -> DbError {
        self.corrupt(record.offset, "keys are out of order")
    }
}
