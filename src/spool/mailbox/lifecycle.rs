//! Making and removing mailboxes (mailbox-format §3.12, §7.7, §1.8).
//!
//! A mailbox exists once its index does, which appears as a whole by a rename. It is gone once
//! its index is marked as removed; the files go afterwards, the index last, so that a crash
//! leaves a directory of which everybody can tell that it is garbage.

use std::ffi::OsStr;
use std::path::Path;

use super::header::{FlagTable, MailboxHeader};
use super::open::{Mailbox, Mailboxes, WritableMailbox, not_covered};
use super::place::MailboxPlace;
use super::{IndexHeader, IndexVersion, MAX_HEADER_SIZE};
use crate::mail::{Acl, MailboxOptions, ModSeq, UidValidity, UnixTime};
use crate::spool::SpoolError;
use crate::spool::disk::{DiskError, FILE_MODE, LockKind, if_exists};
use crate::spool::layout::MailboxFile;
use crate::spool::lock::MailboxLock;
use crate::spool::quota::{Amounts, QuotaRoot};

/// What a new mailbox begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMailbox {
    /// Format of the index.
    pub version: IndexVersion,
    /// The ACL.
    pub acl: Acl,
    /// The quota root, which is charged for one mailbox.
    pub quota_root: Option<QuotaRoot>,
    /// The options.
    pub options: MailboxOptions,
    /// UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// HIGHESTMODSEQ.
    pub highest_modseq: ModSeq,
    /// Modseq of the creation; zero or more than HIGHESTMODSEQ for that of HIGHESTMODSEQ.
    pub created_modseq: ModSeq,
}

