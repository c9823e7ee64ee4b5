//! Moving a mailbox to another directory: to another partition, or under another name in the
//! legacy layout.
//!
//! Everything is copied, the index last; then the mailbox list is switched over, and then the
//! old directory is marked as removed and goes. A crash before the switch leaves a copy that the
//! next attempt recognises by its unique id and removes; a crash after it leaves the old
//! directory, which nothing refers to.

use super::header::MailboxHeader;
use super::index_header::IndexHeader;
use super::lifecycle::negative;
use super::open::{Mailbox, Mailboxes, WritableMailbox, not_covered};
use super::place::MailboxPlace;
use crate::mail::UniqueId;
use crate::spool::SpoolError;
use crate::spool::disk::{DiskError, FILE_MODE, LockKind, if_exists};
use crate::spool::layout::MailboxFile;
use crate::spool::lock::MailboxLock;
use crate::spool::quota::{Amounts, QuotaRoot};

/// Octets of the index copied at a time.
const PIECE: usize = 128 * 1024;

impl WritableMailbox<'_> {
    /// Moves the mailbox to `to`, which has the same unique id, and gives it the name and the
    /// quota root that it has there. The mailbox must be locked exclusively, and so must be `to`
    /// where its lock is another one, which is the case in the legacy layout. `switch` puts the
    /// new entry into the mailbox list; when it is called the copy is whole and durable.
    ///
    /// # Errors
    /// If a lock is not strong enough, other messages are at `to`, or something cannot be copied.
    /// Unless `switch` was called, the mailbox is where it was.
    pub fn relocate(
        self,
        to: &MailboxPlace,
        target_lock: Option<&MailboxLock<'_>>,
        quota_root: Option<QuotaRoot>,
        charge: impl FnMut(&QuotaRoot, Amounts) -> Result<(), SpoolError>,
        switch: impl FnOnce() -> Result<(), SpoolError>,
    ) -> Result<(), SpoolError> {
        let name = self.0.place.name.clone();
        self.move_to(to, target_lock, quota_root, charge, switch)
            .map_err(|error| error.in_mailbox(&name))
    }

    fn move_to(
        self,
        to: &MailboxPlace,
        target_lock: Option<&MailboxLock<'_>>,
        quota_root: Option<QuotaRoot>,
        mut charge: impl FnMut(&QuotaRoot, Amounts) -> Result<(), SpoolError>,
        switch: impl FnOnce() -> Result<(), SpoolError>,
    ) -> Result<(), SpoolError> {
        let mailbox = &self.0;
        let mailboxes = mailbox.mailboxes.clone();
        for lock in [Some(&mailbox.lock), target_lock].into_iter().flatten() {
            if lock.kind() != LockKind::Exclusive {
                return Err(not_covered(to, lock));
            }
        }
        if target_lock.is_none() && mailbox.place.home() != to.home() {
            return Err(not_covered(to, &mailbox.lock));
        }
        mailboxes.make_room(mailbox, to)?;
        let header = MailboxHeader {
            name: Some(to.name.clone()),
            quota_root,
            ..mailbox.header.clone()
        };
        mailbox.copy_to(to, &header)?;
        let usage = mailbox.index_header.usage();
        if header.quota_root != mailbox.header.quota_root {
            if let Some(root) = &mailbox.header.quota_root {
                charge(root, negative(usage))?;
            }
            if let Some(root) = &header.quota_root {
                charge(root, usage)?;
            }
        }
        switch()?;
        let from = mailbox.place.clone();
        // What it uses went with it.
        let _lock = self.mark_removed(|_, _| Ok(()))?;
        mailboxes.remove_everything(&from)
    }
}

impl Mailboxes {
    /// Removes what an earlier attempt to move this mailbox left at its goal.
    fn make_room(&self, mailbox: &Mailbox<'_>, to: &MailboxPlace) -> Result<(), SpoolError> {
        let id = mailbox.header.unique_id.as_ref();
        let own_copy = id.is_some() && self.id_at(to)?.as_ref() == id;
        let same_place = mailbox.place.paths == to.paths;
        if same_place || !(own_copy || self.is_garbage(to)?) {
            return Err(SpoolError::Unsupported {
                path: to.paths.data_directory().to_owned(),
                what: "moving a mailbox to where messages are".to_owned(),
            });
        }
        self.remove_everything(to)
    }

    /// The unique id in the header of a mailbox, if there is a readable one.
    fn id_at(&self, place: &MailboxPlace) -> Result<Option<UniqueId>, SpoolError> {
        let header = self.disk.read(&place.paths.file(MailboxFile::Header))?;
        let header = header.and_then(|octets| MailboxHeader::decode(&octets).ok());
        Ok(header.and_then(|header| header.unique_id))
    }
}

impl Mailbox<'_> {
    /// Makes a durable copy, complete with the rename of its index.
    fn copy_to(&self, to: &MailboxPlace, header: &MailboxHeader) -> Result<(), SpoolError> {
        let disk = &self.mailboxes.disk;
        for directory in to.paths.directories() {
            disk.create_dirs(directory)?;
        }
        // First: by it an unfinished copy is recognised.
        let octets = header.encode().map_err(super::ChangeError::Unstorable)?;
        let file = disk.replace(&to.paths.file(MailboxFile::Header), FILE_MODE)?;
        file.file().write_at(0, &octets)?;
        file.commit()?;
        for stored in self.records() {
            let record = stored?.record;
            if record.has_file() {
                self.share(&self.message_path(&record), &to.message_path(&record))?;
            }
        }
        for file in [
            MailboxFile::Cache,
            MailboxFile::ArchiveCache,
            MailboxFile::Annotations,
        ] {
            let (source, target) = (self.place.paths.file(file), to.paths.file(file));
            let copied = disk.copy(&source, &target, FILE_MODE);
            let is_same_file = |error: &DiskError| error.is_already_exists();
            match copied {
                // Without an archive partition both caches are one file.
                Err(error) if is_same_file(&error) => {}
                result => drop(if_exists(result)?),
            }
        }
        for directory in to.paths.directories() {
            disk.sync_dir(directory)?;
        }
        self.copy_index(
            to,
            &IndexHeader {
                header_file_crc: crc32fast::hash(&octets),
                ..self.index_header.clone()
            },
        )
    }

    fn copy_index(&self, to: &MailboxPlace, header: &IndexHeader) -> Result<(), SpoolError> {
        let disk = &self.mailboxes.disk;
        let file = disk.replace(&to.paths.file(MailboxFile::Index), FILE_MODE)?;
        let mut offset = 0;
        loop {
            let piece = self.index.read_at(offset, PIECE)?;
            if piece.is_empty() {
                break;
            }
            file.file().write_at(offset, &piece)?;
            offset += piece.len() as u64;
        }
        file.file().write_at(0, &header.encode())?;
        file.commit()?;
        Ok(())
    }

    /// Gives a message file a second name, or copies it to another file system.
    fn share(&self, from: &std::path::Path, to: &std::path::Path) -> Result<(), SpoolError> {
        let disk = &self.mailboxes.disk;
        if disk.hard_link(from, to).is_err() {
            disk.copy(from, to, FILE_MODE)?;
            if let Some(status) = disk.status(from)? {
                disk.set_times(to, status.modified())?;
            }
        }
        Ok(())
    }
}
