//! Sieve scripts: what follows a change of a `#sieve` mailbox, and the commands for clients that
//! do not send scripts as messages (commands §4.11, databases §14).

use std::sync::Arc;

use super::folder;
use crate::mail::{
    Acl, AclEntry, Guid, MailboxKind, MailboxName, MailboxOptions, MailboxType, ModSeq,
    SystemFlags, Uid, UidValidity, UnixTime, UserId,
};
use crate::protocol::command::{Script, ScriptFile, ScriptKey, ScriptState};
use crate::protocol::reply::Refusal;
use crate::server::engine::Engine;
use crate::server::failure::Failure;
use crate::spool::SpoolError;
use crate::spool::creation::{OWNER_RIGHTS, new_unique_id};
use crate::spool::cyrusdb::Create;
use crate::spool::disk::LockKind;
use crate::spool::lock::UserLock;
use crate::spool::mailbox::{
    HeaderUpdate, Mailbox, RecordState, Source, StoredRecord, WritableMailbox,
};
use crate::spool::mailboxes::MailboxEntry;
use crate::spool::sieve::{self, ScriptMessage, ScriptName, ScriptRecord, ScriptRow};
use crate::spool::synclog::LogItem;

/// Brings the table and the directory of scripts to what the `#sieve` mailbox now holds. Doing it
/// again does no harm, so a crash before the answer is made good by the client's next attempt.
pub fn follow(engine: &mut Engine, mailbox: &Mailbox<'_>) -> Result<(), Failure> {
    let store = Arc::clone(&engine.store);
    let place = mailbox.place();
    let Some(user) = place
        .owner
        .clone()
        .filter(|_| !store.namespace().is_deleted(&place.name))
    else {
        return Ok(());
    };
    let mut records = Vec::new();
    for stored in mailbox.records() {
        let record = stored?.record;
        if record.has_file() {
            records.push(ScriptRecord {
                uid: record.uid,
                modseq: record.modseq,
                created_modseq: record.created_modseq,
                internal_date: record.internal_date,
                is_active: record.system_flags.contains(SystemFlags::FLAGGED),
                is_expunged: record.is_expunged(),
            });
        }
    }
    let Some(mut table) = store.scripts(&mut engine.list, &user, Create::Yes)? else {
        return Ok(());
    };
    let read = |uid: Uid| -> Result<Option<Vec<u8>>, SpoolError> {
        Ok(store.disk.read(&place.paths.message(uid))?)
    };
    let changes = table.synchronize(&place.unique_id, &records, read)?;
    let directory = store.sieve_directory(&mut engine.list, &user)?;
    Ok(sieve::follow(&store.disk, &directory, &changes)?)
}

/// The scripts of a user as GET META tells them: each script, and the active one once more.
pub fn states(engine: &mut Engine, user: &UserId) -> Result<Vec<ScriptState>, Failure> {
    let Some(table) = engine.store.scripts(&mut engine.list, user, Create::No)? else {
        return Ok(Vec::new());
    };
    let file = |name: &str| ScriptFile::parse(name).ok();
    let mut states = Vec::new();
    for row in table.scripts()? {
        states.extend(file(&row.name.script_file()).map(|file| ScriptState {
            file,
            last_update: row.last_updated,
            guid: row.content_id,
            active: false,
        }));
        let byte_code = file(&row.name.byte_code_file()).filter(|_| row.is_active);
        states.extend(byte_code.map(|file| ScriptState {
            file,
            last_update: UnixTime(0),
            guid: Guid::NULL,
            active: true,
        }));
    }
    Ok(states)
}

/// A script with its text, if it exists.
pub fn read(engine: &mut Engine, key: &ScriptKey) -> Result<Option<Script>, Failure> {
    let Some(name) = script_of(&key.file)? else {
        return Ok(None);
    };
    let store = Arc::clone(&engine.store);
    let Some(row) = row_of(engine, &key.user, &name)? else {
        return Ok(None);
    };
    let lock = store.locks.user(&key.user, LockKind::Shared)?;
    let Some(entry) = engine.list.find(&folder_name(engine, &key.user)?)? else {
        return Ok(None);
    };
    let Some(mailbox) = store.open_for_reading(&lock, &entry)? else {
        return Ok(None);
    };
    let Some(stored) = mailbox.find(row.uid)? else {
        return Ok(None);
    };
    let message = store.disk.read(&mailbox.message_path(&stored.record))?;
    let script = message.and_then(|message| sieve::Script::parse(&message).ok());
    Ok(script.map(|script| Script {
        key: key.clone(),
        last_update: None,
        content: script.content,
    }))
}

