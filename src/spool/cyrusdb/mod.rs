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

mod flat;
mod levels;
mod pages;
mod quotalegacy;
mod skiplist;
#[cfg(test)]
mod tests;
mod twoskip;

use std::fmt::Debug;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::disk::{Disk, DiskError, if_exists};
use crate::mail::UnixTime;
use flat::Flat;
use quotalegacy::QuotaLegacy;
use skiplist::Skiplist;
use twoskip::Twoskip;

/// Kind of file, with what is to be known of the server to use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// databases §2.
    Twoskip,
    /// databases §3.
    Skiplist {
        /// Files that were recovered before this time are recovered when they are opened: the
        /// time of the server's last start after a crash, see [`skiplist_stamp`].
        recovered_since: UnixTime,
    },
    /// databases §4.
    Flat,
    /// databases §5. The path of the database is that of a file which need not exist; the quota
    /// files are in directories beside it.
    QuotaLegacy {
        /// The option `fulldirhash`.
        full_hash: bool,
        /// The option `virtdomains`.
        virtual_domains: bool,
    },
}

/// The time of the server's last start after a crash, for [`Backend::Skiplist`], from
/// `db/skipstamp` in the configuration directory. Without that file it is the end of time: all
/// skiplist files are recovered whenever they are opened, as the daemons do (databases §3).
pub fn skiplist_stamp(disk: &Disk, config_directory: &Path) -> Result<UnixTime, DiskError> {
    let stamp = disk.read(&config_directory.join("db/skipstamp"))?;
    let seconds = stamp.as_deref().and_then(|stamp| stamp.first_chunk());
    Ok(UnixTime(
        seconds.map_or(u32::MAX, |chunk| u32::from_be_bytes(*chunk)),
    ))
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
        /// Where in it, in octets.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// A file of a format that is not read here.
    #[error("{} is a database of the unknown kind {kind:?}", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// The name its magic gives.
        kind: String,
    },
    /// A record that the format cannot hold.
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

    fn corrupt(path: &Path, offset: u64, what: impl Into<String>) -> DbError {
        DbError::Corrupt {
            path: path.to_owned(),
            offset,
            what: what.into(),
        }
    }
}

/// A key and its value.
type Pair = (Vec<u8>, Vec<u8>);

/// What a format has to offer. All but the first two methods are called under a lock.
trait Engine: Debug + Send {
    /// Makes the database ready to be read as it is now.
    fn lock_shared(&mut self, deadline: Instant) -> Result<(), DbError>;
    /// Makes the database ready to be changed, by nobody else.
    fn lock_exclusive(&mut self, deadline: Instant) -> Result<(), DbError>;
    fn unlock(&mut self) -> Result<(), DbError>;
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, DbError>;
    /// The pairs whose keys begin with `prefix`, from the first one or the first after a key; as
    /// many as one [`Stretch`] takes, fewer only at the end.
    fn stretch(&mut self, prefix: &[u8], after: Option<&[u8]>) -> Result<Stretch, DbError>;
    fn check(&mut self) -> Result<(), DbError>;
    /// Forgets what is remembered of the file; false if that was nothing.
    fn forget(&mut self) -> bool;
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), DbError>;
    fn delete(&mut self, key: &[u8]) -> Result<bool, DbError>;
    /// Makes the changes durable. After an error it is left to the next lock to find out, and to
    /// do or undo them as a whole.
    fn commit(&mut self) -> Result<(), DbError>;
    /// Undoes the changes. What that leaves undone is left to the next lock.
    fn abort(&mut self) -> Result<(), DbError>;
    /// Whether so much of the file is garbage that it should be written afresh.
    fn is_repack_due(&self) -> bool;
    fn repack(&mut self) -> Result<(), DbError>;
    fn backend(&self) -> Backend;
}

/// How much of a scan is read in one go under one lock: the daemons' count of records
/// (databases §2.7), and a bound in octets so that memory is bounded too.
#[derive(Debug, Default)]
struct Stretch {
    pairs: Vec<Pair>,
    octets: usize,
}

impl Stretch {
    fn push(&mut self, pair: Pair) {
        self.octets += pair.0.len() + pair.1.len();
        self.pairs.push(pair);
    }

    fn is_full(&self) -> bool {
        self.pairs.len() >= 256 || self.octets >= 1024 * 1024
    }
}

/// What is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// The pair of this key, if there is one.
    Key(&'a [u8]),
    /// All pairs whose keys begin so.
    Prefix(&'a [u8]),
}

impl Wanted<'_> {
    fn first_stretch(self, engine: &mut dyn Engine) -> Result<Stretch, DbError> {
        match self {
            Wanted::Key(key) => {
                let mut stretch = Stretch::default();
                if let Some(value) = engine.get(key)? {
                    stretch.push((key.to_owned(), value));
                }
                Ok(stretch)
            }
            Wanted::Prefix(prefix) => engine.stretch(prefix, None),
        }
    }

    fn next_stretch(self, engine: &mut dyn Engine, after: &[u8]) -> Result<Stretch, DbError> {
        match self {
            Wanted::Key(_) => Ok(Stretch::default()),
            Wanted::Prefix(prefix) => engine.stretch(prefix, Some(after)),
        }
    }
}

