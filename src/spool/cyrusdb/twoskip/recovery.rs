//! What is done with a file that is not clean (databases §2.5): uncommitted records at its end,
//! pointers to them, or worse.

use std::collections::BTreeMap;

use super::format::{BLANK, DUMMY_OFFSET, Header, Kind, MAX_LEVEL, Record, SHORTEST_RECORD};
use super::{DbError, Twoskip};

impl Twoskip {
    /// Brings the file back to its last committed state; the exclusive lock is held.
    pub(super) fn recover(&mut self) -> Result<(), DbError> {
        match self.repair() {
            Err(error) if error.is_corrupt() => {
                tracing::warn!(%error, "salvaging what can be read of a damaged database");
                self.pages.clear();
                self.salvage()
            }
            result => result,
        }
    }

    /// Recovery 1: cuts off what is not committed, and makes every pointer lead to where the
    /// committed pointers of level 0 lead.
    fn repair(&mut self) -> Result<(), DbError> {
        let length = self.file.len()?;
        let committed = self.header.current_size;
        self.end = committed;

        let mut here = self.record(DUMMY_OFFSET)?;
        // For each level the last record that takes part in it, and what follows by its pointer.
        let mut last = [DUMMY_OFFSET; MAX_LEVEL];
        let mut expected = [0; MAX_LEVEL];
        for (level, next) in expected.iter_mut().enumerate().skip(1) {
            *next = here.successor(level, committed);
        }
        let mut here_key = Vec::new();
        let mut next_key = Vec::new();
        let mut count = 0;
        loop {
            self.clear_uncommitted(&mut here)?;
            let Some(record) = self.record_or_target(here.successor(0, committed))? else {
                break;
            };
            self.read_key(&record, &mut next_key)?;
            if next_key <= here_key {
                return Err(self.corrupt(record.offset, "keys are out of order"));
            }
            for level in 1..record.level {
                if expected[level] != record.offset {
                    self.relink(last[level], level, record.offset)?;
                }
                last[level] = record.offset;
                expected[level] = record.successor(level, committed);
            }
            std::mem::swap(&mut here_key, &mut next_key);
            here = record;
            count += 1;
        }
        for level in 1..MAX_LEVEL {
            if expected[level] != 0 {
                self.relink(last[level], level, 0)?;
            }
        }

        self.flush()?;
        self.file.truncate(committed)?;
        self.file.sync_all()?;
        self.write_header(Header {
            records: count,
            dirty: false,
            ..self.header.clone()
        })?;
        self.records = count;
        tracing::info!(file = %self.file.path().display(), records = count, cut = length - committed,
            "recovered a database");
        Ok(())
    }

    /// Zeroes the pointer of level 0 that leads to what is not committed.
    fn clear_uncommitted(&mut self, record: &mut Record) -> Result<(), DbError> {
        let committed = self.header.current_size;
        let [a, b, ..] = &mut record.pointers;
        match (*a >= committed, *b >= committed) {
            (false, false) => return Ok(()),
            (true, true) => {
                let what = "neither pointer of level 0 leads to what is committed";
                return Err(self.corrupt(record.offset, what));
            }
            (true, false) => *a = 0,
            (false, true) => *b = 0,
        }
        self.write(record.offset, &record.encode_head())
    }

    fn relink(&mut self, offset: u64, level: usize, target: u64) -> Result<(), DbError> {
        let mut record = self.record(offset)?;
        record.set_successor(level, target, self.header.current_size);
        self.write(offset, &record.encode_head())
    }

    /// Recovery 2: reads the file from its beginning, whatever its pointers say, does again every
    /// change that is readable and committed, and replaces the file by one with the outcome.
    ///
    /// Where this has to guess it keeps a record rather than lose one.
    pub(super) fn salvage(&mut self) -> Result<(), DbError> {
        let live = self.replay()?;
        if live.is_empty() {
            return Err(self.corrupt(DUMMY_OFFSET, "no record can be read"));
        }
        let rescued = live.len();
        let mut offsets = live.into_values();
        self.replace_with(|old| match offsets.next() {
            None => Ok(Vec::new()),
            Some(offset) => {
                let record = old.record(offset)?;
                Ok(vec![old.read_pair(&record)?])
            }
        })?;
        tracing::warn!(file = %self.file.path().display(), rescued, "salvaged a database");
        Ok(())
    }