/// SIEVE: stores a script, in the place of one of the same name. What is not called `.script` is
/// ignored, as by the original.
pub fn put(engine: &mut Engine, script: &Script) -> Result<(), Failure> {
    let Some(name) = script_of(&script.key.file)? else {
        return Ok(());
    };
    let user = &script.key.user;
    let old = row_of(engine, user, &name)?;
    let id = match &old {
        Some(row) => row.id.clone(),
        None => sieve::new_script_id().map_err(SpoolError::from)?,
    };
    let store = Arc::clone(&engine.store);
    let time = UnixTime::now();
    let message = ScriptMessage {
        user,
        server: &store.config.server_name,
        id: &id,
        name: name.as_str(),
        content: &script.content,
        time,
        time_zone: store.time_zone(),
    }
    .to_bytes();
    let lock = store.locks.user(user, LockKind::Exclusive)?;
    let (mailbox, entry) = open_or_create(engine, &lock, user)?;
    let guid = stage(engine, &mailbox, &message)?;
    let mut update = HeaderUpdate::of(mailbox.index_header());
    update.last_uid = Uid(update.last_uid.0.saturating_add(1));
    update.highest_modseq = ModSeq(update.highest_modseq.0.saturating_add(1));
    update.last_append_date = time;
    let replaced = old
        .as_ref()
        .map(|row| mailbox.find(row.uid))
        .transpose()?
        .flatten();
    let mut changes = mailbox.prepare()?;
    if let Some(stored) = replaced.filter(|stored| !stored.record.is_expunged()) {
        changes.update(
            &stored,
            &expunged(&stored, update.highest_modseq, time),
            None,
        )?;
    }
    let staged = engine.staging.get(&mailbox.place().partition, &guid);
    let staged = staged.ok_or_else(|| refusal(format!("{name}: the message was not staged")))?;
    let state = RecordState {
        modseq: update.highest_modseq,
        last_updated: time,
        internal_date: time,
        system_flags: match old.is_some_and(|row| row.is_active) {
            true => SystemFlags::FLAGGED,
            false => SystemFlags::empty(),
        },
        user_flags: changes.user_flags([])?,
        expunged: false,
        conversation: crate::mail::ConversationId(0),
        save_date: time,
        created_modseq: update.highest_modseq,
    };
    changes.append(update.last_uid, &guid, &state, Source::Staged(staged), &[])?;
    changes.set_header(&update);
    let prepared = changes.finish()?;
    finish(engine, mailbox, prepared, &entry)
}

/// UNSIEVE: deletes a script. The `.bc` of the active one deactivates it, which the original
/// never learns (algorithm §7.3).
pub fn delete(engine: &mut Engine, key: &ScriptKey) -> Result<(), Failure> {
    let Some(name) = script_of(&key.file)? else {
        let active = key
            .file
            .bytecode_name()
            .map(ScriptName::parse)
            .and_then(Result::ok);
        let row = active
            .map(|name| row_of(engine, &key.user, &name))
            .transpose()?
            .flatten();
        return match row.filter(|row| row.is_active) {
            Some(_) => deactivate(engine, &key.user),
            None => Ok(()),
        };
    };
    let row = row_of(engine, &key.user, &name)?.ok_or_else(|| unknown(&name))?;
    rewrite(engine, &key.user, |record, modseq, time| {
        (record.record.uid == row.uid).then(|| expunged(record, modseq, time))
    })
}

/// ACTIVATE_SIEVE: makes a script the active one.
pub fn activate(engine: &mut Engine, key: &ScriptKey) -> Result<(), Failure> {
    let name = key
        .file
        .bytecode_name()
        .map(ScriptName::parse)
        .and_then(Result::ok);
    let name =
        name.ok_or_else(|| refusal(format!("{} is no compiled script", key.file.as_str())))?;
    let row = row_of(engine, &key.user, &name)?.ok_or_else(|| unknown(&name))?;
    rewrite(engine, &key.user, |record, modseq, time| {
        flagged(record, record.record.uid == row.uid, modseq, time)
    })
}

/// UNACTIVATE_SIEVE: no script is active then.
pub fn deactivate(engine: &mut Engine, user: &UserId) -> Result<(), Failure> {
    if engine
        .list
        .find(&folder_name(engine, user)?)?
        .is_none_or(|entry| !entry.is_real())
    {
        return Ok(());
    }
    rewrite(engine, user, |record, modseq, time| {
        flagged(record, false, modseq, time)
    })
}

/// Changes the records for which `change` gives a new state, under one new modseq.
fn rewrite(
    engine: &mut Engine,
    user: &UserId,
    change: impl Fn(&StoredRecord, ModSeq, UnixTime) -> Option<RecordState>,
) -> Result<(), Failure> {
    let store = Arc::clone(&engine.store);
    let lock = store.locks.user(user, LockKind::Exclusive)?;
    let (mailbox, entry) = open_or_create(engine, &lock, user)?;
    let mut update = HeaderUpdate::of(mailbox.index_header());
    update.highest_modseq = ModSeq(update.highest_modseq.0.saturating_add(1));
    let mut changes = mailbox.prepare()?;
    let mut changed = false;
    for stored in mailbox.records() {
        let stored = stored?;
        if stored.record.is_expunged() {
            continue;
        }
        if let Some(state) = change(&stored, update.highest_modseq, UnixTime::now()) {
            changes.update(&stored, &state, None)?;
            changed = true;
        }
    }
    if !changed {
        return Ok(());
    }
    changes.set_header(&update);
    let prepared = changes.finish()?;
    finish(engine, mailbox, prepared, &entry)
}

