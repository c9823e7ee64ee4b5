//! Properties of a mailbox as a whole.

use std::fmt;

/// What a mailbox holds; the first letter of its type string (databases §9.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MailboxKind {
    /// Ordinary mail, `e`.
    #[default]
    Mail,
    /// Netnews, `n` (obsolete).
    Netnews,
    /// WebDAV collection, `b`.
    Collection,
    /// Calendar, `c`.
    Calendar,
    /// Address book, `a`.
    AddressBook,
    /// JMAP submissions, `s`.
    Submission,
    /// JMAP push subscriptions, `p`.
    PushSubscription,
    /// Sieve scripts, `f`.
    Sieve,
    /// JMAP notifications, `j`; since 3.8.
    JmapNotification,
}

impl MailboxKind {
    const LETTERS: [(MailboxKind, char); 9] = [
        (MailboxKind::Mail, 'e'),
        (MailboxKind::Netnews, 'n'),
        (MailboxKind::Collection, 'b'),
        (MailboxKind::Calendar, 'c'),
        (MailboxKind::AddressBook, 'a'),
        (MailboxKind::Submission, 's'),
        (MailboxKind::PushSubscription, 'p'),
        (MailboxKind::Sieve, 'f'),
        (MailboxKind::JmapNotification, 'j'),
    ];

    /// The letter in the type string.
    pub fn letter(self) -> char {
        MailboxKind::LETTERS
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or('e', |(_, letter)| *letter)
    }

    fn from_letter(letter: char) -> Option<MailboxKind> {
        MailboxKind::LETTERS
            .iter()
            .find(|(_, known)| *known == letter)
            .map(|(kind, _)| *kind)
    }
}

bitflags::bitflags! {
    /// The flag letters of a type string (databases §9.4).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct TypeFlags: u8 {
        /// `d`: a tombstone.
        const DELETED = 1;
        /// `m`: being moved to another server.
        const MOVING = 2;
        /// `r`: on another server of a Murder.
        const REMOTE = 4;
        /// `z`: reserved name.
        const RESERVED = 8;
        /// `i`: exists only because children exist.
        const INTERMEDIATE = 16;
        /// `l`: legacy directory layout; never travels in replication.
        const LEGACY_LAYOUT = 32;
    }
}

const TYPE_FLAG_LETTERS: [(TypeFlags, char); 6] = [
    (TypeFlags::DELETED, 'd'),
    (TypeFlags::MOVING, 'm'),
    (TypeFlags::REMOTE, 'r'),
    (TypeFlags::RESERVED, 'z'),
    (TypeFlags::INTERMEDIATE, 'i'),
    (TypeFlags::LEGACY_LAYOUT, 'l'),
];

/// A mailbox's type string: kind and flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MailboxType {
    /// What the mailbox holds.
    pub kind: MailboxKind,
    /// State of its mailbox-list entry.
    pub flags: TypeFlags,
}

/// A type string with an unknown letter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown mailbox type {0:?}")]
pub struct MailboxTypeError(pub String);

impl MailboxType {
    /// Reads a type string, `e`, `f`, `el`, `ed`; a missing kind letter means mail (databases §9.5).
    ///
    /// # Errors
    /// If a letter is unknown.
    pub fn parse(text: &str) -> Result<MailboxType, MailboxTypeError> {
        let fail = || MailboxTypeError(text.to_owned());
        let mut letters = text.chars().peekable();
        let kind = letters.peek().copied().and_then(MailboxKind::from_letter);
        if kind.is_some() {
            letters.next();
        }
        let mut flags = TypeFlags::empty();
        for letter in letters {
            let (flag, _) = TYPE_FLAG_LETTERS
                .iter()
                .find(|(_, known)| *known == letter)
                .ok_or_else(fail)?;
            flags |= *flag;
        }
        Ok(MailboxType {
            kind: kind.unwrap_or_default(),
            flags,
        })
    }

    /// The type that replication tells: without the layout flag.
    pub fn on_wire(self) -> MailboxType {
        MailboxType {
            flags: self.flags - TypeFlags::LEGACY_LAYOUT,
            ..self
        }
    }
}

impl fmt::Display for MailboxType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind.letter())?;
        TYPE_FLAG_LETTERS
            .iter()
            .filter(|(flag, _)| self.flags.contains(*flag))
            .try_for_each(|(_, letter)| write!(f, "{letter}"))
    }
}

bitflags::bitflags! {
    /// Options of a mailbox, with the bit values of the index header (mailbox-format §3.6).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct MailboxOptions: u32 {
        /// `P`: POP3 UIDL is "uidvalidity.uid".
        const POP3_NEW_UIDL = 1;
        /// `S`: `\Seen` is shared by everybody.
        const SHARED_SEEN = 4;
        /// `D`: duplicate delivery allowed.
        const DUPLICATE_DELIVERY = 8;
        /// `A`: has calendar alarms.
        const HAS_ALARMS = 16;
        /// Some record's file is still to be removed.
        const NEEDS_UNLINK = 1 << 29;
        /// The index is due for a repack.
        const NEEDS_REPACK = 1 << 30;
        /// The mailbox has been removed.
        const DELETED = 1 << 31;
    }
}

const OPTION_LETTERS: [(MailboxOptions, char); 4] = [
    (MailboxOptions::POP3_NEW_UIDL, 'P'),
    (MailboxOptions::SHARED_SEEN, 'S'),
    (MailboxOptions::DUPLICATE_DELIVERY, 'D'),
    (MailboxOptions::HAS_ALARMS, 'A'),
];

impl MailboxOptions {
    /// The options that replication carries.
    pub const REPLICATED: MailboxOptions = MailboxOptions::POP3_NEW_UIDL
        .union(MailboxOptions::SHARED_SEEN)
        .union(MailboxOptions::DUPLICATE_DELIVERY)
        .union(MailboxOptions::HAS_ALARMS);

    /// Reads the letters of the wire; unknown letters are ignored (commands §1).
    pub fn from_wire(text: &str) -> MailboxOptions {
        OPTION_LETTERS
            .iter()
            .filter(|(_, letter)| text.contains(*letter))
            .fold(MailboxOptions::empty(), |options, (option, _)| {
                options | *option
            })
    }

    /// The letters of the wire, in its order.
    pub fn to_wire(self) -> String {
        OPTION_LETTERS
            .iter()
            .filter(|(option, _)| self.contains(*option))
            .map(|(_, letter)| letter)
            .collect()
    }
}

/// A message or mailbox annotation (commands §1.3).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Annotation {
    /// Entry without a `/shared` or `/private` prefix.
    pub entry: String,
    /// Empty for the shared value, else the user who owns the private one.
    pub user: String,
    /// Modseq of the value; 0 for mailbox and server annotations.
    pub modseq: super::ModSeq,
    /// The value; any octets.
    pub value: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_strings() {
        for text in ["e", "f", "ed", "ei", "el", "fl"] {
            assert_eq!(MailboxType::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(MailboxType::parse("").unwrap(), MailboxType::default());
        assert_eq!(MailboxType::parse("d").unwrap().to_string(), "ed");
        assert!(MailboxType::parse("q").is_err());
        assert!(MailboxType::parse("ee").is_err());
        assert_eq!(MailboxType::parse("el").unwrap().on_wire().to_string(), "e");
    }

    #[test]
    fn option_letters() {
        assert_eq!(MailboxOptions::from_wire("ADSPx").to_wire(), "PSDA");
        assert_eq!(MailboxOptions::from_wire(""), MailboxOptions::empty());
    }
}
