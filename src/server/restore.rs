//! RESTORE MAILBOX: add messages from a backup (commands §5).

use std::sync::Arc;

use super::apply::folder;
use super::engine::Engine;
use super::failure::Failure;
use crate::mail::{Annotation, MailboxKind, ModSeq, Uid, UidValidity, UnixTime};
use crate::protocol::command::{Record, RestoreMailbox};
use crate::protocol::reply::Refusal;
use crate::spool::creation::new_unique_id;
use crate::spool::disk::LockKind;
use crate::spool::lock::UserLock;
use crate::spool::mailbox::{HeaderUpdate, Preparation, RecordState, Source, WritableMailbox};
use crate::spool::mailboxes::MailboxEntry;
use crate::spool::synclog::LogItem;

/// What of the backup's numbers is kept.
#[derive(Clone, Copy, Debug)]
struct Kept {
    /// UIDs are kept as long as they ascend.
    uids: bool,
    /// Modseqs are kept up to this one.
    modseqs: ModSeq,
}

/// Appends the messages to the mailbox, which is made if there is none. If the backup tells
/// unique id, HIGHESTMODSEQ and UIDVALIDITY, a new mailbox gets these, and the messages keep
/// their UIDs and modseqs; otherwise all numbers are new. On disk before the answer.
pub fn mailbox(engine: &mut Engine, request: &RestoreMailbox) -> Result<(), Failure> {
    if request.mailbox_type.kind == MailboxKind::Sieve && !engine.sieve_mailbox {
        return Ok(());
    }
    folder::check_supported(&request.name, request.mailbox_type.kind)?;
    let store = Arc::clone(&engine.store);
    let lock = store.locks.owner_of(&request.name, LockKind::Exclusive)?;
    let entry = engine
        .list
        .find(&request.name)?
        .filter(MailboxEntry::is_real);
    if let Some(entry) = entry {
        if entry.mailbox_type.on_wire() != request.mailbox_type.on_wire() {
            return Err(Failure::explained(
                Refusal::Unknown,
                format!(
                    "{}: the mailbox is of type {}",
                    entry.name, entry.mailbox_type
                ),
            ));
        }
        let mailbox = Engine::in_mailbox(&entry.name, store.open_for_writing(&lock, &entry))?
            .ok_or(Failure::Refused(Refusal::MailboxNonexistent))?;
        let kept = Kept {
            uids: false,
            modseqs: ModSeq(0),
        };
        return append_all(engine, mailbox, &entry, request, kept);
    }
    restore_new(engine, &lock, request)
}

fn restore_new(
    engine: &mut Engine,
    lock: &UserLock,
    request: &RestoreMailbox,
) -> Result<(), Failure> {
    let name = &request.name;
    folder::check_creatable(engine, name)?;
    let told = request
        .unique_id
        .clone()
        .zip(request.highest_modseq)
        .zip(request.uid_validity);
    if let Some(((id, _), _)) = &told
        && engine
            .list
            .find_id(id)?
            .is_some_and(|holder| holder.name != *name && holder.is_real())
    {
        return Err(Failure::Refused(Refusal::MailboxMoved));
    }
    let ((unique_id, highest_modseq), uid_validity) = match told.clone() {
        Some(told) => told,
        None => {
            let fresh = UidValidity(UnixTime::now().0.saturating_add(1));
            ((new_unique_id()?, ModSeq(1)), fresh)
        }
    };
    let acl = match &request.acl {
        Some(acl) => acl.clone(),
        None => engine.store.inherited_acl(&mut engine.list, name)?,
    };
    let partition = request.partition.clone();
    let partition = partition.or_else(|| engine.store.config.mailboxes.default_partition.clone());
    let entry = MailboxEntry {
        name: name.clone(),
        unique_id,
        mailbox_type: engine
            .store
            .type_of_new(&mut engine.list, name, request.mailbox_type)?,
        partition: Some(partition.ok_or(Failure::Refused(Refusal::BadParameters))?),
        server: None,
        uid_validity,
        created_modseq: match request.created_modseq {
            ModSeq(0) => highest_modseq,
            given => given.min(highest_modseq),
        },
        folder_modseq: request.folder_modseq.max(highest_modseq),
        mtime: UnixTime::now(),
        acl: Some(acl),
    };
    let mailbox = folder::create_files(engine, lock, &entry, request.options, highest_modseq)?;
    let kept = Kept {
        uids: told.is_some(),
        modseqs: if told.is_some() {
            highest_modseq
        } else {
            ModSeq(0)
        },
    };
    append_all(engine, mailbox, &entry, request, kept)?;
    engine.list.put(&entry)?;
    folder::ensure_parents(engine, lock, name)
}

