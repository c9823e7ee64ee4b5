//! APPLY MAILBOX: bring a mailbox to the state that the client tells (algorithm §6).
//!
//! An update is decided completely before anything of the mailbox is written: every record is
//! compared, every message file is there, and the CRCs of the result are those of the client.
//! Then, in this order, on disk before the answer: mailbox annotations; message files, cache,
//! quota, message annotations, header and index of the mailbox (mailbox-format §7); the mailbox
//! list; what others are told by.

use std::sync::Arc;

use tracing::{info, warn};

use super::{folder, remove};
use crate::config::Removal;
use crate::mail::{
    Annotation, MailboxKind, MailboxName, ModSeq, TypeFlags, Uid, UidValidity, UnixTime,
};
use crate::plan::apply::{
    self as plan, AcceptedHeader, Destination, Limits, Occupant, ReplicaHeader, Step, StepError,
    Steps, UpdateHeader,
};
use crate::protocol::command::{
    FlagTable, FolderItem, MailboxArgument, MailboxItem, MailboxUpdate, Record,
};
use crate::protocol::reply::Refusal;
use crate::server::engine::Engine;
use crate::server::failure::Failure;
use crate::spool::SpoolError;
use crate::spool::disk::LockKind;
use crate::spool::lock::UserLock;
use crate::spool::mailbox::{
    HeaderUpdate, Preparation, Prepared, RecordState, Source, StoredRecord, WritableMailbox,
};
use crate::spool::mailboxes::MailboxEntry;
use crate::spool::synclog::LogItem;

/// Applies an update, or writes the list entry of an intermediate or tombstone.
pub fn apply(engine: &mut Engine, argument: MailboxArgument) -> Result<(), Failure> {
    match argument {
        MailboxArgument::Folder(folder) => put_folder(engine, &folder),
        MailboxArgument::Update(update) => {
            let result = update_mailbox(engine, &update);
            result.map_err(|failure| in_mailbox(failure, &update.item.name))
        }
    }
}

fn in_mailbox(failure: Failure, name: &MailboxName) -> Failure {
    match failure {
        Failure::Store(error) => Failure::Store(error.in_mailbox(name)),
        other => other,
    }
}

fn refused(name: &MailboxName) -> impl Fn(plan::Refusal) -> Failure + '_ {
    |refusal| Failure::Update {
        mailbox: name.clone(),
        refusal,
    }
}

/// Writes the entry of a name that only the mailbox list knows (commands §1.1).
fn put_folder(engine: &mut Engine, item: &FolderItem) -> Result<(), Failure> {
    folder::check_supported(&item.name, item.mailbox_type.kind)?;
    folder::check_creatable(engine, &item.name)?;
    let _lock = engine
        .store
        .locks
        .owner_of(&item.name, LockKind::Exclusive)?;
    if engine
        .list
        .find(&item.name)?
        .is_some_and(|entry| entry.is_real())
    {
        // The original overwrites the entry and so loses the mailbox behind it.
        return Err(Failure::explained(
            Refusal::MailboxMoved,
            format!(
                "{}: a mailbox has the name of the intermediate or tombstone",
                item.name
            ),
        ));
    }
    engine.list.put(&MailboxEntry {
        name: item.name.clone(),
        unique_id: item.unique_id.clone(),
        mailbox_type: item.mailbox_type,
        partition: None,
        server: None,
        uid_validity: UidValidity(0),
        created_modseq: item.created_modseq,
        folder_modseq: item.highest_modseq,
        mtime: UnixTime::now(),
        acl: None,
    })?;
    Ok(())
}

/// A mailbox open for the update, and what its list entry becomes.
struct Target<'lock> {
    mailbox: WritableMailbox<'lock>,
    entry: MailboxEntry,
    origin: Origin,
    /// What has its name still, and is set aside when the update is written.
    replaces: Option<(MailboxEntry, &'lock UserLock)>,
}

/// Where the mailbox of an update comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// It is on the list.
    Listed,
    /// Its files are complete, but a crash kept it off the list.
    LeftOver,
    /// This update makes it; it counts as empty with modseq 0.
    Created,
}

