//! The master takes up what the replica has, under the lock of its mailbox.

use super::records::RemoteRecords;
use super::{LocalRecord, walk};
use crate::client::error::SyncError;
use crate::client::local::{self, Local};
use crate::mail::{MailboxName, ModSeq, Partition, Uid, UnixTime};
use crate::plan::RecordFacts;
use crate::plan::merge::{Counters, MergeStep, Reason, Take, merge_counters};
use crate::protocol::command::{FlagTable, MailboxItem, Record};
use crate::spool::annotations::Scope;
use crate::spool::mailbox::{
    HeaderUpdate, Mailbox, Preparation, RecordState, Source, WritableMailbox,
};
use crate::spool::mailboxes::MailboxEntry;
use crate::spool::staging::Staging;
use crate::spool::store::Store;
use crate::spool::synclog::{self, LogItem, Origin};

/// Merges under the lock of the mailbox. Returns the UIDs to be expunged on the replica; `None`
/// if the mailbox has changed since its files were fetched.
pub(super) fn merge(
    local: &mut Local,
    entry: &MailboxEntry,
    item: &MailboxItem,
    list: &mut RemoteRecords,
    staging: &mut Staging,
) -> Result<Option<Vec<Uid>>, SyncError> {
    let store = local.store().clone();
    let merged = local::write(&store, entry, |mailbox| {
        merge_records(local, &store, entry, mailbox, item, list, staging)
    })?;
    match merged {
        None => Ok(Some(Vec::new())),
        Some(None) => Ok(None),
        Some(Some(done)) => {
            let mut entry = entry.clone();
            entry.uid_validity = done.base.uid_validity;
            entry.folder_modseq = done.base.folder_modseq;
            local.list().put(&entry)?;
            tell(&store, &entry)?;
            Ok(Some(done.expunged))
        }
    }
}

struct Merged {
    base: Counters,
    expunged: Vec<Uid>,
}