fn append_all(
    engine: &mut Engine,
    mailbox: WritableMailbox<'_>,
    entry: &MailboxEntry,
    request: &RestoreMailbox,
    kept: Kept,
) -> Result<(), Failure> {
    let store = Arc::clone(&engine.store);
    let index = mailbox.index_header();
    let mut header = HeaderUpdate::of(index);
    let mut changes = mailbox.prepare()?;
    for record in &request.list.records {
        let uid = match kept.uids && record.uid > header.last_uid {
            true => record.uid,
            false => Uid(header.last_uid.0.saturating_add(1)),
        };
        header.last_uid = uid;
        if record.modseq == ModSeq(0) || record.modseq > kept.modseqs {
            header.highest_modseq = ModSeq(header.highest_modseq.0.saturating_add(1));
        }
        append(
            engine,
            &mailbox,
            &mut changes,
            request,
            record,
            (uid, kept, header.highest_modseq),
        )?;
    }
    changes.set_header(&header);
    let annotations = merged(store.mailbox_annotations(entry)?, &request.annotations);
    let octets = |annotations: &[Annotation]| -> u64 {
        annotations
            .iter()
            .map(|annotation| annotation.value.len() as u64)
            .sum()
    };
    changes.mailbox_annotations_changed(
        octets(&store.mailbox_annotations(entry)?),
        octets(&annotations),
    );
    let prepared = changes.finish()?;
    store.replace_mailbox_annotations(entry, &annotations)?;
    let (mailbox, _) = store.commit(mailbox, prepared, Some(&engine.staging))?;
    engine.note_cleanup(&mailbox);
    drop(mailbox);
    let items = [
        LogItem::Append(entry.name.clone()),
        LogItem::Mailbox(entry.name.clone()),
    ];
    Ok(store.mailbox_changed(&entry.name, &items)?)
}

fn append(
    engine: &Engine,
    mailbox: &WritableMailbox<'_>,
    changes: &mut Preparation<'_, '_>,
    request: &RestoreMailbox,
    record: &Record,
    (uid, kept, next_modseq): (Uid, Kept, ModSeq),
) -> Result<(), Failure> {
    let staged = engine.staging.get(&mailbox.place().partition, &record.guid);
    let source = match staged.filter(|staged| staged.guid() == record.guid) {
        Some(staged) => Source::Staged(staged),
        None if record.expunged => Source::NoFile { size: record.size },
        None => {
            return Err(Failure::explained(
                Refusal::SyncChecksum,
                format!("{}: message {} was not uploaded", request.name, record.guid),
            ));
        }
    };
    let keeps = record.modseq != ModSeq(0) && record.modseq <= kept.modseqs;
    let now = UnixTime::now();
    let modseq = if keeps { record.modseq } else { next_modseq };
    let given = |time: UnixTime| if time == UnixTime(0) { now } else { time };
    let state = RecordState {
        modseq,
        last_updated: if keeps { record.last_updated } else { now },
        internal_date: record.internal_date,
        system_flags: record.system_flags,
        user_flags: changes.user_flags(request.list.flags.of(record.user_flags))?,
        expunged: record.expunged,
        conversation: record.thread,
        save_date: given(record.save_date),
        created_modseq: match record.created_modseq {
            ModSeq(0) => modseq,
            created => created,
        },
    };
    Ok(changes.append(uid, &record.guid, &state, source, &record.annotations)?)
}

/// The annotations that are there, and those of the backup that are not (commands §5).
fn merged(mut present: Vec<Annotation>, restored: &[Annotation]) -> Vec<Annotation> {
    for annotation in restored {
        let is_there =
            |one: &Annotation| one.entry == annotation.entry && one.user == annotation.user;
        if !present.iter().any(is_there) {
            present.push(annotation.clone());
        }
    }
    present
}
