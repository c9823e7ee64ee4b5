//! Typed access to the pairs of a `%(…)`.

use std::fmt;

use super::Value;
use crate::mail::Guid;

/// What is wrong with the value of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FieldProblem {
    /// The key does not occur.
    Missing,
    /// The value is `NIL`.
    Nil,
    /// The value is no string, not UTF-8, or holds a NUL.
    NotText,
    /// The value is not made of decimal digits, or does not fit.
    NotNumber,
    /// The value is not 40 hexadecimal digits.
    NotGuid,
    /// The value is no list.
    NotList,
    /// The value is no `%(…)`.
    NotPairs,
    /// The value is text, but not one that the key allows.
    NotAllowed(&'static str),
}

impl fmt::Display for FieldProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FieldProblem::Missing => f.write_str("is missing"),
            FieldProblem::Nil => f.write_str("is NIL"),
            FieldProblem::NotText => f.write_str("is not text"),
            FieldProblem::NotNumber => f.write_str("is not a number"),
            FieldProblem::NotGuid => f.write_str("is not a GUID"),
            FieldProblem::NotList => f.write_str("is not a list"),
            FieldProblem::NotPairs => f.write_str("is not a list of keys and values"),
            FieldProblem::NotAllowed(what) => write!(f, "is not a legal {what}"),
        }
    }
}

/// A key whose value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("key {key}: {problem}")]
pub struct FieldError {
    /// The key; `""` for a value that has none.
    pub key: String,
    /// What is wrong with its value.
    pub problem: FieldProblem,
}

impl FieldError {
    /// A problem of the value of `key`.
    pub fn new(key: &str, problem: FieldProblem) -> FieldError {
        FieldError {
            key: key.to_owned(),
            problem,
        }
    }

    /// A problem of a value that has no key.
    pub fn unnamed(problem: FieldProblem) -> FieldError {
        FieldError::new("", problem)
    }
}

/// Reads an unsigned decimal number that fills the whole token.
pub fn parse_number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, &digit| {
        let value = digit.checked_sub(b'0').filter(|value| *value <= 9)?;
        number.checked_mul(10)?.checked_add(u64::from(value))
    })
}

/// The pairs of a `%(…)`, looked up by key. The first occurrence of a key counts, unknown keys
/// are nobody's business (wire-protocol §8).
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(&'a [(String, Value)]);

impl<'a> Fields<'a> {
    /// The given pairs.
    pub fn new(pairs: &'a [(String, Value)]) -> Fields<'a> {
        Fields(pairs)
    }

    /// All pairs in order.
    pub fn pairs(self) -> &'a [(String, Value)] {
        self.0
    }

    /// The value of `key`, if it occurs.
    pub fn get(self, key: &str) -> Option<&'a Value> {
        self.0
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value)
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// If the key does not occur.
    pub fn require(self, key: &str) -> Result<&'a Value, FieldError> {
        self.get(key)
            .ok_or_else(|| FieldError::new(key, FieldProblem::Missing))
    }

    fn read<T>(
        self,
        key: &str,
        read: impl Fn(&'a Value) -> Result<T, FieldProblem>,
    ) -> Result<T, FieldError> {
        read(self.require(key)?).map_err(|problem| FieldError::new(key, problem))
    }

    fn read_optional<T>(
        self,
        key: &str,
        read: impl Fn(&'a Value) -> Result<T, FieldProblem>,
    ) -> Result<Option<T>, FieldError> {
        match self.get(key) {
            None | Some(Value::Nil) => Ok(None),
            Some(value) => read(value)
                .map(Some)
                .map_err(|problem| FieldError::new(key, problem)),
        }
    }

    /// A string of any octets.
    ///
    /// # Errors
    /// If the key is missing, `NIL` or no string.
    pub fn bytes(self, key: &str) -> Result<&'a [u8], FieldError> {
        self.read(key, Value::as_bytes)
    }

    /// A text.
    ///
    /// # Errors
    /// If the key is missing, `NIL` or no text.
    pub fn text(self, key: &str) -> Result<&'a str, FieldError> {
        self.read(key, Value::as_text)
    }

    /// A text; `None` if the key is missing or `NIL`.
    ///
    /// # Errors
    /// If the value is no text.
    pub fn optional_text(self, key: &str) -> Result<Option<&'a str>, FieldError> {
        self.read_optional(key, Value::as_text)
    }

    /// A text turned into another type; `what` names that type in the error.
    ///
    /// # Errors
    /// If the key is missing, `NIL`, no text, or not what `parse` accepts.
    pub fn parsed<T, E>(
        self,
        key: &str,
        what: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<T, FieldError> {
        parse(self.text(key)?).map_err(|_| FieldError::new(key, FieldProblem::NotAllowed(what)))
    }

    /// A 64-bit number.
    ///
    /// # Errors
    /// If the key is missing or no number.
    pub fn number(self, key: &str) -> Result<u64, FieldError> {
        self.read(key, Value::as_number)
    }

    /// A 32-bit number.
    ///
    /// # Errors
    /// If the key is missing, no number, or above 32 bits.
    pub fn number32(self, key: &str) -> Result<u32, FieldError> {
        u32::try_from(self.number(key)?).map_err(|_| FieldError::new(key, FieldProblem::NotNumber))
    }

    /// A 64-bit number; `None` if the key is missing or `NIL`.
    ///
    /// # Errors
    /// If the value is no number.
    pub fn optional_number(self, key: &str) -> Result<Option<u64>, FieldError> {
        self.read_optional(key, Value::as_number)
    }

    /// A 32-bit number; `None` if the key is missing or `NIL`.
    ///
    /// # Errors
    /// If the value is no number or above 32 bits.
    pub fn optional_number32(self, key: &str) -> Result<Option<u32>, FieldError> {
        self.optional_number(key)?
            .map(u32::try_from)
            .transpose()
            .map_err(|_| FieldError::new(key, FieldProblem::NotNumber))
    }

    /// A GUID.
    ///
    /// # Errors
    /// If the key is missing or no GUID.
    pub fn guid(self, key: &str) -> Result<Guid, FieldError> {
        self.read(key, Value::as_guid)
    }

    /// The elements of a list.
    ///
    /// # Errors
    /// If the key is missing, `NIL` or no list.
    pub fn list(self, key: &str) -> Result<&'a [Value], FieldError> {
        self.read(key, Value::as_list)
    }

    /// The pairs of an inner `%(…)`.
    ///
    /// # Errors
    /// If the key is missing or no `%(…)`.
    pub fn fields(self, key: &str) -> Result<Fields<'a>, FieldError> {
        match self.require(key)? {
            Value::KvList(pairs) => Ok(Fields(pairs)),
            _ => Err(FieldError::new(key, FieldProblem::NotPairs)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_whole_tokens_of_digits() {
        assert_eq!(parse_number(b"18446744073709551615"), Some(u64::MAX));
        for text in ["", "18446744073709551616", "-1", "+1", " 1", "1a", "0x1"] {
            assert_eq!(parse_number(text.as_bytes()), None, "{text:?}");
        }
    }
}
