//! Why something could not be replicated.

use std::path::PathBuf;

use crate::client::peer::PeerError;
use crate::mail::{MailboxName, Partition, Uid, UserId};
use crate::plan::log::Failure;
use crate::plan::merge::MergeError;
use crate::protocol::reply::Refusal;
use crate::spool::SpoolError;

/// A mailbox that could not be brought up to date, and why.
pub type Failed = (MailboxName, SyncError);

/// Why a user, a mailbox or an entry of the log was not replicated.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The replica, or the way to it.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The local store.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// Another process replicates the user, or a `skipuser` file stands.
    #[error("{} is locked: {why}", owner_text(owner.as_ref()))]
    Locked {
        /// Whose lock it is; `None` = the shared mailboxes.
        owner: Option<UserId>,
        /// By what.
        why: String,
    },
    /// The replica refused a mailbox.
    #[error("update failed: {mailbox} '{source}'")]
    Mailbox {
        /// The mailbox.
        mailbox: MailboxName,
        /// Why.
        source: Box<SyncError>,
    },
    /// These mailboxes failed, at least one; the others are up to date.
    #[error("{}", text_of(failed))]
    Mailboxes {
        /// Which, and why.
        failed: Vec<Failed>,
    },
    /// The mailbox changed its name, id or partition while it was looked at.
    #[error("mailbox {0} changed while it was looked at")]
    Moved(MailboxName),
    /// The name of the mailbox belongs to another one on the replica.
    #[error(
        "on the replica the name {name} belongs to another mailbox, which has no tombstone here"
    )]
    NameTaken {
        /// The name.
        name: MailboxName,
    },
    /// A circle of renames without a free name.
    #[error("no free name to untangle the renames around {0}")]
    NoFreeName(MailboxName),
    /// The replica keeps changing while it is compared.
    #[error("the renames of {0} do not settle")]
    NotSettled(String),
    /// The replica refuses a partition.
    #[error("the replica refuses partition {partition} (wanted for {mailbox}): {source}")]
    PartitionRefused {
        /// The partition.
        partition: Partition,
        /// The first mailbox that needs it.
        mailbox: MailboxName,
        /// Its answer.
        source: PeerError,
    },
    /// The replica refuses a quota root.
    #[error("the replica refuses quota root {root}: {source}")]
    QuotaRefused {
        /// The root.
        root: String,
        /// Its answer.
        source: PeerError,
    },
    /// A message file is not there.
    #[error("{mailbox}: message file {} of UID {uid} is missing", path.display())]
    FileMissing {
        /// The mailbox.
        mailbox: MailboxName,
        /// UID of the message.
        uid: Uid,
        /// Its file.
        path: PathBuf,
    },
    /// A message file is not what its record says.
    #[error("{mailbox}: message file {} of UID {uid} is damaged: {what}", path.display())]
    FileDamaged {
        /// The mailbox.
        mailbox: MailboxName,
        /// UID of the message.
        uid: Uid,
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The replica lost a message that it listed.
    #[error("{mailbox}: the replica cannot deliver UID {uid}")]
    NotFetched {
        /// The mailbox.
        mailbox: MailboxName,
        /// UID of the message.
        uid: Uid,
    },
    /// A Sieve script has a name that cannot be sent.
    #[error("Sieve script {name:?} of {user} {problem}")]
    ScriptName {
        /// Whose it is.
        user: UserId,
        /// Its file name.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// Records of one side cannot be merged.
    #[error("{mailbox}: {problem}")]
    Merge {
        /// The mailbox.
        mailbox: MailboxName,
        /// What is wrong.
        problem: String,
    },
    /// The local index claims records that a delta can no longer describe, and `-O` forbids more.
    #[error("{0}: expunges can no longer be described, and nothing may be copied back")]
    LostHistory(MailboxName),
    /// Something outside the store could not be read or written.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The program is to end.
    #[error("interrupted")]
    Interrupted,
}

impl SyncError {
    /// Wraps the error with the mailbox it is about. The wish to end is about none.
    pub fn in_mailbox(self, mailbox: &MailboxName) -> SyncError {
        match self {
            SyncError::Mailbox { .. } | SyncError::Interrupted => self,
            source => SyncError::Mailbox {
                mailbox: mailbox.clone(),
                source: Box::new(source),
            },
        }
    }

    /// A merge that cannot be done.
    pub fn merge(mailbox: &MailboxName, error: MergeError<SyncError>) -> SyncError {
        match error {
            MergeError::Unreadable(error) => error,
            other => SyncError::Merge {
                mailbox: mailbox.clone(),
                problem: other.to_string(),
            },
        }
    }

    /// The mailboxes that failed, and how, if all others are up to date.
    pub fn mailboxes(&self) -> Vec<(&MailboxName, Failure)> {
        match self {
            SyncError::Mailboxes { failed } => failed
                .iter()
                .map(|(name, error)| (name, error.failure()))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// What it says about one mailbox; `None` if that one is up to date.
    pub fn of(&self, mailbox: &MailboxName) -> Option<&SyncError> {
        match self {
            SyncError::Mailboxes { failed } => failed
                .iter()
                .find(|(name, _)| name == mailbox)
                .map(|(_, error)| error),
            error => Some(error),
        }
    }

    /// How the log's rules see it (algorithm §9.3). Of several mailboxes, that one counts for
    /// which waiting is least likely to help.
    pub fn failure(&self) -> Failure {
        match self {
            SyncError::Peer(error)
            | SyncError::PartitionRefused { source: error, .. }
            | SyncError::QuotaRefused { source: error, .. } => of_peer(error),
            SyncError::Spool(error) if error.is_lock_timeout() => Failure::Locked,
            SyncError::Locked { .. } => Failure::Locked,
            SyncError::Interrupted => Failure::Disconnected,
            SyncError::Mailbox { source, .. } => source.failure(),
            SyncError::Mailboxes { failed } => {
                let failures = failed.iter().map(|(_, error)| error.failure());
                let other = failures.clone().find(|failure| *failure != Failure::Locked);
                other.unwrap_or(Failure::Locked)
            }
            _ => Failure::Other,
        }
    }

    /// The replica's refusal, if it is one.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            SyncError::Peer(error) => error.refusal(),
            SyncError::Mailbox { source, .. } => source.refusal(),
            SyncError::Mailboxes { failed } => {
                failed.first().and_then(|(_, error)| error.refusal())
            }
            _ => None,
        }
    }

    /// Whether the connection is gone, so that nothing else can succeed before a new one.
    pub fn is_disconnection(&self) -> bool {
        self.failure() == Failure::Disconnected
    }
}

fn of_peer(error: &PeerError) -> Failure {
    match error.refusal() {
        Some(Refusal::MailboxLocked) => Failure::Locked,
        Some(Refusal::InvalidUser) => Failure::InvalidUser,
        Some(_) => Failure::Other,
        None if error.leaves_connection_usable() => Failure::Other,
        None => Failure::Disconnected,
    }
}

fn text_of(failed: &[Failed]) -> String {
    match failed {
        [] => "nothing failed".to_owned(),
        [(name, error @ SyncError::Mailbox { mailbox, .. })] if name == mailbox => {
            error.to_string()
        }
        [(name, error)] => format!("update failed: {name} '{error}'"),
        [(name, error), ..] => format!(
            "{} of its mailboxes failed, the first: {name} '{error}'",
            failed.len()
        ),
    }
}

fn owner_text(owner: Option<&UserId>) -> String {
    match owner {
        Some(user) => format!("user {user}"),
        None => "the shared mailboxes".to_owned(),
    }
}
