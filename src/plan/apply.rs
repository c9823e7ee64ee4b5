//! The server's decision on an `APPLY MAILBOX` item (algorithm §6, steps 4 to 8, 11 and 12).
//!
//! The decision falls in three parts, asked in this order:
//!
//! 1. [`destination`]: is the mailbox updated, created or replaced;
//! 2. [`check_header`]: may an update of this header be applied to it at all;
//! 3. [`Steps`]: what each record of the update means, streamed over both ascending lists.
//!
//! A careful server runs [`Steps`] to its end once before it writes anything: a refusal of the
//! last record must leave the mailbox as it was.

use crate::mail::{
    MailboxName, MailboxOptions, MailboxType, ModSeq, SyncCrc, Uid, UidValidity, UniqueId,
};
use crate::plan::RecordFacts;
use crate::plan::facts::{Ascending, AscendingError, NotAscending};

mod refusal;

pub use refusal::{Answer, Refusal};

/// What the decision needs of the update's own fields.
#[derive(Clone, Debug)]
pub struct UpdateHeader {
    /// MBOXTYPE.
    pub mailbox_type: MailboxType,
    /// LAST_UID.
    pub last_uid: Uid,
    /// HIGHESTMODSEQ.
    pub highest_modseq: ModSeq,
    /// UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// XCONVMODSEQ; zero if it was not given.
    pub xconv_modseq: ModSeq,
    /// CREATEDMODSEQ; zero if it was not given.
    pub created_modseq: ModSeq,
    /// FOLDERMODSEQ; zero if it was not given.
    pub folder_modseq: ModSeq,
    /// OPTIONS.
    pub options: MailboxOptions,
    /// The replica's state this update is a delta to; `None` if SINCE_MODSEQ is zero or missing.
    pub since: Option<Since>,
}

/// The replica's state as the sender of a delta believes it to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    /// SINCE_MODSEQ, not zero.
    pub modseq: ModSeq,
    /// SINCE_CRC and SINCE_CRC_ANNOT.
    pub crc: SyncCrc,
}

/// What the decision needs of the replica's mailbox.
#[derive(Clone, Debug)]
pub struct ReplicaHeader {
    /// Its type, without the layout flag.
    pub mailbox_type: MailboxType,
    /// Highest UID ever assigned.
    pub last_uid: Uid,
    /// Highest modseq; zero in a mailbox that this update has just created, whatever was written
    /// into its index.
    pub highest_modseq: ModSeq,
    /// UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// The owner's conversations modseq; `None` without conversations.
    pub xconv_modseq: Option<ModSeq>,
    /// Modseq of the mailbox's creation; zero if unknown.
    pub created_modseq: ModSeq,
    /// All option bits of the index header.
    pub options: MailboxOptions,
    /// The stored CRCs.
    pub crc: SyncCrc,
}

/// What happens to the mailbox of the update's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// It exists and has the update's unique id.
    Update,
    /// No mailbox has the name: create it with the update's unique id.
    Create,
    /// A mailbox with another unique id has the name: delete it at once and create anew.
    Replace,
}

/// The mailbox that has the update's name on the replica.
#[derive(Clone, Copy, Debug)]
pub struct Occupant<'a> {
    /// Its unique id.
    pub unique_id: &'a UniqueId,
    /// Its highest UID ever assigned; zero means that it never held a message.
    pub last_uid: Uid,
}

/// Decides where the update goes (algorithm §6, step 4). `occupant` is the mailbox of the
/// update's name (an intermediate or a tombstone is none), `id_holder` the mailbox that has the
/// update's unique id.
///
/// # Errors
/// [`Refusal::UniqueIdInUse`] or [`Refusal::NameInUse`].
pub fn destination(
    name: &MailboxName,
    unique_id: &UniqueId,
    occupant: Option<Occupant<'_>>,
    id_holder: Option<&MailboxName>,
    force: bool,
) -> Result<Destination, Refusal> {
    let elsewhere = id_holder.filter(|holder| *holder != name);
    match (occupant, elsewhere) {
        (Some(occupant), _) if occupant.unique_id == unique_id => Ok(Destination::Update),
        (_, Some(holder)) => Err(Refusal::UniqueIdInUse {
            holder: holder.clone(),
        }),
        (Some(occupant), None) if force || occupant.last_uid == Uid(0) => Ok(Destination::Replace),
        (Some(occupant), None) => Err(Refusal::NameInUse {
            unique_id: occupant.unique_id.clone(),
        }),
        (None, None) => Ok(Destination::Create),
    }
}

