//! The octets of a counters file (mailbox-format §8.2).

use crate::mail::{MailboxKind, ModSeq, UidValidity};

/// What a modseq is counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Mail, and everything that has no family of its own.
    Mail,
    /// Calendars.
    Calendar,
    /// Address books.
    AddressBook,
    /// The notes mailbox, which is known by its name.
    Notes,
    /// JMAP submissions.
    Submission,
    /// WebDAV collections, used for sharing notifications.
    DavNotification,
    /// JMAP notifications; counted as mail by versions before 3.8.
    JmapNotification,
    /// Sieve scripts.
    Sieve,
}

impl Family {
    /// The family of a mailbox kind.
    pub fn of(kind: MailboxKind) -> Family {
        match kind {
            MailboxKind::Calendar => Family::Calendar,
            MailboxKind::AddressBook => Family::AddressBook,
            MailboxKind::Submission => Family::Submission,
            MailboxKind::Collection => Family::DavNotification,
            MailboxKind::JmapNotification => Family::JmapNotification,
            MailboxKind::Sieve => Family::Sieve,
            MailboxKind::Mail | MailboxKind::Netnews | MailboxKind::PushSubscription => {
                Family::Mail
            }
        }
    }
}

/// One counter of the file, beside the overall highest modseq.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Counter {
    /// Highest modseq of a message of this family.
    Messages(Family),
    /// Highest modseq of a mailbox (its list entry) of this family.
    Mailboxes(Family),
    /// Highest modseq among removed messages of this family.
    DeletedMessages(Family),
    /// Highest modseq among removed mailboxes of this family.
    DeletedMailboxes(Family),
    /// Modseq of the last quota change.
    Quota,
    /// Modseq of the last change of what others let this user see.
    ReverseAcl,
}

impl Counter {
    /// Place in the row of numbers, the overall highest modseq being 0.
    fn index(self) -> usize {
        use Counter::{DeletedMailboxes, DeletedMessages, Mailboxes, Messages};
        let by_family = |mail, calendar, book, notes, submission, notification: usize| {
            move |family| match family {
                Family::Mail => mail,
                Family::Calendar => calendar,
                Family::AddressBook => book,
                Family::Notes => notes,
                Family::Submission => submission,
                Family::DavNotification => notification,
                Family::JmapNotification => notification + 4,
                Family::Sieve => notification + 8,
            }
        };
        match self {
            Messages(family) => by_family(1, 2, 3, 4, 11, 23)(family),
            Mailboxes(family) => by_family(5, 6, 7, 8, 12, 25)(family),
            DeletedMessages(family) => by_family(13, 14, 15, 16, 17, 24)(family),
            DeletedMailboxes(family) => by_family(18, 19, 20, 21, 22, 26)(family),
            Counter::Quota => 9,
            Counter::ReverseAcl => 10,
        }
    }
}

const VERSION: u32 = 9;
const COUNTERS: usize = 35;

/// Numbers in a file of each version, the highest modseq among them.
const COUNTERS_OF_VERSION: [usize; 10] = [4, 5, 6, 9, 11, 13, 23, 27, 31, COUNTERS];
const HEADER: usize = 8;
const TRAILER: usize = 8;

/// The contents of a counters file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Incremented at each write.
    pub generation: u32,
    /// Highest UIDVALIDITY given out.
    pub uid_validity: UidValidity,
    numbers: [u64; COUNTERS],
}

/// Octets that are no counters file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CountersError {
    /// Neither of the known lengths.
    #[error("a counters file of version {version} cannot be {have} octets long")]
    Length {
        /// The version that the file claims.
        version: u32,
        /// Its length.
        have: usize,
    },
    /// Written by a later version of Cyrus.
    #[error("counters file of unknown version {0}")]
    Version(u32),
    /// The checksum is wrong.
    #[error("counters file has CRC {stored:08x} but {computed:08x} was computed")]
    Checksum {
        /// What the file says.
        stored: u32,
        /// What its octets give.
        computed: u32,
    },
}

impl Default for Counters {
    fn default() -> Counters {
        Counters {
            generation: 0,
            uid_validity: UidValidity(0),
            numbers: [0; COUNTERS],
        }
    }
}

