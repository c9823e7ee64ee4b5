//! Cyrus's key/value files: twoskip, skiplist, flat and quotalegacy behind one type
//! (databases §1–§5).
//!
//! Keys and values are octets; a key is never empty. Every session opens its own [`Db`]. A file
//! is locked only inside [`Db::get`], during stretches of [`Db::scan`], and from [`Db::begin`] to
//! the end of the [`Transaction`].
//!
//! ```
//! # use cyrus_sync::spool::{cyrusdb::{Backend, Create, Db}, disk::Disk};
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("x.db");
//! let disk = Disk::default();
//! let mut db = Db::open(&disk, &path, Backend::Twoskip, Create::Yes)?.ok_or("not created")?;
//! let mut transaction = db.begin(disk.lock_deadline())?;
//! transaction.put(b"key", b"value")?;
//! transaction.commit()?;
//! assert_eq!(db.get(b"key")?.as_deref(), Some(&b"value"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod pages;
#[cfg(test)]
mod tests;
mod twoskip;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::disk::{Disk, DiskError};
use twoskip::Twoskip;

/// Kind of file. Named as in imapd.conf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// databases §2.
    Twoskip,
}

/// Whether a database that does not exist is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Create {
    /// With the directories above it.
    Yes,
    /// Leave the disk as it is.
    No,
}

/// Why a database could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The disk refused, or a lock was not to be had.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The file's content is not what its format demands.
    #[error("{} is damaged at offset {offset}: {what}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// A file of a format that is not read here.
    #[error("{} is a database of the unknown kind {kind}", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// The name its magic gives.
        kind: String,
    },
    /// A key or value that the format cannot hold.
    #[error("{} cannot hold this record: {why}", path.display())]
    Unstorable {
        /// The file.
        path: PathBuf,
        /// What about it is impossible.
        why: &'static str,
    },
}

impl DbError {
    /// Whether the same may succeed later with nothing repaired.
    pub fn is_temporary(&self) -> bool {
        matches!(self, DbError::Disk(error) if error.is_temporary())
    }

    /// Whether the file has gone since it was opened.
    pub fn is_not_found(&self) -> bool {
        matches!(self, DbError::Disk(error) if error.is_not_found())
    }

    fn is_corrupt(&self) -> bool {
        matches!(self, DbError::Corrupt { .. })
    }
}

/// A key and its value.
type Pair = (Vec<u8>, Vec<u8>);

/// How much of a scan is read in one go under one lock: the daemons' count of records
/// (databases §2.7), and a bound in bytes so that memory is bounded too.
const STRETCH_RECORDS: usize = 256;
const STRETCH_BYTES: usize = 1024 * 1024;

/// An open database.
#[derive(Debug)]
pub struct Db {
    disk: Disk,
    engine: Engine,
}

#[derive(Debug)]
enum Engine {
    Twoskip(Twoskip),
}

impl Db {
    /// Opens the database `path`; `None` if it does not exist (or is an empty file) and is not to
    /// be created.
    pub fn open(
        disk: &Disk,
        path: &Path,
        backend: Backend,
        create: Create,
    ) -> Result<Option<Db>, DbError> {
        let engine = match backend {
            Backend::Twoskip => Twoskip::open(disk, path, create)?.map(Engine::Twoskip),
        };
        Ok(engine.map(|engine| Db {
            disk: disk.clone(),
            engine,
        }))
    }

    /// The value of `key`.
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, DbError> {
        let deadline = self.disk.lock_deadline();
        match &mut self.engine {
            Engine::Twoskip(db) => db.get(key, deadline),
        }
    }

    /// Calls `each` with every pair whose key begins with `prefix`, in the order of the backend,
    /// until it breaks; returns what it broke with.
    ///
    /// No lock is held while `each` runs, and it may work on the same database through another
    /// [`Db`]. The pairs are read in stretches, each under a lock of its own, as the daemons do
    /// (databases §2.7): a scan is no snapshot, but every key that is there from beginning to
    /// end is seen once.
    pub fn scan<B>(
        &mut self,
        prefix: &[u8],
        each: impl FnMut(&[u8], &[u8]) -> ControlFlow<B>,
    ) -> Result<Option<B>, DbError> {
        let disk = self.disk.clone();
        let engine = &mut self.engine;
        scan_in_stretches(
            |after| match engine {
                Engine::Twoskip(db) => db.stretch(prefix, after, disk.lock_deadline()),
            },
            each,
        )
    }

