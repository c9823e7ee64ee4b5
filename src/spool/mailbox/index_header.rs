//! The header of `cyrus.index` (mailbox-format §3.2–3.4, §3.6, §3.9).

use super::version::{FormatError, IndexVersion, Slot, Width, is_sealed, read_u32, seal};
use crate::mail::{MailboxOptions, ModSeq, SyncCrc, Uid, UidValidity, UnixTime};

const MINOR_VERSION: usize = 8;
const START_OFFSET: usize = 12;
const RECORD_SIZE: usize = 16;

/// Octets that always suffice to decode a header.
pub const MAX_HEADER_SIZE: usize = 160;

/// The header of an index: state and counters of the whole mailbox. "Live" records are those
/// that are not expunged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexHeader {
    /// Format of header and records.
    pub version: IndexVersion,
    /// Raised by one at every repack.
    pub generation: u32,
    /// All records, expunged ones included.
    pub record_count: u32,
    /// Time of the last append.
    pub last_append_date: UnixTime,
    /// Highest UID ever assigned.
    pub last_uid: Uid,
    /// Octets of all live messages.
    pub quota_mailbox_used: u64,
    /// Last login of a POP3 client.
    pub pop3_last_login: UnixTime,
    /// UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// Live messages with `\Deleted`.
    pub deleted: u32,
    /// Live messages with `\Answered`.
    pub answered: u32,
    /// Live messages with `\Flagged`.
    pub flagged: u32,
    /// Options of the mailbox; unknown bits are dropped, as Cyrus drops them.
    pub options: MailboxOptions,
    /// Always 0 in practice.
    pub leaked_cache_records: u32,
    /// At least the modseq of every record; at least 1.
    pub highest_modseq: ModSeq,
    /// Highest modseq of a record that a repack removed.
    pub deleted_modseq: ModSeq,
    /// Live messages.
    pub exists: u32,
    /// Smallest last update of any expunged record; 0 if there is none.
    pub first_expunged: UnixTime,
    /// Time of the last repack.
    pub last_repack_time: UnixTime,
    /// CRC of the whole `cyrus.header`; 0 if unknown.
    pub header_file_crc: u32,
    /// The sync CRCs (mailbox-format §3.11).
    pub sync_crc: SyncCrc,
    /// Highest UID the owner has been told of.
    pub recent_uid: Uid,
    /// When the owner was told.
    pub recent_time: UnixTime,
    /// Messages that arrived before are hidden from POP3.
    pub pop3_show_after: UnixTime,
    /// Octets of all annotation values: the mailbox's own and those of live messages.
    pub quota_annotations_used: u64,
    /// Live messages without `\Seen`.
    pub unseen: u32,
    /// Highest modseq at the creation of the mailbox.
    pub created_modseq: ModSeq,
    /// Since when changes are known: last update of the record that gave `deleted_modseq`.
    pub changes_epoch: UnixTime,
    /// Octets of live messages with `\Deleted`; only kept from version 18 on.
    pub quota_deleted_used: u64,
    /// Octets of expunged messages whose files still exist; only kept from version 18 on.
    pub quota_expunged_used: u64,
}

#[derive(Clone, Copy, Debug)]
enum Field {
    Generation,
    Version,
    HeaderSize,
    RecordSize,
    RecordCount,
    LastAppendDate,
    LastUid,
    QuotaMailboxUsed,
    Pop3LastLogin,
    UidValidity,
    Deleted,
    Answered,
    Flagged,
    Options,
    LeakedCacheRecords,
    HighestModSeq,
    DeletedModSeq,
    Exists,
    FirstExpunged,
    LastRepackTime,
    HeaderFileCrc,
    SyncCrcBasic,
    RecentUid,
    RecentTime,
    Pop3ShowAfter,
    QuotaAnnotationsUsed,
    SyncCrcAnnotations,
    Unseen,
    CreatedModSeq,
    ChangesEpoch,
    QuotaDeletedUsed,
    QuotaExpungedUsed,
}

use Width::{Eight, Four};

