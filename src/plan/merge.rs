//! The full update: master and replica both changed, and the master repairs that
//! (algorithm §5.6).
//!
//! Both record lists are walked by UID. What only the replica has is copied back, what both
//! claim under one UID gets two new UIDs, and every local rewrite gets a fresh modseq above both
//! sides', so that the update that follows brings the result to the replica.

use crate::mail::{ModSeq, Uid, UidValidity, UnixTime};
use crate::plan::RecordFacts;
use crate::plan::facts::{Ascending, AscendingError, NotAscending};

/// A record whose time of last change is known.
pub trait DatedRecord: RecordFacts {
    /// Time of the record's last change.
    fn last_updated(&self) -> UnixTime;
}

/// What the walk must know of the two mailboxes.
#[derive(Clone, Copy, Debug)]
pub struct MergeContext {
    /// The master's LAST_UID.
    pub local_last_uid: Uid,
    /// Highest modseq of a record that the master has purged.
    pub local_deleted_modseq: ModSeq,
    /// The replica's LAST_UID.
    pub remote_last_uid: Uid,
    /// The replica's HIGHESTMODSEQ.
    pub remote_highest_modseq: ModSeq,
}

/// A change that the walk asks for. [`Append`](MergeStep::Append) and
/// [`Rewrite`](MergeStep::Rewrite) can be done at once; those that give new UIDs come after the
/// walk, in their order, when the master's LAST_UID has been raised to the replica's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MergeStep<L, R> {
    /// Write the local record anew, with a fresh modseq.
    Rewrite {
        /// The local record.
        local: L,
        /// What it takes from the replica's record, if anything.
        take: Take<R>,
        /// Why.
        reason: Reason,
    },
    /// Fetch the replica's message and append it under the same UID.
    Append {
        /// The replica's record.
        remote: R,
    },
    /// Fetch the replica's message, append it under a new UID and expunge the old UID on the
    /// replica.
    CopyBack {
        /// The replica's record.
        remote: R,
        /// Why.
        reason: Reason,
    },
    /// Expunge the UID on the replica: the message was expunged and purged here.
    ExpungeRemote {
        /// The replica's record.
        remote: R,
    },
    /// Append a copy of the local message under a new UID, expunge the old one here.
    Renumber {
        /// The local record.
        local: L,
        /// Why.
        reason: Reason,
    },
}

/// What a rewritten local record takes from the replica's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Take<R> {
    /// Nothing.
    Nothing,
    /// That it is expunged; flags and annotations stay.
    Expunged,
    /// Flags, conversation id and annotations.
    Contents(R),
}

/// Why a step is taken, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// One UID, two messages: `guid mismatch`.
    GuidMismatch,
    /// `record only exists on master`, although the replica has seen its UID.
    OnlyOnMaster,
    /// `record only exists on replica`.
    OnlyOnReplica,
    /// The replica's record was changed later.
    MoreRecentOnReplica,
    /// The master's record was changed later, or nobody can tell.
    MoreRecentOnMaster,
    /// Expunged on the replica.
    ExpungedOnReplica,
    /// Expunged on the master.
    ExpungedOnMaster,
    /// Unknown to the replica, but with a modseq that a delta would leave out.
    ModSeqTooLow,
}

/// Why the walk ends early.
#[derive(Debug, thiserror::Error)]
pub enum MergeError<E> {
    /// The master's records do not ascend: its index is damaged.
    #[error("records of the master are {0}")]
    Master(NotAscending),
    /// The replica's records do not ascend.
    #[error("records of the replica are {0}")]
    Replica(NotAscending),
    /// A record could not be read.
    #[error("{0}")]
    Unreadable(E),
}

/// The walk over both lists; yields only what must change. After an error it is at its end.
pub struct Merge<L, R, LI, RI, S> {
    local: Ascending<L, LI>,
    remote: Ascending<R, RI>,
    context: MergeContext,
    same_contents: S,
    /// The second half of a decision that has two.
    second: Option<MergeStep<L, R>>,
    failed: bool,
}

