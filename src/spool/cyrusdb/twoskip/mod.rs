//! The twoskip format (databases §2): a log of records, linked into a skip list by pointers that
//! are rewritten in place.
//!
//! Crash safety rests on three things: the header tells what is committed and is rewritten last;
//! of the two pointers of skip level 0 one always stays as it was at the last commit; and what
//! is rewritten in place never straddles a sector. See databases §2.4 and §2.5.
//!
//! | file | what |
//! |---|---|
//! | `format` | octets of header and records |
//! | `search` | reading along the skip list, checking it |
//! | `change` | transactions |
//! | `recovery` | after a crash or damage |
//! | `repack` | the live records into a fresh file |

mod change;
mod format;
mod recovery;
mod repack;
mod search;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Instant;

use super::levels::Levels;
use super::pages::Pages;
use super::{Backend, Create, DbError, Engine, Pair, Stretch};
use crate::spool::disk::{Disk, DiskFile, LockKind, if_exists};
use format::{EMPTY_LENGTH, HEADER_LENGTH, Header, Kind, LONGEST_HEAD, Record, SHORTEST_RECORD};

/// A smaller file is not worth a repack (the daemons' number, databases §2.6).
const WORTH_REPACKING: u64 = 16834;
/// The mode of new files, before the umask (databases §2.7).
const MODE: u32 = 0o644;

/// An open twoskip file.
#[derive(Debug)]
pub(super) struct Twoskip {
    disk: Disk,
    file: DiskFile,
    pages: Pages,
    /// As last read from the file or written to it.
    header: Header,
    /// End of what this reader may see: `current_size` or the end of the open transaction.
    end: u64,
    /// Number of live records before `end`.
    records: u64,
    levels: Levels,
}

impl Twoskip {
    pub fn open(disk: &Disk, path: &Path, create: Create) -> Result<Option<Twoskip>, DbError> {
        let file = match create {
            Create::Yes => disk.open_or_create(path, MODE)?,
            Create::No => match if_exists(disk.open_write(path))? {
                Some(file) => file,
                None => return Ok(None),
            },
        };
        let mut db = Twoskip::over(disk, file);
        let deadline = disk.lock_deadline();
        if db.file.is_empty()? {
            if create == Create::No {
                return Ok(None);
            }
            db.initialise(deadline)?;
        }
        db.lock_shared(deadline)?;
        db.unlock()?;
        Ok(Some(db))
    }

    /// Without a look at the file.
    fn over(disk: &Disk, file: DiskFile) -> Twoskip {
        Twoskip {
            disk: disk.clone(),
            file,
            pages: Pages::default(),
            header: Header::new(1),
            end: EMPTY_LENGTH,
            records: 0,
            levels: Levels::default(),
        }
    }

    /// Makes an empty file an empty database, unless somebody did so meanwhile. The name never
    /// stands for a part of one.
    fn initialise(&mut self, deadline: Instant) -> Result<(), DbError> {
        let status = self.file.lock_current(LockKind::Exclusive, deadline)?;
        if status.length() == 0 {
            let replacement = self.disk.replace(self.file.path(), MODE)?;
            let mut image = Header::new(1).encode().to_vec();
            image.extend(Record::new(Kind::Dummy, format::MAX_LEVEL, b"", b"").encode_head());
            replacement.file().write_at(0, &image)?;
            self.file = replacement.commit()?;
        }
        Ok(self.file.unlock()?)
    }

    /// Locks the file that has the name now, and reads its header. Tells whether it is clean.
    fn lock(&mut self, kind: LockKind, deadline: Instant) -> Result<bool, DbError> {
        let opened = self.file.identity()?;
        let length = self.file.lock_current(kind, deadline)?.length();
        let header = match self
            .read_header()
            .and_then(|header| self.whole(header, length))
        {
            Ok(header) => header,
            Err(error) => {
                self.file.unlock()?;
                return Err(error);
            }
        };
        if header != self.header || self.file.identity()? != opened {
            self.pages.clear();
        }
        self.end = header.current_size;
        self.records = header.records;
        self.header = header;
        Ok(!self.header.dirty && length == self.header.current_size)
    }