const FIELDS: &[Slot<Field>] = &[
    Slot::new(Field::Generation, 0, Four, 6, 19),
    Slot::new(Field::Version, MINOR_VERSION, Four, 6, 19),
    Slot::new(Field::HeaderSize, START_OFFSET, Four, 6, 19),
    Slot::new(Field::RecordSize, RECORD_SIZE, Four, 6, 19),
    Slot::new(Field::RecordCount, 20, Four, 6, 19),
    Slot::new(Field::LastAppendDate, 24, Four, 6, 19),
    Slot::new(Field::LastUid, 28, Four, 6, 19),
    Slot::new(Field::QuotaMailboxUsed, 32, Eight, 6, 19),
    Slot::new(Field::Pop3LastLogin, 40, Four, 6, 19),
    Slot::new(Field::UidValidity, 44, Four, 6, 19),
    Slot::new(Field::Deleted, 48, Four, 6, 19),
    Slot::new(Field::Answered, 52, Four, 6, 19),
    Slot::new(Field::Flagged, 56, Four, 6, 19),
    Slot::new(Field::Options, 60, Four, 6, 18),
    Slot::new(Field::LeakedCacheRecords, 64, Four, 6, 18),
    Slot::new(Field::HighestModSeq, 68, Eight, 8, 18),
    Slot::new(Field::DeletedModSeq, 76, Eight, 12, 18),
    Slot::new(Field::Exists, 84, Four, 12, 18),
    Slot::new(Field::Exists, 60, Four, 19, 19),
    Slot::new(Field::Options, 64, Four, 19, 19),
    Slot::new(Field::LeakedCacheRecords, 68, Four, 19, 19),
    Slot::new(Field::HighestModSeq, 72, Eight, 19, 19),
    Slot::new(Field::DeletedModSeq, 80, Eight, 19, 19),
    Slot::new(Field::FirstExpunged, 88, Four, 12, 19),
    Slot::new(Field::LastRepackTime, 92, Four, 12, 19),
    Slot::new(Field::HeaderFileCrc, 96, Four, 12, 19),
    Slot::new(Field::SyncCrcBasic, 100, Four, 12, 19),
    Slot::new(Field::RecentUid, 104, Four, 12, 19),
    Slot::new(Field::RecentTime, 108, Four, 12, 19),
    Slot::new(Field::Pop3ShowAfter, 112, Four, 13, 19),
    Slot::new(Field::QuotaAnnotationsUsed, 116, Four, 13, 19),
    Slot::new(Field::SyncCrcAnnotations, 120, Four, 13, 19),
    Slot::new(Field::Unseen, 124, Four, 14, 19),
    Slot::new(Field::CreatedModSeq, 128, Eight, 16, 19),
    Slot::new(Field::ChangesEpoch, 136, Four, 17, 18),
    Slot::new(Field::QuotaDeletedUsed, 140, Eight, 18, 18),
    Slot::new(Field::QuotaExpungedUsed, 148, Eight, 18, 18),
    Slot::new(Field::QuotaDeletedUsed, 136, Eight, 19, 19),
    Slot::new(Field::QuotaExpungedUsed, 144, Eight, 19, 19),
    Slot::new(Field::ChangesEpoch, 152, Four, 19, 19),
];

impl IndexHeader {
    /// The header of a new mailbox, all counters zero (mailbox-format §3.12).
    pub fn new(version: IndexVersion) -> IndexHeader {
        IndexHeader {
            version,
            generation: 0,
            record_count: 0,
            last_append_date: UnixTime(0),
            last_uid: Uid(0),
            quota_mailbox_used: 0,
            pop3_last_login: UnixTime(0),
            uid_validity: UidValidity(0),
            deleted: 0,
            answered: 0,
            flagged: 0,
            options: MailboxOptions::empty(),
            leaked_cache_records: 0,
            highest_modseq: ModSeq(1),
            deleted_modseq: ModSeq(0),
            exists: 0,
            first_expunged: UnixTime(0),
            last_repack_time: UnixTime(0),
            header_file_crc: 0,
            sync_crc: if version.has_annotation_totals() {
                SyncCrc::EMPTY
            } else {
                SyncCrc::UNKNOWN
            },
            recent_uid: Uid(0),
            recent_time: UnixTime(0),
            pop3_show_after: UnixTime(0),
            quota_annotations_used: 0,
            unseen: 0,
            created_modseq: ModSeq(0),
            changes_epoch: UnixTime(0),
            quota_deleted_used: 0,
            quota_expunged_used: 0,
        }
    }

    /// Reads the header at the beginning of `bytes`, which may go on with records, and puts in
    /// what older versions lack (mailbox-format §3.10).
    ///
    /// # Errors
    /// If the version is unknown, the announced sizes are not those of the version, the bytes
    /// end within the header, or its CRC is wrong.
    pub fn decode(bytes: &[u8]) -> Result<IndexHeader, FormatError> {
        let truncated = |needed: usize| FormatError::Truncated {
            found: bytes.len() as u64,
            needed: needed as u64,
        };
        if bytes.len() < MINOR_VERSION + 4 {
            return Err(truncated(MINOR_VERSION + 4));
        }
        let number = read_u32(bytes, MINOR_VERSION);
        let version =
            IndexVersion::from_number(number).ok_or(FormatError::UnknownVersion(number))?;
        let bytes = bytes
            .get(..version.header_size())
            .ok_or_else(|| truncated(version.header_size()))?;
        if version.has_checksums() && !is_sealed(bytes) {
            return Err(FormatError::Checksum);
        }
        let header_size = read_u32(bytes, START_OFFSET);
        let record_size = read_u32(bytes, RECORD_SIZE);
        if header_size as usize != version.header_size()
            || record_size as usize != version.record_size()
        {
            return Err(FormatError::WrongSizes {
                version,
                header_size,
                record_size,
            });
        }
        let mut header = IndexHeader::new(version);
        for slot in FIELDS.iter().filter(|slot| slot.exists_in(version)) {
            header.set(slot.field, slot.read(bytes));
        }
        header.substitute();
        Ok(header)
    }