fn merge_records(
    local: &mut Local,
    store: &Store,
    entry: &MailboxEntry,
    mailbox: WritableMailbox<'_>,
    item: &MailboxItem,
    list: &mut RemoteRecords,
    staging: &mut Staging,
) -> Result<Option<Merged>, SyncError> {
    let partition = mailbox.place().partition.clone();
    let merged = merge_counters(counters(&mailbox, entry), remote_counters(item));
    let fresh = ModSeq(merged.base.highest_modseq.0.saturating_add(1));
    let now = UnixTime::now();
    let flags = list.flags().clone();
    let mut changes = mailbox.prepare()?;
    let mut expunged = Vec::new();
    let mut next_uid = merged.base.last_uid;
    let mut is_complete = true;
    let mut renumbers = false;
    let mut has_changed = merged.must_advance;

    walk(&mailbox, item, list, |step| {
        has_changed |= !matches!(step, MergeStep::ExpungeRemote { .. });
        match step {
            MergeStep::Rewrite {
                local,
                take,
                reason,
            } => {
                note(&item.name, local.uid(), reason);
                rewrite(&mut changes, &local, &take, &flags, fresh, now)?;
            }
            MergeStep::Append { remote } => {
                note(&item.name, remote.uid, Reason::OnlyOnReplica);
                next_uid = next_uid.max(remote.uid);
                if staging.contains(&partition, &remote.guid) {
                    let uid = remote.uid;
                    let state = remote_state(&mut changes, &remote, uid, &flags, fresh, now)?;
                    append(&mut changes, uid, &remote, &state, &partition, staging)?;
                } else {
                    is_complete = false;
                }
            }
            MergeStep::CopyBack { remote, reason } => {
                note(&item.name, remote.uid, reason);
                is_complete &= staging.contains(&partition, &remote.guid);
                expunged.push(remote.uid);
                renumbers = true;
            }
            MergeStep::ExpungeRemote { remote } => expunged.push(remote.uid),
            MergeStep::Renumber { local, reason } => {
                note(&item.name, local.uid(), reason);
                let state = RecordState {
                    expunged: true,
                    modseq: fresh,
                    last_updated: now,
                    ..RecordState::of(&local.stored.record)
                };
                changes.update(&local.stored, &state, None)?;
                renumbers = true;
            }
        }
        Ok(())
    })?;
    if !is_complete {
        return Ok(None);
    }
    if renumbers {
        // New UIDs lie above all others, so that they are given once those are known. Another walk
        // costs less than keeping the records, of which there may be very many.
        walk(&mailbox, item, list, |step| {
            let mut new_uid = || {
                let next = next_uid.0.checked_add(1);
                next_uid = Uid(next.ok_or_else(|| SyncError::Merge {
                    mailbox: item.name.clone(),
                    problem: "there are no UIDs left".to_owned(),
                })?);
                Ok::<_, SyncError>(next_uid)
            };
            match step {
                MergeStep::CopyBack { remote, .. } => {
                    let uid = new_uid()?;
                    let state = remote_state(&mut changes, &remote, uid, &flags, fresh, now)?;
                    append(&mut changes, uid, &remote, &state, &partition, staging)
                }
                MergeStep::Renumber { local, .. } => {
                    let uid = new_uid()?;
                    stage_local(&mailbox, &local, &partition, staging)?;
                    let state = RecordState {
                        modseq: fresh,
                        last_updated: now,
                        created_modseq: fresh,
                        ..RecordState::of(&local.stored.record)
                    };
                    append(&mut changes, uid, &local.wire, &state, &partition, staging)
                }
                MergeStep::Rewrite { .. }
                | MergeStep::Append { .. }
                | MergeStep::ExpungeRemote { .. } => Ok(()),
            }
        })?;
    }
    let mut header = HeaderUpdate::of(mailbox.index_header());
    header.last_uid = next_uid;
    header.uid_validity = merged.base.uid_validity;
    header.highest_modseq = if has_changed {
        fresh
    } else {
        merged.base.highest_modseq
    };
    changes.set_header(&header);
    if merged.take_annotations {
        replace_annotations(local, entry, item, &mut changes)?;
    }
    let prepared = changes.finish()?;
    drop(store.commit(mailbox, prepared, Some(staging))?);
    store.tell_readers(&entry.name)?;
    Ok(Some(Merged {
        base: merged.base,
        expunged,
    }))
}

fn rewrite(
    changes: &mut Preparation<'_, '_>,
    local: &LocalRecord,
    take: &Take<Record>,
    flags: &FlagTable,
    fresh: ModSeq,
    now: UnixTime,
) -> Result<(), SyncError> {
    let mut state = RecordState {
        modseq: fresh,
        last_updated: now,
        ..RecordState::of(&local.stored.record)
    };
    let mut annotations = None;
    match take {
        Take::Nothing => {}
        Take::Expunged => state.expunged = true,
        Take::Contents(remote) => {
            state.system_flags = remote.system_flags;
            state.user_flags = changes.user_flags(flags.of(remote.user_flags))?;
            state.conversation = remote.thread;
            annotations = Some(&*remote.annotations);
        }
    }
    changes.update(&local.stored, &state, annotations)?;
    Ok(())
}

/// The state of a message of the replica that gets this UID here.
fn remote_state(
    changes: &mut Preparation<'_, '_>,
    record: &Record,
    uid: Uid,
    flags: &FlagTable,
    fresh: ModSeq,
    now: UnixTime,
) -> Result<RecordState, SyncError> {
    Ok(RecordState {
        modseq: fresh,
        last_updated: now,
        internal_date: record.internal_date,
        system_flags: record.system_flags,
        user_flags: changes.user_flags(flags.of(record.user_flags))?,
        expunged: false,
        conversation: record.thread,
        save_date: record.save_date,
        created_modseq: if uid == record.uid {
            record.created_modseq
        } else {
            fresh
        },
    })
}

/// Stages the file of a message of ours, which gets another name in the same mailbox.
fn stage_local(
    mailbox: &Mailbox<'_>,
    local: &LocalRecord,
    partition: &Partition,
    staging: &mut Staging,
) -> Result<(), SyncError> {
    let path = mailbox.message_path(&local.stored.record);
    if staging.reserve(partition, &local.wire.guid, &path)? {
        return Ok(());
    }
    Err(SyncError::FileDamaged {
        mailbox: mailbox.place().name.clone(),
        uid: local.wire.uid,
        path,
        what: "it is missing, or its SHA-1 is not that of its record".to_owned(),
    })
}

