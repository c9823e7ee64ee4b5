//! Mailboxes come and go: what APPLY MAILBOX, RENAME, UNMAILBOX and UNUSER have in common.

use std::sync::Arc;

use tracing::info;

use crate::mail::{
    Acl, AclEntry, MailboxKind, MailboxName, MailboxOptions, MailboxType, ModSeq, TypeFlags,
    UidValidity, UniqueId, UnixTime,
};
use crate::protocol::reply::Refusal;
use crate::server::engine::Engine;
use crate::server::failure::Failure;
use crate::spool::disk::LockKind;
use crate::spool::layout::MailboxFile;
use crate::spool::lock::UserLock;
use crate::spool::mailbox::{NewMailbox, WritableMailbox};
use crate::spool::mailboxes::MailboxEntry;
use crate::spool::quota::QuotaRoot;
use crate::spool::synclog::LogItem;

/// All rights, as the owner of a new mailbox gets them.
pub const OWNER_RIGHTS: &str = "lrswipkxtecdan";

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

/// The type of a new mailbox with the layout it gets: that of the owner's INBOX, else what the
/// configuration says (databases §8.2).
pub fn type_of_new(
    engine: &mut Engine,
    name: &MailboxName,
    wanted: MailboxType,
) -> Result<MailboxType, Failure> {
    let namespace = engine.store.namespace();
    let inbox = match namespace
        .owner_of(name)
        .map(|owner| namespace.inbox_of(&owner))
    {
        Some(inbox) => engine.list.find(&inbox)?,
        None => None,
    };
    let legacy = match inbox {
        Some(inbox) => inbox.mailbox_type.flags.contains(TypeFlags::LEGACY_LAYOUT),
        None => engine.store.config.mailboxes.legacy_directories,
    };
    let mut new = wanted.on_wire();
    new.flags.set(TypeFlags::LEGACY_LAYOUT, legacy);
    Ok(new)
}

/// Makes the files of an empty mailbox. The list does not know it before it is put there.
pub fn create_files<'lock>(
    engine: &Engine,
    lock: &'lock UserLock,
    entry: &MailboxEntry,
    options: MailboxOptions,
    highest_modseq: ModSeq,
) -> Result<WritableMailbox<'lock>, Failure> {
    let store = &engine.store;
    let place = store
        .place(entry)?
        .ok_or(Failure::Refused(Refusal::BadParameters))?;
    let mailbox_lock = store
        .locks
        .mailbox(lock, &entry.name, place.home(), LockKind::Exclusive)?;
    let new = NewMailbox {
        version: store.index_version_of_new(),
        acl: entry.acl.clone().unwrap_or_default(),
        quota_root: store.quotas()?.find_root(&entry.name)?,
        options,
        uid_validity: entry.uid_validity,
        highest_modseq,
        created_modseq: entry.created_modseq,
    };
    let charge = |root: &QuotaRoot, amounts| store.charge(&entry.name, root, amounts);
    Ok(store.mailboxes.create(place, mailbox_lock, &new, charge)?)
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
        .metadata(&place.paths.file(MailboxFile::Index))?
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
    let namespace = store.namespace();
    if namespace.is_deleted(name) {
        return Ok(());
    }
    let Some(inbox) = namespace
        .owner_of(name)
        .map(|owner| namespace.inbox_of(&owner))
    else {
        return Ok(());
    };
    let Some(child) = engine.list.find(name)? else {
        return Ok(());
    };
    let parents = std::iter::successors(name.parent(), MailboxName::parent);
    for parent in parents.take_while(|parent| *parent != inbox && parent.is_within(&inbox)) {
        if engine
            .list
            .find(&parent)?
            .is_some_and(|entry| !entry.is_tombstone())
        {
            continue;
        }
        let entry = new_parent(engine, &parent, &child)?;
        let options = store.config.mailboxes.default_options | MailboxOptions::POP3_NEW_UIDL;
        let created = create_files(engine, lock, &entry, options, ModSeq(1))?;
        drop(created);
        info!(sync_mailbox = %parent, "mailbox created, since {name} is below it");
        engine.list.put(&entry)?;
        store.mailbox_changed(&parent, &[LogItem::Mailbox(parent.clone())])?;
    }
    Ok(())
}

fn new_parent(
    engine: &mut Engine,
    name: &MailboxName,
    child: &MailboxEntry,
) -> Result<MailboxEntry, Failure> {
    Ok(MailboxEntry {
        name: name.clone(),
        unique_id: new_unique_id(),
        mailbox_type: type_of_new(engine, name, MailboxType::default())?,
        partition: child.partition.clone(),
        server: None,
        uid_validity: UidValidity(UnixTime::now().0.saturating_add(1)),
        created_modseq: ModSeq(1),
        folder_modseq: ModSeq(1),
        mtime: UnixTime::now(),
        acl: Some(inherited_acl(engine, name)?),
    })
}

/// The ACL of the closest mailbox above, else all rights for the owner.
pub fn inherited_acl(engine: &mut Engine, name: &MailboxName) -> Result<Acl, Failure> {
    for ancestor in std::iter::successors(name.parent(), MailboxName::parent) {
        let entry = engine.list.find(&ancestor)?.filter(MailboxEntry::is_real);
        if let Some(acl) = entry.and_then(|entry| entry.acl) {
            return Ok(acl);
        }
    }
    let owner = engine.store.namespace().owner_of(name);
    let entries = owner.map(|owner| AclEntry {
        identifier: owner.to_string(),
        rights: OWNER_RIGHTS.to_owned(),
    });
    Ok(Acl::from_entries(entries.into_iter().collect()))
}

/// An id of 24 characters, as 3.6 makes them (databases §9.6).
pub fn new_unique_id() -> UniqueId {
    let mut random = [0_u8; 24];
    // The generator of the TLS library cannot fail once the system has booted.
    let _ = aws_lc_rs::rand::fill(&mut random);
    UniqueId::from_random(&random)
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
