//! Writing a prepared change, in the one durable order (mailbox-format §7).
//!
//! 1. Message files are linked into the mailbox and get their times; their content is made
//!    durable, then the directory. Nothing refers to them yet.
//! 2. Cache records, appended before, are made durable. Nothing refers to them either.
//! 3. Message annotations are committed.
//! 4. `cyrus.header` is replaced, if it changes.
//! 5. The quota roots are charged: as late as may be, for nobody takes that back.
//! 6. Records are written and made durable: changed ones in place, new ones behind the last that
//!    the header counts, where readers do not look.
//! 7. The index header is written and made durable. With it new messages are there.
//!
//! A power cut before step 7 leaves new messages absent as a whole (their files are overwritten
//! when the UID is used again); after it they are there as a whole. Changed messages have their
//! old or their new record. Counters and CRCs belong to the header and may then be those from
//! before records that were already written: the next replication finds that out by the CRC and
//! [`Preparation::recalculate`](super::Preparation::recalculate) mends it.
//!
//! Step 6 overwrites records that may span two sectors; what protects those is told in `redo`.

use std::path::PathBuf;

use super::cache;
use super::changes::{ChangeError, Prepared, RecordWrites};
use super::header::MailboxHeader;
use super::lifecycle::negative;
use super::message_annotations;
use super::open::{Mailbox, WritableMailbox, record_offset};
use super::record::IndexRecord;
use super::redo;
use super::version::FormatError;
use crate::mail::{ModSeq, Uid, UnixTime};
use crate::spool::SpoolError;
use crate::spool::disk::{Disk, DiskFile, FILE_MODE};
use crate::spool::layout::MailboxFile;
use crate::spool::quota::{Amounts, QuotaRoot};
use crate::spool::staging::Staging;

/// Octets of cache records written at a time.
const PIECE: usize = 256 * 1024;
/// Message files that are made durable together.
const FILES_AT_A_TIME: usize = 256;

/// What a commit did, for those who must be told: the counters of the owner, the status cache,
/// the sync log, idle clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Whether anything was written.
    pub changed: bool,
    /// Records that were appended.
    pub appended: u32,
    /// Records that were changed.
    pub updated: u32,
    /// HIGHESTMODSEQ of the mailbox, to which the counter of its owner is to be raised.
    pub highest_modseq: ModSeq,
    /// The quota roots that were charged, and with what.
    pub charged: Vec<(QuotaRoot, Amounts)>,
}

impl<'user> WritableMailbox<'user> {
    /// Writes a prepared change; when this returns, it is durable as a whole. `staging` holds
    /// the files of new messages. `charge` adds to the use of a quota root; it is called for each
    /// root whose use changes, before the index is touched.
    ///
    /// # Errors
    /// If the change was prepared for another state, or something cannot be written. The mailbox
    /// is then closed; what is on the disk is a state that a power cut could have left.
    pub fn commit(
        self,
        prepared: Prepared,
        staging: Option<&Staging>,
        charge: impl FnMut(&QuotaRoot, Amounts) -> Result<(), SpoolError>,
    ) -> Result<(WritableMailbox<'user>, Committed), SpoolError> {
        let mut mailbox = self.0;
        match mailbox.write(prepared, staging, charge) {
            Ok(committed) => Ok((WritableMailbox(mailbox), committed)),
            Err(error) => Err(error.in_mailbox(&mailbox.place.name)),
        }
    }
}

impl Prepared {
    fn changes_something(&self) -> bool {
        self.before != self.after
            || self.header_file.is_some()
            || !self.writes.numbers.is_empty()
            || !self.annotations.is_empty()
    }