fn update_mailbox(engine: &mut Engine, update: &MailboxUpdate) -> Result<(), Failure> {
    let item = &update.item;
    if item.mailbox_type.kind == MailboxKind::Sieve && !engine.sieve_mailbox {
        return Err(Failure::Refused(Refusal::BadParameters));
    }
    folder::check_supported(&item.name, item.mailbox_type.kind)?;
    let store = Arc::clone(&engine.store);
    let lock = store.locks.owner_of(&item.name, LockKind::Exclusive)?;
    let entry = engine.list.find(&item.name)?.filter(MailboxEntry::is_real);
    let mailbox = match &entry {
        Some(entry) => store.open_for_writing(&lock, entry)?,
        None => None,
    };
    let occupant = entry
        .as_ref()
        .zip(mailbox.as_ref())
        .map(|(entry, mailbox)| Occupant {
            unique_id: &entry.unique_id,
            last_uid: mailbox.index_header().last_uid,
        });
    let is_itself = occupant.is_some_and(|occupant| *occupant.unique_id == item.unique_id);
    let holder = match is_itself {
        true => None,
        false => engine.list.find_id(&item.unique_id)?,
    };
    let holder = holder.filter(MailboxEntry::is_real);
    let holder = holder.as_ref().map(|entry| &entry.name);
    let destination =
        plan::destination(&item.name, &item.unique_id, occupant, holder, engine.force)
            .map_err(refused(&item.name))?;
    match (destination, entry, mailbox) {
        (Destination::Update, Some(entry), Some(mailbox)) => {
            let target = Target {
                mailbox,
                entry,
                origin: Origin::Listed,
                replaces: None,
            };
            transfer(engine, target, update)
        }
        (Destination::Replace, Some(old), Some(mailbox)) => {
            info!(
                sync_mailbox = %item.name,
                "SYNCNOTICE: mailbox uniqueid changed - replacing {} by {}",
                old.unique_id,
                item.unique_id
            );
            let last_uid = mailbox.index_header().last_uid;
            drop(mailbox);
            replace(engine, &lock, update, &old, last_uid)
        }
        _ => {
            let target = create(engine, &lock, item)?;
            transfer(engine, target, update)?;
            folder::ensure_parents(engine, &lock, &item.name)
        }
    }
}

/// Puts a new mailbox in the place of another. With `delete_mode: delayed` one that has had
/// messages is set aside under `DELETED`. Nothing of the old one is moved or removed before the
/// new one stands, unless both have the same directory.
fn replace(
    engine: &mut Engine,
    lock: &UserLock,
    update: &MailboxUpdate,
    old: &MailboxEntry,
    last_uid: Uid,
) -> Result<(), Failure> {
    let delayed = engine.store.config.mailboxes.delete_mode == Removal::Delayed;
    let keeps_old = delayed && last_uid > Uid(0);
    let same_directory = old.mailbox_type.flags.contains(TypeFlags::LEGACY_LAYOUT);
    if same_directory {
        new_entry(engine, &update.item)?;
        if keeps_old {
            remove::set_aside(engine, lock, &[old])?;
        } else {
            folder::delete_files(engine, lock, old)?;
        }
    }
    let mut target = create(engine, lock, &update.item)?;
    if keeps_old && !same_directory {
        target.replaces = Some((old.clone(), lock));
    }
    transfer(engine, target, update)?;
    if same_directory || keeps_old {
        Ok(())
    } else {
        folder::delete_files(engine, lock, old)
    }
}

/// What the list is to say of a new mailbox. Checks all that can be known of it before anything
/// is removed or written for it.
fn new_entry(engine: &mut Engine, item: &MailboxItem) -> Result<MailboxEntry, Failure> {
    folder::check_creatable(engine, &item.name)?;
    let partition = item.partition.clone();
    let partition = partition.ok_or(Failure::Refused(Refusal::BadParameters))?;
    let entry = MailboxEntry {
        name: item.name.clone(),
        unique_id: item.unique_id.clone(),
        mailbox_type: engine
            .store
            .type_of_new(&mut engine.list, &item.name, item.mailbox_type)?,
        partition: Some(partition),
        server: None,
        uid_validity: item.uid_validity,
        created_modseq: item.created_modseq,
        folder_modseq: item.folder_modseq,
        mtime: UnixTime::now(),
        acl: Some(item.acl.clone()),
    };
    Engine::in_mailbox(&item.name, engine.store.place(&entry))?;
    Ok(entry)
}

/// Makes the files of a mailbox that the list does not know yet.
fn create<'lock>(
    engine: &mut Engine,
    lock: &'lock UserLock,
    item: &MailboxItem,
) -> Result<Target<'lock>, Failure> {
    let entry = new_entry(engine, item)?;
    if let Some(mailbox) = folder::left_over_files(engine, lock, &entry)? {
        return Ok(Target {
            mailbox,
            entry,
            origin: Origin::LeftOver,
            replaces: None,
        });
    }
    let mailbox = folder::create_files(engine, lock, &entry, item.options, item.highest_modseq)?;
    Ok(Target {
        mailbox,
        entry,
        origin: Origin::Created,
        replaces: None,
    })
}

