//! Opening a mailbox and reading it.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::tz::TimeZone;

use super::header::MailboxHeader;
use super::integrity;
use super::message_annotations::MessageAnnotations;
use super::place::MailboxPlace;
use super::record::IndexRecord;
use super::records::{Records, RecordsOf};
use super::redo;
use super::totals::{Accounting, Totals};
use super::version::FormatError;
use super::{IndexHeader, MAX_HEADER_SIZE};
use crate::config::Removal;
use crate::mail::{Annotation, MailboxOptions, Uid};
use crate::spool::SpoolError;
use crate::spool::cyrusdb::Backend;
use crate::spool::disk::{Disk, DiskFile, LockKind};
use crate::spool::layout::MailboxFile;
use crate::spool::lock::{LockError, MailboxLock};

/// What of the configuration concerns the inside of mailboxes.
#[derive(Clone, Debug)]
pub struct MailboxSettings {
    /// Kind of new `cyrus.annotations` files (`annotation_db`).
    pub annotation_backend: Backend,
    /// What becomes of the files of expunged messages (mailbox-format §7.2).
    pub expunge_mode: Removal,
    /// The zone of the daemons, on which sent dates depend (mailbox-format §4.9).
    pub time_zone: TimeZone,
}

/// Opens, creates and removes mailboxes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Mailboxes {
    pub(super) disk: Disk,
    pub(super) settings: Arc<MailboxSettings>,
}

/// An open mailbox. Until it is dropped its index is locked, so that what it tells stays true.
#[derive(Debug)]
pub struct Mailbox<'user> {
    pub(super) mailboxes: Mailboxes,
    pub(super) place: MailboxPlace,
    pub(super) index: DiskFile,
    pub(super) header: MailboxHeader,
    pub(super) index_header: IndexHeader,
    annotations: RefCell<Option<MessageAnnotations>>,
    /// Declared last: released after the index.
    pub(super) lock: MailboxLock<'user>,
}

/// A mailbox that is open for changes: the index is locked exclusively.
#[derive(Debug)]
pub struct WritableMailbox<'user>(pub(super) Mailbox<'user>);

impl<'user> std::ops::Deref for WritableMailbox<'user> {
    type Target = Mailbox<'user>;

    fn deref(&self) -> &Mailbox<'user> {
        &self.0
    }
}

/// A record and its place in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// Number of the record, from 0.
    pub number: u32,
    /// The record.
    pub record: IndexRecord,
}

impl Mailboxes {
    /// The mailboxes on this disk.
    pub fn new(disk: Disk, settings: MailboxSettings) -> Mailboxes {
        Mailboxes {
            disk,
            settings: Arc::new(settings),
        }
    }

    /// The same mailboxes through another door.
    pub fn on_disk(&self, disk: Disk) -> Mailboxes {
        Mailboxes {
            disk,
            settings: Arc::clone(&self.settings),
        }
    }

    /// The settings.
    pub fn settings(&self) -> &MailboxSettings {
        &self.settings
    }

