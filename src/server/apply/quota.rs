//! APPLY QUOTA and UNQUOTA: limits of quota roots (commands §4.9).

use std::sync::Arc;

use tracing::error;

use crate::mail::{MailboxName, ModSeq};
use crate::protocol::command::Quota;
use crate::protocol::reply::Refusal;
use crate::server::engine::Engine;
use crate::server::failure::Failure;
use crate::spool::disk::LockKind;
use crate::spool::lock::QuotaChangeLock;
use crate::spool::mailboxes::MailboxEntry;
use crate::spool::quota::{Limits, QuotaRoot, SetLimits};
use crate::spool::synclog::LogItem;

/// Sets the limits of a root; a resource that is not named becomes unlimited. A root that does
/// not exist is made, and every mailbox below it counted into it. On disk before the answer.
pub fn set(engine: &mut Engine, request: &Quota) -> Result<(), Failure> {
    let root = settable_root(&request.root)?;
    let limits = Limits {
        storage: request.storage.map(u64::from),
        messages: request.messages.map(u64::from),
        annotation_storage: request.annotation_storage.map(u64::from),
        mailboxes: request.folders.map(u64::from),
    };
    let mut next = |modseq: ModSeq| {
        let own = if request.modseq.is_some() {
            modseq
        } else {
            ModSeq(modseq.0.saturating_add(1))
        };
        Ok(own)
    };
    let mut quotas = engine.store.quotas()?;
    if quotas.set_limits(&root, limits, request.modseq, &mut next)? == SetLimits::NoSuchRoot {
        let lock = engine.store.locks.quota_change()?;
        quotas.create(&lock, &root, limits, request.modseq, &mut next)?;
        move_mailboxes(engine, &lock, &request.root, |current| match current {
            // A root further down keeps its mailboxes.
            Some(current) if current.as_str().len() >= root.as_str().len() => None,
            _ => Some(Some(root.clone())),
        })?;
    }
    Ok(engine.store.log(&[LogItem::Quota(root)])?)
}

/// Removes a root; its mailboxes then belong to the closest root above. On disk before the
/// answer.
pub fn remove(engine: &mut Engine, name: &MailboxName) -> Result<(), Failure> {
    let root = settable_root(name)?;
    let mut quotas = engine.store.quotas()?;
    if quotas.get(&root)?.is_none() {
        return Ok(());
    }
    let lock = engine.store.locks.quota_change()?;
    let above = match name.parent() {
        Some(parent) => quotas.find_root(&parent)?,
        None => None,
    };
    move_mailboxes(engine, &lock, name, |current| {
        (current == Some(&root)).then(|| above.clone())
    })?;
    quotas.delete(&lock, &root)?;
    Ok(engine.store.log(&[LogItem::Quota(root)])?)
}

fn settable_root(name: &MailboxName) -> Result<QuotaRoot, Failure> {
    let root = QuotaRoot::of_mailbox(name);
    if root.is_settable() {
        Ok(root)
    } else {
        Err(Failure::explained(
            Refusal::Unknown,
            format!("{name} cannot be a quota root"),
        ))
    }
}

/// Puts the mailboxes at and below a root into another one: `choose` is given the root that a
/// mailbox has and returns the one it gets, or `None` to leave it. A mailbox that cannot be
/// opened is reported and left out, as by the original: `quota -f` will repair it.
fn move_mailboxes(
    engine: &mut Engine,
    _lock: &QuotaChangeLock,
    top: &MailboxName,
    choose: impl Fn(Option<&QuotaRoot>) -> Option<Option<QuotaRoot>>,
) -> Result<(), Failure> {
    let store = Arc::clone(&engine.store);
    let entries = engine.list.tree(top)?;
    for entry in entries.iter().filter(|entry| entry.is_real()) {
        if let Err(failure) = move_mailbox(&store, entry, &choose) {
            error!(
                sync_mailbox = %entry.name,
                "LOSTQUOTA: unable to change quota root of {}: {failure}", entry.name
            );
        }
    }
    Ok(())
}

fn move_mailbox(
    store: &crate::spool::store::Store,
    entry: &MailboxEntry,
    choose: impl Fn(Option<&QuotaRoot>) -> Option<Option<QuotaRoot>>,
) -> Result<(), Failure> {
    let lock = store.locks.owner_of(&entry.name, LockKind::Exclusive)?;
    let Some(mailbox) = store.open_for_writing(&lock, entry)? else {
        return Ok(());
    };
    let Some(new) = choose(mailbox.header().quota_root.as_ref()) else {
        return Ok(());
    };
    let mut changes = mailbox.prepare()?;
    changes.set_quota_root(new);
    let prepared = changes.finish()?;
    store.commit(mailbox, prepared, None)?;
    Ok(())
}