impl Counters {
    /// Reads the octets of a file of any version up to 9. A file of fewer than 8 octets, which a
    /// daemon has just created, holds zeros.
    ///
    /// # Errors
    /// If the version, the length or the checksum is wrong.
    pub fn decode(octets: &[u8]) -> Result<Counters, CountersError> {
        let Some(version) = read_u32(octets, 4) else {
            return Ok(Counters::default());
        };
        let length_of = |count: usize| HEADER + 8 * count + TRAILER;
        // Version 0 stored garbage in the version field; its length tells it.
        let version = if octets.len() == length_of(COUNTERS_OF_VERSION[0]) {
            0
        } else {
            version
        };
        let count = usize::try_from(version)
            .ok()
            .and_then(|version| COUNTERS_OF_VERSION.get(version))
            .copied()
            .ok_or(CountersError::Version(version))?;
        let crc_offset = length_of(count) - 4;
        let (Some((checked, _)), Some(stored), true) = (
            octets.split_at_checked(crc_offset),
            read_u32(octets, crc_offset),
            octets.len() == length_of(count),
        ) else {
            return Err(CountersError::Length {
                version,
                have: octets.len(),
            });
        };
        let computed = crc32fast::hash(checked);
        if stored != computed {
            return Err(CountersError::Checksum { stored, computed });
        }
        let mut counters = Counters {
            generation: read_u32(octets, 0).unwrap_or_default(),
            uid_validity: UidValidity(read_u32(octets, crc_offset - 4).unwrap_or_default()),
            ..Counters::default()
        };
        let stored_numbers = octets.get(HEADER..).unwrap_or_default().chunks_exact(8);
        for (number, octets) in counters.numbers.iter_mut().zip(stored_numbers.take(count)) {
            *number = octets
                .first_chunk()
                .map_or(0, |octets| u64::from_be_bytes(*octets));
        }
        Ok(counters)
    }

    /// The octets of a file of version 9.
    pub fn encode(&self) -> Vec<u8> {
        let mut octets = Vec::with_capacity(HEADER + 8 * COUNTERS + TRAILER);
        octets.extend_from_slice(&self.generation.to_be_bytes());
        octets.extend_from_slice(&VERSION.to_be_bytes());
        for number in self.numbers {
            octets.extend_from_slice(&number.to_be_bytes());
        }
        octets.extend_from_slice(&self.uid_validity.0.to_be_bytes());
        let crc = crc32fast::hash(&octets);
        octets.extend_from_slice(&crc.to_be_bytes());
        octets
    }

    /// The highest modseq of anything of the user.
    pub fn highest(&self) -> ModSeq {
        ModSeq(self.numbers[0])
    }

    /// The value of one counter.
    pub fn get(&self, counter: Counter) -> ModSeq {
        ModSeq(self.numbers[counter.index()])
    }

    /// Raises the counters, and the highest modseq, to at least `modseq`.
    pub fn raise(&mut self, counters: &[Counter], modseq: ModSeq) {
        let places = counters.iter().map(|counter| counter.index()).chain([0]);
        for place in places {
            self.numbers[place] = self.numbers[place].max(modseq.0);
        }
    }

    /// Gives out the next modseq above the highest one and above `last`, and sets the counters to
    /// it. At the end of the range it stays there.
    pub fn next(&mut self, counters: &[Counter], last: ModSeq) -> ModSeq {
        let next = self.numbers[0].max(last.0).saturating_add(1);
        self.raise(counters, ModSeq(next));
        ModSeq(next)
    }

    /// Gives out the next UIDVALIDITY above the highest one and above `last`.
    pub fn next_uid_validity(&mut self, last: UidValidity) -> UidValidity {
        let next = self.uid_validity.max(last).0.saturating_add(1);
        self.uid_validity = UidValidity(next);
        self.uid_validity
    }
}

