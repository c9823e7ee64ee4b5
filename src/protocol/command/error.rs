//! Why a well-formed line is no command that can be carried out.

use std::fmt;

use crate::dlist::{FieldError, FieldProblem};
use crate::mail::Uid;
use crate::protocol::reply::Refusal;

/// A line whose syntax is right and whose contents are not. Repeating it cannot help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A key is missing or has an unusable value.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// An element of RECORD cannot be used.
    #[error("element {index} of RECORD (UID {uid}): {problem}")]
    Record {
        /// Its place in the list, from 0.
        index: usize,
        /// Its UID; 0 if none was read.
        uid: Uid,
        /// What is wrong.
        problem: RecordProblem,
    },
    /// The name of a mailbox that must exist, and cannot.
    #[error("no mailbox can have the name {0:?}")]
    NoSuchMailbox(String),
    /// The id of a user who must exist, and cannot.
    #[error("no user can have the id {0:?}")]
    NoSuchUser(String),
    /// A name that is to be created and cannot be a mailbox's.
    #[error("{0:?} is no usable mailbox name")]
    BadNewName(String),
    /// A subscription of a user, or to a mailbox, that cannot exist. There is nothing to do.
    #[error("nobody can subscribe to {0:?}")]
    NoSuchSubscription(String),
    /// GET, APPLY or RESTORE with a sub-command that does not exist.
    #[error("unknown command {verb} {name:?}")]
    UnknownCommand {
        /// The verb.
        verb: &'static str,
        /// The sub-command.
        name: String,
    },
    /// A data line that is no answer to anything.
    #[error("unknown answer {0:?}")]
    UnknownAnswer(String),
}

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordProblem {
    /// A key of the record.
    Field {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        problem: FieldProblem,
    },
    /// A key of one of its annotations.
    Annotation {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        problem: FieldProblem,
    },
    /// The records of the list have more user flags than a mailbox can have.
    TooManyFlags,
    /// A user flag that is no atom.
    IllegalFlag {
        /// The flag.
        name: String,
    },
    /// The UID is not above the one before.
    NotAscending {
        /// The UID before.
        after: Uid,
    },
}

impl fmt::Display for RecordProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordProblem::Field { key, problem } => write!(f, "key {key}: {problem}"),
            RecordProblem::Annotation { key, problem } => {
                write!(f, "annotation, key {key}: {problem}")
            }
            RecordProblem::TooManyFlags => f.write_str("too many user flags in the list"),
            RecordProblem::IllegalFlag { name } => write!(f, "illegal flag {name:?}"),
            RecordProblem::NotAscending { after } => write!(f, "not above UID {after} before it"),
        }
    }
}

impl DecodeError {
    /// Whether the command asks for nothing, so that it has succeeded already.
    pub fn is_nothing_to_do(&self) -> bool {
        matches!(self, DecodeError::NoSuchSubscription(_))
    }

    /// What a server answers (wire-protocol §9.1, commands §4.2).
    pub fn refusal(&self) -> Refusal {
        match self {
            DecodeError::Field(_) => Refusal::BadParameters,
            DecodeError::Record { problem, .. } => match problem {
                RecordProblem::Field { .. } | RecordProblem::NotAscending { .. } => {
                    Refusal::ProtocolError
                }
                RecordProblem::Annotation { .. } => Refusal::BadParameters,
                RecordProblem::TooManyFlags | RecordProblem::IllegalFlag { .. } => Refusal::Unknown,
            },
            DecodeError::NoSuchMailbox(_) => Refusal::MailboxNonexistent,
            DecodeError::NoSuchUser(_)
            | DecodeError::BadNewName(_)
            | DecodeError::NoSuchSubscription(_) => Refusal::Unknown,
            DecodeError::UnknownCommand { .. } | DecodeError::UnknownAnswer(_) => {
                Refusal::ProtocolError
            }
        }
    }
}
