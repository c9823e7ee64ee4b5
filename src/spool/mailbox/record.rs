//! The records of `cyrus.index` (mailbox-format §3.7, §3.8).

use super::version::{FormatError, IndexVersion, Slot, Width, is_sealed, read_u32, seal};
use crate::mail::{ConversationId, Guid, InternalFlags, ModSeq, SystemFlags, Uid, UnixTime};

/// Octets that hold a record of any version.
pub const MAX_RECORD_SIZE: usize = 112;

const GUID_OFFSET: usize = 60;
const GUID_SINCE: u32 = 10;
const SYSTEM_FLAG_BITS: u32 = 0x0000_FFFF;

/// The set of user flags of a record: slot numbers of `cyrus.header`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct UserFlags([u32; 4]);

impl UserFlags {
    /// Slots that a mailbox has.
    pub const SLOTS: usize = 128;

    /// Sets the flag of a slot; slots that do not exist are ignored.
    pub fn insert(&mut self, slot: usize) {
        if let Some(word) = self.0.get_mut(slot / 32) {
            *word |= 1 << (slot % 32);
        }
    }

    /// Whether the flag of a slot is set.
    pub fn contains(self, slot: usize) -> bool {
        self.0
            .get(slot / 32)
            .is_some_and(|word| word >> (slot % 32) & 1 == 1)
    }

    /// Whether no flag is set.
    pub fn is_empty(self) -> bool {
        self.0 == [0; 4]
    }

    /// The slots of the flags that are set, ascending.
    pub fn slots(self) -> impl Iterator<Item = usize> {
        (0..UserFlags::SLOTS).filter(move |slot| self.contains(*slot))
    }
}

/// One message as the index knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexRecord {
    /// UID; 0 is a wiped slot.
    pub uid: Uid,
    /// IMAP INTERNALDATE.
    pub internal_date: UnixTime,
    /// Local midnight of the day in the Date header (mailbox-format §4.9).
    pub sent_date: UnixTime,
    /// Octets of the message file.
    pub size: u32,
    /// Octets of its header, empty line included.
    pub header_size: u32,
    /// The Date header as an instant; before version 12 a copy of `header_size`.
    pub gm_time: UnixTime,
    /// Place of the cache record; 0 if there is none. 48 bits.
    pub cache_offset: u64,
    /// Time of the last change.
    pub last_updated: UnixTime,
    /// System flags; bits that this program does not know are kept.
    pub system_flags: SystemFlags,
    /// Internal flags; bits that this program does not know are kept.
    pub internal_flags: InternalFlags,
    /// User flags.
    pub user_flags: UserFlags,
    /// When the message came into this mailbox; 0 if unknown. From version 15 on.
    pub save_date: UnixTime,
    /// Version of the cache record.
    pub cache_version: u16,
    /// SHA-1 of the message; null before version 10.
    pub guid: Guid,
    /// Modseq of the last change; 0 before version 8.
    pub modseq: ModSeq,
    /// Conversation id. From version 13 on.
    pub conversation: ConversationId,
    /// Modseq of the creation. From version 16 on.
    pub created_modseq: ModSeq,
    /// CRC of the cache record.
    pub cache_crc: u32,
}

#[derive(Clone, Copy, Debug)]
enum Field {
    Uid,
    InternalDate,
    SentDate,
    Size,
    HeaderSize,
    GmTime,
    CacheOffsetLow,
    LastUpdated,
    Flags,
    UserFlags(usize),
    SaveDate,
    CacheVersion,
    ModSeq,
    Conversation,
    CreatedModSeq,
    CacheCrc,
}

use Width::{Eight, Four};