impl<L, R, E, LI, RI, S> Merge<L, R, LI, RI, S>
where
    L: DatedRecord,
    R: DatedRecord,
    LI: Iterator<Item = Result<L, E>>,
    RI: Iterator<Item = Result<R, E>>,
    S: FnMut(&L, &R) -> bool,
{
    /// A walk over both lists, ascending by UID. `same_contents` compares two live records of
    /// one message in all that modseq, time of change and GUID do not tell: flags, dates, ids
    /// and annotations.
    pub fn new(
        local: impl IntoIterator<IntoIter = LI>,
        remote: impl IntoIterator<IntoIter = RI>,
        context: MergeContext,
        same_contents: S,
    ) -> Merge<L, R, LI, RI, S> {
        Merge {
            local: Ascending::new(local.into_iter()),
            remote: Ascending::new(remote.into_iter()),
            context,
            same_contents,
            second: None,
            failed: false,
        }
    }

    fn advance(&mut self) -> Result<Option<MergeStep<L, R>>, MergeError<E>> {
        if let Some(step) = self.second.take() {
            return Ok(Some(step));
        }
        loop {
            let local = self.next_local()?;
            let remote = self.next_remote()?;
            let step = match (local, remote) {
                (None, None) => return Ok(None),
                (Some(local), None) => self.only_local_at_end(local),
                (None, Some(remote)) => self.only_remote(remote),
                (Some(local), Some(remote)) if local.uid() < remote.uid() => {
                    self.remote.put_back(remote);
                    renumber(local, Reason::OnlyOnMaster)
                }
                (Some(local), Some(remote)) if local.uid() > remote.uid() => {
                    self.local.put_back(local);
                    self.only_remote(remote)
                }
                (Some(local), Some(remote)) => self.both(local, remote),
            };
            if step.is_some() {
                return Ok(step);
            }
        }
    }

    fn next_local(&mut self) -> Result<Option<L>, MergeError<E>> {
        match self.local.next() {
            Ok(record) => Ok(record),
            Err(AscendingError::NotAscending(error)) => Err(MergeError::Master(error)),
            Err(AscendingError::Unreadable(error)) => Err(MergeError::Unreadable(error)),
        }
    }

    fn next_remote(&mut self) -> Result<Option<R>, MergeError<E>> {
        match self.remote.next() {
            Ok(record) => Ok(record),
            Err(AscendingError::NotAscending(error)) => Err(MergeError::Replica(error)),
            Err(AscendingError::Unreadable(error)) => Err(MergeError::Unreadable(error)),
        }
    }

    /// A record of the master when the replica's list is exhausted.
    fn only_local_at_end(&self, local: L) -> Option<MergeStep<L, R>> {
        if local.uid() <= self.context.remote_last_uid {
            return renumber(local, Reason::OnlyOnMaster);
        }
        (local.modseq() <= self.context.remote_highest_modseq).then_some(MergeStep::Rewrite {
            local,
            take: Take::Nothing,
            reason: Reason::ModSeqTooLow,
        })
    }

    fn only_remote(&self, remote: R) -> Option<MergeStep<L, R>> {
        if remote.is_expunged() {
            None
        } else if remote.uid() > self.context.local_last_uid {
            Some(MergeStep::Append { remote })
        } else if remote.modseq() < self.context.local_deleted_modseq {
            Some(MergeStep::ExpungeRemote { remote })
        } else {
            Some(MergeStep::CopyBack {
                remote,
                reason: Reason::OnlyOnReplica,
            })
        }
    }

    fn both(&mut self, local: L, remote: R) -> Option<MergeStep<L, R>> {
        if local.is_expunged() && remote.is_expunged() {
            return None;
        }
        if local.guid() != remote.guid() {
            return self.split(local, remote);
        }
        let same = local.modseq() == remote.modseq()
            && local.last_updated() == remote.last_updated()
            && local.is_expunged() == remote.is_expunged()
            && (self.same_contents)(&local, &remote);
        if same {
            return None;
        }
        let replica_is_newer =
            remote.modseq() > local.modseq() && remote.last_updated() >= local.last_updated();
        let (take, reason) = if local.is_expunged() {
            (Take::Nothing, Reason::ExpungedOnMaster)
        } else if remote.is_expunged() {
            (Take::Expunged, Reason::ExpungedOnReplica)
        } else if replica_is_newer {
            (Take::Contents(remote), Reason::MoreRecentOnReplica)
        } else {
            (Take::Nothing, Reason::MoreRecentOnMaster)
        };
        Some(MergeStep::Rewrite {
            local,
            take,
            reason,
        })
    }

    /// One UID, two messages: both get new UIDs, the one with the lower GUID first. Here the
    /// replica's message is certainly none that was purged on the master, so it is copied back
    /// whatever its modseq is.
    fn split(&mut self, local: L, remote: R) -> Option<MergeStep<L, R>> {
        let remote_first = local.guid() > remote.guid();
        let copy_back = (!remote.is_expunged()).then_some(MergeStep::CopyBack {
            remote,
            reason: Reason::GuidMismatch,
        });
        let renumber = renumber(local, Reason::GuidMismatch);
        let (first, second) = if remote_first {
            (copy_back, renumber)
        } else {
            (renumber, copy_back)
        };
        match first {
            Some(first) => {
                self.second = second;
                Some(first)
            }
            None => second,
        }
    }
}

