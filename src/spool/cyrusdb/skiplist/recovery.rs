//! Setting all pointers anew from the records.

use std::collections::BTreeMap;

use super::format::{
    ADD, COMMIT, DELETE, DUMMY, DUMMY_OFFSET, Header, INORDER, MAX_LEVEL, Node, sorting_form,
};
use super::{DbError, Skiplist};
use crate::mail::UnixTime;

/// The live records, by the form of their keys that sorts.
type Live = BTreeMap<Vec<u8>, u32>;

/// One record of the log.
enum Entry {
    Add(Node),
    /// With the offset of the record deleted.
    Delete(u32),
    Commit,
    /// A word of zeros, left behind by old versions of the daemons.
    Gap,
}

impl Skiplist {
    /// Brings the file back to its last committed state, whatever its pointers say; the exclusive
    /// lock is held.
    pub(super) fn recover(&mut self) -> Result<(), DbError> {
        self.pages.clear();
        let length = self.file.len()?;
        self.end = length;
        let dummy = self.node(DUMMY_OFFSET)?;
        if dummy.kind != DUMMY || dummy.level() != self.header.max_level as usize {
            return Err(self.corrupt(u64::from(DUMMY_OFFSET), "the first record is no DUMMY"));
        }
        let mut live = Live::new();
        let log_start = self.read_checkpoint(dummy.end(), &mut live)?;
        self.end = self.replay_log(log_start, &mut live)?;

        let level = self.link_all(&live)?;
        self.flush()?;
        self.file.truncate(self.end)?;
        self.file.sync_data()?;
        self.header = Header {
            current_level: level.max(1) as u32,
            list_size: live.len() as u32,
            log_start: log_start as u32,
            last_recovery: UnixTime::now().0,
            ..self.header
        };
        self.pages
            .write_through(&self.file, 0, &self.header.encode())?;
        self.file.sync_data()?;
        self.committed = self.end;
        self.spilled = false;
        // Else every reader would do it again.
        if !self.is_clean()? {
            return Err(self.corrupt(self.end, "the file is not sound even when recovered"));
        }
        tracing::info!(file = %self.file.path().display(), records = live.len(),
            cut = length - self.end, "recovered a database");
        Ok(())
    }

    /// Reads the records that the last checkpoint wrote; returns where the log begins.
    fn read_checkpoint(&mut self, mut offset: u64, live: &mut Live) -> Result<u64, DbError> {
        while offset < self.end && self.word_at(offset)? == INORDER {
            let node = self.node(self.as_pointer(offset)?)?;
            offset = node.end();
            self.insert(&node, live)?;
        }
        Ok(offset)
    }

    /// Does again what the log says; returns where its last transaction ends.
    fn replay_log(&mut self, start: u64, live: &mut Live) -> Result<u64, DbError> {
        let mut committed = start;
        let mut offset = start;
        let mut transaction = Vec::new();
        while offset + 4 <= self.end {
            let entry = match self.entry(offset) {
                Ok(entry) => entry,
                // What a crash left of the last transaction.
                Err(error) if error.is_corrupt() => break,
                Err(error) => return Err(error),
            };
            match entry {
                Entry::Gap => offset += 4,
                Entry::Commit => {
                    offset += 4;
                    for entry in transaction.drain(..) {
                        self.redo(entry, live)?;
                    }
                    committed = offset;
                }
                Entry::Delete(_) => {
                    offset += 8;
                    transaction.push(entry);
                }
                Entry::Add(ref node) => {
                    offset = node.end();
                    transaction.push(entry);
                }
            }
        }
        Ok(committed)
    }

    fn entry(&mut self, offset: u64) -> Result<Entry, DbError> {
        match self.word_at(offset)? {
            0 => Ok(Entry::Gap),
            COMMIT => Ok(Entry::Commit),
            DELETE if offset + 8 <= self.end => Ok(Entry::Delete(self.word_at(offset + 4)?)),
            ADD => Ok(Entry::Add(self.node(self.as_pointer(offset)?)?)),
            _ => Err(self.corrupt(offset, "there is no record of the log")),
        }
    }

    fn redo(&mut self, entry: Entry, live: &mut Live) -> Result<(), DbError> {
        match entry {
            Entry::Add(node) => self.insert(&node, live),
            Entry::Delete(offset) => {
                let node = self.node(offset)?;
                let mut key = Vec::new();
                self.read_key(&node, &mut key)?;
                let key = sorting_form(&key);
                if live.get(&key) == Some(&offset) {
                    live.remove(&key);
                }
                Ok(())
            }
            Entry::Commit | Entry::Gap => Ok(()),
        }
    }

    fn insert(&mut self, node: &Node, live: &mut Live) -> Result<(), DbError> {
        let mut key = Vec::new();
        self.read_key(node, &mut key)?;
        live.insert(sorting_form(&key), node.offset);
        Ok(())
    }

    /// Links the records in order; returns the highest level in use.
    fn link_all(&mut self, live: &Live) -> Result<usize, DbError> {
        let mut back = [DUMMY_OFFSET; MAX_LEVEL];
        let mut highest = 0;
        for offset in live.values() {
            let level = self
                .node(*offset)?
                .level()
                .min(self.header.max_level as usize);
            highest = highest.max(level);
            for (level, back) in back.iter_mut().enumerate().take(level) {
                self.set_pointer(*back, level, *offset)?;
                *back = *offset;
            }
        }
        for (level, back) in back.iter().enumerate().take(self.header.max_level as usize) {
            self.set_pointer(*back, level, 0)?;
        }
        Ok(highest)
    }

    fn as_pointer(&self, offset: u64) -> Result<u32, DbError> {
        u32::try_from(offset).map_err(|_| self.corrupt(offset, "the file exceeds 4 GiB"))
    }
}
