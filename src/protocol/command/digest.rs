//! The digest of a user's state (docs/protocol-extensions.md, X-DIGEST).

use std::fmt;
use std::str::FromStr;

use super::error::DecodeError;
use super::mailbox::PairWriter;
use crate::dlist::{Fields, LiteralStyle};
use crate::mail::UserId;

/// SHA-256 of all that is compared of a user. On the wire it is 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StateDigest([u8; StateDigest::LEN]);

/// A text that is not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a digest of 64 hexadecimal digits: {0:?}")]
pub struct StateDigestError(pub String);

impl StateDigest {
    /// Octets in a digest.
    pub const LEN: usize = 32;

    /// Takes the octets of a finished SHA-256.
    pub const fn from_bytes(bytes: [u8; StateDigest::LEN]) -> StateDigest {
        StateDigest(bytes)
    }
}

impl FromStr for StateDigest {
    type Err = StateDigestError;

    fn from_str(text: &str) -> Result<StateDigest, StateDigestError> {
        let wrong = || StateDigestError(text.to_owned());
        let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
        let digits = digits.ok_or_else(wrong)?;
        if digits.len() != 2 * StateDigest::LEN {
            return Err(wrong());
        }
        let mut bytes = [0; StateDigest::LEN];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::try_from(pair[0] << 4 | pair[1]).map_err(|_| wrong())?;
        }
        Ok(StateDigest(bytes))
    }
}

impl fmt::Display for StateDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for StateDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StateDigest({self})")
    }
}

/// The digest of one user, as an `X-DIGEST` line tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserDigest {
    /// Whose state.
    pub user: UserId,
    /// Its digest.
    pub digest: StateDigest,
}

impl UserDigest {
    pub(super) fn decode(fields: Fields<'_>) -> Result<UserDigest, DecodeError> {
        Ok(UserDigest {
            user: super::user_id(fields, "USERID")?,
            digest: fields.parsed("DIGEST", "digest", StateDigest::from_str)?,
        })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>, style: LiteralStyle) {
        out.extend_from_slice(b"%(");
        let mut pairs = PairWriter::new(out, style);
        pairs.text("USERID", self.user.as_str());
        pairs.text("DIGEST", &self.digest.to_string());
        out.push(b')');
    }
}
