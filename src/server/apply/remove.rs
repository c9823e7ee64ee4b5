//! APPLY UNMAILBOX and UNUSER: mailboxes and users go (commands §4.5, §4.8).

use std::sync::Arc;

use tracing::info;

use super::folder;
use crate::mail::{MailboxName, TypeFlags, UserId};
use crate::protocol::reply::Refusal;
use crate::server::engine::Engine;
use crate::server::failure::Failure;
use crate::spool::disk::LockKind;
use crate::spool::lock::UserLock;
use crate::spool::mailboxes::{Deleted, MailboxEntry};
use crate::spool::store::home_of;
use crate::spool::synclog::LogItem;

/// Deletes a mailbox at once. A tombstone stays, or an intermediate if it has children; nothing
/// of a deleted name. A name that is a tombstone already is fine.
pub fn unmailbox(engine: &mut Engine, name: &MailboxName) -> Result<(), Failure> {
    let lock = engine.store.locks.owner_of(name, LockKind::Exclusive)?;
    let entry = engine.list.find(name)?;
    let entry = entry.ok_or(Failure::Refused(Refusal::MailboxNonexistent))?;
    remove(engine, &lock, &entry)
}

/// Takes a mailbox off the list, then removes its files: after a crash between the two, files
/// remain that nothing refers to.
fn remove(engine: &mut Engine, lock: &UserLock, entry: &MailboxEntry) -> Result<(), Failure> {
    if entry.is_tombstone() {
        return Ok(());
    }
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

/// Removes a user: subscriptions, the mailboxes below the INBOX and at last the INBOX, quota
/// roots, and the files that belong to the user. Deleted mailboxes stay.
pub fn unuser(engine: &mut Engine, user: &UserId) -> Result<(), Failure> {
    let store = Arc::clone(&engine.store);
    let namespace = store.namespace();
    let inbox_name = namespace.inbox_of(user);
    let lock = store.locks.user(user, LockKind::Exclusive)?;
    remove_subscriptions(engine, user)?;
    let home = store.home_mailbox(&mut engine.list, user)?;
    let entries = engine.list.of_user(user, Deleted::Skip)?;
    for entry in entries.iter().rev().filter(|entry| entry.is_real()) {
        remove(engine, &lock, entry)?;
    }
    remove_quota_roots(engine, &inbox_name)?;
    if home.as_ref().is_some_and(files_go_with) {
        store.remove_user_files(home_of(user, home.as_ref()))?;
    }
    store.log(&[LogItem::Unuser(user.clone())])?;
    Ok(())
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
