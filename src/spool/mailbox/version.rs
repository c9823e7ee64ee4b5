//! The versions of `cyrus.index` and where each keeps its fields (mailbox-format §3.1).

use std::fmt;
use std::path::Path;

use crate::spool::SpoolError;

/// Version of a `cyrus.index` file; only the versions that this program can read exist as
/// values of this type.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexVersion(u8);

impl IndexVersion {
    /// The version of mailboxes that are created here: every daemon from 3.6 on opens it
    /// (mailbox-format §0).
    pub const CREATED: IndexVersion = IndexVersion(17);

    /// The version of that number, or `None` if it is not known: 11 was never released and 20
    /// keeps other units in other places.
    pub fn from_number(number: u32) -> Option<IndexVersion> {
        match number {
            6..=10 | 12..=19 => u8::try_from(number).ok().map(IndexVersion),
            _ => None,
        }
    }

    /// The number in the file.
    pub fn number(self) -> u32 {
        self.0.into()
    }

    /// Octets of the header, which is also where the records begin.
    pub fn header_size(self) -> usize {
        match self.0 {
            ..=7 => 76,
            8 => 92,
            9..=11 => 96,
            12..=13 => 128,
            _ => 160,
        }
    }

    /// Octets of a record.
    pub fn record_size(self) -> usize {
        match self.0 {
            ..=6 => 60,
            7 => 72,
            8..=9 => 80,
            10..=11 => 88,
            12 => 96,
            13..=15 => 104,
            _ => 112,
        }
    }

    /// Whether header and records end in a CRC.
    pub fn has_checksums(self) -> bool {
        self.0 >= 12
    }

    /// Whether mailboxes of this version may be changed here. Older ones keep `\Seen` and the
    /// expunged messages elsewhere.
    pub fn is_writable(self) -> bool {
        self.0 >= 12
    }

    /// Whether the header has the annotation CRC and the use of annotation storage.
    pub fn has_annotation_totals(self) -> bool {
        self.0 >= 13
    }

    /// Whether records hold the conversation id (else it is an annotation, `thrid`).
    pub fn has_conversation_ids(self) -> bool {
        self.0 >= 13
    }

    /// Whether the header counts unseen messages.
    pub fn has_unseen_count(self) -> bool {
        self.0 >= 14
    }

    /// Whether records hold the save date (else it is an annotation, `savedate`).
    pub fn has_save_dates(self) -> bool {
        self.0 >= 15
    }

    /// Whether records hold the modseq of their creation (else an annotation, `createdmodseq`).
    pub fn has_created_modseqs(self) -> bool {
        self.0 >= 16
    }

    /// Whether the header counts the octets of deleted and of expunged messages.
    pub fn has_deleted_totals(self) -> bool {
        self.0 >= 18
    }
}

impl fmt::Display for IndexVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for IndexVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IndexVersion({})", self.0)
    }
}

/// Octets of a big-endian number in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// 32 bits.
    Four,
    /// 64 bits.
    Eight,
}

/// One row of a format table: a field, its place, and the versions that keep it there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot<Field> {
    pub field: Field,
    pub offset: usize,
    pub width: Width,
    pub first: u8,
    pub last: u8,
}

impl<Field> Slot<Field> {
    pub const fn new(
        field: Field,
        offset: usize,
        width: Width,
        first: u8,
        last: u8,
    ) -> Slot<Field> {
        Slot {
            field,
            offset,
            width,
            first,
            last,
        }
    }

    pub fn exists_in(&self, version: IndexVersion) -> bool {
        (self.first..=self.last).contains(&version.0)
    }

    /// The field's number in `bytes`, 0 where the bytes end before it.
    pub fn read(&self, bytes: &[u8]) -> u64 {
        match self.width {
            Width::Four => read_u32(bytes, self.offset).into(),
            Width::Eight => bytes
                .get(self.offset..)
                .and_then(|rest| rest.first_chunk())
                .map_or(0, |number| u64::from_be_bytes(*number)),
        }
    }