/// The fields of a mailbox that an accepted update leaves behind (algorithm §6, steps 9 and 11);
/// the update's other fields are taken as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedHeader {
    /// HIGHESTMODSEQ; the owner's modseq counter is raised to it as well.
    pub highest_modseq: ModSeq,
    /// Modseq of the mailbox-list entry.
    pub folder_modseq: ModSeq,
    /// Modseq of the creation.
    pub created_modseq: ModSeq,
    /// UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// All option bits of the index header.
    pub options: MailboxOptions,
    /// Objections that force mode set aside, for the log.
    pub waived: Vec<Refusal>,
}

/// Decides whether an update of this header may be applied (algorithm §6, steps 5 to 7), and
/// what the header then becomes.
///
/// # Errors
/// The first objection; in force mode only those that force does not waive.
pub fn check_header(
    update: &UpdateHeader,
    replica: &ReplicaHeader,
    force: bool,
) -> Result<AcceptedHeader, Refusal> {
    if let Some(since) = update.since
        && (since.modseq != replica.highest_modseq || !since.crc.matches(replica.crc))
    {
        return Err(Refusal::Changed {
            since,
            replica_modseq: replica.highest_modseq,
            replica_crc: replica.crc,
        });
    }
    if update.mailbox_type.on_wire() != replica.mailbox_type.on_wire() {
        return Err(Refusal::TypeDiffers {
            replica: replica.mailbox_type,
            update: update.mailbox_type,
        });
    }
    let mut waived = Vec::new();
    for objection in regressions(update, replica).into_iter().flatten() {
        if !force {
            return Err(objection);
        }
        waived.push(objection);
    }
    Ok(AcceptedHeader {
        highest_modseq: update.highest_modseq,
        folder_modseq: first_given(update.folder_modseq, update.highest_modseq),
        created_modseq: first_given(update.created_modseq, replica.created_modseq),
        uid_validity: update.uid_validity,
        options: (update.options & MailboxOptions::REPLICATED)
            | (replica.options - MailboxOptions::REPLICATED),
        waived,
    })
}

fn first_given(value: ModSeq, otherwise: ModSeq) -> ModSeq {
    if value == ModSeq(0) { otherwise } else { value }
}

/// The counters that would go backwards, in the order in which they are checked.
fn regressions(update: &UpdateHeader, replica: &ReplicaHeader) -> [Option<Refusal>; 4] {
    let modseq =
        (update.highest_modseq < replica.highest_modseq).then_some(Refusal::HigherModSeq {
            update: update.highest_modseq,
            replica: replica.highest_modseq,
        });
    let uid_validity =
        (update.uid_validity < replica.uid_validity).then_some(Refusal::HigherUidValidity {
            update: update.uid_validity,
            replica: replica.uid_validity,
        });
    let last_uid = (update.last_uid < replica.last_uid).then_some(Refusal::HigherLastUid {
        update: update.last_uid,
        replica: replica.last_uid,
    });
    let xconv = replica
        .xconv_modseq
        .filter(|ours| update.xconv_modseq != ModSeq(0) && update.xconv_modseq < *ours)
        .map(|ours| Refusal::HigherXconvModSeq {
            update: update.xconv_modseq,
            replica: ours,
        });
    [modseq, uid_validity, last_uid, xconv]
}

/// What one record of the update means. `U` is the update's record, `R` the replica's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<R, U> {
    /// Give the replica's record the update's MODSEQ, dates, flags, ids and annotations.
    Change {
        /// The replica's record.
        replica: R,
        /// The update's record of the same UID.
        update: U,
        /// An objection that force mode set aside, for the log.
        waived: Option<Refusal>,
    },
    /// Append the message under its UID and MODSEQ. A live one needs its staged file; an
    /// expunged one without a file becomes a record without a file.
    Append(U),
    /// Expunged on both sides, even if the GUIDs differ: leave the replica's record alone.
    BothExpunged(U),
    /// Expunged, and the replica has purged its record or never had one: nothing to do.
    ExpungedAndAbsent(U),
}

/// Why the steps end before the end of the update.
#[derive(Debug, thiserror::Error)]
pub enum StepError<E> {
    /// The update is refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A record could not be read.
    #[error("{0}")]
    Unreadable(E),
}

/// The limits within which an update's records must lie.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// LAST_UID of the update.
    pub update_last_uid: Uid,
    /// LAST_UID of the replica; zero in a mailbox just created.
    pub replica_last_uid: Uid,
    /// Whether force mode is on.
    pub force: bool,
}

/// The decisions on an update's records (algorithm §6, steps 8 and 10), one per record, in
/// ascending order. Both lists are read once, front to back; memory does not grow with them.
///
/// After the first error the iterator is at its end.
pub struct Steps<R, U, RI, UI> {
    replica: Ascending<R, RI>,
    update: UI,
    previous_update_uid: Uid,
    limits: Limits,
    failed: bool,
    _update_record: std::marker::PhantomData<U>,
}

