//! Why a request failed: what the client is told, and what the log says.

use std::io;

use crate::mail::MailboxName;
use crate::plan::apply;
use crate::protocol::command::DecodeError;
use crate::protocol::reply::Refusal;
use crate::spool::SpoolError;
use crate::spool::cyrusdb::DbError;
use crate::spool::disk::DiskError;
use crate::spool::lock::LockError;

/// A request that was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The request is well formed, but not possible here.
    #[error("{0}")]
    Refused(Refusal),
    /// The same, with a reason that the answer cannot carry.
    #[error("{reason}")]
    Explained {
        /// What the client is told.
        answer: Refusal,
        /// What the log says.
        reason: String,
    },
    /// The request's contents cannot be used.
    #[error("{0}")]
    Contents(#[from] DecodeError),
    /// A mailbox update does not fit the replica's state.
    #[error("{}", refusal.log_line(mailbox))]
    Update {
        /// The mailbox.
        mailbox: MailboxName,
        /// Why.
        refusal: apply::Refusal,
    },
    /// The store could not be read or written.
    #[error(transparent)]
    Store(SpoolError),
    /// The answer could not be sent: the connection is lost.
    #[error("the answer cannot be sent: {0}")]
    Connection(#[from] io::Error),
}

impl Failure {
    /// A refusal with a reason for the log.
    pub fn explained(answer: Refusal, reason: impl Into<String>) -> Failure {
        Failure::Explained {
            answer,
            reason: reason.into(),
        }
    }

    /// What the client is told.
    pub fn answer(&self) -> Refusal {
        match self {
            Failure::Refused(refusal) => *refusal,
            Failure::Explained { answer, .. } => *answer,
            Failure::Contents(error) => error.refusal(),
            Failure::Update { refusal, .. } => update_answer(refusal.answer()),
            Failure::Store(error) if error.is_lock_timeout() => Refusal::MailboxLocked,
            Failure::Store(_) | Failure::Connection(_) => Refusal::Unknown,
        }
    }

    /// Whether an operator should see this: the store is at fault, not the two histories.
    pub fn is_serious(&self) -> bool {
        matches!(self, Failure::Store(error) if !error.is_retryable())
    }
}

/// Everything that the parts of the store report becomes a [`SpoolError`] first.
macro_rules! from_store {
    ($($error:ty),+ $(,)?) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Failure {
                Failure::Store(error.into())
            }
        })+
    };
}

from_store!(SpoolError, DiskError, LockError, DbError);

fn update_answer(answer: apply::Answer) -> Refusal {
    match answer {
        apply::Answer::Moved => Refusal::MailboxMoved,
        apply::Answer::Changed => Refusal::SyncChanged,
        apply::Answer::Checksum => Refusal::SyncChecksum,
        apply::Answer::ProtocolError => Refusal::ProtocolError,
        apply::Answer::UnknownError => Refusal::Unknown,
    }
}