    /// Puts the field's number into `bytes`; what 32 bits cannot hold becomes their maximum.
    pub fn write(&self, bytes: &mut [u8], value: u64) {
        match self.width {
            Width::Four => write_u32(bytes, self.offset, u32::try_from(value).unwrap_or(u32::MAX)),
            Width::Eight => {
                if let Some(place) = bytes
                    .get_mut(self.offset..)
                    .and_then(|rest| rest.first_chunk_mut())
                {
                    *place = value.to_be_bytes();
                }
            }
        }
    }
}

/// The big-endian number at `offset`, 0 where the bytes end before it.
pub(super) fn read_u32(bytes: &[u8], offset: usize) -> u32 {
    bytes
        .get(offset..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |number| u32::from_be_bytes(*number))
}

/// Puts a big-endian number at `offset`.
pub(super) fn write_u32(bytes: &mut [u8], offset: usize, value: u32) {
    if let Some(place) = bytes
        .get_mut(offset..)
        .and_then(|rest| rest.first_chunk_mut())
    {
        *place = value.to_be_bytes();
    }
}

/// Sets the last four octets to the CRC of those before them, as headers and records have it.
pub(super) fn seal(bytes: &mut [u8]) {
    let Some(end) = bytes.len().checked_sub(4) else {
        return;
    };
    let crc = crc32fast::hash(&bytes[..end]);
    write_u32(bytes, end, crc);
}

/// Whether the last four octets are the CRC of those before them.
pub(super) fn is_sealed(bytes: &[u8]) -> bool {
    bytes
        .split_last_chunk::<4>()
        .is_some_and(|(content, crc)| crc32fast::hash(content) == u32::from_be_bytes(*crc))
}

impl FormatError {
    /// The same, of a file.
    pub(super) fn at(self, path: &Path, offset: u64) -> SpoolError {
        match self {
            FormatError::UnknownVersion(_) => SpoolError::Unsupported {
                path: path.to_owned(),
                what: self.to_string(),
            },
            _ => SpoolError::corrupt(path, offset, self.to_string()),
        }
    }
}

/// What is wrong with the octets of a mailbox file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The file ends too early.
    #[error("only {found} octets where {needed} are needed")]
    Truncated {
        /// Octets that are there.
        found: u64,
        /// Octets that should be there.
        needed: u64,
    },
    /// The index has a version that this program does not know.
    #[error("index version {0} is not known")]
    UnknownVersion(u32),
    /// The index announces sizes that do not belong to its version.
    #[error(
        "index version {version} with header of {header_size} and records of {record_size} octets"
    )]
    WrongSizes {
        /// The index version.
        version: IndexVersion,
        /// Announced octets of the header.
        header_size: u32,
        /// Announced octets of a record.
        record_size: u32,
    },
    /// The CRC at the end does not fit.
    #[error("checksum mismatch")]
    Checksum,
    /// The records are not in ascending order of UIDs.
    #[error("UID {found} follows UID {previous}")]
    Order {
        /// The UID before.
        previous: u32,
        /// The UID that is not above it.
        found: u32,
    },
    /// Anything else.
    #[error("{0}")]
    Malformed(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_versions_have_no_value() {
        for number in [0, 5, 11, 20, u32::MAX] {
            assert_eq!(IndexVersion::from_number(number), None, "{number}");
        }
        assert_eq!(IndexVersion::from_number(17), Some(IndexVersion::CREATED));
    }

    #[test]
    fn a_seal_covers_all_before_it() {
        let mut bytes = *b"123456789\0\0\0\0";
        seal(&mut bytes);
        assert_eq!(bytes[9..], 0xCBF4_3926u32.to_be_bytes());
        assert!(is_sealed(&bytes));
        bytes[0] ^= 1;
        assert!(!is_sealed(&bytes));
        assert!(!is_sealed(b"abc"));
    }
}
