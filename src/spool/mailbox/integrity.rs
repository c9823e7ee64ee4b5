//! What is looked at before a mailbox is changed, besides what every reader checks: files that an
//! update does not read, but builds on. A damaged mailbox is left to `reconstruct`.

use std::path::Path;

use super::cache::{self, Extent, PREAMBLE};
use super::header::{MAGIC, MailboxHeader};
use super::open::Mailbox;
use super::place::MailboxPlace;
use super::record::IndexRecord;
use super::records::Records;
use super::version::{FormatError, read_u32};
use crate::mail::SyncCrc;
use crate::spool::SpoolError;
use crate::spool::disk::{DiskFile, if_exists};
use crate::spool::layout::MailboxFile;

/// Octets that are read of a cache record at first; most are smaller.
const FIRST_LOOK: u64 = 4096;

/// The longest cache record that is read to be checked.
const LONGEST: u64 = 64 << 20;

/// Checks a header whose CRC is not that of the index. A crash can leave a newer one, which is no
/// damage (mailbox-format §2.4); but it never leaves another mailbox's.
pub(super) fn check_owner(
    header: &MailboxHeader,
    place: &MailboxPlace,
    path: &Path,
) -> Result<(), SpoolError> {
    let other_id = header.unique_id.as_ref() != Some(&place.unique_id);
    if other_id || header.mailbox_type.kind != place.mailbox_type.kind {
        let what = "checksum mismatch, and not this mailbox's id or type,";
        return Err(SpoolError::corrupt(path, MAGIC.len() as u64, what));
    }
    Ok(())
}

impl Mailbox<'_> {
    /// Checks the files to which an update adds.
    pub(super) fn check_integrity(&self) -> Result<(), SpoolError> {
        self.check_cache()?;
        self.check_annotations()
    }

    /// The cache is none of a later index, and the record that was written last is whole. (Removing
    /// records makes a new generation of the index alone, so that the cache's may be older.)
    fn check_cache(&self) -> Result<(), SpoolError> {
        let Some(last) = self.last_record()? else {
            return Ok(());
        };
        if last.cache_offset == 0 || !last.has_file() || self.is_archived(&last) {
            return Ok(());
        }
        let path = self.place.paths.file(MailboxFile::Cache);
        let file = if_exists(self.mailboxes.disk.open_read(&path))?
            .ok_or_else(|| SpoolError::corrupt(&path, 0, "does not exist"))?;
        let generation = file.read_at(0, PREAMBLE as usize)?;
        if generation.len() < PREAMBLE as usize {
            let found = generation.len() as u64;
            let needed = PREAMBLE;
            return Err(FormatError::Truncated { found, needed }.at(&path, found));
        }
        if read_u32(&generation, 0) > self.index_header.generation {
            return Err(SpoolError::corrupt(
                &path,
                0,
                "a generation after the index's",
            ));
        }
        let record = read_cache_record(&file, last.cache_offset)
            .map_err(|error| error.at(&path, last.cache_offset))?;
        if self.index_header.version.has_checksums() {
            cache::check(&record, last.cache_crc)
                .map_err(|error| error.at(&path, last.cache_offset))?;
        }
        Ok(())
    }

    /// The index counts annotations only if there is a database for them. Which mailbox-wide ones
    /// it counts is unknown here, so that the CRC decides, which is of messages alone.
    fn check_annotations(&self) -> Result<(), SpoolError> {
        if self.index_header.quota_annotations_used == 0
            || !self.index_header.version.has_annotation_totals()
        {
            return Ok(());
        }
        let path = self.place.paths.file(MailboxFile::Annotations);
        let length = self
            .mailboxes
            .disk
            .status(&path)?
            .map_or(0, |status| status.length());
        if length > 0 {
            return Ok(());
        }
        let found = self.sum_of_records()?.sync_crc.annotations ^ SyncCrc::EMPTY.annotations;
        if found != self.index_header.sync_crc.annotations {
            let what = "is missing or empty, but the index counts annotations,";
            return Err(SpoolError::corrupt(&path, 0, what));
        }
        Ok(())
    }

    fn last_record(&self) -> Result<Option<IndexRecord>, SpoolError> {
        let Some(number) = self.index_header.record_count.checked_sub(1) else {
            return Ok(None);
        };
        let last = Records::new(self, number).next().transpose()?;
        Ok(last.map(|stored| stored.record))
    }

    fn is_archived(&self, record: &IndexRecord) -> bool {
        self.place.message_path(record) != self.place.paths.message(record.uid)
    }
}

/// The octets of the record at an offset.
fn read_cache_record(file: &DiskFile, offset: u64) -> Result<Vec<u8>, CacheError> {
    let mut wanted = FIRST_LOOK;
    loop {
        let mut octets = file.read_at(offset, usize::try_from(wanted).unwrap_or(usize::MAX))?;
        match cache::extent(&octets) {
            Extent::Whole(length) => {
                octets.truncate(length);
                return Ok(octets);
            }
            Extent::AtLeast(needed) if (octets.len() as u64) < wanted || needed > LONGEST => {
                let found = octets.len() as u64;
                return Err(FormatError::Truncated { found, needed }.into());
            }
            Extent::AtLeast(needed) => wanted = needed.max(wanted.saturating_mul(2)),
        }
    }
}

/// Why a cache record could not be read.
enum CacheError {
    Format(FormatError),
    Spool(SpoolError),
}

impl CacheError {
    fn at(self, path: &Path, offset: u64) -> SpoolError {
        match self {
            CacheError::Format(error) => error.at(path, offset),
            CacheError::Spool(error) => error,
        }
    }
}

impl From<FormatError> for CacheError {
    fn from(error: FormatError) -> CacheError {
        CacheError::Format(error)
    }
}

impl From<crate::spool::disk::DiskError> for CacheError {
    fn from(error: crate::spool::disk::DiskError) -> CacheError {
        CacheError::Spool(error.into())
    }
}
