//! The skiplist format (databases §3): a log of records, linked into a skip list by pointers that
//! are rewritten in place.
//!
//! A transaction ends with a COMMIT record, written when everything before is durable. Pointers
//! may be wrong after a crash; then all are set anew from the records.

mod change;
mod format;
mod recovery;
mod search;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Instant;

use super::levels::Levels;
use super::pages::Pages;
use super::{Backend, Create, DbError, Engine, Pair, Stretch};
use crate::mail::UnixTime;
use crate::spool::disk::{Disk, DiskFile, LockKind, if_exists};
use format::{
    ADD, COMMIT, DELETE, DUMMY, DUMMY_OFFSET, END_OF_POINTERS, HEADER_LENGTH, Header, INORDER,
    MAX_LEVEL, Node, word,
};

/// The mode of new files, before the umask.
const MODE: u32 = 0o644;
/// How much the log may grow beyond twice the size at the last checkpoint.
const LOG_ALLOWANCE: u64 = 16834;

/// An open skiplist file.
#[derive(Debug)]
pub(super) struct Skiplist {
    disk: Disk,
    file: DiskFile,
    pages: Pages,
    header: Header,
    recovered_since: UnixTime,
    /// Length of the file when it was locked: the end of what is committed.
    committed: u64,
    /// End of what this reader may see: `committed` or the end of the open transaction.
    end: u64,
    /// Whether something of the open transaction is on the disk.
    spilled: bool,
    levels: Levels,
}

impl Skiplist {
    pub fn open(
        disk: &Disk,
        path: &Path,
        recovered_since: UnixTime,
        create: Create,
    ) -> Result<Option<Skiplist>, DbError> {
        let file = match create {
            Create::Yes => Some(disk.open_or_create(path, MODE)?),
            Create::No => if_exists(disk.open_write(path))?,
        };
        let Some(file) = file else {
            return Ok(None);
        };
        let mut db = Skiplist {
            disk: disk.clone(),
            file,
            pages: Pages::default(),
            header: Header::new(0),
            recovered_since,
            committed: 0,
            end: 0,
            spilled: false,
            levels: Levels::default(),
        };
        let deadline = disk.lock_deadline();
        if db.file.is_empty()? {
            if create == Create::No {
                return Ok(None);
            }
            db.initialise(deadline)?;
        }
        if db.read_header()?.last_recovery < recovered_since.0 {
            db.lock(LockKind::Exclusive, deadline)?;
            // Somebody may have done it meanwhile.
            let recovered = match db.header.last_recovery < recovered_since.0 {
                true => db.recover(),
                false => Ok(()),
            };
            db.unlock()?;
            recovered?;
        }
        db.lock_shared(deadline)?;
        db.unlock()?;
        Ok(Some(db))
    }

    /// Makes an empty file an empty database, unless somebody did so meanwhile. The name never
    /// stands for a part of one.
    fn initialise(&mut self, deadline: Instant) -> Result<(), DbError> {
        let status = self.file.lock_current(LockKind::Exclusive, deadline)?;
        if status.length() == 0 {
            let replacement = self.disk.replace(self.file.path(), MODE)?;
            let mut image = Header::new(UnixTime::now().0).encode();
            image.extend(format::encode_node(DUMMY, b"", b"", &[0; MAX_LEVEL]));
            replacement.file().write_at(0, &image)?;
            self.file = replacement.commit()?;
        }
        self.unlock()
    }

    /// Locks the file that has the name now, and reads its header. Tells whether it is clean.
    fn lock(&mut self, kind: LockKind, deadline: Instant) -> Result<bool, DbError> {
        let opened = self.file.identity()?;
        let length = self.file.lock_current(kind, deadline)?.length();
        let changed = self.file.identity()? != opened || length != self.committed;
        if changed || kind == LockKind::Exclusive {
            self.pages.clear();
        }
        self.committed = length;
        self.end = length;
        self.spilled = false;
        let clean = self.reread_header().and_then(|()| self.is_clean());
        if clean.is_err() {
            self.unlock()?;
        }
        clean
    }

    fn reread_header(&mut self) -> Result<(), DbError> {
        let header = self.read_header()?;
        if header != self.header {
            self.pages.clear();
        }
        self.header = header;
        Ok(())
    }

    /// Whether the file ends with a whole transaction (databases §3).
    fn is_clean(&mut self) -> Result<bool, DbError> {
        if !self.end.is_multiple_of(4) || self.end < u64::from(DUMMY_OFFSET) + 12 {
            return Ok(false);
        }
        let last = self.word_at(self.end - 4)?;
        if self.end == u64::from(self.header.log_start) {
            return Ok(last == END_OF_POINTERS);
        }
        Ok(last == COMMIT
            && (self.word_at(self.end - 8)? == END_OF_POINTERS
                || self.word_at(self.end - 12)? == DELETE))
    }

    fn read_header(&self) -> Result<Header, DbError> {
        let bytes = self.file.read_at(0, HEADER_LENGTH as usize)?;
        Header::decode(&bytes).map_err(|what| self.corrupt(0, what))
    }

