//! APPLY UNMAILBOX and UNUSER: mailboxes and users go (commands §4.5, §4.8).

use std::sync::Arc;

use tracing::info;

use super::{folder, rename};
use crate::config::Removal;
use crate::mail::{MailboxName, TypeFlags, UnixTime, UserId};
use crate::protocol::command::{MailboxIdentity, Unmailbox};
use crate::protocol::reply::Refusal;
use crate::server::engine::Engine;
use crate::server::failure::Failure;
use crate::spool::disk::LockKind;
use crate::spool::lock::UserLock;
use crate::spool::mailboxes::{Deleted, MailboxEntry};
use crate::spool::store::home_of;
use crate::spool::synclog::LogItem;

/// Deletes a mailbox, if the name still means the one that the client means. With
/// `delete_mode: delayed` it is set aside under `DELETED`, as the daemons do; a mailbox that is
/// there already, or with `immediate`, goes at once. A tombstone stays, or an intermediate if it
/// has children; nothing of a deleted name. A name that is a tombstone already is fine.
pub fn unmailbox(engine: &mut Engine, request: &Unmailbox) -> Result<(), Failure> {
    let lock = engine
        .store
        .locks
        .owner_of(&request.name, LockKind::Exclusive)?;
    let entry = engine.list.find(&request.name)?;
    let entry = entry.ok_or(Failure::Refused(Refusal::MailboxNonexistent))?;
    if entry.is_tombstone() {
        return Ok(());
    }
    if let Some(identity) = &request.identity {
        check_identity(engine, &lock, &entry, identity)?;
    }
    delete(engine, &lock, std::slice::from_ref(&entry))
}

fn check_identity(
    engine: &Engine,
    lock: &UserLock,
    entry: &MailboxEntry,
    meant: &MailboxIdentity,
) -> Result<(), Failure> {
    let opened = Engine::in_mailbox(&entry.name, engine.store.open_for_reading(lock, entry))?;
    // The list may lag behind the mailbox where daemons of 3.6 raised UIDVALIDITY.
    let uid_validity = opened.map_or(entry.uid_validity, |mailbox| {
        mailbox.index_header().uid_validity
    });
    let is_meant = entry.unique_id == meant.unique_id
        && meant.uid_validity.is_none_or(|meant| meant == uid_validity);
    if is_meant {
        return Ok(());
    }
    Err(Failure::explained(
        Refusal::MailboxMoved,
        format!(
            "{}: not deleted, since it is {} of UIDVALIDITY {uid_validity} now, and {} was meant",
            entry.name, entry.unique_id, meant.unique_id
        ),
    ))
}

/// Deletes these mailboxes of one owner in their order, as `delete_mode` says.
fn delete(engine: &mut Engine, lock: &UserLock, entries: &[MailboxEntry]) -> Result<(), Failure> {
    let delayed = engine.store.config.mailboxes.delete_mode == Removal::Delayed;
    let (aside, at_once): (Vec<&MailboxEntry>, Vec<&MailboxEntry>) = entries
        .iter()
        .partition(|entry| delayed && can_be_set_aside(engine, entry));
    for entry in at_once {
        remove(engine, lock, entry)?;
    }
    set_aside(engine, lock, &aside)
}

/// Whether there is something to keep that is not under `DELETED` yet.
fn can_be_set_aside(engine: &Engine, entry: &MailboxEntry) -> bool {
    entry.is_real() && !engine.store.namespace().is_deleted(&entry.name)
}

/// Renames these mailboxes of one owner to names under `DELETED`, all with the same time, so
/// that they can be brought back together. `cyr_expire -D` removes them some day.
pub fn set_aside(
    engine: &mut Engine,
    lock: &UserLock,
    entries: &[&MailboxEntry],
) -> Result<(), Failure> {
    let mut time = UnixTime::now();
    let names = loop {
        let names: Result<Vec<MailboxName>, Failure> = entries
            .iter()
            .map(|entry| deleted_name(engine, &entry.name, time))
            .collect();
        let names = names?;
        let mut taken = false;
        for name in &names {
            taken |= engine.list.find(name)?.is_some();
        }
        if !taken {
            break names;
        }
        time.0 = time.0.saturating_add(1);
    };
    for (entry, name) in entries.iter().zip(names) {
        let deleted = MailboxEntry {
            name,
            ..(*entry).clone()
        };
        rename::move_mailbox(engine, [lock, lock], entry, &deleted)?;
    }
    Ok(())
}