    /// The keys that are live after all changes, each with the offset of its record.
    fn replay(&mut self) -> Result<BTreeMap<Vec<u8>, u64>, DbError> {
        let committed = self.header.current_size;
        self.end = self.file.len()?;
        let mut live = BTreeMap::new();
        // Records after `committed` count only when a COMMIT follows and all before is readable.
        let mut pending = Vec::new();
        let mut tail_readable = true;
        let mut skipped: u64 = 0;
        let mut offset = DUMMY_OFFSET;
        while offset + SHORTEST_RECORD as u64 <= self.end {
            let mut start = [0; 8];
            self.pages.read(&self.file, offset, &mut start)?;
            if start == BLANK {
                offset += 8;
                continue;
            }
            let record = match self.readable_record(offset) {
                Ok(record) => record,
                Err(error) if error.is_corrupt() => {
                    if skipped == 0 {
                        tracing::warn!(%error, "skipping what cannot be read");
                    }
                    skipped += 8;
                    tail_readable &= offset < committed;
                    offset += 8;
                    continue;
                }
                Err(error) => return Err(error),
            };
            offset = record.end();
            match record.kind {
                Kind::Dummy => {}
                Kind::Commit if record.offset < committed => {}
                Kind::Commit => {
                    let whole = tail_readable && record.pointers[0] >= committed;
                    for change in pending.drain(..).filter(|_| whole) {
                        self.redo(&change, &mut live)?;
                    }
                }
                Kind::Record | Kind::Delete if record.offset < committed => {
                    self.redo(&record, &mut live)?;
                }
                Kind::Record | Kind::Delete => pending.push(record),
            }
        }
        if skipped > 0 {
            let file = self.file.path().display();
            tracing::warn!(%file, octets = skipped, "skipped what cannot be read");
        }
        Ok(live)
    }

    fn readable_record(&mut self, offset: u64) -> Result<Record, DbError> {
        let record = self.record(offset)?;
        self.read_pair(&record)?;
        Ok(record)
    }

    fn redo(&mut self, record: &Record, live: &mut BTreeMap<Vec<u8>, u64>) -> Result<(), DbError> {
        if record.kind == Kind::Record {
            let (key, _) = self.read_pair(record)?;
            live.insert(key, record.offset);
            return Ok(());
        }
        match self.deleted_by(record, live) {
            Ok(Some(key)) => drop(live.remove(&key)),
            Ok(None) => {
                let file = self.file.path().display();
                tracing::warn!(%file, offset = record.offset, "kept what this DELETE may have removed");
            }
            Err(error) if error.is_corrupt() => {
                tracing::warn!(%error, "kept what a DELETE may have removed");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The key that a DELETE removed. It names only the record that followed; the one removed is
    /// the greatest key before that, if it is sure that nothing between the two is missing here:
    /// a removed record keeps the pointers it had, so it must have led there itself.
    fn deleted_by(
        &mut self,
        delete: &Record,
        live: &BTreeMap<Vec<u8>, u64>,
    ) -> Result<Option<Vec<u8>>, DbError> {
        let following = delete.pointers[0];
        let candidate = match following {
            0 => live.last_key_value(),
            _ => {
                let record = self.record(following)?;
                let (key, _) = self.read_pair(&record)?;
                live.range(..key).next_back()
            }
        };
        let Some((key, offset)) = candidate else {
            return Ok(None);
        };
        let record = self.record(*offset)?;
        let led_to = self.record_or_target(record.successor(0, delete.offset))?;
        let was_the_one = led_to.map_or(0, |record| record.offset) == following;
        let was_the_one_before = record.pointers[..2].contains(&delete.offset);
        Ok((was_the_one && !was_the_one_before).then(|| key.clone()))
    }
}
