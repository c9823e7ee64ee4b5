//! The two checksums by which both sides of a replication compare a mailbox.
//!
//! Both are XOR sums of CRC-32 values, so records may be added and taken out in any order
//! (algorithm §3, mailbox-format §3.11).

use super::{FlagName, Guid, ModSeq, SYSTEM_FLAG_NAMES, SystemFlags, Uid, UnixTime};

/// The pair of sync CRCs. Zero in either half means "unknown" and matches everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncCrc {
    /// Over the live records.
    pub basic: u32,
    /// Over the annotations of the live records.
    pub annotations: u32,
}

impl SyncCrc {
    /// The CRCs of an empty mailbox.
    pub const EMPTY: SyncCrc = SyncCrc {
        basic: 0,
        annotations: 12_345_678,
    };

    /// "Nothing is known": matches every mailbox.
    pub const UNKNOWN: SyncCrc = SyncCrc {
        basic: 0,
        annotations: 0,
    };

    /// Whether the two describe the same contents as far as both are known.
    pub fn matches(self, other: SyncCrc) -> bool {
        let agree = |a: u32, b: u32| a == 0 || b == 0 || a == b;
        agree(self.basic, other.basic) && agree(self.annotations, other.annotations)
    }
}

impl std::ops::BitXorAssign for SyncCrc {
    fn bitxor_assign(&mut self, other: SyncCrc) {
        self.basic ^= other.basic;
        self.annotations ^= other.annotations;
    }
}

/// What of a live record enters the basic CRC.
#[derive(Clone, Copy, Debug)]
pub struct CrcRecord<'a> {
    /// The record's UID.
    pub uid: Uid,
    /// The record's modseq.
    pub modseq: ModSeq,
    /// Time of the record's last change.
    pub last_updated: UnixTime,
    /// XOR of [`flag_crc`] over all flags that are set.
    pub flags_crc: u32,
    /// IMAP INTERNALDATE.
    pub internal_date: UnixTime,
    /// The message's GUID.
    pub guid: &'a Guid,
}

impl CrcRecord<'_> {
    /// This record's share of the basic CRC.
    pub fn crc(&self) -> u32 {
        let text = format!(
            "{} {} {} ({}) {} {}",
            self.uid, self.modseq, self.last_updated, self.flags_crc, self.internal_date, self.guid
        );
        crc32fast::hash(text.as_bytes())
    }
}

/// CRC of one flag's name in lower case.
pub fn flag_crc(name: &str) -> u32 {
    crc32fast::hash(name.to_ascii_lowercase().as_bytes())
}

/// XOR of the flag CRCs of a record; 0 if no flag is set.
pub fn flags_crc<'a>(system: SystemFlags, user: impl IntoIterator<Item = &'a FlagName>) -> u32 {
    let system_part = SYSTEM_FLAG_NAMES
        .iter()
        .filter(|(flag, _)| system.contains(*flag))
        .fold(0, |crc, (_, name)| crc ^ flag_crc(name));
    user.into_iter()
        .fold(system_part, |crc, name| crc ^ flag_crc(name.as_str()))
}

/// The share of one annotation in the annotation CRC. `user` is empty for a shared value and
/// the real user id (never the owner token of the database) for a private one.
pub fn annotation_crc(uid: Uid, entry: &str, user: &str, value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(format!("{uid} {entry} {user} ").as_bytes());
    hasher.update(value);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(uid: u32, modseq: u64, time: u32, flags_crc: u32, guid: &str) -> u32 {
        let guid = guid.parse().unwrap();
        CrcRecord {
            uid: Uid(uid),
            modseq: ModSeq(modseq),
            last_updated: UnixTime(time),
            flags_crc,
            internal_date: UnixTime(time),
            guid: &guid,
        }
        .crc()
    }

    /// The vectors of algorithm §3.4.
    #[test]
    fn vectors_of_a_real_mailbox() {
        assert_eq!(flag_crc("\\Seen"), 3_201_761_491);
        assert_eq!(flag_crc("$Forwarded"), 2_528_186_923);
        let seen = flags_crc(SystemFlags::SEEN, []);
        let first = record(
            1,
            2,
            1_795_331_195,
            seen,
            "b0163c905cc699ad8055ae74f8f0f5c6f75bf7f3",
        );
        assert_eq!(first, 180_495_181);
        let second = record(
            2,
            3,
            1_795_331_195,
            0,
            "4188d3640484bb335b5384455da66baf081aad5c",
        );
        let third = record(
            3,
            4,
            1_795_331_196,
            0,
            "1ae080792178b2746bd2303275613f69b2a43730",
        );
        assert_eq!(first ^ second ^ third, 1_520_056_501);
        let user = ["$Forwarded", "Junk"].map(|name| FlagName::parse(name).unwrap());
        assert_eq!(flags_crc(SystemFlags::FLAGGED, &user), 2_111_797_069);
    }

    #[test]
    fn annotation_vectors_of_a_real_mailbox() {
        let savedate = "/vendor/cmu/cyrus-imapd/savedate";
        assert_eq!(
            annotation_crc(Uid(1), savedate, "", b"1795331195"),
            1_042_199_210
        );
        assert_eq!(
            annotation_crc(Uid(1), "/comment", "alice", b"note1"),
            3_331_556_844
        );
        assert_eq!(
            annotation_crc(Uid(1), "/comment", "", b"shared note"),
            3_038_038_233
        );
    }

    #[test]
    fn zero_matches_everything() {
        let some = SyncCrc {
            basic: 7,
            annotations: 9,
        };
        assert!(some.matches(SyncCrc::UNKNOWN));
        assert!(some.matches(SyncCrc {
            basic: 0,
            annotations: 9
        }));
        assert!(!some.matches(SyncCrc {
            basic: 7,
            annotations: 8
        }));
    }
}
