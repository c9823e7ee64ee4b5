//! Mailboxes come and go: what APPLY MAILBOX, RENAME, UNMAILBOX and UNUSER have in common.

use std::sync::Arc;

use crate::mail::{MailboxKind, MailboxName, MailboxOptions, ModSeq};
use crate::protocol::reply::Refusal;
use crate::server::engine::Engine;
use crate::server::failure::Failure;
use crate::spool::disk::LockKind;
use crate::spool::layout::MailboxFile;
use crate::spool::lock::UserLock;
use crate::spool::mailbox::WritableMailbox;
use crate::spool::mailboxes::MailboxEntry;
use crate::spool::quota::QuotaRoot;

/// Checks that a mailbox of this name may be created (databases §7.2), and is not a user's while
/// the user has no INBOX. Deleted names are taken as they are.
pub fn check_creatable(engine: &mut Engine, name: &MailboxName) -> Result<(), Failure> {
    let store = Arc::clone(&engine.store);
    let namespace = store.namespace();
    if namespace.is_deleted(name) {
        return Ok(());
    }
    name.is_creatable(namespace.virtual_domains)
        .map_err(|error| Failure::explained(Refusal::Unknown, error.to_string()))?;
    let Some(inbox) = namespace
        .owner_of(name)
        .map(|owner| namespace.inbox_of(&owner))
    else {
        return Ok(());
    };
    if *name == inbox
        || engine
            .list
            .find(&inbox)?
            .is_some_and(|entry| !entry.is_tombstone())
    {
        return Ok(());
    }
    let reason = format!("{name} cannot be made before {inbox}");
    Err(Failure::explained(Refusal::Unknown, reason))
}

/// Checks that a mailbox of this kind can be kept here. Calendars, address books and collections
/// need rows in the DAV database that only the daemons can write; JMAP notifications are unknown
/// to daemons before 3.8, which abort when they meet one in the mailbox list (databases §9.2).
pub fn check_supported(name: &MailboxName, kind: MailboxKind) -> Result<(), Failure> {
    let what = match kind {
        MailboxKind::Mail
        | MailboxKind::Netnews
        | MailboxKind::Submission
        | MailboxKind::PushSubscription
        | MailboxKind::Sieve => return Ok(()),
        MailboxKind::Calendar => "calendars",
        MailboxKind::AddressBook => "address books",
        MailboxKind::Collection => "WebDAV collections",
        MailboxKind::JmapNotification => "JMAP notifications",
    };
    let reason = format!("{name}: {what} are not supported");
    Err(Failure::explained(Refusal::Unknown, reason))
}

/// Makes the files of an empty mailbox. The list does not know it before it is put there.
pub fn create_files<'lock>(
    engine: &Engine,
    lock: &'lock UserLock,
    entry: &MailboxEntry,
    options: MailboxOptions,
    highest_modseq: ModSeq,
) -> Result<WritableMailbox<'lock>, Failure> {
    let place = engine.store.place(entry)?;
    let place = place.ok_or(Failure::Refused(Refusal::BadParameters))?;
    let store = &engine.store;
    Ok(store.create_files(lock, place, entry, options, highest_modseq)?)
}

/// Opens the files of a mailbox that the list does not know, if a crash left some before the
/// list was written: they are complete and are taken over.
pub fn left_over_files<'lock>(
    engine: &Engine,
    lock: &'lock UserLock,
    entry: &MailboxEntry,
) -> Result<Option<WritableMailbox<'lock>>, Failure> {
    let store = &engine.store;
    let Some(place) = store.place(entry)? else {
        return Ok(None);
    };
    if store
        .disk
        .status(&place.paths.file(MailboxFile::Index))?
        .is_none()
    {
        return Ok(None);
    }
    let left_over = store.open_for_writing(lock, entry)?;
    Ok(left_over.filter(|mailbox| mailbox.header().unique_id.as_ref() == Some(&entry.unique_id)))
}

/// Makes the missing mailboxes between a user's mailbox and the INBOX, as 3.6 does: real ones
/// with ids of their own (algorithm §6, step 4).
pub fn ensure_parents(
    engine: &mut Engine,
    lock: &UserLock,
    name: &MailboxName,
) -> Result<(), Failure> {
    let store = Arc::clone(&engine.store);
    if store.namespace().is_deleted(name) {
        return Ok(());
    }
    let child = engine.list.find(name)?;
    let Some(partition) = child.and_then(|child| child.partition) else {
        return Ok(());
    };
    Ok(store.create_parents(&mut engine.list, lock, name, &partition)?)
}

/// Removes the files of a mailbox that the list no longer knows, or knows under another id: its
/// annotations, its share of the quota, its messages.
pub fn delete_files(engine: &Engine, lock: &UserLock, entry: &MailboxEntry) -> Result<(), Failure> {
    let store = &engine.store;
    let Some(place) = store.place(entry)? else {
        return Ok(());
    };
    let exclusive = store
        .locks
        .mailbox(lock, &entry.name, place.home(), LockKind::Exclusive)?;
    if let Some(mailbox) = store.mailboxes.write(place, exclusive)? {
        discard_files(engine, mailbox)?;
    }
    Ok(store.replace_mailbox_annotations(entry, &[])?)
}

/// Removes the files of a mailbox that is locked exclusively, and its share of the quota.
pub fn discard_files(engine: &Engine, mailbox: WritableMailbox<'_>) -> Result<(), Failure> {
    let store = &engine.store;
    let place = mailbox.place().clone();
    let charge = |root: &QuotaRoot, amounts| store.charge(&place.name, root, amounts);
    let lock = mailbox.mark_removed(charge)?;
    Ok(store.mailboxes.remove_files(&place, &lock)?)
}
