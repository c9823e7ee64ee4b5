//! Message identity: the SHA-1 of a message file.

use std::fmt;
use std::str::FromStr;

/// SHA-1 of the complete message file; all zeros means "none" (mailbox-format §5).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Guid([u8; Guid::LEN]);

/// A text that is not 40 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a GUID of 40 hexadecimal digits: {0:?}")]
pub struct GuidError(pub String);

impl Guid {
    /// Octets in a GUID.
    pub const LEN: usize = 20;

    /// The GUID that stands for "none".
    pub const NULL: Guid = Guid([0; Guid::LEN]);

    /// Takes the octets of a finished SHA-1.
    pub const fn from_bytes(bytes: [u8; Guid::LEN]) -> Guid {
        Guid(bytes)
    }

    /// The 20 octets as they stand in an index record.
    pub const fn as_bytes(&self) -> &[u8; Guid::LEN] {
        &self.0
    }

    /// Whether this is the all-zero "none".
    pub fn is_null(&self) -> bool {
        *self == Guid::NULL
    }
}

impl FromStr for Guid {
    type Err = GuidError;

    fn from_str(text: &str) -> Result<Guid, GuidError> {
        let digits = text.as_bytes();
        let mut bytes = [0; Guid::LEN];
        if digits.len() != 2 * Guid::LEN {
            return Err(GuidError(text.to_owned()));
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            match (hex_value(pair[0]), hex_value(pair[1])) {
                (Some(high), Some(low)) => *byte = high << 4 | low,
                _ => return Err(GuidError(text.to_owned())),
            }
        }
        Ok(Guid(bytes))
    }
}

fn hex_value(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

fn hex_digit(value: u8) -> u8 {
    match value {
        0..10 => b'0' + value,
        _ => b'a' + value - 10,
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 2 * Guid::LEN];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&[hex_digit(byte >> 4), hex_digit(byte & 15)]);
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Guid({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trip_in_lower_case() {
        let guid: Guid = "B0163C905CC699AD8055AE74F8F0F5C6F75BF7F3".parse().unwrap();
        assert_eq!(guid.to_string(), "b0163c905cc699ad8055ae74f8f0f5c6f75bf7f3");
        assert!(!guid.is_null());
        assert!("0".repeat(40).parse::<Guid>().unwrap().is_null());
    }

    #[test]
    fn malformed_text_is_refused() {
        for text in [
            "",
            "b0163c",
            &"g".repeat(40),
            &"0".repeat(41),
            &"é".repeat(20),
        ] {
            assert!(text.parse::<Guid>().is_err(), "{text}");
        }
    }
}