    fn word_at(&mut self, offset: u64) -> Result<u32, DbError> {
        let mut bytes = [0; 4];
        self.pages.read(&self.file, offset, &mut bytes)?;
        Ok(word(&bytes))
    }

    /// The DUMMY, INORDER or ADD at `offset`.
    fn node(&mut self, offset: u32) -> Result<Node, DbError> {
        let start = u64::from(offset);
        let past_end = |db: &Skiplist| db.corrupt(start, "a record goes beyond the end");
        if !start.is_multiple_of(4) || start < u64::from(DUMMY_OFFSET) || start + 8 > self.end {
            return Err(self.corrupt(start, "a record cannot stand here"));
        }
        let mut node = Node {
            offset,
            kind: self.word_at(start)?,
            key_length: self.word_at(start + 4)?,
            value_length: 0,
            pointers: Vec::new(),
        };
        if !matches!(node.kind, DUMMY | INORDER | ADD) {
            return Err(self.corrupt(start, "there is no record"));
        }
        if node.value_offset() > self.end {
            return Err(past_end(self));
        }
        node.value_length = self.word_at(node.value_offset() - 4)?;
        let first_pointer = node.pointer_offset(0);
        // The pointers and the word that ends them.
        let mut words = [0; 4 * (MAX_LEVEL + 1)];
        let available = self
            .end
            .saturating_sub(first_pointer)
            .min(words.len() as u64) as usize;
        let words = &mut words[..available];
        self.pages.read(&self.file, first_pointer, words)?;
        for pointer in words.chunks_exact(4).map(word) {
            if pointer == END_OF_POINTERS {
                return match node.pointers.is_empty() {
                    true => Err(self.corrupt(start, "a record has no pointers")),
                    false => Ok(node),
                };
            }
            node.pointers.push(pointer);
        }
        match available < 4 * (MAX_LEVEL + 1) {
            true => Err(past_end(self)),
            false => Err(self.corrupt(start, "a record has too many pointers")),
        }
    }

    /// Fills `key` with the key of a record.
    fn read_key(&mut self, node: &Node, key: &mut Vec<u8>) -> Result<(), DbError> {
        key.resize(node.key_length as usize, 0);
        Ok(self.pages.read(&self.file, node.key_offset(), key)?)
    }

    fn read_pair(&mut self, node: &Node) -> Result<Pair, DbError> {
        let mut key = Vec::new();
        self.read_key(node, &mut key)?;
        let mut value = vec![0; node.value_length as usize];
        self.pages
            .read(&self.file, node.value_offset(), &mut value)?;
        Ok((key, value))
    }

    fn corrupt(&self, offset: u64, what: impl Into<String>) -> DbError {
        DbError::corrupt(self.file.path(), offset, what)
    }
}

impl Engine for Skiplist {
    /// Recovers the file first if it does not end with a whole transaction.
    fn lock_shared(&mut self, deadline: Instant) -> Result<(), DbError> {
        while !self.lock(LockKind::Shared, deadline)? {
            self.unlock()?;
            self.lock_exclusive(deadline)?;
            self.unlock()?;
        }
        Ok(())
    }

    /// Recovers the file if it does not end with a whole transaction.
    fn lock_exclusive(&mut self, deadline: Instant) -> Result<(), DbError> {
        let clean = self.lock(LockKind::Exclusive, deadline)?;
        if !clean && let Err(error) = self.recover() {
            self.unlock()?;
            return Err(error);
        }
        Ok(())
    }

    fn unlock(&mut self) -> Result<(), DbError> {
        Ok(self.file.unlock()?)
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, DbError> {
        match self.search(key)?.found {
            None => Ok(None),
            Some(node) => {
                let (_, value) = self.read_pair(&node)?;
                Ok(Some(value))
            }
        }
    }

    fn stretch(&mut self, prefix: &[u8], after: Option<&[u8]>) -> Result<Stretch, DbError> {
        self.read_stretch(prefix, after)
    }

    fn check(&mut self) -> Result<(), DbError> {
        self.check_all()
    }

    fn forget(&mut self) -> bool {
        let remembered = !self.pages.is_empty();
        self.pages.clear();
        remembered
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), DbError> {
        self.put_record(key, value)
    }

    fn delete(&mut self, key: &[u8]) -> Result<bool, DbError> {
        self.delete_record(key)
    }

    fn commit(&mut self) -> Result<(), DbError> {
        self.commit_changes()
    }

    fn abort(&mut self) -> Result<(), DbError> {
        self.undo_changes()
    }

    fn is_repack_due(&self) -> bool {
        self.committed > 2 * u64::from(self.header.log_start) + LOG_ALLOWANCE
    }

    fn repack(&mut self) -> Result<(), DbError> {
        self.checkpoint()
    }

    fn backend(&self) -> Backend {
        Backend::Skiplist {
            recovered_since: self.recovered_since,
        }
    }
}