impl Mailboxes {
    /// Creates a mailbox and opens it; the entry in the mailbox list is the caller's, afterwards.
    /// What a removed mailbox left there goes. Owner and mailbox must be locked exclusively.
    ///
    /// # Errors
    /// If messages are there that nobody deleted, the lock is shared only, or something cannot
    /// be written.
    pub fn create<'user>(
        &self,
        place: MailboxPlace,
        lock: MailboxLock<'user>,
        new: &NewMailbox,
        charge: impl FnOnce(&QuotaRoot, Amounts) -> Result<(), SpoolError>,
    ) -> Result<WritableMailbox<'user>, SpoolError> {
        let name = place.name.clone();
        self.create_files(place, lock, new, charge)
            .map(WritableMailbox)
            .map_err(|error| error.in_mailbox(&name))
    }

    fn create_files<'user>(
        &self,
        place: MailboxPlace,
        lock: MailboxLock<'user>,
        new: &NewMailbox,
        charge: impl FnOnce(&QuotaRoot, Amounts) -> Result<(), SpoolError>,
    ) -> Result<Mailbox<'user>, SpoolError> {
        let header = MailboxHeader {
            mailbox_type: place.mailbox_type,
            name: Some(place.name.clone()),
            unique_id: Some(place.unique_id.clone()),
            jmap_id: None,
            quota_root: new.quota_root.clone(),
            acl: new.acl.clone(),
            flags: FlagTable::default(),
        };
        let header = header.encode().map_err(super::ChangeError::Unstorable)?;
        let created_modseq = match new.created_modseq {
            ModSeq(0) => new.highest_modseq,
            given => given.min(new.highest_modseq),
        };
        let mut index_header = IndexHeader::new(new.version);
        index_header.options = new.options;
        index_header.uid_validity = new.uid_validity;
        index_header.highest_modseq = new.highest_modseq;
        index_header.created_modseq = created_modseq;
        index_header.changes_epoch = UnixTime::now();
        index_header.header_file_crc = crc32fast::hash(&header);

        self.clear_the_place(&place, &lock)?;
        for directory in place.paths.directories() {
            self.disk.create_dirs(directory)?;
        }
        let file = self
            .disk
            .replace(&place.paths.file(MailboxFile::Header), FILE_MODE)?;
        file.file().write_at(0, &header)?;
        file.commit()?;
        if let Some(root) = &new.quota_root {
            charge(root, index_header.usage())?;
        }
        let file = self
            .disk
            .replace(&place.paths.file(MailboxFile::Index), FILE_MODE)?;
        file.file()
            .lock(LockKind::Exclusive, self.disk.lock_deadline())?;
        file.file().write_at(0, &index_header.encode())?;
        let index = file.commit()?;
        self.with_index(place, lock, index)
    }

    /// Removes the files of a mailbox that is marked as removed, or of one without messages, and
    /// its directories unless other mailboxes are below them. The mailbox must be locked
    /// exclusively.
    ///
    /// # Errors
    /// If messages are there that nobody deleted, the lock is shared only, or something cannot be
    /// removed.
    pub fn remove_files(
        &self,
        place: &MailboxPlace,
        lock: &MailboxLock<'_>,
    ) -> Result<(), SpoolError> {
        self.clear_the_place(place, lock)
            .map_err(|error| error.in_mailbox(&place.name))
    }

    fn clear_the_place(
        &self,
        place: &MailboxPlace,
        lock: &MailboxLock<'_>,
    ) -> Result<(), SpoolError> {
        if lock.kind() != LockKind::Exclusive {
            return Err(not_covered(place, lock));
        }
        if !self.is_garbage(place)? {
            return Err(SpoolError::Unsupported {
                path: place.paths.data_directory().to_owned(),
                what: "removing messages of a mailbox that nobody deleted".to_owned(),
            });
        }
        self.remove_everything(place)
    }

    /// Whether what is at a place may go: a mailbox that is marked as removed, or anything
    /// without message files. An index that cannot be read is no reason to remove messages.
    pub(super) fn is_garbage(&self, place: &MailboxPlace) -> Result<bool, SpoolError> {
        let path = place.paths.file(MailboxFile::Index);
        if let Some(index) = if_exists(self.disk.open_read(&path))? {
            let bytes = index.read_at(0, MAX_HEADER_SIZE)?;
            let header = IndexHeader::decode(&bytes);
            if header.is_ok_and(|header| header.options.contains(MailboxOptions::DELETED)) {
                return Ok(true);
            }
        }
        for directory in [
            place.paths.data_directory(),
            place.paths.archive_directory(),
        ] {
            let names = self.disk.read_dir(directory)?.unwrap_or_default();
            if names.iter().any(|name| is_message_file(name)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Removes all files of a mailbox, the index last, and the directories that are then empty.
    pub(super) fn remove_everything(&self, place: &MailboxPlace) -> Result<(), SpoolError> {
        let index = place.paths.file(MailboxFile::Index);
        let directories = place.paths.directories();
        for directory in &directories {
            for name in self.disk.read_dir(directory)?.unwrap_or_default() {
                let path = directory.join(name);
                if path != index && !is_directory(&path) {
                    self.disk.unlink(&path)?;
                }
            }
        }
        if self.disk.unlink(&index)?
            && let Some(directory) = index.parent()
        {
            self.disk.sync_dir(directory)?;
        }
        for directory in directories {
            match self.disk.remove_dir(directory) {
                Err(error) if is_not_empty(&error) => {}
                result => drop(result?),
            }
        }
        Ok(())
    }
}

/// Whether a name is that of a message file: a UID and a dot.
fn is_message_file(name: &OsStr) -> bool {
    let digits = name.as_encoded_bytes().strip_suffix(b".");
    digits.is_some_and(|digits| {
        !digits.is_empty() && digits.iter().all(|digit| digit.is_ascii_digit())
    })
}

/// Whether it is a directory itself, not a link to one.
fn is_directory(path: &Path) -> bool {
    path.is_dir() && !path.is_symlink()
}

fn is_not_empty(error: &DiskError) -> bool {
    match error {
        DiskError::Io { source, .. } => source.kind() == std::io::ErrorKind::DirectoryNotEmpty,
        DiskError::LockTimeout { .. } => false,
    }
}

impl<'user> WritableMailbox<'user> {
    /// Marks the mailbox as removed: for everybody it is gone when this returns. Then the caller
    /// takes it out of the mailbox list, and with the lock that is returned
    /// [`Mailboxes::remove_files`] removes the rest. `charge` takes its use off its quota root.
    ///
    /// # Errors
    /// If the mailbox is locked shared only or the index cannot be written.
    pub fn mark_removed(
        self,
        charge: impl FnOnce(&QuotaRoot, Amounts) -> Result<(), SpoolError>,
    ) -> Result<MailboxLock<'user>, SpoolError> {
        let Mailbox {
            place,
            lock,
            index,
            header,
            mut index_header,
            ..
        } = self.0;
        if lock.kind() != LockKind::Exclusive {
            return Err(not_covered(&place, &lock).in_mailbox(&place.name));
        }
        let usage = index_header.usage();
        index_header.options |= MailboxOptions::DELETED;
        let write = || {
            if let Some(root) = &header.quota_root {
                charge(root, negative(usage))?;
            }
            index.write_at(0, &index_header.encode())?;
            Ok(index.sync_data()?)
        };
        write().map_err(|error: SpoolError| error.in_mailbox(&place.name))?;
        Ok(lock)
    }
}

/// The amounts to take off.
pub(super) fn negative(amounts: Amounts) -> Amounts {
    Amounts {
        storage: amounts.storage.saturating_neg(),
        messages: amounts.messages.saturating_neg(),
        annotation_storage: amounts.annotation_storage.saturating_neg(),
        mailboxes: amounts.mailboxes.saturating_neg(),
    }
}