    /// Locks the database for changes, waiting until `deadline`.
    pub fn begin(&mut self, deadline: Instant) -> Result<Transaction<'_>, DbError> {
        match &mut self.engine {
            Engine::Twoskip(db) => db.lock_exclusive(deadline)?,
        }
        Ok(Transaction {
            db: self,
            open: true,
        })
    }

    /// Reads everything and checks that it is as the format demands. Costs as much as a scan and
    /// keeps the database locked (shared) meanwhile.
    pub fn check(&mut self) -> Result<(), DbError> {
        let deadline = self.disk.lock_deadline();
        match &mut self.engine {
            Engine::Twoskip(db) => db.check(deadline),
        }
    }

    /// Writes the live records into a fresh file, whether that is due or not. (It is done by
    /// itself at the end of a commit when it is due.)
    pub fn repack(&mut self) -> Result<(), DbError> {
        let deadline = self.disk.lock_deadline();
        match &mut self.engine {
            Engine::Twoskip(db) => db.repack(deadline),
        }
    }

    /// The kind of file it turned out to be.
    pub fn backend(&self) -> Backend {
        match &self.engine {
            Engine::Twoskip(_) => Backend::Twoskip,
        }
    }
}

/// A set of changes that are made together or not at all; dropping it undoes them. The database
/// is locked exclusively meanwhile.
#[derive(Debug)]
pub struct Transaction<'a> {
    db: &'a mut Db,
    open: bool,
}

impl Transaction<'_> {
    /// The value of `key`, as this transaction left it.
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, DbError> {
        match &mut self.db.engine {
            Engine::Twoskip(db) => db.get_here(key),
        }
    }

    /// Like [`Db::scan`], over what this transaction left; the lock is kept.
    pub fn scan<B>(
        &mut self,
        prefix: &[u8],
        each: impl FnMut(&[u8], &[u8]) -> ControlFlow<B>,
    ) -> Result<Option<B>, DbError> {
        let engine = &mut self.db.engine;
        scan_in_stretches(
            |after| match engine {
                Engine::Twoskip(db) => db.stretch_here(prefix, after),
            },
            each,
        )
    }

    /// Sets the value of `key`, new or not. After an error the transaction should be dropped.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), DbError> {
        match &mut self.db.engine {
            Engine::Twoskip(db) => db.put(key, value),
        }
    }

    /// Removes `key`; false if it was not there. After an error the transaction should be
    /// dropped.
    pub fn delete(&mut self, key: &[u8]) -> Result<bool, DbError> {
        match &mut self.db.engine {
            Engine::Twoskip(db) => db.delete(key),
        }
    }

    /// Makes the changes durable and releases the lock. After an error they are undone or done as
    /// a whole, which of the two the next look at the file tells.
    pub fn commit(mut self) -> Result<(), DbError> {
        self.open = false;
        match &mut self.db.engine {
            Engine::Twoskip(db) => db.commit(),
        }
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.open {
            match &mut self.db.engine {
                Engine::Twoskip(db) => db.abort(),
            }
        }
    }
}

/// Gives the pairs of one stretch after another to `each`; `read` returns those after the key
/// given, none at the end.
fn scan_in_stretches<B>(
    mut read: impl FnMut(Option<&[u8]>) -> Result<Vec<Pair>, DbError>,
    mut each: impl FnMut(&[u8], &[u8]) -> ControlFlow<B>,
) -> Result<Option<B>, DbError> {
    let mut pairs = read(None)?;
    while let Some((last, _)) = pairs.last() {
        let last = last.clone();
        for (key, value) in &pairs {
            if let ControlFlow::Break(value) = each(key, value) {
                return Ok(Some(value));
            }
        }
        pairs = read(Some(&last))?;
    }
    Ok(None)
}