fn deleted_name(
    engine: &Engine,
    name: &MailboxName,
    time: UnixTime,
) -> Result<MailboxName, Failure> {
    let deleted = engine.store.namespace().deleted_name(name, time);
    deleted.map_err(|error| Failure::explained(Refusal::Unknown, format!("{name}: {error}")))
}

/// Takes a mailbox off the list, then removes its files: after a crash between the two, files
/// remain that nothing refers to.
fn remove(engine: &mut Engine, lock: &UserLock, entry: &MailboxEntry) -> Result<(), Failure> {
    let store = Arc::clone(&engine.store);
    let opened = Engine::in_mailbox(&entry.name, store.open_for_reading(lock, entry))?;
    let folder_modseq = opened.map(|mailbox| mailbox.index_header().highest_modseq);
    let visibility = engine
        .list
        .delete(&entry.name, folder_modseq.unwrap_or(entry.folder_modseq))?;
    store.tell_visibility(&mut engine.list, &visibility)?;
    if entry.is_real() {
        folder::delete_files(engine, lock, entry)?;
        info!(sync_mailbox = %entry.name, sync_uniqueid = %entry.unique_id, "Deleted mailbox {}", entry.name);
    }
    store.mailbox_changed(&entry.name, &[LogItem::Unmailbox(entry.name.clone())])?;
    Ok(())
}

/// Removes a user: the mailboxes below the INBOX and at last the INBOX as `delete_mode` says,
/// quota roots, subscriptions and the files that belong to the user. What belongs to an INBOX
/// that is set aside stays with it. Deleted mailboxes stay.
pub fn unuser(engine: &mut Engine, user: &UserId) -> Result<(), Failure> {
    let store = Arc::clone(&engine.store);
    let inbox_name = store.namespace().inbox_of(user);
    let lock = store.locks.user(user, LockKind::Exclusive)?;
    let home = store.home_mailbox(&mut engine.list, user)?;
    let delayed = store.config.mailboxes.delete_mode == Removal::Delayed;
    let stays = match &home {
        Some(inbox) if delayed => files_stay_with(engine, inbox)?,
        _ => false,
    };
    if !stays {
        remove_subscriptions(engine, user)?;
    }
    let mut entries = engine.list.of_user(user, Deleted::Skip)?;
    entries.retain(MailboxEntry::is_real);
    entries.reverse();
    delete(engine, &lock, &entries)?;
    remove_quota_roots(engine, &inbox_name)?;
    if !stays && home.as_ref().is_some_and(files_go_with) {
        store.remove_user_files(home_of(user, home.as_ref()))?;
    }
    store.log(&[LogItem::Unuser(user.clone())])?;
    Ok(())
}

/// Whether the user's own files are tied to an INBOX that is about to be set aside, or was before.
fn files_stay_with(engine: &mut Engine, inbox: &MailboxEntry) -> Result<bool, Failure> {
    if inbox.mailbox_type.flags.contains(TypeFlags::LEGACY_LAYOUT) {
        return Ok(false);
    }
    let now = engine.list.find_id(&inbox.unique_id)?;
    Ok(now.is_some_and(|now| now.is_real()))
}

/// Whether the user's own files are to go: not those of an INBOX that was renamed away before,
/// since it may come back; but in the legacy layout they are not tied to it.
fn files_go_with(inbox: &MailboxEntry) -> bool {
    !inbox.is_tombstone() || inbox.mailbox_type.flags.contains(TypeFlags::LEGACY_LAYOUT)
}

/// Removes the subscriptions one by one: the file stays if the INBOX was renamed away.
fn remove_subscriptions(engine: &mut Engine, user: &UserId) -> Result<(), Failure> {
    let names = engine.store.subscriptions(&mut engine.list, user)?;
    if names.is_empty() {
        return Ok(());
    }
    let mut subscriptions = engine
        .store
        .subscriptions_for_change(&mut engine.list, user)?;
    for name in names {
        subscriptions.remove(&name)?;
    }
    Ok(())
}

/// Removes the roots at and below the INBOX; no mailbox refers to them any more.
fn remove_quota_roots(engine: &Engine, inbox: &MailboxName) -> Result<(), Failure> {
    let mut quotas = engine.store.quotas()?;
    let roots = quotas.list(inbox.as_str())?;
    let below = roots.into_iter().map(|(root, _)| root).filter(|root| {
        root.mailbox()
            .is_some_and(|mailbox| mailbox.is_within(inbox))
    });
    let mut change = None;
    for root in below {
        let lock = match &change {
            Some(lock) => lock,
            None => change.insert(engine.store.locks.quota_change()?),
        };
        quotas.delete(lock, &root)?;
    }
    Ok(())
}
