//! Removing what expunged messages left: files and annotations, then the records themselves
//! (mailbox-format §7.5, §7.6).
//!
//! A repack here writes a new index only. The cache keeps its records where they are, so that no
//! crash can part index and cache; what removed messages had in the cache stays as unused octets
//! until a daemon repacks.

use super::message_annotations;
use super::open::{Mailbox, Mailboxes, StoredRecord, WritableMailbox, not_covered, record_offset};
use super::place::MailboxPlace;
use super::record::IndexRecord;
use super::totals::earliest;
use crate::mail::{InternalFlags, MailboxOptions, UnixTime};
use crate::spool::SpoolError;
use crate::spool::disk::{FILE_MODE, LockKind};
use crate::spool::layout::MailboxFile;
use crate::spool::lock::MailboxLock;

/// Octets of records written at a time.
const PIECE: usize = 64 * 1024;

/// What a cleanup did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CleanedUp {
    /// Messages whose files and annotations were removed.
    pub unlinked: u32,
    /// Records that were removed.
    pub removed: u32,
}

impl Mailboxes {
    /// Does what the options of a mailbox ask for: removes the files of messages, or also their
    /// records. The mailbox must be locked exclusively. `None` if it is marked as removed.
    ///
    /// # Errors
    /// If the lock is shared only, the mailbox cannot be opened, or something cannot be written;
    /// the cleanup is then due again.
    pub fn clean_up(
        &self,
        place: MailboxPlace,
        lock: MailboxLock<'_>,
    ) -> Result<Option<CleanedUp>, SpoolError> {
        if lock.kind() != LockKind::Exclusive {
            return Err(not_covered(&place, &lock));
        }
        let name = place.name.clone();
        let Some(mailbox) = self.write(place, lock)? else {
            return Ok(None);
        };
        let options = mailbox.index_header.options;
        let done = if options.contains(MailboxOptions::NEEDS_REPACK) {
            mailbox.repack()
        } else if options.contains(MailboxOptions::NEEDS_UNLINK) {
            mailbox.unlink()
        } else {
            Ok(CleanedUp::default())
        };
        done.map(Some).map_err(|error| error.in_mailbox(&name))
    }
}

/// Whether files or annotations of this record are to be removed.
fn is_due(record: &IndexRecord) -> bool {
    record
        .internal_flags
        .intersects(InternalFlags::NEEDS_CLEANUP | InternalFlags::UNLINKED)
}

impl Mailbox<'_> {
    /// Whether [`Mailboxes::clean_up`] has something to do.
    pub fn needs_cleanup(&self) -> bool {
        let due = MailboxOptions::NEEDS_UNLINK | MailboxOptions::NEEDS_REPACK;
        self.index_header.options.intersects(due)
    }
}

impl WritableMailbox<'_> {
    fn unlink(self) -> Result<CleanedUp, SpoolError> {
        let due = self.remove_files_of_due_records()?;
        let mut changes = self.prepare()?;
        for stored in &due {
            let mut record = stored.record;
            record.internal_flags -= InternalFlags::NEEDS_CLEANUP;
            changes.rewrite(stored, &record)?;
        }
        changes.clear_options(MailboxOptions::NEEDS_UNLINK);
        let prepared = changes.finish()?;
        self.commit(prepared, None, |_, _| Ok(()))?;
        Ok(CleanedUp {
            unlinked: count(due.len()),
            removed: 0,
        })
    }

    fn repack(self) -> Result<CleanedUp, SpoolError> {
        let due = self.remove_files_of_due_records()?;
        let mailbox = &self.0;
        let mut header = mailbox.index_header.clone();
        header.generation = header.generation.wrapping_add(1);
        header.record_count = 0;
        header.last_repack_time = UnixTime::now();
        header.first_expunged = UnixTime(0);
        header.leaked_cache_records = 0;
        header.options -= MailboxOptions::NEEDS_UNLINK | MailboxOptions::NEEDS_REPACK;
        let path = mailbox.place.paths.file(MailboxFile::Index);
        let file = mailbox.mailboxes.disk.replace(&path, FILE_MODE)?;
        let mut piece = Vec::new();
        let mut offset = record_offset(&header, 0);
        let mut removed = 0;
        for stored in mailbox.records() {
            let mut record = stored?.record;
            if !record.has_file() {
                removed += 1;
                if record.modseq > header.deleted_modseq {
                    header.deleted_modseq = record.modseq;
                    header.changes_epoch = record.last_updated;
                }
                continue;
            }
            if record.is_expunged() {
                header.first_expunged = earliest(header.first_expunged, record.last_updated);
            }
            record.internal_flags -= InternalFlags::NEEDS_CLEANUP;
            record.encode(header.version, &mut piece);
            header.record_count += 1;
            if piece.len() >= PIECE {
                file.file().write_at(offset, &piece)?;
                offset += piece.len() as u64;
                piece.clear();
            }
        }
        file.file().write_at(offset, &piece)?;
        file.file().write_at(0, &header.encode())?;
        file.commit()?;
        Ok(CleanedUp {
            unlinked: count(due.len()),
            removed,
        })
    }

    /// Removes files and annotations of messages whose records say so. The records come later:
    /// a message file without a record would be found again by `reconstruct`.
    fn remove_files_of_due_records(&self) -> Result<Vec<StoredRecord>, SpoolError> {
        let mailbox = &self.0;
        let paths = &mailbox.place.paths;
        let disk = &mailbox.mailboxes.disk;
        let mut due = Vec::new();
        let mut gone = Vec::new();
        for stored in mailbox.records() {
            let stored = stored?;
            let record = &stored.record;
            if !is_due(record) {
                continue;
            }
            let (data, archive) = (
                paths.message(record.uid),
                paths.archived_message(record.uid),
            );
            if !record.has_file() {
                disk.unlink(&data)?;
                disk.unlink(&archive)?;
                gone.push(record.uid);
            } else if data != archive {
                // The copy on the other partition.
                let is_archived = record.internal_flags.contains(InternalFlags::ARCHIVED);
                disk.unlink(if is_archived { &data } else { &archive })?;
            }
            due.push(stored);
        }
        message_annotations::remove(
            disk,
            &paths.file(MailboxFile::Annotations),
            mailbox.mailboxes.settings.annotation_backend,
            &gone,
        )?;
        if !due.is_empty() {
            disk.sync_dir(paths.data_directory())?;
            mailbox.forget_annotations();
        }
        Ok(due)
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