/// An open database.
#[derive(Debug)]
pub struct Db {
    disk: Disk,
    engine: Box<dyn Engine>,
}

impl Db {
    /// Opens the database `path`; `None` if there is none and it is not to be created. A file
    /// that turns out to be of another kind than `backend` is opened as what it is (databases
    /// §1).
    pub fn open(
        disk: &Disk,
        path: &Path,
        backend: Backend,
        create: Create,
    ) -> Result<Option<Db>, DbError> {
        let mut opened = open_engine(disk, path, backend, create);
        if let Err(DbError::Corrupt { offset: 0, .. }) = opened
            && let Some(found) = detect(disk, path)?
            && std::mem::discriminant(&found) != std::mem::discriminant(&backend)
        {
            opened = open_engine(disk, path, found, create);
        }
        Ok(opened?.map(|engine| Db {
            disk: disk.clone(),
            engine,
        }))
    }

    /// Opens a database on which all mailboxes depend, creating it if there is none. An empty file,
    /// which is as good as none elsewhere, is damaged here: nothing begins anew because something
    /// emptied it. (Of [`Backend::Flat`] it is a database without records.)
    ///
    /// # Errors
    /// As [`Db::open`].
    pub fn open_vital(disk: &Disk, path: &Path, backend: Backend) -> Result<Db, DbError> {
        if backend != Backend::Flat && stays_empty(disk, path)? {
            return Err(DbError::corrupt(path, 0, "the file is empty"));
        }
        let opened = Db::open(disk, path, backend, Create::Yes)?;
        opened.ok_or_else(|| DbError::corrupt(path, 0, "could not be created"))
    }

    /// The value of `key`.
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, DbError> {
        let deadline = self.disk.lock_deadline();
        self.reading(deadline, |engine| engine.get(key))
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
        mut each: impl FnMut(&[u8], &[u8]) -> ControlFlow<B>,
    ) -> Result<Option<B>, DbError> {
        self.scan_all(&[Wanted::Prefix(prefix)], |_, key, value| each(key, value))
    }

    /// The same for one thing that is wanted after the other; `each` is told for which of them a
    /// pair is. The first stretch of each is read under one lock: where none has more than a
    /// stretch, all is told as of one moment.
    pub fn scan_all<B>(
        &mut self,
        wanted: &[Wanted<'_>],
        mut each: impl FnMut(usize, &[u8], &[u8]) -> ControlFlow<B>,
    ) -> Result<Option<B>, DbError> {
        let first = |engine: &mut dyn Engine| -> Result<Vec<Stretch>, DbError> {
            let stretches = wanted.iter().map(|wanted| wanted.first_stretch(engine));
            stretches.collect()
        };
        let stretches = self.reading(self.disk.lock_deadline(), first)?;
        for (index, (wanted, stretch)) in wanted.iter().zip(stretches).enumerate() {
            let read = |after: &[u8]| {
                let deadline = self.disk.lock_deadline();
                self.reading(deadline, |engine| wanted.next_stretch(engine, after))
            };
            if let Some(value) = scan_on(stretch, read, |key, value| each(index, key, value))? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Locks the database for changes, waiting until `deadline`.
    pub fn begin(&mut self, deadline: Instant) -> Result<Transaction<'_>, DbError> {
        self.engine.lock_exclusive(deadline)?;
        Ok(Transaction {
            engine: &mut *self.engine,
            open: true,
        })
    }

    /// Reads everything and checks that it is as the format demands. Costs as much as a scan and
    /// keeps the database locked (shared) meanwhile.
    pub fn check(&mut self) -> Result<(), DbError> {
        let deadline = self.disk.lock_deadline();
        self.reading(deadline, |engine| engine.check())
    }

    /// Writes the live records into a fresh file, whether that is due or not. (It is done by
    /// itself at the end of a commit when it is due.)
    pub fn repack(&mut self) -> Result<(), DbError> {
        self.engine.lock_exclusive(self.disk.lock_deadline())?;
        let result = self.engine.repack();
        if result.is_err() {
            self.engine.forget();
        }
        self.engine.unlock()?;
        result
    }

    /// The kind of file it turned out to be.
    pub fn backend(&self) -> Backend {
        self.engine.backend()
    }

    /// Reads under a shared lock. What looks like damage may come from remembering a page from
    /// before and one from after a change that left no trace in the header (when a transaction
    /// is undone): such a read is repeated once with nothing remembered.
    fn reading<T>(
        &mut self,
        deadline: Instant,
        read: impl Fn(&mut dyn Engine) -> Result<T, DbError>,
    ) -> Result<T, DbError> {
        let engine = &mut *self.engine;
        engine.lock_shared(deadline)?;
        let mut result = read(engine);
        if result.as_ref().is_err_and(DbError::is_corrupt) && engine.forget() {
            result = read(engine);
        }
        engine.unlock()?;
        result
    }
}

/// A set of changes that are made together or not at all (with quotalegacy: each root by
/// itself); dropping it undoes them. The database is locked exclusively meanwhile.
#[derive(Debug)]
pub struct Transaction<'a> {
    engine: &'a mut dyn Engine,
    open: bool,
}

impl Transaction<'_> {
    /// The value of `key`, as this transaction left it.
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, DbError> {
        self.engine.get(key)
    }

