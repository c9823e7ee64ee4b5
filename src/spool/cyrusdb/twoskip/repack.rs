//! Writing the live records into a fresh file (databases §2.6).

use std::time::Instant;

use super::format::{DUMMY_OFFSET, EMPTY_LENGTH, Header, Kind, MAX_LEVEL, Record};
use super::search::Place;
use super::{DbError, MODE, Pair, Twoskip};
use crate::spool::disk::LockKind;

impl Twoskip {
    pub(super) fn rewrite(&mut self) -> Result<(), DbError> {
        self.check_all()?;
        let mut last: Option<Vec<u8>> = None;
        self.replace_with(|old| {
            let pairs = old.read_stretch(b"", last.as_deref())?.pairs;
            last = pairs.last().map(|(key, _)| key.clone());
            Ok(pairs)
        })
    }

    /// Replaces the file by one with the pairs that `next` takes from the old one, in order, no
    /// more when it returns none. Afterwards the new file is open and locked like the old one.
    pub(super) fn replace_with(
        &mut self,
        mut next: impl FnMut(&mut Twoskip) -> Result<Vec<Pair>, DbError>,
    ) -> Result<(), DbError> {
        let replacement = self.disk.replace(self.file.path(), MODE)?;
        replacement
            .file()
            .lock(LockKind::Exclusive, Instant::now())?;
        let mut new = Twoskip::over(&self.disk, replacement.file().try_clone()?);
        // Nobody sees the file before it is whole, so DIRTY need not come first.
        new.header.dirty = true;
        new.header.generation = self.header.generation.saturating_add(1);
        let dummy = Record::new(Kind::Dummy, MAX_LEVEL, b"", b"");
        new.write(DUMMY_OFFSET, &dummy.encode_head())?;

        let mut place = Place::START;
        loop {
            let pairs = next(self)?;
            if pairs.is_empty() {
                break;
            }
            for (key, value) in pairs {
                new.insert(&mut place, &key, &value)?;
            }
        }
        let repack_size = new.end;
        if new.records > 0 {
            new.append_commit(EMPTY_LENGTH)?;
        }
        let header = Header {
            records: new.records,
            repack_size,
            current_size: new.end,
            dirty: false,
            ..new.header.clone()
        };
        new.write(0, &header.encode())?;
        new.flush()?;

        self.file = replacement.commit()?;
        self.pages = new.pages;
        self.end = header.current_size;
        self.records = header.records;
        self.header = header;
        Ok(())
    }
}
