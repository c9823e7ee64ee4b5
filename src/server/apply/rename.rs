//! APPLY RENAME: another name or another partition for a mailbox (commands §4.4).

use std::sync::Arc;

use tracing::info;

use super::folder;
use crate::protocol::command::Rename;
use crate::protocol::reply::Refusal;
use crate::server::engine::Engine;
use crate::server::failure::Failure;
use crate::spool::disk::LockKind;
use crate::spool::lock::UserLock;
use crate::spool::mailbox::MailboxPlace;
use crate::spool::mailboxes::{MailboxEntry, VisibilityChange};
use crate::spool::quota::QuotaRoot;
use crate::spool::synclog::LogItem;

/// Renames one mailbox, moves it to another partition, or both. Those above and below it have
/// requests of their own: a mailbox made here in a name's way would refuse the next of them. Unique id, modseqs and UIDVALIDITY stay, the update that follows brings new ones.
/// On disk before the answer: the mailbox's files, then the mailbox list.
pub fn rename(engine: &mut Engine, request: &Rename) -> Result<(), Failure> {
    let store = Arc::clone(&engine.store);
    let namespace = store.namespace();
    let locks = store
        .locks
        .owners([&request.old, &request.new], LockKind::Exclusive)?;
    let owners = [&request.old, &request.new].map(|name| namespace.owner_of(name));
    let [Some(lock), Some(new_lock)] = owners.map(|owner| locks.of(owner.as_ref())) else {
        return Err(impossible("the locks of the owners are not held"));
    };
    let old = engine
        .list
        .find(&request.old)?
        .filter(|entry| !entry.is_tombstone());
    let old = old.ok_or(Failure::Refused(Refusal::MailboxNonexistent))?;
    let new = renamed_entry(&old, request);
    check(engine, &old, &new)?;
    move_mailbox(engine, [lock, new_lock], &old, &new)
}

/// Gives a mailbox another entry in the list, of which name and partition may differ, and its
/// files the place that belongs to that. The owners of both names are locked exclusively, and
/// the new name is free.
pub fn move_mailbox(
    engine: &mut Engine,
    locks: [&UserLock; 2],
    old: &MailboxEntry,
    new: &MailboxEntry,
) -> Result<(), Failure> {
    let store = Arc::clone(&engine.store);
    let places = [old, new].map(|entry| Engine::in_mailbox(&old.name, store.place(entry)));
    match places {
        [Ok(Some(from)), Ok(Some(to))] if from.paths != to.paths => {
            relocate(engine, locks, [old, new], [from, to])?;
        }
        [Ok(_), Ok(_)] => rename_in_place(engine, locks[0], old, new.clone())?,
        [Err(failure), _] | [_, Err(failure)] => return Err(failure),
    }
    info!(
        sync_mailbox = %new.name, sync_uniqueid = %old.unique_id,
        "Rename: {} -> {}", old.name, new.name
    );
    if old.name == new.name {
        return Ok(store.mailbox_changed(&new.name, &[LogItem::Mailbox(new.name.clone())])?);
    }
    store.mailbox_changed(&old.name, &[])?;
    let renamed = LogItem::Rename(old.name.clone(), new.name.clone());
    Ok(store.mailbox_changed(&new.name, &[renamed])?)
}

fn impossible(reason: impl Into<String>) -> Failure {
    Failure::explained(Refusal::Unknown, reason)
}

/// What the list is to say. A name that only the list knows has no partition to leave.
fn renamed_entry(old: &MailboxEntry, request: &Rename) -> MailboxEntry {
    let partition = match &request.partition {
        Some(partition) if old.is_real() => Some(partition.clone()),
        _ => old.partition.clone(),
    };
    MailboxEntry {
        name: request.new.clone(),
        partition,
        ..old.clone()
    }
}

/// Checks all that can be known before something is written: the names, and the partition.
fn check(engine: &mut Engine, old: &MailboxEntry, new: &MailboxEntry) -> Result<(), Failure> {
    if old.name == new.name {
        if old.partition == new.partition {
            let reason = format!("{}: neither name nor partition would change", old.name);
            return Err(impossible(reason));
        }
        return Ok(());
    }
    folder::check_creatable(engine, &new.name)?;
    let target = engine.list.find(&new.name)?;
    if target.is_some_and(|entry| entry.is_real()) {
        return Err(impossible(format!(
            "{} exists, {} cannot be renamed to it",
            new.name, old.name
        )));
    }
    // An INBOX may become another user's INBOX or a deleted mailbox, nothing else.
    let namespace = engine.store.namespace();
    let becomes_mailbox = namespace.is_inbox(&old.name)
        && !namespace.is_inbox(&new.name)
        && !namespace.is_deleted(&new.name);
    if becomes_mailbox {
        return Err(Failure::Refused(Refusal::MailboxNotSupported));
    }
    Ok(())
}

/// Gives a mailbox that keeps its directory the new name, and the quota root that goes with it.
fn rename_in_place(
    engine: &mut Engine,
    lock: &UserLock,
    old: &MailboxEntry,
    mut new: MailboxEntry,
) -> Result<(), Failure> {
    let store = Arc::clone(&engine.store);
    if old.is_real() {
        let mailbox = Engine::in_mailbox(&old.name, store.open_for_writing(lock, old))?
            .ok_or(Failure::Refused(Refusal::MailboxNonexistent))?;
        new.folder_modseq = mailbox.index_header().highest_modseq;
        let mut changes = mailbox.prepare()?;
        changes.set_name(new.name.clone());
        changes.set_quota_root(store.quotas()?.find_root(&new.name)?);
        let prepared = changes.finish()?;
        store.commit(mailbox, prepared, None)?;
    }
    let visibility = engine.list.rename(old, &new)?;
    Ok(store.tell_visibility(&mut engine.list, &visibility)?)
}

/// Moves a mailbox to another directory: on another partition, or in the legacy layout under
/// another name.
fn relocate(
    engine: &mut Engine,
    [lock, new_lock]: [&UserLock; 2],
    [old, new]: [&MailboxEntry; 2],
    [from, to]: [MailboxPlace; 2],
) -> Result<(), Failure> {
    let store = Arc::clone(&engine.store);
    let exclusive = |lock, place: &MailboxPlace| {
        store
            .locks
            .mailbox(lock, &place.name, place.home(), LockKind::Exclusive)
    };
    let target_lock = if from.home() == to.home() {
        None
    } else {
        Some(exclusive(new_lock, &to)?)
    };
    let source_lock = exclusive(lock, &from)?;
    let mailbox = Engine::in_mailbox(&old.name, store.mailboxes.write(from, source_lock))?
        .ok_or(Failure::Refused(Refusal::MailboxNonexistent))?;
    let mut new = new.clone();
    if old.name != new.name {
        new.folder_modseq = mailbox.index_header().highest_modseq;
    }
    let quota_root = store.quotas()?.find_root(&new.name)?;
    let charge = |root: &QuotaRoot, amounts| store.charge(&old.name, root, amounts);
    let mut visibility = VisibilityChange::default();
    let switch = || {
        visibility = engine.list.rename(old, &new)?;
        Ok(())
    };
    mailbox.relocate(&to, target_lock.as_ref(), quota_root, charge, switch)?;
    Ok(store.tell_visibility(&mut engine.list, &visibility)?)
}
