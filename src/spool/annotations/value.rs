//! The value of one stored annotation (databases §13.1): the same octets in `annotations.db`
//! (server and mailbox scope) and in a mailbox's `cyrus.annotations` (message scope).
//!
//! ```text
//! u32 length, 4 zero octets   value   NUL   "text/plain"   NUL   8 zero octets   u64 modseq   u8 flags
//! ```
//!
//! All integers are big-endian. This is the layout of 64-bit little-endian hosts; on others the
//! two padded fields differ, and such a file cannot be told from a damaged one.

use crate::mail::ModSeq;

const LENGTH_FIELD: usize = 8;
const CONTENT_TYPE: &[u8] = b"text/plain";
const NATIVE_LONG: usize = 8;
const FLAG_DELETED: u8 = 1;

/// One annotation value as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredValue {
    /// The value; any octets. Empty in a tombstone.
    pub value: Vec<u8>,
    /// Modseq of the change; 0 for mailbox and server scope.
    pub modseq: ModSeq,
    /// Whether this only says that the annotation was removed (message scope).
    pub deleted: bool,
}

/// Octets that are no annotation value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// The record ends before the value does.
    #[error("annotation record of {have} octets ends inside its value ({need} octets needed)")]
    Truncated {
        /// Octets there are.
        have: usize,
        /// Octets that the record must have at least.
        need: u64,
    },
    /// The upper half of the length field is in use.
    #[error("annotation record was written by a host of another word size or byte order")]
    ForeignHost,
    /// The value is longer than the length field can tell.
    #[error("annotation value is longer than 4 GiB")]
    TooLong,
}

/// The octets to store. An empty value is stored as a tombstone, as the original does
/// (mailbox-format §10.2).
///
/// # Errors
/// [`ValueError::TooLong`] if the value does not fit the 32-bit length.
pub fn encode(stored: &StoredValue) -> Result<Vec<u8>, ValueError> {
    let value: &[u8] = if stored.deleted { &[] } else { &stored.value };
    let length = u32::try_from(value.len()).map_err(|_| ValueError::TooLong)?;
    let flags = if value.is_empty() { FLAG_DELETED } else { 0 };
    let mut out = Vec::with_capacity(value.len() + 48);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(value);
    out.push(0);
    out.extend_from_slice(CONTENT_TYPE);
    out.push(0);
    out.extend_from_slice(&[0; NATIVE_LONG]);
    out.extend_from_slice(&stored.modseq.0.to_be_bytes());
    out.push(flags);
    Ok(out)
}

/// Reads a stored value. Fields after the value's NUL that an older version did not write are
/// zero; the content type and the native long after it are skipped whatever they are.
///
/// # Errors
/// If the record ends inside the value, or comes from a host of another kind.
pub fn decode(record: &[u8]) -> Result<StoredValue, ValueError> {
    let truncated = |need: u64| ValueError::Truncated {
        have: record.len(),
        need,
    };
    let (length, rest) = record
        .split_first_chunk::<4>()
        .ok_or_else(|| truncated(LENGTH_FIELD as u64))?;
    let (padding, rest) = rest
        .split_first_chunk::<4>()
        .ok_or_else(|| truncated(LENGTH_FIELD as u64))?;
    if *padding != [0; 4] {
        return Err(ValueError::ForeignHost);
    }
    let length = u32::from_be_bytes(*length);
    let fits = usize::try_from(length)
        .ok()
        .and_then(|length| rest.split_at_checked(length));
    let (value, rest) = fits.ok_or_else(|| truncated(LENGTH_FIELD as u64 + u64::from(length)))?;

    let metadata = after_content_type(rest.get(1..).unwrap_or_default());
    let (modseq, flags) = match metadata.split_first_chunk::<8>() {
        Some((modseq, flags)) => (u64::from_be_bytes(*modseq), flags.first().copied()),
        None => (0, None),
    };
    let deleted = flags.is_some_and(|flags| flags & FLAG_DELETED != 0);
    Ok(StoredValue {
        value: if deleted { Vec::new() } else { value.to_vec() },
        modseq: ModSeq(modseq),
        deleted,
    })
}

/// What stands after the content type, its NUL and the native long.
fn after_content_type(rest: &[u8]) -> &[u8] {
    rest.iter()
        .position(|octet| *octet == 0)
        .and_then(|nul| rest.get(nul + 1 + NATIVE_LONG..))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A mailbox annotation as 3.6.1 stores it.
    const COMMENT: &[u8] =
        b"\0\0\0\x05\0\0\0\0hello\0text/plain\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

    #[test]
    fn layout_of_the_original() {
        let stored = StoredValue {
            value: b"hello".to_vec(),
            ..StoredValue::default()
        };
        assert_eq!(encode(&stored).unwrap(), COMMENT);
        assert_eq!(decode(COMMENT).unwrap(), stored);
    }

    #[test]
    fn an_empty_value_is_a_tombstone() {
        let tombstone = StoredValue {
            modseq: ModSeq(7),
            ..StoredValue::default()
        };
        let octets = encode(&tombstone).unwrap();
        assert_eq!(octets.last(), Some(&1));
        let read = decode(&octets).unwrap();
        assert!(read.deleted && read.value.is_empty());
        assert_eq!(read.modseq, ModSeq(7));
    }

    #[test]
    fn older_records_end_early() {
        let lengths_with_whole_value = 13..COMMENT.len();
        for end in lengths_with_whole_value {
            let read = decode(&COMMENT[..end]).unwrap();
            assert_eq!(read.value, b"hello", "cut at {end}");
            assert_eq!((read.modseq, read.deleted), (ModSeq(0), false));
        }
        for end in 0..13 {
            assert!(
                matches!(decode(&COMMENT[..end]), Err(ValueError::Truncated { .. })),
                "cut at {end}"
            );
        }
    }

    #[test]
    fn foreign_and_oversized_lengths_are_refused() {
        assert_eq!(decode(b"\0\0\0\x02hi\0t"), Err(ValueError::ForeignHost));
        assert!(matches!(
            decode(b"\xff\xff\xff\xff\0\0\0\0hi"),
            Err(ValueError::Truncated { .. })
        ));
    }

    proptest! {
        #[test]
        fn round_trip(value in proptest::collection::vec(any::<u8>(), 1..300), modseq: u64) {
            let stored = StoredValue { value, modseq: ModSeq(modseq), deleted: false };
            prop_assert_eq!(decode(&encode(&stored).unwrap()).unwrap(), stored);
        }

        #[test]
        fn any_octets_are_safe(octets in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = decode(&octets);
        }
    }
}