    /// The header as it stands in the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.version.header_size()];
        for slot in FIELDS.iter().filter(|slot| slot.exists_in(self.version)) {
            slot.write(&mut bytes, self.get(slot.field));
        }
        if self.version.has_checksums() {
            seal(&mut bytes);
        }
        bytes
    }

    fn substitute(&mut self) {
        if !self.version.has_checksums() {
            self.exists = self.record_count;
            self.deleted_modseq = self.highest_modseq.max(ModSeq(1));
        }
        if self.exists == 0 {
            self.options |= MailboxOptions::POP3_NEW_UIDL;
        }
        self.highest_modseq = self.highest_modseq.max(ModSeq(1));
        if self.version.number() < 17 {
            self.changes_epoch = match self.last_repack_time {
                UnixTime(0) => UnixTime::now(),
                time => time,
            };
        }
    }

    fn get(&self, field: Field) -> u64 {
        match field {
            Field::Generation => self.generation.into(),
            Field::Version => self.version.number().into(),
            Field::HeaderSize => self.version.header_size() as u64,
            Field::RecordSize => self.version.record_size() as u64,
            Field::RecordCount => self.record_count.into(),
            Field::LastAppendDate => self.last_append_date.0.into(),
            Field::LastUid => self.last_uid.0.into(),
            Field::QuotaMailboxUsed => self.quota_mailbox_used,
            Field::Pop3LastLogin => self.pop3_last_login.0.into(),
            Field::UidValidity => self.uid_validity.0.into(),
            Field::Deleted => self.deleted.into(),
            Field::Answered => self.answered.into(),
            Field::Flagged => self.flagged.into(),
            Field::Options => self.options.bits().into(),
            Field::LeakedCacheRecords => self.leaked_cache_records.into(),
            Field::HighestModSeq => self.highest_modseq.0,
            Field::DeletedModSeq => self.deleted_modseq.0,
            Field::Exists => self.exists.into(),
            Field::FirstExpunged => self.first_expunged.0.into(),
            Field::LastRepackTime => self.last_repack_time.0.into(),
            Field::HeaderFileCrc => self.header_file_crc.into(),
            Field::SyncCrcBasic => self.sync_crc.basic.into(),
            Field::RecentUid => self.recent_uid.0.into(),
            Field::RecentTime => self.recent_time.0.into(),
            Field::Pop3ShowAfter => self.pop3_show_after.0.into(),
            Field::QuotaAnnotationsUsed => self.quota_annotations_used,
            Field::SyncCrcAnnotations => self.sync_crc.annotations.into(),
            Field::Unseen => self.unseen.into(),
            Field::CreatedModSeq => self.created_modseq.0,
            Field::ChangesEpoch => self.changes_epoch.0.into(),
            Field::QuotaDeletedUsed => self.quota_deleted_used,
            Field::QuotaExpungedUsed => self.quota_expunged_used,
        }
    }

    fn set(&mut self, field: Field, value: u64) {
        // A field of 32 bits in memory is one of 32 bits in the file.
        let short = u32::try_from(value).unwrap_or(u32::MAX);
        match field {
            Field::Version | Field::HeaderSize | Field::RecordSize => {}
            Field::Generation => self.generation = short,
            Field::RecordCount => self.record_count = short,
            Field::LastAppendDate => self.last_append_date = UnixTime(short),
            Field::LastUid => self.last_uid = Uid(short),
            Field::QuotaMailboxUsed => self.quota_mailbox_used = value,
            Field::Pop3LastLogin => self.pop3_last_login = UnixTime(short),
            Field::UidValidity => self.uid_validity = UidValidity(short),
            Field::Deleted => self.deleted = short,
            Field::Answered => self.answered = short,
            Field::Flagged => self.flagged = short,
            Field::Options => self.options = MailboxOptions::from_bits_truncate(short),
            Field::LeakedCacheRecords => self.leaked_cache_records = short,
            Field::HighestModSeq => self.highest_modseq = ModSeq(value),
            Field::DeletedModSeq => self.deleted_modseq = ModSeq(value),
            Field::Exists => self.exists = short,
            Field::FirstExpunged => self.first_expunged = UnixTime(short),
            Field::LastRepackTime => self.last_repack_time = UnixTime(short),
            Field::HeaderFileCrc => self.header_file_crc = short,
            Field::SyncCrcBasic => self.sync_crc.basic = short,
            Field::RecentUid => self.recent_uid = Uid(short),
            Field::RecentTime => self.recent_time = UnixTime(short),
            Field::Pop3ShowAfter => self.pop3_show_after = UnixTime(short),
            Field::QuotaAnnotationsUsed => self.quota_annotations_used = value,
            Field::SyncCrcAnnotations => self.sync_crc.annotations = short,
            Field::Unseen => self.unseen = short,
            Field::CreatedModSeq => self.created_modseq = ModSeq(value),
            Field::ChangesEpoch => self.changes_epoch = UnixTime(short),
            Field::QuotaDeletedUsed => self.quota_deleted_used = value,
            Field::QuotaExpungedUsed => self.quota_expunged_used = value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::mailbox::test_vectors::{INDEX_HEADER, unhex};

    #[test]
    fn vector_of_a_real_mailbox() {
        let bytes = unhex(INDEX_HEADER);
        let header = IndexHeader::decode(&bytes).unwrap();
        assert_eq!(header.version, IndexVersion::CREATED);
        assert_eq!(header.record_count, 1);
        assert_eq!(header.last_uid, Uid(1));
        assert_eq!(header.exists, 1);
        assert_eq!(header.unseen, 0);
        assert_eq!(header.highest_modseq, ModSeq(2));
        assert_eq!(header.created_modseq, ModSeq(1));
        assert_eq!(header.quota_mailbox_used, 373);
        assert_eq!(header.header_file_crc, 0x2CCF_DE95);
        assert_eq!(header.sync_crc.basic, 0x671E_8DFC);
        assert_eq!(header.encode(), bytes);
    }

    #[test]
    fn damage_is_noticed() {
        let bytes = unhex(INDEX_HEADER);
        for length in [0, 8, 11, 12, 159] {
            let error = IndexHeader::decode(&bytes[..length]).unwrap_err();
            assert!(matches!(error, FormatError::Truncated { .. }), "{length}");
        }
        for (offset, _) in bytes.iter().enumerate() {
            let mut damaged = bytes.clone();
            damaged[offset] ^= 0x40;
            assert!(IndexHeader::decode(&damaged).is_err(), "offset {offset}");
        }
        let mut sizes = bytes.clone();
        sizes[RECORD_SIZE + 3] = 96;
        seal(&mut sizes);
        assert!(matches!(
            IndexHeader::decode(&sizes),
            Err(FormatError::WrongSizes {
                record_size: 96,
                ..
            })
        ));
    }

    /// Every version keeps every field it has, each in a place of its own.
    #[test]
    fn all_versions_round_trip() {
        for version in (6..=19).filter_map(IndexVersion::from_number) {
            let mut taken = vec![false; version.header_size()];
            for slot in FIELDS.iter().filter(|slot| slot.exists_in(version)) {
                let width = if slot.width == Four { 4 } else { 8 };
                for place in &mut taken[slot.offset..slot.offset + width] {
                    assert!(!*place, "{:?} of version {version} overlaps", slot.field);
                    *place = true;
                }
            }
            let mut header = IndexHeader::new(version);
            for (value, slot) in (1u64..).zip(FIELDS.iter().filter(|s| s.exists_in(version))) {
                header.set(slot.field, value);
            }
            header.options = MailboxOptions::POP3_NEW_UIDL;
            header.substitute();
            let epoch = header.changes_epoch;
            let mut again = IndexHeader::decode(&header.encode()).unwrap();
            again.changes_epoch = epoch;
            assert_eq!(again, header, "version {version}");
        }
    }

    #[test]
    fn old_versions_get_what_they_lack() {
        let mut header = IndexHeader::new(IndexVersion::from_number(10).unwrap());
        header.record_count = 7;
        header.highest_modseq = ModSeq(30);
        let read = IndexHeader::decode(&header.encode()).unwrap();
        assert_eq!(read.exists, 7);
        assert_eq!(read.deleted_modseq, ModSeq(30));
    }

    proptest::proptest! {
        #[test]
        fn any_octets_are_safe(mut octets in proptest::collection::vec(0u8..=255, 0..200)) {
            if let Some(version) = octets.get_mut(MINOR_VERSION..MINOR_VERSION + 4) {
                version.copy_from_slice(&[0, 0, 0, version[3] % 24]);
            }
            let _ = IndexHeader::decode(&octets);
            for length in [96, 128, 160] {
                if let Some(header) = octets.get_mut(..length) {
                    seal(header);
                    let _ = IndexHeader::decode(header);
                }
            }
        }
    }
}
