//! Protection of records that are overwritten in place against being torn.
//!
//! A disk writes a sector whole or not at all, but a record may span two of them; a power cut
//! between the two leaves a record whose CRC is wrong, and then the daemons refuse the mailbox.
//! The new octets of such records are therefore kept in `cyrus.index.redo` while they are being
//! written. Whoever opens the mailbox here and finds that file mends, under the exclusive lock of
//! the index, those of its records that are torn, and only those: a record with a good CRC may
//! have been changed since.
//!
//! The file: a magic line; u32 index version; then for each record its u32 number and its octets;
//! at the end the u32 CRC of all before it. Big-endian. A file that is not whole was never needed.

use std::path::PathBuf;

use super::IndexHeader;
use super::changes::RecordWrites;
use super::open::record_offset;
use super::place::MailboxPlace;
use super::record::{IndexRecord, uid_of};
use super::version::{is_sealed, read_u32, seal};
use crate::spool::SpoolError;
use crate::spool::disk::{Disk, DiskFile, FILE_MODE};
use crate::spool::layout::MailboxFile;

const MAGIC: &[u8] = b"cyrus-sync redo 1\n";
const SECTOR: u64 = 512;

fn path(place: &MailboxPlace) -> PathBuf {
    place
        .paths
        .file(MailboxFile::Index)
        .with_file_name("cyrus.index.redo")
}

/// Keeps, durably, the new octets of the records that a power cut could tear; false if there are
/// none.
pub(super) fn keep(
    disk: &Disk,
    place: &MailboxPlace,
    header: &IndexHeader,
    writes: &RecordWrites,
) -> Result<bool, SpoolError> {
    let size = header.version.record_size();
    let mut octets = [MAGIC, &header.version.number().to_be_bytes()].concat();
    let empty = octets.len();
    for (number, record) in writes.numbers.iter().zip(writes.updated.chunks(size)) {
        let start = record_offset(header, *number);
        let last = record_offset(header, number + 1) - 1;
        if start / SECTOR != last / SECTOR {
            octets.extend_from_slice(&number.to_be_bytes());
            octets.extend_from_slice(record);
        }
    }
    if octets.len() == empty {
        return Ok(false);
    }
    octets.extend_from_slice(&[0; 4]);
    seal(&mut octets);
    let file = disk.replace(&path(place), FILE_MODE)?;
    file.file().write_at(0, &octets)?;
    file.commit()?;
    Ok(true)
}

/// Whether a commit was cut short that may have torn records.
pub(super) fn is_needed(disk: &Disk, place: &MailboxPlace) -> Result<bool, SpoolError> {
    Ok(disk.status(&path(place))?.is_some())
}

/// The records are whole on the disk.
pub(super) fn forget(disk: &Disk, place: &MailboxPlace) -> Result<(), SpoolError> {
    disk.unlink(&path(place))?;
    Ok(())
}

/// Mends torn records. `index` is locked exclusively.
pub(super) fn repair(
    disk: &Disk,
    place: &MailboxPlace,
    index: &DiskFile,
    header: &IndexHeader,
) -> Result<(), SpoolError> {
    let octets = disk.read(&path(place))?.unwrap_or_default();
    let size = header.version.record_size();
    for (number, record) in whole_records(&octets, header) {
        let offset = record_offset(header, number);
        let present = index.read_at(offset, size)?;
        let is_torn = IndexRecord::decode(header.version, &present).is_err();
        if is_torn && number < header.record_count && uid_of(&present) == uid_of(record) {
            tracing::warn!(
                "mending record {number} of mailbox {} after an interrupted change",
                place.name
            );
            index.write_at(offset, record)?;
        }
    }
    index.sync_data()?;
    forget(disk, place)
}

/// The records in a redo file that is whole and of this index version.
fn whole_records<'a>(
    octets: &'a [u8],
    header: &IndexHeader,
) -> impl Iterator<Item = (u32, &'a [u8])> {
    let body = octets
        .strip_prefix(MAGIC)
        .filter(|_| is_sealed(octets))
        .filter(|rest| read_u32(rest, 0) == header.version.number())
        .and_then(|rest| rest.get(4..rest.len().checked_sub(4)?))
        .unwrap_or_default();
    body.chunks_exact(4 + header.version.record_size())
        .filter_map(|entry| Some((read_u32(entry, 0), entry.get(4..)?)))
}