const FIELDS: &[Slot<Field>] = &[
    Slot::new(Field::Uid, 0, Four, 6, 19),
    Slot::new(Field::InternalDate, 4, Four, 6, 19),
    Slot::new(Field::SentDate, 8, Four, 6, 19),
    Slot::new(Field::Size, 12, Four, 6, 19),
    Slot::new(Field::HeaderSize, 16, Four, 6, 19),
    Slot::new(Field::GmTime, 20, Four, 6, 19),
    Slot::new(Field::CacheOffsetLow, 24, Four, 6, 19),
    Slot::new(Field::LastUpdated, 28, Four, 6, 19),
    Slot::new(Field::Flags, 32, Four, 6, 19),
    Slot::new(Field::UserFlags(0), 36, Four, 6, 19),
    Slot::new(Field::UserFlags(1), 40, Four, 6, 19),
    Slot::new(Field::UserFlags(2), 44, Four, 6, 19),
    Slot::new(Field::UserFlags(3), 48, Four, 6, 19),
    Slot::new(Field::SaveDate, 52, Four, 15, 19),
    Slot::new(Field::CacheVersion, 56, Four, 6, 19),
    Slot::new(Field::ModSeq, 72, Eight, 8, 9),
    Slot::new(Field::ModSeq, 80, Eight, 10, 19),
    Slot::new(Field::CacheCrc, 88, Four, 12, 12),
    Slot::new(Field::Conversation, 88, Eight, 13, 19),
    Slot::new(Field::CacheCrc, 96, Four, 13, 15),
    Slot::new(Field::CreatedModSeq, 96, Eight, 16, 19),
    Slot::new(Field::CacheCrc, 104, Four, 16, 19),
];

/// The UID of an encoded record, without a look at the rest.
pub(super) fn uid_of(bytes: &[u8]) -> Uid {
    Uid(read_u32(bytes, 0))
}

impl IndexRecord {
    /// Reads a record; `bytes` is exactly one record of that version.
    ///
    /// # Errors
    /// If there are too few or too many bytes, or the CRC is wrong.
    pub fn decode(version: IndexVersion, bytes: &[u8]) -> Result<IndexRecord, FormatError> {
        if bytes.len() != version.record_size() {
            return Err(FormatError::Truncated {
                found: bytes.len() as u64,
                needed: version.record_size() as u64,
            });
        }
        if version.has_checksums() && !is_sealed(bytes) {
            return Err(FormatError::Checksum);
        }
        let mut record = IndexRecord::default();
        for slot in FIELDS.iter().filter(|slot| slot.exists_in(version)) {
            record.set(slot.field, slot.read(bytes));
        }
        if version.number() >= GUID_SINCE
            && let Some(guid) = bytes.get(GUID_OFFSET..).and_then(|rest| rest.first_chunk())
        {
            record.guid = Guid::from_bytes(*guid);
        }
        Ok(record)
    }

    /// Appends the record as it stands in a file of that version.
    pub fn encode(&self, version: IndexVersion, out: &mut Vec<u8>) {
        let mut buffer = [0; MAX_RECORD_SIZE];
        let bytes = &mut buffer[..version.record_size()];
        for slot in FIELDS.iter().filter(|slot| slot.exists_in(version)) {
            slot.write(bytes, self.get(slot.field));
        }
        if version.number() >= GUID_SINCE
            && let Some(place) = bytes.get_mut(GUID_OFFSET..GUID_OFFSET + Guid::LEN)
        {
            place.copy_from_slice(self.guid.as_bytes());
        }
        if version.has_checksums() {
            seal(bytes);
        }
        out.extend_from_slice(bytes);
    }

    /// Whether the message is there for clients.
    pub fn is_live(&self) -> bool {
        !self.is_expunged()
    }

    /// Whether only the record remains.
    pub fn is_expunged(&self) -> bool {
        self.internal_flags.contains(InternalFlags::EXPUNGED)
    }

    /// Whether the message file exists.
    pub fn has_file(&self) -> bool {
        !self.internal_flags.contains(InternalFlags::UNLINKED)
    }

    fn get(&self, field: Field) -> u64 {
        match field {
            Field::Uid => self.uid.0.into(),
            Field::InternalDate => self.internal_date.0.into(),
            Field::SentDate => self.sent_date.0.into(),
            Field::Size => self.size.into(),
            Field::HeaderSize => self.header_size.into(),
            Field::GmTime => self.gm_time.0.into(),
            Field::CacheOffsetLow => self.cache_offset & 0xFFFF_FFFF,
            Field::LastUpdated => self.last_updated.0.into(),
            Field::Flags => (self.system_flags.bits() | self.internal_flags.bits()).into(),
            Field::UserFlags(word) => self.user_flags.0.get(word).copied().unwrap_or(0).into(),
            Field::SaveDate => self.save_date.0.into(),
            Field::CacheVersion => {
                let offset_high = self.cache_offset >> 32 & 0xFFFF;
                offset_high << 16 | u64::from(self.cache_version)
            }
            Field::ModSeq => self.modseq.0,
            Field::Conversation => self.conversation.0,
            Field::CreatedModSeq => self.created_modseq.0,
            Field::CacheCrc => self.cache_crc.into(),
        }
    }

