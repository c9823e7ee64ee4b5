//! The numbers of a mailbox, each with a type of its own so that they cannot be mixed up.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($repr:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $repr);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl From<$repr> for $name {
            fn from(value: $repr) -> $name {
                $name(value)
            }
        }
    };
}

number! {
    /// IMAP unique identifier of a message in its mailbox (RFC 9051 §2.3.1.1). Zero is a wiped slot.
    Uid(u32)
}

number! {
    /// Modification sequence (RFC 7162); grows with every visible change. Zero means "not given".
    ModSeq(u64)
}

number! {
    /// A mailbox's UIDVALIDITY (RFC 9051 §2.3.1.1).
    UidValidity(u32)
}

number! {
    /// Seconds since 1970-01-01 UTC; the store and the wire hold 32 bits. Zero means "never".
    UnixTime(u32)
}

number! {
    /// Conversation (thread) identifier; zero means "none".
    ConversationId(u64)
}

impl UnixTime {
    /// The system clock, in whole seconds; saturates at the ends of the 32-bit range.
    pub fn now() -> UnixTime {
        let since_epoch = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        UnixTime(u32::try_from(since_epoch.as_secs()).unwrap_or(u32::MAX))
    }
}

impl ConversationId {
    /// The 16-digit form that travels on the wire (wire-protocol §8.2).
    pub fn to_wire(self) -> String {
        format!("{:016x}", self.0)
    }
}
