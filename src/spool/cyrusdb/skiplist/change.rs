//! Transactions and checkpoints.
//!
//! Changes gather in memory and reach the file at the commit, or before when they become many.

use std::time::Instant;

use super::format::{
    ADD, COMMIT, DELETE, DUMMY, DUMMY_OFFSET, Header, INORDER, MAX_LEVEL, encode_node,
};
use super::search::Place;
use super::{DbError, MODE, Skiplist};
use crate::mail::UnixTime;
use crate::spool::cyrusdb::pages::UNWRITTEN_MAX;
use crate::spool::disk::LockKind;

impl Skiplist {
    pub(super) fn put_record(&mut self, key: &[u8], value: &[u8]) -> Result<(), DbError> {
        if key.is_empty() {
            return Err(self.unstorable("its key is empty"));
        }
        let place = self.search(key)?;
        let pointers = match &place.found {
            Some(old) => {
                let (_, old_value) = self.read_pair(old)?;
                if old_value == value {
                    return Ok(());
                }
                self.append_words(&[DELETE, old.offset])?;
                old.pointers.clone()
            }
            None => {
                let level = self.levels.draw(self.header.max_level as usize);
                self.raise_level(level)?;
                place.forward[..level].to_vec()
            }
        };
        let offset = self.append(&encode_node(ADD, key, value, &pointers))?;
        self.link(&place, |level| (level < pointers.len()).then_some(offset))
    }

    pub(super) fn delete_record(&mut self, key: &[u8]) -> Result<bool, DbError> {
        let place = self.search(key)?;
        let Some(old) = &place.found else {
            return Ok(false);
        };
        self.append_words(&[DELETE, old.offset])?;
        self.link(&place, |level| old.pointers.get(level).copied())?;
        Ok(true)
    }

    /// Sets the pointers of the back records of `place`, level by level, to what `target` says.
    fn link(
        &mut self,
        place: &Place,
        target: impl Fn(usize) -> Option<u32>,
    ) -> Result<(), DbError> {
        for (level, back) in place.back.iter().enumerate() {
            let Some(target) = target(level) else {
                break;
            };
            self.set_pointer(*back, level, target)?;
        }
        Ok(())
    }

    pub(super) fn set_pointer(
        &mut self,
        offset: u32,
        level: usize,
        target: u32,
    ) -> Result<(), DbError> {
        let node = self.node(offset)?;
        if node.level() <= level {
            let what = "a record is linked above its level";
            return Err(self.corrupt(u64::from(offset), what));
        }
        self.write(node.pointer_offset(level), &target.to_be_bytes())
    }

    fn raise_level(&mut self, level: usize) -> Result<(), DbError> {
        if level as u32 > self.header.current_level {
            self.header.current_level = level as u32;
            self.write(0, &self.header.encode())?;
        }
        Ok(())
    }

    fn append_words(&mut self, words: &[u32]) -> Result<u32, DbError> {
        let octets: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        self.append(&octets)
    }

    /// Appends to the transaction; returns where.
    fn append(&mut self, octets: &[u8]) -> Result<u32, DbError> {
        let start = self.end;
        let end = start + octets.len() as u64;
        let (Ok(offset), Ok(_)) = (u32::try_from(start), u32::try_from(end)) else {
            return Err(self.unstorable("the file would exceed 4 GiB"));
        };
        self.end = end;
        self.write(start, octets)?;
        Ok(offset)
    }

    /// Changes octets before `end`, in memory or on the disk.
    pub(super) fn write(&mut self, offset: u64, octets: &[u8]) -> Result<(), DbError> {
        self.pages.write(&self.file, offset, octets)?;
        if self.pages.unwritten() > UNWRITTEN_MAX {
            self.flush()?;
        }
        Ok(())
    }

    /// Brings to the disk what was changed.
    pub(super) fn flush(&mut self) -> Result<(), DbError> {
        self.spilled = true;
        Ok(self.pages.flush(&self.file, self.end)?)
    }

    pub(super) fn commit_changes(&mut self) -> Result<(), DbError> {
        if self.end == self.committed {
            return Ok(());
        }
        self.flush()?;
        self.file.sync_data()?;
        self.append_words(&[COMMIT])?;
        self.flush()?;
        self.file.sync_data()?;
        self.committed = self.end;
        Ok(())
    }

    pub(super) fn undo_changes(&mut self) -> Result<(), DbError> {
        self.pages.clear();
        match self.spilled {
            true => self.recover(),
            false => Ok(()),
        }
    }

    /// Replaces the file by one with the live records in order.
    pub(super) fn checkpoint(&mut self) -> Result<(), DbError> {
        self.check_all()?;
        let replacement = self.disk.replace(self.file.path(), MODE)?;
        replacement
            .file()
            .lock(LockKind::Exclusive, Instant::now())?;
        let mut new = Skiplist {
            disk: self.disk.clone(),
            file: replacement.file().try_clone()?,
            pages: Default::default(),
            header: Header::new(UnixTime::now().0),
            recovered_since: self.recovered_since,
            committed: 0,
            end: u64::from(DUMMY_OFFSET),
            spilled: false,
            levels: Default::default(),
        };
        new.append(&encode_node(DUMMY, b"", b"", &[0; MAX_LEVEL]))?;
        let mut back = [DUMMY_OFFSET; MAX_LEVEL];
        let mut last: Option<Vec<u8>> = None;
        loop {
            let pairs = self.read_stretch(b"", last.as_deref())?.pairs;
            for (key, value) in &pairs {
                let level = new.levels.draw(MAX_LEVEL);
                let offset =
                    new.append(&encode_node(INORDER, key, value, &[0; MAX_LEVEL][..level]))?;
                for (level, back) in back.iter_mut().enumerate().take(level) {
                    new.set_pointer(*back, level, offset)?;
                    *back = offset;
                }
                new.header.current_level = new.header.current_level.max(level as u32);
            }
            new.header.list_size += pairs.len() as u32;
            match pairs.into_iter().next_back() {
                Some((key, _)) => last = Some(key),
                None => break,
            }
        }
        new.header.log_start = new.end as u32;
        new.write(0, &new.header.encode())?;
        new.flush()?;

        self.file = replacement.commit()?;
        self.pages = new.pages;
        self.header = new.header;
        self.end = new.end;
        self.committed = new.end;
        Ok(())
    }

    fn unstorable(&self, why: &'static str) -> DbError {
        DbError::Unstorable {
            path: self.file.path().to_owned(),
            why,
        }
    }
}