/// Decides the update against the mailbox and, if all of it holds, writes it.
fn transfer(
    engine: &mut Engine,
    target: Target<'_>,
    update: &MailboxUpdate,
) -> Result<(), Failure> {
    let item = &update.item;
    let Target {
        mailbox,
        entry,
        origin,
        replaces,
    } = target;
    let decided = match decide(engine, &mailbox, &entry, update, origin) {
        Ok(decided) => decided,
        Err(failure) => {
            if origin == Origin::Created {
                folder::discard_files(engine, mailbox)?;
            }
            return Err(failure);
        }
    };
    let store = Arc::clone(&engine.store);
    if decided.annotations_change {
        store.replace_mailbox_annotations(&entry, &item.annotations)?;
    }
    let (mailbox, committed) = store.commit(mailbox, decided.prepared, Some(&engine.staging))?;
    if item.mailbox_type.kind == MailboxKind::Sieve {
        super::sieve::follow(engine, &mailbox)?;
    }
    engine.note_cleanup(&mailbox);
    drop(mailbox);
    if let Some((old, lock)) = &replaces {
        remove::set_aside(engine, lock, &[old])?;
    }
    let listed = MailboxEntry {
        acl: Some(item.acl.clone()),
        folder_modseq: entry.folder_modseq.max(decided.header.folder_modseq),
        uid_validity: decided.header.uid_validity,
        ..entry.clone()
    };
    if listed != entry || origin != Origin::Listed {
        let visibility = engine.list.put(&listed)?;
        store.tell_visibility(&mut engine.list, &visibility)?;
    }
    let appended = (committed.appended > 0).then(|| LogItem::Append(item.name.clone()));
    let items: Vec<LogItem> = appended
        .into_iter()
        .chain([LogItem::Mailbox(item.name.clone())])
        .collect();
    Ok(store.mailbox_changed(&item.name, &items)?)
}

/// An update that may be written.
struct Decided {
    header: AcceptedHeader,
    prepared: Prepared,
    /// Whether the mailbox's own annotations change.
    annotations_change: bool,
}

fn decide(
    engine: &mut Engine,
    mailbox: &WritableMailbox<'_>,
    entry: &MailboxEntry,
    update: &MailboxUpdate,
    origin: Origin,
) -> Result<Decided, Failure> {
    let item = &update.item;
    let index = mailbox.index_header();
    let header = plan::check_header(
        &update_header(item),
        &ReplicaHeader {
            mailbox_type: entry.mailbox_type,
            last_uid: index.last_uid,
            highest_modseq: match origin {
                Origin::Created => ModSeq(0),
                Origin::Listed | Origin::LeftOver => index.highest_modseq,
            },
            uid_validity: index.uid_validity,
            xconv_modseq: None,
            created_modseq: index.created_modseq,
            options: index.options,
            crc: index.sync_crc,
        },
        engine.force,
    )
    .map_err(refused(&item.name))?;
    for waived in &header.waived {
        warn!(sync_mailbox = %item.name, "forcesync: {}", waived.log_line(&item.name));
    }
    let mut changes = mailbox.prepare()?;
    let last_uid = decide_records(engine, mailbox, &mut changes, update, index.last_uid)?;
    changes.set_header(&HeaderUpdate {
        last_uid,
        highest_modseq: header.highest_modseq,
        recent_uid: item.recent_uid,
        recent_time: item.recent_time,
        last_append_date: item.last_append_date,
        pop3_last_login: item.pop3_last_login,
        pop3_show_after: item.pop3_show_after,
        created_modseq: header.created_modseq,
        uid_validity: header.uid_validity,
        options: header.options,
    });
    changes.set_acl(item.acl.clone());
    let present = engine.annotations_of(&[entry])?.concat();
    let mut wanted = item.annotations.clone();
    wanted.sort();
    let annotations_change = !same_values(&present, &wanted);
    let octets = |annotations: &[Annotation]| {
        annotations
            .iter()
            .map(|annotation| annotation.value.len() as u64)
            .sum()
    };
    changes.mailbox_annotations_changed(octets(&present), octets(&wanted));
    if plan::check_result(item.crc, changes.sync_crc()).is_err() {
        // The stored sums may be wrong, as the original believes at this point as well.
        changes.recalculate(Some(octets(&wanted)))?;
        plan::check_result(item.crc, changes.sync_crc()).map_err(refused(&item.name))?;
    }
    let prepared = changes.finish()?;
    Ok(Decided {
        header,
        prepared,
        annotations_change,
    })
}

