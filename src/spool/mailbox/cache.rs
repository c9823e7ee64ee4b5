//! The container of `cyrus.cache` (mailbox-format §4.1): where a record lies and whether it is
//! whole. What its items say is the business of whoever parses messages.

use super::version::{FormatError, read_u32};

/// Octets before the first record: the generation number of the index.
pub const PREAMBLE: u64 = 4;

/// Items of a record.
const ITEMS: usize = 10;

/// Largest offset that an index record can hold.
const MAX_OFFSET: u64 = 0xFFFF_FFFF_FFFF;

/// The octets of a new, empty cache file.
pub fn preamble(generation: u32) -> [u8; 4] {
    generation.to_be_bytes()
}

/// Where the next record goes in a file of `length` octets.
///
/// # Errors
/// If the file has outgrown what an index record can point to.
pub fn append_offset(length: u64) -> Result<u64, FormatError> {
    let end = length.max(PREAMBLE).next_multiple_of(4);
    if end > MAX_OFFSET {
        return Err(FormatError::Malformed(
            "cache file of more than 2^48 octets",
        ));
    }
    Ok(end)
}

/// How much of `bytes` the record at their beginning takes, padding included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The record is whole and has this many octets.
    Whole(usize),
    /// To go on, at least this many octets are needed.
    AtLeast(u64),
}

/// Walks over the items of the record at the beginning of `bytes`.
pub fn extent(bytes: &[u8]) -> Extent {
    let mut end = 0u64;
    for _ in 0..ITEMS {
        let length_end = end + 4;
        let Some(position) = usize::try_from(end)
            .ok()
            .filter(|_| length_end <= bytes.len() as u64)
        else {
            return Extent::AtLeast(length_end);
        };
        let item = u64::from(read_u32(bytes, position));
        end = length_end + item.next_multiple_of(4);
    }
    match usize::try_from(end) {
        Ok(whole) if whole <= bytes.len() => Extent::Whole(whole),
        _ => Extent::AtLeast(end),
    }
}

/// Checks that `bytes` are exactly one record and have the CRC that the index tells.
///
/// # Errors
/// If they are not.
pub fn check(bytes: &[u8], crc: u32) -> Result<(), FormatError> {
    if extent(bytes) != Extent::Whole(bytes.len()) {
        return Err(FormatError::Malformed("not one cache record of ten items"));
    }
    if crc32fast::hash(bytes) != crc {
        return Err(FormatError::Checksum);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::mailbox::test_vectors::cache_record;

    #[test]
    fn vector_of_a_real_mailbox() {
        let record = cache_record();
        assert_eq!(record.len(), 904);
        assert_eq!(check(&record, 0xE12E_4796), Ok(()));
        let mut followed = record.clone();
        followed.extend_from_slice(&[0; 8]);
        assert_eq!(extent(&followed), Extent::Whole(904));
    }

    #[test]
    fn every_cut_is_noticed() {
        let record = cache_record();
        for length in 0..record.len() {
            match extent(&record[..length]) {
                Extent::AtLeast(needed) => assert!(needed > length as u64 && needed <= 904),
                Extent::Whole(_) => panic!("cut at {length} passed as whole"),
            }
        }
        assert_eq!(
            check(&record[..900], 0xE12E_4796),
            Err(FormatError::Malformed("not one cache record of ten items"))
        );
        assert_eq!(check(&record, 0), Err(FormatError::Checksum));
    }

    #[test]
    fn lengths_of_four_gigabytes_do_not_overflow() {
        assert_eq!(extent(&[0xFF; 4]), Extent::AtLeast(0x1_0000_0008));
    }

    #[test]
    fn appends_stay_aligned() {
        assert_eq!(append_offset(0), Ok(4));
        assert_eq!(append_offset(4), Ok(4));
        assert_eq!(append_offset(909), Ok(912));
        assert!(append_offset(u64::MAX - 8).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_octets_are_safe(octets in proptest::collection::vec(0u8..3, 0..80)) {
            match extent(&octets) {
                Extent::Whole(length) => assert!(length <= octets.len()),
                Extent::AtLeast(needed) => assert!(needed > octets.len() as u64),
            }
        }
    }
}