    /// Like [`Db::scan`], over what this transaction left; the lock is kept.
    pub fn scan<B>(
        &mut self,
        prefix: &[u8],
        each: impl FnMut(&[u8], &[u8]) -> ControlFlow<B>,
    ) -> Result<Option<B>, DbError> {
        let first = self.engine.stretch(prefix, None)?;
        scan_on(
            first,
            |after| self.engine.stretch(prefix, Some(after)),
            each,
        )
    }

    /// Sets the value of `key`, new or not. After an error the transaction should be dropped.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), DbError> {
        self.engine.put(key, value)
    }

    /// Removes `key`; false if it was not there. After an error the transaction should be
    /// dropped.
    pub fn delete(&mut self, key: &[u8]) -> Result<bool, DbError> {
        self.engine.delete(key)
    }

    /// Makes the changes durable and releases the lock. After an error they are undone or done as
    /// a whole, which of the two the next look at the database tells.
    pub fn commit(mut self) -> Result<(), DbError> {
        self.open = false;
        let result = self.engine.commit();
        if result.is_err() {
            self.engine.forget();
        } else if self.engine.is_repack_due()
            && let Err(error) = self.engine.repack()
        {
            // What was committed stays so.
            self.engine.forget();
            tracing::warn!(%error, "could not repack a database");
        }
        self.engine.unlock()?;
        result
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.open {
            let undone = self.engine.abort();
            let unlocked = self.engine.unlock();
            if let Err(error) = undone.and(unlocked) {
                tracing::warn!(%error, "could not undo a transaction at once");
            }
        }
    }
}

fn open_engine(
    disk: &Disk,
    path: &Path,
    backend: Backend,
    create: Create,
) -> Result<Option<Box<dyn Engine>>, DbError> {
    fn boxed<E: Engine + 'static>(engine: Option<E>) -> Option<Box<dyn Engine>> {
        engine.map(|engine| Box::new(engine) as Box<dyn Engine>)
    }
    Ok(match backend {
        Backend::Twoskip => boxed(Twoskip::open(disk, path, create)?),
        Backend::Skiplist { recovered_since } => {
            boxed(Skiplist::open(disk, path, recovered_since, create)?)
        }
        Backend::Flat => boxed(Flat::open(disk, path, create)?),
        Backend::QuotaLegacy {
            full_hash,
            virtual_domains,
        } => boxed(QuotaLegacy::open(
            disk,
            path,
            full_hash,
            virtual_domains,
            create,
        )?),
    })
}

/// The octets with which the files of all binary formats begin.
const MAGIC_START: &[u8; 4] = b"\xa1\x02\x8b\x0d";

/// How long whoever creates a database may take to fill the file.
const TIME_TO_FILL: Duration = Duration::from_secs(1);

/// Whether there is a file, and it is empty for longer than whoever makes it needs to fill it.
fn stays_empty(disk: &Disk, path: &Path) -> Result<bool, DbError> {
    let deadline = Instant::now() + TIME_TO_FILL;
    while disk.status(path)?.is_some_and(|found| found.length() == 0) {
        if Instant::now() >= deadline {
            return Ok(true);
        }
        std::thread::sleep(TIME_TO_FILL / 20);
    }
    Ok(false)
}

/// The backend that the magic of a file names; `None` without magic.
fn detect(disk: &Disk, path: &Path) -> Result<Option<Backend>, DbError> {
    let Some(file) = if_exists(disk.open_read(path))? else {
        return Ok(None);
    };
    let start = file.read_at(0, 20)?;
    let Some(name) = start.strip_prefix(MAGIC_START) else {
        return Ok(None);
    };
    if name.starts_with(b"twoskip file") {
        return Ok(Some(Backend::Twoskip));
    }
    if name.starts_with(b"skiplist file") {
        // Recovering it once too often does no harm.
        let recovered_since = UnixTime(u32::MAX);
        return Ok(Some(Backend::Skiplist { recovered_since }));
    }
    let name = name.split(|octet| *octet == 0).next().unwrap_or_default();
    Err(DbError::UnknownFormat {
        path: path.to_owned(),
        kind: String::from_utf8_lossy(name).into_owned(),
    })
}

/// Gives the pairs of one stretch after another to `each`; `read` returns those after the key
/// given.
fn scan_on<B>(
    first: Stretch,
    mut read: impl FnMut(&[u8]) -> Result<Stretch, DbError>,
    mut each: impl FnMut(&[u8], &[u8]) -> ControlFlow<B>,
) -> Result<Option<B>, DbError> {
    let mut stretch = first;
    loop {
        for (key, value) in &stretch.pairs {
            if let ControlFlow::Break(value) = each(key, value) {
                return Ok(Some(value));
            }
        }
        stretch = match stretch.pairs.last().filter(|_| stretch.is_full()) {
            Some((last, _)) => read(last)?,
            None => return Ok(None),
        };
    }
}
