//! Why an update is refused, and what the client and the log are told of it.

use super::Since;
use crate::mail::{Guid, MailboxName, MailboxType, ModSeq, SyncCrc, Uid, UidValidity, UniqueId};
use crate::plan::facts::NotAscending;

/// Why an update is refused. The text is what the log says; names of mailboxes are the caller's
/// to add.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The update's unique id belongs to another mailbox.
    #[error("unique id already in use by {holder}")]
    UniqueIdInUse {
        /// The mailbox that has it.
        holder: MailboxName,
    },
    /// The name belongs to a mailbox with messages and another unique id.
    #[error("name already in use by the mailbox with unique id {unique_id}")]
    NameInUse {
        /// Unique id of the mailbox that has the name.
        unique_id: UniqueId,
    },
    /// The delta was computed against another state.
    #[error(
        "mailbox sync mismatch: modseq {} on master, {replica_modseq} on replica, CRCs {}/{} on master, {}/{} on replica",
        since.modseq, since.crc.basic, since.crc.annotations,
        replica_crc.basic, replica_crc.annotations
    )]
    Changed {
        /// What the sender believed.
        since: Since,
        /// The replica's HIGHESTMODSEQ.
        replica_modseq: ModSeq,
        /// The replica's CRCs.
        replica_crc: SyncCrc,
    },
    /// The types differ.
    #[error("mailbox type is {replica} on replica, {update} in the update")]
    TypeDiffers {
        /// Type of the replica's mailbox.
        replica: MailboxType,
        /// Type in the update.
        update: MailboxType,
    },
    /// The replica's HIGHESTMODSEQ is higher.
    #[error("higher modseq on replica: {update} < {replica}")]
    HigherModSeq {
        /// Value in the update.
        update: ModSeq,
        /// Value of the replica.
        replica: ModSeq,
    },
    /// The replica's UIDVALIDITY is higher.
    #[error("higher uidvalidity on replica: {update} < {replica}")]
    HigherUidValidity {
        /// Value in the update.
        update: UidValidity,
        /// Value of the replica.
        replica: UidValidity,
    },
    /// The replica's LAST_UID is higher.
    #[error("higher last_uid on replica: {update} < {replica}")]
    HigherLastUid {
        /// Value in the update.
        update: Uid,
        /// Value of the replica.
        replica: Uid,
    },
    /// The replica's conversations modseq is higher.
    #[error("higher xconvmodseq on replica: {update} < {replica}")]
    HigherXconvModSeq {
        /// Value in the update.
        update: ModSeq,
        /// Value of the replica.
        replica: ModSeq,
    },
    /// One UID, two messages.
    #[error("guid mismatch: uid {uid} is {update} in the update, {replica} on replica")]
    GuidMismatch {
        /// The UID.
        uid: Uid,
        /// GUID in the update.
        update: Guid,
        /// GUID of the replica's record.
        replica: Guid,
    },
    /// A record was changed on the replica.
    #[error("higher modseq on replica: uid {uid}, {update} < {replica}")]
    HigherRecordModSeq {
        /// The UID.
        uid: Uid,
        /// Modseq in the update.
        update: ModSeq,
        /// Modseq of the replica's record.
        replica: ModSeq,
    },
    /// A record that lives in the update is expunged here.
    #[error("expunged on replica: uid {uid}")]
    ExpungedOnReplica {
        /// The UID.
        uid: Uid,
    },
    /// A live record that the replica's LAST_UID says it has seen, but does not have.
    #[error("uid {uid} is missing on replica, whose last_uid is {replica_last_uid}")]
    MissingOnReplica {
        /// The UID.
        uid: Uid,
        /// The replica's LAST_UID.
        replica_last_uid: Uid,
    },
    /// The update's records do not ascend.
    #[error("records of the update are {0}")]
    UpdateNotAscending(NotAscending),
    /// A record of the update lies above its own LAST_UID.
    #[error("uid {uid} is above the update's last_uid {last_uid}")]
    AboveLastUid {
        /// The offending UID.
        uid: Uid,
        /// LAST_UID of the update.
        last_uid: Uid,
    },
    /// The replica's own records do not ascend: its index is damaged.
    #[error("records of the replica are {0}")]
    ReplicaNotAscending(NotAscending),
    /// The mailbox that results has other CRCs than the update says.
    #[error(
        "CRC mismatch after the update: {}/{} in the update, {}/{} on replica",
        update.basic, update.annotations, replica.basic, replica.annotations
    )]
    CrcMismatch {
        /// CRCs in the update.
        update: SyncCrc,
        /// CRCs of the result.
        replica: SyncCrc,
    },
}

/// The kinds of answer that a refusal gives (wire-protocol §9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// `IMAP_MAILBOX_MOVED`
    Moved,
    /// `IMAP_SYNC_CHANGED`
    Changed,
    /// `IMAP_SYNC_CHECKSUM`
    Checksum,
    /// `IMAP_PROTOCOL_ERROR`
    ProtocolError,
    /// `Unknown error`
    UnknownError,
}

impl Refusal {
    /// The answer that the client gets.
    pub fn answer(&self) -> Answer {
        match self {
            Refusal::UniqueIdInUse { .. } | Refusal::NameInUse { .. } => Answer::Moved,
            Refusal::Changed { .. } => Answer::Changed,
            Refusal::TypeDiffers { .. } | Refusal::ReplicaNotAscending(_) => Answer::UnknownError,
            Refusal::UpdateNotAscending(_) | Refusal::AboveLastUid { .. } => Answer::ProtocolError,
            Refusal::HigherModSeq { .. }
            | Refusal::HigherUidValidity { .. }
            | Refusal::HigherLastUid { .. }
            | Refusal::HigherXconvModSeq { .. }
            | Refusal::GuidMismatch { .. }
            | Refusal::HigherRecordModSeq { .. }
            | Refusal::ExpungedOnReplica { .. }
            | Refusal::MissingOnReplica { .. }
            | Refusal::CrcMismatch { .. } => Answer::Checksum,
        }
    }

    /// The line for the log: in the words of the original where it has some (algorithm §6,
    /// step 7), else the mailbox's name and the reason.
    pub fn log_line(&self, mailbox: &MailboxName) -> String {
        match self {
            Refusal::HigherModSeq { update, replica } => {
                format!("higher modseq on replica {mailbox} - {update} < {replica}")
            }
            Refusal::HigherUidValidity { update, replica } => {
                format!("higher uidvalidity on replica {mailbox} - {update} < {replica}")
            }
            Refusal::HigherLastUid { update, replica } => {
                format!("higher last_uid on replica {mailbox} - {update} < {replica}")
            }
            Refusal::HigherXconvModSeq { update, replica } => {
                format!("higher xconvmodseq on replica {mailbox} - {update} < {replica}")
            }
            other => format!("{mailbox}: {other}"),
        }
    }

    /// Whether force mode sets this objection aside (commands §4.1).
    pub fn is_waived_by_force(&self) -> bool {
        matches!(
            self,
            Refusal::HigherModSeq { .. }
                | Refusal::HigherUidValidity { .. }
                | Refusal::HigherLastUid { .. }
                | Refusal::HigherXconvModSeq { .. }
                | Refusal::HigherRecordModSeq { .. }
        )
    }
}