fn append(
    changes: &mut Preparation<'_, '_>,
    uid: Uid,
    record: &Record,
    state: &RecordState,
    partition: &Partition,
    staging: &Staging,
) -> Result<(), SyncError> {
    let source = match staging.get(partition, &record.guid) {
        Some(staged) => Source::Staged(staged),
        None => Source::NoFile { size: record.size },
    };
    changes.append(uid, &record.guid, state, source, &record.annotations)?;
    Ok(())
}

/// Makes the mailbox's own annotations those of the replica.
fn replace_annotations(
    local: &mut Local,
    entry: &MailboxEntry,
    item: &MailboxItem,
    changes: &mut Preparation<'_, '_>,
) -> Result<(), SyncError> {
    let octets = |annotations: &[crate::mail::Annotation]| -> u64 {
        annotations
            .iter()
            .map(|annotation| annotation.value.len() as u64)
            .sum()
    };
    let before = local.mailbox_annotations(entry)?;
    if crate::plan::update::have_same_values(&before, &item.annotations) {
        return Ok(());
    }
    let owner = local.store().namespace().owner_of(&entry.name);
    let scope = Scope::Mailbox {
        id: &entry.unique_id,
        owner: owner.as_ref(),
    };
    local.annotations().replace(scope, &item.annotations)?;
    changes.mailbox_annotations_changed(octets(&before), octets(&item.annotations));
    Ok(())
}

fn counters(mailbox: &Mailbox<'_>, entry: &MailboxEntry) -> Counters {
    let index = mailbox.index_header();
    Counters {
        uid_validity: index.uid_validity,
        last_uid: index.last_uid,
        highest_modseq: index.highest_modseq,
        folder_modseq: entry.folder_modseq,
        xconv_modseq: ModSeq(0),
    }
}

fn remote_counters(item: &MailboxItem) -> Counters {
    Counters {
        uid_validity: item.uid_validity,
        last_uid: item.last_uid,
        highest_modseq: item.highest_modseq,
        folder_modseq: item.folder_modseq,
        xconv_modseq: item.conversations_modseq,
    }
}

/// Tells the other daemons that the mailbox has changed.
fn tell(store: &Store, entry: &MailboxEntry) -> Result<(), SyncError> {
    let replication = &store.config.replication;
    let channels = synclog::channels_to_tell(
        replication.log,
        &replication.log_channels,
        &replication.log_always,
        Origin::Local,
    );
    for channel in channels {
        let log = store.layout.sync_log(channel);
        synclog::append(&store.disk, &log, &[LogItem::Mailbox(entry.name.clone())])?;
    }
    Ok(())
}

fn note(mailbox: &MailboxName, uid: Uid, reason: Reason) {
    match reason {
        Reason::GuidMismatch => {
            tracing::error!("SYNCERROR: guid mismatch mailbox=<{mailbox}> uid=<{uid}>");
        }
        Reason::OnlyOnMaster => {
            tracing::error!(
                "SYNCNOTICE: record only exists on master mailbox=<{mailbox}> uid=<{uid}>"
            );
        }
        Reason::OnlyOnReplica => {
            tracing::error!(
                "SYNCNOTICE: record only exists on replica mailbox=<{mailbox}> uid=<{uid}>"
            );
        }
        Reason::ModSeqTooLow => {
            tracing::info!("SYNCNOTICE: bumping modseq mailbox=<{mailbox}> record=<{uid}>");
        }
        Reason::MoreRecentOnReplica
        | Reason::MoreRecentOnMaster
        | Reason::ExpungedOnReplica
        | Reason::ExpungedOnMaster => {
            tracing::info!(
                "SYNCNOTICE: record mismatch with replica: {mailbox} uid:{uid} {reason:?}"
            );
        }
    }
}

#[cfg(test)]
mod tests;