fn read_u32(octets: &[u8], offset: usize) -> Option<u32> {
    octets
        .get(offset..)
        .and_then(|rest| rest.first_chunk())
        .map(|octets| u32::from_be_bytes(*octets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place(counter: Counter) -> usize {
        HEADER + 8 * counter.index()
    }

    /// The offsets that mailbox-format §8.2 names.
    #[test]
    fn offsets_of_the_file() {
        use Counter::*;
        for (offset, counter) in [
            (16, Messages(Family::Mail)),
            (24, Messages(Family::Calendar)),
            (32, Messages(Family::AddressBook)),
            (40, Messages(Family::Notes)),
            (48, Mailboxes(Family::Mail)),
            (56, Mailboxes(Family::Calendar)),
            (64, Mailboxes(Family::AddressBook)),
            (72, Mailboxes(Family::Notes)),
            (80, Quota),
            (88, ReverseAcl),
            (96, Messages(Family::Submission)),
            (104, Mailboxes(Family::Submission)),
            (112, DeletedMessages(Family::Mail)),
            (120, DeletedMessages(Family::Calendar)),
            (128, DeletedMessages(Family::AddressBook)),
            (136, DeletedMessages(Family::Notes)),
            (144, DeletedMessages(Family::Submission)),
            (152, DeletedMailboxes(Family::Mail)),
            (160, DeletedMailboxes(Family::Calendar)),
            (168, DeletedMailboxes(Family::AddressBook)),
            (176, DeletedMailboxes(Family::Notes)),
            (184, DeletedMailboxes(Family::Submission)),
            (192, Messages(Family::DavNotification)),
            (200, DeletedMessages(Family::DavNotification)),
            (208, Mailboxes(Family::DavNotification)),
            (216, DeletedMailboxes(Family::DavNotification)),
            (224, Messages(Family::JmapNotification)),
            (232, DeletedMessages(Family::JmapNotification)),
            (240, Mailboxes(Family::JmapNotification)),
            (248, DeletedMailboxes(Family::JmapNotification)),
            (256, Messages(Family::Sieve)),
            (264, DeletedMessages(Family::Sieve)),
            (272, Mailboxes(Family::Sieve)),
            (280, DeletedMailboxes(Family::Sieve)),
        ] {
            assert_eq!(place(counter), offset, "{counter:?}");
        }
        assert_eq!(Counters::default().encode().len(), 296);
    }

    #[test]
    fn raising_and_counting() {
        let mut counters = Counters::default();
        let mail = Counter::Messages(Family::Mail);
        counters.raise(&[mail], ModSeq(10));
        counters.raise(&[Counter::Quota], ModSeq(4));
        assert_eq!(counters.highest(), ModSeq(10));
        assert_eq!(counters.get(Counter::Quota), ModSeq(4));
        assert_eq!(counters.next(&[Counter::Quota], ModSeq(2)), ModSeq(11));
        assert_eq!(counters.get(Counter::Quota), ModSeq(11));
        assert_eq!(counters.get(mail), ModSeq(10));
        assert_eq!(counters.next(&[mail], ModSeq(40)), ModSeq(41));
        assert_eq!(counters.next_uid_validity(UidValidity(5)), UidValidity(6));
        assert_eq!(counters.next_uid_validity(UidValidity(5)), UidValidity(7));
    }

    #[test]
    fn older_versions_hold_fewer_counters() {
        let sizes = [48, 56, 64, 88, 104, 120, 200, 232, 264, 296];
        for (version, size) in sizes.into_iter().enumerate() {
            let count = COUNTERS_OF_VERSION[version];
            let mut octets = vec![0, 0, 0, 3, 0, 0, 0, u8::try_from(version).unwrap()];
            for number in 1..=count {
                octets.extend_from_slice(&(number as u64).to_be_bytes());
            }
            octets.extend_from_slice(&77_u32.to_be_bytes());
            let crc = crc32fast::hash(&octets);
            octets.extend_from_slice(&crc.to_be_bytes());
            assert_eq!(octets.len(), size);

            let counters = Counters::decode(&octets).unwrap();
            assert_eq!(counters.generation, 3);
            assert_eq!(counters.uid_validity, UidValidity(77));
            assert_eq!(counters.numbers[count - 1], count as u64);
            assert!(counters.numbers[count..].iter().all(|number| *number == 0));
        }
    }

    #[test]
    fn damaged_files_are_refused() {
        let good = Counters::default().encode();
        assert_eq!(Counters::decode(&[]).unwrap(), Counters::default());
        assert!(matches!(
            Counters::decode(&good[..295]),
            Err(CountersError::Length {
                version: 9,
                have: 295
            })
        ));
        let mut damaged = good.clone();
        damaged[100] ^= 1;
        assert!(matches!(
            Counters::decode(&damaged),
            Err(CountersError::Checksum { .. })
        ));
        let mut newer = good;
        newer[7] = 10;
        assert_eq!(Counters::decode(&newer), Err(CountersError::Version(10)));
    }

    proptest! {
        #[test]
        fn round_trip(generation: u32, uid_validity: u32, numbers in proptest::array::uniform32(any::<u64>())) {
            let mut counters = Counters { generation, uid_validity: UidValidity(uid_validity), ..Counters::default() };
            counters.numbers[..32].copy_from_slice(&numbers);
            prop_assert_eq!(Counters::decode(&counters.encode()).unwrap(), counters);
        }

        #[test]
        fn any_octets_are_safe(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Counters::decode(&octets);
        }
    }
}