impl<R, U, E, RI, UI> Steps<R, U, RI, UI>
where
    R: RecordFacts,
    U: RecordFacts,
    RI: Iterator<Item = Result<R, E>>,
    UI: Iterator<Item = Result<U, E>>,
{
    /// Steps over the replica's records and the update's, both ascending by UID.
    pub fn new(
        replica: impl IntoIterator<IntoIter = RI>,
        update: impl IntoIterator<IntoIter = UI>,
        limits: Limits,
    ) -> Steps<R, U, RI, UI> {
        Steps {
            replica: Ascending::new(replica.into_iter()),
            update: update.into_iter(),
            previous_update_uid: Uid(0),
            limits,
            failed: false,
            _update_record: std::marker::PhantomData,
        }
    }

    /// The LAST_UID that the mailbox gets once all steps are done: the update's, but in force
    /// mode never below a record that stays, or its UID would be given out a second time. Reads
    /// what is left of the replica's records.
    ///
    /// # Errors
    /// If the replica's records cannot be read or do not ascend.
    pub fn resulting_last_uid(mut self) -> Result<Uid, StepError<E>> {
        if !self.limits.force {
            return Ok(self.limits.update_last_uid);
        }
        while self.replica.next().map_err(step_error)?.is_some() {}
        Ok(self
            .limits
            .update_last_uid
            .max(self.previous_update_uid)
            .max(self.replica.last_read()))
    }

    fn decide(&mut self, update: U) -> Result<Step<R, U>, StepError<E>> {
        let uid = update.uid();
        if uid <= self.previous_update_uid {
            return Err(StepError::Refused(Refusal::UpdateNotAscending(
                NotAscending {
                    uid,
                    after: self.previous_update_uid,
                },
            )));
        }
        if uid > self.limits.update_last_uid && !self.limits.force {
            return Err(StepError::Refused(Refusal::AboveLastUid {
                uid,
                last_uid: self.limits.update_last_uid,
            }));
        }
        self.previous_update_uid = uid;
        match self.replica.take(uid).map_err(step_error)? {
            Some(replica) => self.decide_known(replica, update).map_err(StepError::from),
            None if uid > self.limits.replica_last_uid => Ok(Step::Append(update)),
            None if update.is_expunged() => Ok(Step::ExpungedAndAbsent(update)),
            None => Err(StepError::Refused(Refusal::MissingOnReplica {
                uid,
                replica_last_uid: self.limits.replica_last_uid,
            })),
        }
    }

    fn decide_known(&self, replica: R, update: U) -> Result<Step<R, U>, Refusal> {
        let uid = update.uid();
        if replica.is_expunged() && update.is_expunged() {
            return Ok(Step::BothExpunged(update));
        }
        if replica.guid() != update.guid() {
            return Err(Refusal::GuidMismatch {
                uid,
                update: update.guid(),
                replica: replica.guid(),
            });
        }
        let objection = (replica.modseq() > update.modseq()).then(|| Refusal::HigherRecordModSeq {
            uid,
            update: update.modseq(),
            replica: replica.modseq(),
        });
        let waived = match objection {
            Some(objection) if !self.limits.force => return Err(objection),
            other => other,
        };
        if replica.is_expunged() {
            return Err(Refusal::ExpungedOnReplica { uid });
        }
        Ok(Step::Change {
            replica,
            update,
            waived,
        })
    }
}

impl<R, U, E, RI, UI> Iterator for Steps<R, U, RI, UI>
where
    R: RecordFacts,
    U: RecordFacts,
    RI: Iterator<Item = Result<R, E>>,
    UI: Iterator<Item = Result<U, E>>,
{
    type Item = Result<Step<R, U>, StepError<E>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let step = match self.update.next()? {
            Ok(update) => self.decide(update),
            Err(error) => Err(StepError::Unreadable(error)),
        };
        self.failed = step.is_err();
        Some(step)
    }
}

fn step_error<E>(error: AscendingError<E>) -> StepError<E> {
    match error {
        AscendingError::NotAscending(error) => Refusal::ReplicaNotAscending(error).into(),
        AscendingError::Unreadable(error) => StepError::Unreadable(error),
    }
}

/// Decides whether the result agrees with the update (algorithm §6, step 12). `replica` is
/// what the mailbox's CRCs are (or would be) after the update.
///
/// # Errors
/// [`Refusal::CrcMismatch`].
pub fn check_result(update: SyncCrc, replica: SyncCrc) -> Result<(), Refusal> {
    if update.matches(replica) {
        Ok(())
    } else {
        Err(Refusal::CrcMismatch { update, replica })
    }
}

#[cfg(test)]
mod tests;