/// Whether the same entries have the same values for the same users, whatever their modseqs.
fn same_values(present: &[Annotation], wanted: &[Annotation]) -> bool {
    present.len() == wanted.len()
        && present
            .iter()
            .zip(wanted)
            .all(|(a, b)| (&a.entry, &a.user, &a.value) == (&b.entry, &b.user, &b.value))
}

fn update_header(item: &MailboxItem) -> UpdateHeader {
    UpdateHeader {
        mailbox_type: item.mailbox_type,
        last_uid: item.last_uid,
        highest_modseq: item.highest_modseq,
        uid_validity: item.uid_validity,
        xconv_modseq: item.conversations_modseq,
        created_modseq: item.created_modseq,
        folder_modseq: item.folder_modseq,
        options: item.options,
        since: item.since.map(|since| plan::Since {
            modseq: since.modseq,
            crc: since.crc,
        }),
    }
}

/// Decides every record and prepares its change; returns the LAST_UID of the result.
fn decide_records(
    engine: &Engine,
    mailbox: &WritableMailbox<'_>,
    changes: &mut Preparation<'_, '_>,
    update: &MailboxUpdate,
    replica_last_uid: Uid,
) -> Result<Uid, Failure> {
    let name = &update.item.name;
    let failed = |error: StepError<SpoolError>| match error {
        StepError::Refused(refusal) => refused(name)(refusal),
        StepError::Unreadable(error) => Failure::Store(error),
    };
    let list = &update.list.records;
    // In force mode the replica's last record counts, whatever the update is about.
    let replica: Box<dyn Iterator<Item = Result<StoredRecord, SpoolError>>> = match engine.force {
        true => Box::new(mailbox.records()),
        false => Box::new(mailbox.records_of(list.iter().map(|record| record.uid))),
    };
    let mut steps = Steps::new(
        replica,
        list.iter().map(Ok),
        Limits {
            update_last_uid: update.item.last_uid,
            replica_last_uid,
            force: engine.force,
        },
    );
    for step in &mut steps {
        match step.map_err(failed)? {
            Step::Change {
                replica,
                update: record,
                waived,
            } => {
                if let Some(waived) = waived {
                    warn!(sync_mailbox = %name, sync_uid = record.uid.0, "forcesync: {waived}");
                }
                let state = record_state(changes, record, &update.list.flags)?;
                changes.update(&replica, &state, Some(&record.annotations))?;
            }
            Step::Append(record) => append(engine, mailbox, changes, update, record)?,
            Step::BothExpunged(_) | Step::ExpungedAndAbsent(_) => {}
        }
    }
    steps.resulting_last_uid().map_err(failed)
}

/// Prepares the append of a message, whose file must have been staged for the mailbox's
/// partition; an expunged one may be without.
fn append(
    engine: &Engine,
    mailbox: &WritableMailbox<'_>,
    changes: &mut Preparation<'_, '_>,
    update: &MailboxUpdate,
    record: &Record,
) -> Result<(), Failure> {
    let staged = engine.staging.get(&mailbox.place().partition, &record.guid);
    let sound = staged.filter(|staged| staged.guid() == record.guid);
    if sound.is_some_and(|staged| staged.size() == 0) {
        let name = &update.item.name;
        let reason = format!("{name}: UID {}: a message must have content", record.uid);
        return Err(Failure::explained(Refusal::SyncChecksum, reason));
    }
    let source = match sound {
        Some(staged) => Source::Staged(staged),
        None if record.expunged => Source::NoFile { size: record.size },
        None => {
            // The original dies here; CHECKSUM lets the client repair by itself (algorithm §13).
            return Err(Failure::explained(
                Refusal::SyncChecksum,
                format!(
                    "{}: UID {}: message {} was neither uploaded nor reserved, or is damaged",
                    update.item.name, record.uid, record.guid
                ),
            ));
        }
    };
    let state = record_state(changes, record, &update.list.flags)?;
    changes.append(
        record.uid,
        &record.guid,
        &state,
        source,
        &record.annotations,
    )?;
    Ok(())
}

fn record_state(
    changes: &mut Preparation<'_, '_>,
    record: &Record,
    flags: &FlagTable,
) -> Result<RecordState, SpoolError> {
    Ok(RecordState {
        modseq: record.modseq,
        last_updated: record.last_updated,
        internal_date: record.internal_date,
        system_flags: record.system_flags,
        user_flags: changes.user_flags(flags.of(record.user_flags))?,
        expunged: record.expunged,
        conversation: record.thread,
        save_date: record.save_date,
        created_modseq: record.created_modseq,
    })
}