    /// What the change costs: the difference, or where the quota root changes all that the
    /// mailbox uses.
    fn charges(&self, old: &MailboxHeader) -> Vec<(QuotaRoot, Amounts)> {
        let (old, new) = (&old.quota_root, &self.header.quota_root);
        let charges = if old == new {
            vec![(new, self.quota_delta)]
        } else {
            vec![
                (old, negative(self.before.usage())),
                (new, self.after.usage()),
            ]
        };
        charges
            .into_iter()
            .filter(|(_, amounts)| *amounts != Amounts::default())
            .filter_map(|(root, amounts)| Some((root.clone()?, amounts)))
            .collect()
    }

    /// The new records that have files.
    fn new_files(&self) -> impl Iterator<Item = Result<IndexRecord, FormatError>> {
        let version = self.after.version;
        self.writes
            .appended
            .chunks(version.record_size())
            .map(move |record| IndexRecord::decode(version, record))
            .filter(|record| record.as_ref().map_or(true, IndexRecord::has_file))
    }
}

impl Mailbox<'_> {
    fn write(
        &mut self,
        prepared: Prepared,
        staging: Option<&Staging>,
        mut charge: impl FnMut(&QuotaRoot, Amounts) -> Result<(), SpoolError>,
    ) -> Result<Committed, SpoolError> {
        if prepared.index != self.index.identity()? || prepared.before != self.index_header {
            return Err(ChangeError::Stale.into());
        }
        let new_records = prepared.after.record_count - prepared.before.record_count;
        let committed = Committed {
            changed: prepared.changes_something(),
            appended: new_records,
            updated: u32::try_from(prepared.writes.numbers.len()).unwrap_or(u32::MAX),
            highest_modseq: prepared.after.highest_modseq,
            charged: prepared.charges(&self.header),
        };
        if !committed.changed {
            return Ok(committed);
        }
        let cache = self.append_cache(&prepared, staging)?;
        let links = self.link_messages(&prepared, staging)?;
        if let Some(cache) = cache {
            cache.sync(&self.mailboxes.disk)?;
        }
        message_annotations::write(
            &self.mailboxes.disk,
            &self.place.paths.file(MailboxFile::Annotations),
            self.mailboxes.settings.annotation_backend,
            self.place.owner.as_ref(),
            &prepared.annotations,
        )?;
        if let Some(octets) = &prepared.header_file {
            let path = self.place.paths.file(MailboxFile::Header);
            let file = self.mailboxes.disk.replace(&path, FILE_MODE)?;
            file.file().write_at(0, octets)?;
            file.commit()?;
        }
        let disk = &self.mailboxes.disk;
        let is_protected = redo::keep(disk, &self.place, &self.index_header, &prepared.writes)?;
        for (root, amounts) in &committed.charged {
            charge(root, *amounts)?;
        }
        links.keep();
        self.write_records(&prepared.writes)?;
        self.index.write_at(0, &prepared.after.encode())?;
        self.index.sync_data()?;
        if is_protected {
            redo::forget(disk, &self.place)?;
        }
        self.header = prepared.header;
        self.index_header = prepared.after;
        self.forget_annotations();
        Ok(committed)
    }

    /// Step 1.
    fn link_messages(
        &self,
        prepared: &Prepared,
        staging: Option<&Staging>,
    ) -> Result<Links<'_>, SpoolError> {
        let mut links = Links {
            mailbox: self,
            uids: Vec::new(),
        };
        let mut new_files = prepared.new_files().peekable();
        if new_files.peek().is_none() {
            return Ok(links);
        }
        let directory = self.place.paths.data_directory();
        let placing = staging
            .map(|staging| staging.placing(&self.place.partition, directory))
            .transpose()?;
        let mut files: Vec<(PathBuf, UnixTime)> = Vec::new();
        for record in new_files {
            let record = record.map_err(|error| error.at(self.index.path(), 0))?;
            let (uid, guid) = (record.uid, record.guid);
            let placing = placing
                .as_ref()
                .ok_or(ChangeError::NoContent { uid, guid })?;
            let target = self.place.paths.message(uid);
            links.uids.push(uid);
            placing.place(&guid, &target)?;
            files.push((target, record.internal_date));
            if files.len() == FILES_AT_A_TIME {
                placing.make_durable(&files)?;
                files.clear();
            }
        }
        if let Some(placing) = placing {
            placing.make_durable(&files)?;
        }
        self.mailboxes.disk.sync_dir(directory)?;
        Ok(links)
    }

    /// Step 2, but for the sync: the disk may begin with it before it is due.
    fn append_cache(
        &self,
        prepared: &Prepared,
        staging: Option<&Staging>,
    ) -> Result<Option<AppendedCache>, SpoolError> {
        let mut new_files = prepared.new_files().peekable();
        let (Some(staging), Some(_)) = (staging, new_files.peek()) else {
            return Ok(None);
        };
        let path = self.place.paths.file(MailboxFile::Cache);
        let disk = &self.mailboxes.disk;
        let file = disk.open_or_create(&path, FILE_MODE)?;
        let is_new = file.is_empty()?;
        if is_new {
            file.write_at(0, &cache::preamble(prepared.after.generation))?;
        }
        let mut offset = prepared.cache_start;
        let mut piece = Vec::new();
        for record in new_files {
            let record = record.map_err(|error| error.at(self.index.path(), 0))?;
            let (uid, guid) = (record.uid, record.guid);
            let message = staging
                .get(&self.place.partition, &guid)
                .ok_or(ChangeError::NoContent { uid, guid })?;
            let start = piece.len();
            staging.read_cache(message, &mut piece)?;
            let octets = piece.get(start..).unwrap_or_default();
            let is_at_its_place = offset + start as u64 == record.cache_offset;
            if !is_at_its_place || cache::check(octets, record.cache_crc).is_err() {
                return Err(ChangeError::WrongContent { uid, guid }.into());
            }
            if piece.len() >= PIECE {
                file.write_at(offset, &piece)?;
                offset += piece.len() as u64;
                piece.clear();
            }
        }
        file.write_at(offset, &piece)?;
        file.start_writing(prepared.cache_start);
        Ok(Some(AppendedCache { file, is_new }))
    }

    /// Step 6.
    fn write_records(&self, writes: &RecordWrites) -> Result<(), SpoolError> {
        let size = self.index_header.version.record_size();
        let mut octets = writes.updated.as_slice();
        for run in writes.numbers.chunk_by(|a, b| a + 1 == *b) {
            let Some((these, rest)) = octets.split_at_checked(run.len() * size) else {
                break;
            };
            if let Some(first) = run.first() {
                let offset = record_offset(&self.index_header, *first);
                self.index.write_at(offset, these)?;
            }
            octets = rest;
        }
        if !writes.appended.is_empty() {
            let offset = record_offset(&self.index_header, self.index_header.record_count);
            self.index.write_at(offset, &writes.appended)?;
        }
        if !writes.appended.is_empty() || !writes.numbers.is_empty() {
            self.index.sync_data()?;
        }
        Ok(())
    }
}

/// A cache file with new records.
struct AppendedCache {
    file: DiskFile,
    is_new: bool,
}

impl AppendedCache {
    /// Makes them durable.
    fn sync(self, disk: &Disk) -> Result<(), SpoolError> {
        self.file.sync_data()?;
        match self.file.path().parent().filter(|_| self.is_new) {
            Some(directory) => Ok(disk.sync_dir(directory)?),
            None => Ok(()),
        }
    }
}

/// Message files that no record refers to yet; they are removed again unless they are kept.
struct Links<'mailbox> {
    mailbox: &'mailbox Mailbox<'mailbox>,
    uids: Vec<Uid>,
}

impl Links<'_> {
    fn keep(mut self) {
        self.uids.clear();
    }
}

impl Drop for Links<'_> {
    fn drop(&mut self) {
        for uid in &self.uids {
            // What stays behind is in nobody's way: it is overwritten when the UID comes again.
            let path = self.mailbox.place.paths.message(*uid);
            let _ = self.mailbox.mailboxes.disk.unlink(&path);
        }
    }
}
