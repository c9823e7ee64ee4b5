//! Message flags.

use std::fmt;

bitflags::bitflags! {
    /// The system flags of an index record, with the bit values of the file (mailbox-format §3.8).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct SystemFlags: u32 {
        /// `\Answered`
        const ANSWERED = 1;
        /// `\Flagged`
        const FLAGGED = 2;
        /// `\Deleted`
        const DELETED = 4;
        /// `\Draft`
        const DRAFT = 8;
        /// `\Seen` of the mailbox's owner (of everybody in a shared-seen mailbox)
        const SEEN = 16;
    }
}

bitflags::bitflags! {
    /// The internal flags of an index record (mailbox-format §3.8).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct InternalFlags: u32 {
        /// The message has the snoozed annotation.
        const SNOOZED = 1 << 26;
        /// The conversation id differs from the base conversation id.
        const SPLIT_CONVERSATION = 1 << 27;
        /// The message file or its annotations are still to be removed.
        const NEEDS_CLEANUP = 1 << 28;
        /// File and cache record are on the archive partition.
        const ARCHIVED = 1 << 29;
        /// The message file is gone or going.
        const UNLINKED = 1 << 30;
        /// The message is expunged; only its record remains.
        const EXPUNGED = 1 << 31;
    }
}

/// System flags in the order of the wire (commands §1.2); `\Expunged` comes between
/// `\Draft` and `\Seen` there.
pub const SYSTEM_FLAG_NAMES: [(SystemFlags, &str); 5] = [
    (SystemFlags::DELETED, "\\Deleted"),
    (SystemFlags::ANSWERED, "\\Answered"),
    (SystemFlags::FLAGGED, "\\Flagged"),
    (SystemFlags::DRAFT, "\\Draft"),
    (SystemFlags::SEEN, "\\Seen"),
];

/// A user flag (keyword): an IMAP atom that does not begin with a backslash. Names compare
/// without regard to case and keep their first spelling (mailbox-format §2.5).
#[derive(Clone, Debug)]
pub struct FlagName(Box<str>);

/// A text that cannot be a user flag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a legal flag name: {0:?}")]
pub struct FlagNameError(pub String);

impl FlagName {
    /// Longest name that is accepted, in octets; longer ones would need a literal in
    /// `cyrus.header`, which its readers cannot take (mailbox-format §2.1).
    pub const MAX_LEN: usize = 1023;

    /// Checks and takes a flag name.
    ///
    /// # Errors
    /// If the text is no IMAP atom, begins with a backslash or is too long.
    pub fn parse(text: &str) -> Result<FlagName, FlagNameError> {
        let legal = !text.is_empty()
            && text.len() <= FlagName::MAX_LEN
            && text != "NIL"
            && text.bytes().all(|byte| {
                byte.is_ascii_graphic()
                    && !matches!(byte, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\')
            });
        if legal {
            Ok(FlagName(text.into()))
        } else {
            Err(FlagNameError(text.to_owned()))
        }
    }

    /// The spelling in use.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for FlagName {
    fn eq(&self, other: &FlagName) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for FlagName {}

impl fmt::Display for FlagName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_compare_without_case_and_keep_their_spelling() {
        let junk = FlagName::parse("Junk").unwrap();
        assert_eq!(junk, FlagName::parse("jUNK").unwrap());
        assert_eq!(junk.as_str(), "Junk");
    }

    #[test]
    fn illegal_names_are_refused() {
        for text in ["", "\\Seen", "a b", "NIL", "a(b", "a\"", "ä", "a\r"] {
            assert!(FlagName::parse(text).is_err(), "{text:?}");
        }
        assert!(FlagName::parse("$label1").is_ok());
    }
}