    fn set(&mut self, field: Field, value: u64) {
        // A field of 32 bits in memory is one of 32 bits in the file.
        let short = u32::try_from(value).unwrap_or(u32::MAX);
        match field {
            Field::Uid => self.uid = Uid(short),
            Field::InternalDate => self.internal_date = UnixTime(short),
            Field::SentDate => self.sent_date = UnixTime(short),
            Field::Size => self.size = short,
            Field::HeaderSize => self.header_size = short,
            Field::GmTime => self.gm_time = UnixTime(short),
            Field::CacheOffsetLow => self.cache_offset |= value,
            Field::LastUpdated => self.last_updated = UnixTime(short),
            Field::Flags => {
                self.system_flags = SystemFlags::from_bits_retain(short & SYSTEM_FLAG_BITS);
                self.internal_flags = InternalFlags::from_bits_retain(short & !SYSTEM_FLAG_BITS);
            }
            Field::UserFlags(word) => {
                if let Some(place) = self.user_flags.0.get_mut(word) {
                    *place = short;
                }
            }
            Field::SaveDate => self.save_date = UnixTime(short),
            Field::CacheVersion => {
                self.cache_version = (short & 0xFFFF) as u16;
                self.cache_offset |= u64::from(short >> 16) << 32;
            }
            Field::ModSeq => self.modseq = ModSeq(value),
            Field::Conversation => self.conversation = ConversationId(value),
            Field::CreatedModSeq => self.created_modseq = ModSeq(value),
            Field::CacheCrc => self.cache_crc = short,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::mailbox::test_vectors::{INDEX_RECORD, unhex};
    use proptest::prelude::*;

    #[test]
    fn vector_of_a_real_mailbox() {
        let bytes = unhex(INDEX_RECORD);
        let record = IndexRecord::decode(IndexVersion::CREATED, &bytes).unwrap();
        assert_eq!(record.uid, Uid(1));
        assert_eq!(record.internal_date, UnixTime(1_772_452_800));
        assert_eq!(record.sent_date, UnixTime(1_772_409_600));
        assert_eq!(record.gm_time, UnixTime(1_772_442_672));
        assert_eq!(record.size, 373);
        assert_eq!(record.header_size, 236);
        assert_eq!(record.cache_offset, 4);
        assert_eq!(record.cache_version, 11);
        assert_eq!(record.cache_crc, 0xE12E_4796);
        assert_eq!(record.system_flags, SystemFlags::SEEN);
        assert_eq!(record.user_flags.slots().collect::<Vec<_>>(), [0]);
        assert_eq!(
            record.guid.to_string(),
            "d5841fdbaa393ac5a7a71db0fbdb2f9ff97a0921"
        );
        assert_eq!(record.modseq, ModSeq(2));
        assert_eq!(record.created_modseq, ModSeq(2));
        let mut again = Vec::new();
        record.encode(IndexVersion::CREATED, &mut again);
        assert_eq!(again, bytes);
    }

    #[test]
    fn damage_is_noticed() {
        let bytes = unhex(INDEX_RECORD);
        for offset in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[offset] ^= 1;
            assert_eq!(
                IndexRecord::decode(IndexVersion::CREATED, &damaged),
                Err(FormatError::Checksum)
            );
        }
        assert!(IndexRecord::decode(IndexVersion::CREATED, &bytes[1..]).is_err());
    }

    proptest! {
        /// What a version has room for survives, and a second trip changes nothing.
        #[test]
        fn all_versions_round_trip(bytes in proptest::collection::vec(any::<u8>(), 112)) {
            for version in (6..=19).filter_map(IndexVersion::from_number) {
                let mut bytes = bytes[..version.record_size()].to_vec();
                seal(&mut bytes);
                let record = IndexRecord::decode(version, &bytes).unwrap();
                let mut encoded = Vec::new();
                record.encode(version, &mut encoded);
                prop_assert_eq!(IndexRecord::decode(version, &encoded).unwrap(), record);
                if version.number() >= 15 {
                    prop_assert_eq!(encoded, bytes);
                }
            }
        }
    }

    #[test]
    fn slots_beyond_the_last_are_nothing() {
        let mut flags = UserFlags::default();
        flags.insert(128);
        assert!(flags.is_empty());
        flags.insert(127);
        assert!(flags.contains(127) && !flags.contains(128) && !flags.contains(126));
    }
}
