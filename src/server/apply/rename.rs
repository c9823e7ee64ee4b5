//! APPLY RENAME: another name or another partition for a mailbox (commands §4.4).

use std::sync::Arc;

use super::folder;
use crate::mail::{MailboxName, ModSeq, TypeFlags};
use crate::protocol::command::Rename;
use crate::protocol::reply::Refusal;
use crate::server::engine::Engine;
use crate::server::failure::Failure;
use crate::spool::disk::LockKind;
use crate::spool::lock::UserLock;
use crate::spool::mailboxes::MailboxEntry;
use crate::spool::synclog::LogItem;

/// Renames one mailbox; those below it have requests of their own. Unique id, modseqs and
/// UIDVALIDITY stay, the update that follows brings new ones. On disk before the answer: the
/// mailbox's header, then the mailbox list.
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
    if request.old == request.new {
        return Err(impossible(match &request.partition {
            Some(partition) if old.partition.as_ref() != Some(partition) => {
                format!(
                    "{}: moving a mailbox to another partition is not supported",
                    old.name
                )
            }
            _ => format!("{}: neither name nor partition would change", old.name),
        }));
    }
    folder::check_creatable(engine, &request.new)?;
    let target = engine.list.find(&request.new)?;
    if target.is_some_and(|entry| entry.is_real()) {
        return Err(impossible(format!(
            "{} exists, {} cannot be renamed to it",
            request.new, request.old
        )));
    }
    check_inbox(engine, request)?;
    let mut new = MailboxEntry {
        name: request.new.clone(),
        ..old.clone()
    };
    if old.is_real() {
        new.folder_modseq = rename_files(engine, lock, &old, &request.new)?;
    }
    let visibility = engine.list.rename(&old, &new)?;
    store.tell_visibility(&mut engine.list, &visibility)?;
    folder::ensure_parents(engine, new_lock, &request.new)?;
    store.mailbox_changed(&request.old, &[])?;
    let renamed = LogItem::Rename(request.old.clone(), request.new.clone());
    store.mailbox_changed(&request.new, &[renamed])?;
    Ok(())
}

fn impossible(reason: impl Into<String>) -> Failure {
    Failure::explained(Refusal::Unknown, reason)
}

/// An INBOX may become another user's INBOX or a deleted mailbox, nothing else.
fn check_inbox(engine: &Engine, request: &Rename) -> Result<(), Failure> {
    let namespace = engine.store.namespace();
    let becomes_mailbox = namespace.is_inbox(&request.old)
        && !namespace.is_inbox(&request.new)
        && !namespace.is_deleted(&request.new);
    if becomes_mailbox {
        return Err(Failure::Refused(Refusal::MailboxNotSupported));
    }
    Ok(())
}

/// Gives the mailbox's files the new name and the quota root that goes with it; returns its
/// HIGHESTMODSEQ, which becomes the modseq of the entry.
fn rename_files(
    engine: &Engine,
    lock: &UserLock,
    old: &MailboxEntry,
    new: &MailboxName,
) -> Result<ModSeq, Failure> {
    let store = &engine.store;
    if old.mailbox_type.flags.contains(TypeFlags::LEGACY_LAYOUT) {
        return Err(impossible(format!(
            "{}: renaming a mailbox of the legacy layout is not supported",
            old.name
        )));
    }
    let mailbox = Engine::in_mailbox(&old.name, store.open_for_writing(lock, old))?
        .ok_or(Failure::Refused(Refusal::MailboxNonexistent))?;
    let mut changes = mailbox.prepare()?;
    changes.set_name(new.clone());
    changes.set_quota_root(store.quotas()?.find_root(new)?);
    let prepared = changes.finish()?;
    let highest_modseq = mailbox.index_header().highest_modseq;
    store.commit(mailbox, prepared, None)?;
    Ok(highest_modseq)
}
