//! The name of a replication run, under which both hosts log (docs/protocol-extensions.md).

use std::fmt;

/// The name of a run: up to 64 hexadecimal digits in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RunId(Box<str>);

impl RunId {
    /// A name that no other run has.
    pub fn new() -> RunId {
        let mut octets = [0; 8];
        if getrandom::fill(&mut octets).is_err() {
            // Only the log suffers if two runs have one name.
            let now = jiff::Timestamp::now().as_nanosecond();
            octets = u64::try_from(now).unwrap_or_default().to_be_bytes();
        }
        let digits: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
        RunId(digits.into())
    }

    /// Takes a name from the wire; `None` if it is not one.
    pub fn parse(text: &[u8]) -> Option<RunId> {
        let is_digit = |octet: &u8| octet.is_ascii_digit() || (b'a'..=b'f').contains(octet);
        let is_name = (1..=64).contains(&text.len()) && text.iter().all(is_digit);
        let text = std::str::from_utf8(text).ok()?;
        is_name.then(|| RunId(text.into()))
    }
}

impl Default for RunId {
    fn default() -> RunId {
        RunId::new()
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_are_hexadecimal() {
        let (one, other) = (RunId::new(), RunId::new());
        assert_ne!(one, other);
        let text = one.to_string();
        assert_eq!(text.len(), 16);
        assert_eq!(RunId::parse(text.as_bytes()), Some(one));
        let longest = "f".repeat(64);
        assert!(RunId::parse(longest.as_bytes()).is_some());
        for bad in ["", "0g", "ABC", "1 2", &"f".repeat(65), "12\n"] {
            assert_eq!(RunId::parse(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