    /// Opens a mailbox for reading; `None` if it is marked as removed.
    ///
    /// # Errors
    /// If a lock cannot be had in time (trying again later can help), a file cannot be read, or
    /// header or index are damaged or of an unknown version.
    pub fn read<'user>(
        &self,
        place: MailboxPlace,
        lock: MailboxLock<'user>,
    ) -> Result<Option<Mailbox<'user>>, SpoolError> {
        let name = place.name.clone();
        self.open(place, lock, LockKind::Shared)
            .map_err(|error| error.in_mailbox(&name))
    }

    /// Opens a mailbox for changes; `None` if it is marked as removed. The owner
    /// must be locked exclusively.
    ///
    /// # Errors
    /// As [`Mailboxes::read`]; also if the index is of a version that is only read here, cache or
    /// annotations are damaged or lost, or the owner is locked shared only.
    pub fn write<'user>(
        &self,
        place: MailboxPlace,
        lock: MailboxLock<'user>,
    ) -> Result<Option<WritableMailbox<'user>>, SpoolError> {
        let name = place.name.clone();
        if !lock.user().is_exclusive() {
            return Err(not_covered(&place, &lock));
        }
        let opened = self.open(place, lock, LockKind::Exclusive);
        let opened = opened.map_err(|error| error.in_mailbox(&name))?;
        match opened {
            Some(mailbox) if !mailbox.index_header.version.is_writable() => {
                let error = SpoolError::Unsupported {
                    path: mailbox.index.path().to_owned(),
                    what: format!("changing index version {}", mailbox.index_header.version),
                };
                Err(error.in_mailbox(&name))
            }
            Some(mailbox) => {
                mailbox
                    .check_integrity()
                    .map_err(|error| error.in_mailbox(&name))?;
                Ok(Some(WritableMailbox(mailbox)))
            }
            None => Ok(None),
        }
    }

    fn open<'user>(
        &self,
        place: MailboxPlace,
        lock: MailboxLock<'user>,
        kind: LockKind,
    ) -> Result<Option<Mailbox<'user>>, SpoolError> {
        // Nobody moves the mailbox while its name is locked.
        match place.paths.file(MailboxFile::Index).parent() {
            Some(directory) => self.on_disk(self.disk.holding(directory)?),
            None => self.clone(),
        }
        .open_held(place, lock, kind)
    }

    fn open_held<'user>(
        &self,
        place: MailboxPlace,
        lock: MailboxLock<'user>,
        kind: LockKind,
    ) -> Result<Option<Mailbox<'user>>, SpoolError> {
        let path = place.paths.file(MailboxFile::Index);
        if kind == LockKind::Shared && redo::is_needed(&self.disk, &place)? {
            let index = self.locked(&path, LockKind::Exclusive)?;
            self.mend(&place, &index)?;
        }
        let index = self.locked(&path, kind)?;
        if kind == LockKind::Exclusive && redo::is_needed(&self.disk, &place)? {
            self.mend(&place, &index)?;
        }
        let opened = self.with_index(place, lock, index)?;
        let removed = opened
            .index_header
            .options
            .contains(MailboxOptions::DELETED);
        Ok((!removed).then_some(opened))
    }

    fn locked(&self, path: &Path, kind: LockKind) -> Result<DiskFile, SpoolError> {
        let index = match kind {
            LockKind::Shared => self.disk.open_read(path)?,
            LockKind::Exclusive => self.disk.open_write(path)?,
        };
        index.lock(kind, self.disk.lock_deadline())?;
        Ok(index)
    }

    fn mend(&self, place: &MailboxPlace, index: &DiskFile) -> Result<(), SpoolError> {
        let header = read_header(index)?;
        redo::repair(&self.disk, place, index, &header)
    }

    /// Reads the headers of a mailbox whose index is open and locked.
    pub(super) fn with_index<'user>(
        &self,
        place: MailboxPlace,
        lock: MailboxLock<'user>,
        index: DiskFile,
    ) -> Result<Mailbox<'user>, SpoolError> {
        let path = index.path();
        let index_header = read_header(&index)?;
        let needed = record_offset(&index_header, index_header.record_count);
        let found = index.len()?;
        if found < needed {
            return Err(FormatError::Truncated { found, needed }.at(path, found));
        }
        let header_path = place.paths.file(MailboxFile::Header);
        let bytes = self
            .disk
            .read(&header_path)?
            .ok_or_else(|| SpoolError::corrupt(&header_path, 0, "does not exist"))?;
        let header = MailboxHeader::decode(&bytes).map_err(|error| error.at(&header_path, 0))?;
        let crc = crc32fast::hash(&bytes);
        if index_header.header_file_crc != 0 && index_header.header_file_crc != crc {
            tracing::warn!(
                "Header CRC mismatch for mailbox {}: {crc:08X} {:08X}",
                place.name,
                index_header.header_file_crc
            );
            integrity::check_owner(&header, &place, &header_path)?;
        }
        Ok(Mailbox {
            mailboxes: self.clone(),
            place,
            index,
            header,
            index_header,
            annotations: RefCell::new(None),
            lock,
        })
    }
}

fn read_header(index: &DiskFile) -> Result<IndexHeader, SpoolError> {
    let octets = index.read_at(0, MAX_HEADER_SIZE)?;
    IndexHeader::decode(&octets).map_err(|error| error.at(index.path(), 0))
}

/// The error for a lock that is not strong enough.
pub(super) fn not_covered(place: &MailboxPlace, lock: &MailboxLock<'_>) -> SpoolError {
    let user = lock.user();
    SpoolError::Lock(LockError::NotCovered {
        mailbox: place.name.clone(),
        held: user.kind(),
        holder: match user.owner() {
            Some(owner) => owner.to_string(),
            None => "the shared mailboxes".to_owned(),
        },
    })
}