fn expunged(stored: &StoredRecord, modseq: ModSeq, time: UnixTime) -> RecordState {
    RecordState {
        modseq,
        last_updated: time,
        expunged: true,
        ..RecordState::of(&stored.record)
    }
}

/// The record with `\Flagged` set or not, if that is a change.
fn flagged(stored: &StoredRecord, on: bool, modseq: ModSeq, time: UnixTime) -> Option<RecordState> {
    let mut state = RecordState::of(&stored.record);
    if state.system_flags.contains(SystemFlags::FLAGGED) == on {
        return None;
    }
    state.system_flags.set(SystemFlags::FLAGGED, on);
    Some(RecordState {
        modseq,
        last_updated: time,
        ..state
    })
}

fn finish(
    engine: &mut Engine,
    mailbox: WritableMailbox<'_>,
    prepared: crate::spool::mailbox::Prepared,
    entry: &MailboxEntry,
) -> Result<(), Failure> {
    let store = Arc::clone(&engine.store);
    let (mailbox, _) = store.commit(mailbox, prepared, Some(&engine.staging))?;
    follow(engine, &mailbox)?;
    Ok(store.mailbox_changed(&entry.name, &[LogItem::Mailbox(entry.name.clone())])?)
}

/// Puts a message that we made into the staging area.
fn stage(
    engine: &mut Engine,
    mailbox: &WritableMailbox<'_>,
    message: &[u8],
) -> Result<Guid, Failure> {
    let guid = sieve::content_id(message);
    let partition = mailbox.place().partition.clone();
    if let Some(mut writer) = engine.staging.begin(&partition, &guid)? {
        writer.write(message)?;
        engine.staging.finish(writer)?;
    }
    Ok(guid)
}

fn folder_name(engine: &Engine, user: &UserId) -> Result<MailboxName, Failure> {
    let inbox = engine.store.namespace().inbox_of(user);
    let name = format!("{inbox}.{}", engine.store.config.mailboxes.sieve_folder);
    MailboxName::parse(&name).map_err(|error| refusal(error.to_string()))
}

/// Opens the user's `#sieve` mailbox, which is made if the user has an INBOX but not yet that.
fn open_or_create<'lock>(
    engine: &mut Engine,
    lock: &'lock UserLock,
    user: &UserId,
) -> Result<(WritableMailbox<'lock>, MailboxEntry), Failure> {
    let store = Arc::clone(&engine.store);
    let name = folder_name(engine, user)?;
    if let Some(entry) = engine.list.find(&name)?.filter(MailboxEntry::is_real)
        && let Some(mailbox) = store.open_for_writing(lock, &entry)?
    {
        return Ok((mailbox, entry));
    }
    let inbox = engine.list.find(&store.namespace().inbox_of(user))?;
    let inbox = inbox.filter(MailboxEntry::is_real);
    let inbox = inbox.ok_or_else(|| refusal(format!("{user} has no INBOX")))?;
    let kind = MailboxType {
        kind: MailboxKind::Sieve,
        ..MailboxType::default()
    };
    let owner = AclEntry {
        identifier: user.to_string(),
        rights: OWNER_RIGHTS.to_owned(),
    };
    let entry = MailboxEntry {
        mailbox_type: engine.store.type_of_new(&mut engine.list, &name, kind)?,
        name,
        unique_id: new_unique_id()?,
        partition: inbox.partition,
        server: None,
        uid_validity: UidValidity(UnixTime::now().0.saturating_add(1)),
        created_modseq: ModSeq(1),
        folder_modseq: ModSeq(1),
        mtime: UnixTime::now(),
        acl: Some(Acl::from_entries(vec![owner])),
    };
    let options = store.config.mailboxes.default_options | MailboxOptions::POP3_NEW_UIDL;
    drop(folder::create_files(
        engine,
        lock,
        &entry,
        options,
        ModSeq(1),
    )?);
    engine.list.put(&entry)?;
    let mailbox = store.open_for_writing(lock, &entry)?;
    let mailbox = mailbox.ok_or(Failure::Refused(Refusal::MailboxNonexistent))?;
    Ok((mailbox, entry))
}

fn row_of(
    engine: &mut Engine,
    user: &UserId,
    name: &ScriptName,
) -> Result<Option<ScriptRow>, Failure> {
    let table = engine.store.scripts(&mut engine.list, user, Create::No)?;
    Ok(table.map(|table| table.find(name)).transpose()?.flatten())
}

fn script_of(file: &ScriptFile) -> Result<Option<ScriptName>, Failure> {
    let name = file.script_name().map(ScriptName::parse).transpose();
    name.map_err(|error| refusal(error.to_string()))
}

fn unknown(name: &ScriptName) -> Failure {
    refusal(format!("there is no script {}", name.as_str()))
}

fn refusal(reason: String) -> Failure {
    Failure::explained(Refusal::Unknown, reason)
}