/// A new UID for a live local message.
fn renumber<L: RecordFacts, R>(local: L, reason: Reason) -> Option<MergeStep<L, R>> {
    (!local.is_expunged()).then_some(MergeStep::Renumber { local, reason })
}

impl<L, R, E, LI, RI, S> Iterator for Merge<L, R, LI, RI, S>
where
    L: DatedRecord,
    R: DatedRecord,
    LI: Iterator<Item = Result<L, E>>,
    RI: Iterator<Item = Result<R, E>>,
    S: FnMut(&L, &R) -> bool,
{
    type Item = Result<MergeStep<L, R>, MergeError<E>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let step = self.advance().transpose();
        self.failed = matches!(step, Some(Err(_)));
        step
    }
}

/// The counters of a mailbox, before or after a merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// LAST_UID.
    pub last_uid: Uid,
    /// HIGHESTMODSEQ.
    pub highest_modseq: ModSeq,
    /// Modseq of the mailbox-list entry; zero if unknown.
    pub folder_modseq: ModSeq,
    /// The owner's conversations modseq; zero if unknown.
    pub xconv_modseq: ModSeq,
}

/// What the merge does to the mailbox as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergedCounters {
    /// The counters from which the changes of the merge go on: fresh modseqs lie above
    /// `highest_modseq`, fresh UIDs above `last_uid` and above what was appended.
    pub base: Counters,
    /// Whether the replica's mailbox annotations replace the master's.
    pub take_annotations: bool,
    /// Whether at least one modseq must be spent even if no record changes, because the
    /// replica's number stands for changes that the master did not have.
    pub must_advance: bool,
}

/// Merges the counters of both sides: nothing goes backwards on either.
pub fn merge_counters(local: Counters, remote: Counters) -> MergedCounters {
    let replica_was_higher = remote.highest_modseq > local.highest_modseq;
    MergedCounters {
        base: Counters {
            uid_validity: local.uid_validity.max(remote.uid_validity),
            last_uid: local.last_uid.max(remote.last_uid),
            highest_modseq: local.highest_modseq.max(remote.highest_modseq),
            folder_modseq: local.folder_modseq.max(remote.folder_modseq),
            xconv_modseq: local.xconv_modseq.max(remote.xconv_modseq),
        },
        take_annotations: replica_was_higher,
        must_advance: replica_was_higher,
    }
}

#[cfg(test)]
mod tests;