    fn read_header(&self) -> Result<Header, DbError> {
        let bytes = self.file.read_at(0, HEADER_LENGTH as usize)?;
        Header::decode(&bytes).map_err(|what| self.corrupt(0, what))
    }

    /// A file that lacks some of what was committed did not become so by a crash, since the header
    /// is written last. The daemons go on with what is left of it; that would be to tell that what
    /// is missing never was.
    fn whole(&self, header: Header, length: u64) -> Result<Header, DbError> {
        match length < header.current_size {
            true => Err(self.corrupt(length, "the file ends before what is committed")),
            false => Ok(header),
        }
    }

    /// Writes `header` and makes it, and whatever was written before, durable.
    fn write_header(&mut self, header: Header) -> Result<(), DbError> {
        self.pages.write_through(&self.file, 0, &header.encode())?;
        self.file.sync_data()?;
        self.header = header;
        Ok(())
    }

    /// The record at `offset`, which must end before `end`.
    fn record_before(&mut self, offset: u64, end: u64) -> Result<Record, DbError> {
        let available = end.saturating_sub(offset).min(LONGEST_HEAD as u64) as usize;
        if !offset.is_multiple_of(8) || available < SHORTEST_RECORD {
            return Err(self.corrupt(offset, "a record cannot stand here"));
        }
        let mut buffer = [0; LONGEST_HEAD];
        let bytes = &mut buffer[..available];
        self.pages.read(&self.file, offset, bytes)?;
        Record::decode(offset, bytes, end).map_err(|what| self.corrupt(offset, what))
    }

    fn record(&mut self, offset: u64) -> Result<Record, DbError> {
        self.record_before(offset, self.end)
    }

    /// Fills `key` with the key of a record. It is checked: a wrong one would lead a search past
    /// records that are there.
    fn read_key(&mut self, record: &Record, key: &mut Vec<u8>) -> Result<(), DbError> {
        self.read_tail(record, key)?;
        key.truncate(record.key_length as usize);
        Ok(())
    }

    /// Fills `tail` with key, value and what follows them up to the next record, checked.
    fn read_tail(&mut self, record: &Record, tail: &mut Vec<u8>) -> Result<(), DbError> {
        tail.resize(record.tail_length() as usize, 0);
        self.pages.read(&self.file, record.key_offset(), tail)?;
        if crc32fast::hash(tail) != record.tail_crc {
            let what = "the checksum of a record's key and value is wrong";
            return Err(self.corrupt(record.offset, what));
        }
        Ok(())
    }

    /// Key and value of a record, checked.
    fn read_pair(&mut self, record: &Record) -> Result<Pair, DbError> {
        let mut key = Vec::new();
        self.read_tail(record, &mut key)?;
        let mut value = key.split_off(record.key_length as usize);
        value.truncate(record.value_length as usize);
        Ok((key, value))
    }

    fn corrupt(&self, offset: u64, what: impl Into<String>) -> DbError {
        DbError::corrupt(self.file.path(), offset, what)
    }
}

impl Engine for Twoskip {
    /// Recovers the file first if it is not clean.
    fn lock_shared(&mut self, deadline: Instant) -> Result<(), DbError> {
        while !self.lock(LockKind::Shared, deadline)? {
            self.unlock()?;
            self.lock_exclusive(deadline)?;
            self.unlock()?;
        }
        Ok(())
    }

    /// Recovers the file if it is not clean.
    fn lock_exclusive(&mut self, deadline: Instant) -> Result<(), DbError> {
        let clean = self.lock(LockKind::Exclusive, deadline)?;
        self.pages.clear();
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
            Some(record) => {
                let (_, value) = self.read_pair(&record)?;
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
        let Header {
            current_size,
            repack_size,
            ..
        } = self.header;
        current_size > WORTH_REPACKING && current_size > repack_size.saturating_mul(2)
    }

    fn repack(&mut self) -> Result<(), DbError> {
        self.rewrite()
    }

    fn backend(&self) -> Backend {
        Backend::Twoskip
    }
}
