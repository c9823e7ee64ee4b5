//! The vocabulary: the values that both sides, the store and the wire speak of.
//!
//! No I/O. Octets become these types at the edge; after that nothing checks them again.

mod acl;
mod crc;
mod flags;
mod guid;
mod mailbox;
mod name;
pub mod namespace;
mod number;

pub use acl::{Acl, AclEntry, AclError};
pub use crc::{CrcRecord, SyncCrc, annotation_crc, flag_crc, flags_crc};
pub use flags::{FlagName, FlagNameError, InternalFlags, SYSTEM_FLAG_NAMES, SystemFlags};
pub use guid::{Guid, GuidError};
pub use mailbox::{
    Annotation, MailboxKind, MailboxOptions, MailboxType, MailboxTypeError, TypeFlags,
};
pub use name::{MailboxName, NameError, Partition, UniqueId, UserId};
pub use namespace::Namespace;
pub use number::{ConversationId, ModSeq, Uid, UidValidity, UnixTime};