/// Where record `number` begins.
pub(super) fn record_offset(header: &IndexHeader, number: u32) -> u64 {
    let record = header.version.record_size() as u64;
    header.version.header_size() as u64 + u64::from(number) * record
}

impl Mailbox<'_> {
    /// Which mailbox it is.
    pub fn place(&self) -> &MailboxPlace {
        &self.place
    }

    /// Type, name, ACL, quota root and user flags.
    pub fn header(&self) -> &MailboxHeader {
        &self.header
    }

    /// State and counters.
    pub fn index_header(&self) -> &IndexHeader {
        &self.index_header
    }

    /// All records by ascending UID, read in pieces; an error is the last item.
    pub fn records(&self) -> Records<'_> {
        Records::new(self, 0)
    }

    /// The records with UIDs above `uid`.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn records_after(&self, uid: Uid) -> Result<Records<'_>, SpoolError> {
        let mut records = Records::new(self, 0);
        records.search_above(uid)?;
        Ok(records)
    }

    /// The records of these ascending UIDs, as far as they exist. Others are passed over, so that
    /// few records of a large mailbox are found without reading all.
    pub fn records_of<I: Iterator<Item = Uid>>(&self, uids: I) -> RecordsOf<'_, I> {
        RecordsOf::new(Records::new(self, 0), uids)
    }

    /// The record of a UID.
    ///
    /// # Errors
    /// If the index cannot be read or the record is damaged.
    pub fn find(&self, uid: Uid) -> Result<Option<StoredRecord>, SpoolError> {
        let Some(before) = uid.0.checked_sub(1) else {
            return Ok(None);
        };
        let mut records = self.records_after(Uid(before))?;
        let next = records.next().transpose()?;
        Ok(next.filter(|found| found.record.uid == uid))
    }

    /// The stored annotations of a message, sorted by entry and user. Annotations of expunged
    /// messages are still told.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn annotations_of(&self, uid: Uid) -> Result<Vec<Annotation>, SpoolError> {
        self.with_annotations(|annotations, path| annotations.of(path, uid))
    }

    /// The names of the user flags of a record, in the order of the mailbox.
    pub fn flag_names(&self, record: &IndexRecord) -> impl Iterator<Item = &str> {
        self.header.flags.names_of(record.user_flags)
    }

    /// The file of a message.
    pub fn message_path(&self, record: &IndexRecord) -> PathBuf {
        self.place.message_path(record)
    }

    /// The header with CRCs and counters computed from all records and annotations instead of
    /// those stored. With `mailbox_annotations`, the octets of the mailbox's own annotations, the
    /// use of annotation storage as well.
    ///
    /// # Errors
    /// If a file cannot be read or a record is damaged.
    pub fn recalculated(
        &self,
        mailbox_annotations: Option<u64>,
    ) -> Result<IndexHeader, SpoolError> {
        let mut header = self.index_header.clone();
        header.set_totals(&self.sum_of_records()?, mailbox_annotations);
        Ok(header)
    }

    /// The sums over all records, without the start value of the annotation CRC.
    pub(super) fn sum_of_records(&self) -> Result<Totals, SpoolError> {
        let accounting = Accounting::new(self.index_header.version, &self.header.flags);
        let mut totals = Totals::NOTHING;
        let mut live = Vec::new();
        for stored in self.records() {
            let record = stored?.record;
            totals.add(&record, &accounting);
            if record.is_live() {
                live.push(record.uid);
            }
        }
        self.with_annotations(|annotations, path| {
            annotations.for_each(path, |uid, annotation| {
                if live.binary_search(&uid).is_ok() {
                    totals.add_annotation(uid, &annotation);
                }
            })
        })?;
        Ok(totals)
    }

    fn with_annotations<T>(
        &self,
        use_them: impl FnOnce(&mut MessageAnnotations, &Path) -> Result<T, SpoolError>,
    ) -> Result<T, SpoolError> {
        let path = self.place.paths.file(MailboxFile::Annotations);
        let mut annotations = self.annotations.borrow_mut();
        let opened = match annotations.take() {
            Some(opened) => opened,
            None => MessageAnnotations::open(
                &self.mailboxes.disk,
                &path,
                self.mailboxes.settings.annotation_backend,
                self.place.owner.as_ref(),
            )?,
        };
        use_them(annotations.insert(opened), &path)
    }

    /// Has the annotations read anew, after they were changed.
    pub(super) fn forget_annotations(&self) {
        self.annotations.replace(None);
    }
}
