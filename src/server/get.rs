//! GET: what the store holds (commands §2).

use std::io::{self, Read, Seek, Write};
use std::sync::Arc;

use aws_lc_rs::digest;
use tempfile::SpooledTempFile;
use tracing::{debug, warn};

use super::engine::Engine;
use super::failure::Failure;
use super::output::{Output, STYLE};
use crate::dlist::{FileHeader, write_file_header};
use crate::exchange::{Records, UserState, intermediate_item, mailbox_item};
use crate::mail::{Guid, MailboxKind, MailboxName, TypeFlags, UniqueId, UserId};
use crate::protocol::command::{
    Answer, Fetch, MailboxAnswer, MailboxItem, MailboxWriter, Quota, RecordForm, ScriptKey,
    SeenState, UserDigest,
};
use crate::protocol::reply::Refusal;
use crate::spool::annotations::Scope;
use crate::spool::cyrusdb::Create;
use crate::spool::disk::{DiskError, DiskFile, LockKind};
use crate::spool::layout::MailboxHome;
use crate::spool::lock::UserLock;
use crate::spool::mailbox::Mailbox;
use crate::spool::mailboxes::{Deleted, MailboxEntry};
use crate::spool::quota::QuotaRoot;
use crate::spool::seen::SeenDb;
use crate::spool::store::home_of;

/// GET USER: all mailboxes of a user, their quota roots, and then what GET META tells.
pub fn user(engine: &mut Engine, user: &UserId, output: &mut Output<'_>) -> Result<(), Failure> {
    let state = state_of(engine, user)?;
    let exists = exists(&state);
    for item in state.mailboxes {
        mailbox_line(item, output)?;
    }
    for quota in state.quotas {
        output.answer(&Answer::Quota(quota))?;
    }
    if exists {
        meta_lines(state.seen, state.subscriptions, output)?;
        scripts(engine, user, output)?;
    }
    Ok(())
}

/// GET META: seen state, subscriptions and, unless they travel as messages, Sieve scripts.
pub fn meta(engine: &mut Engine, user: &UserId, output: &mut Output<'_>) -> Result<(), Failure> {
    let seen = states_in(engine.store.seen(&mut engine.list, user, Create::No)?)?;
    let subscriptions = engine.store.subscriptions(&mut engine.list, user)?;
    meta_lines(seen, subscriptions, output)?;
    scripts(engine, user, output)
}

/// GET X-DIGEST: the digests of the states of those users who exist here. Of one whose state
/// cannot be told nothing is said: the client then asks as ever, and learns why.
pub fn digests(
    engine: &mut Engine,
    users: &[UserId],
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    if !engine.sieve_mailbox {
        // Scripts that do not travel as messages are in no digest.
        return Err(Failure::Refused(Refusal::ProtocolError));
    }
    for user in users {
        match state_of(engine, user) {
            Ok(state) if exists(&state) => output.answer(&Answer::Digest(UserDigest {
                user: user.clone(),
                digest: state.digest(),
            }))?,
            Ok(_) => {}
            Err(failure) => debug!(sync_user = %user, "no digest of {user}: {failure}"),
        }
    }
    Ok(())
}

/// What GET USER tells, but Sieve scripts that do not travel as messages.
fn state_of(engine: &mut Engine, user: &UserId) -> Result<UserState, Failure> {
    let (mailboxes, inbox) = {
        let lock = engine.store.locks.user(user, LockKind::Shared)?;
        let mut entries = engine.list.of_user(user, Deleted::Include)?;
        let mailboxes = items_of(engine, &lock, &entries)?;
        let name = engine.store.namespace().inbox_of(user);
        entries.truncate(1);
        (mailboxes, entries.pop().filter(|entry| entry.name == name))
    };
    let mut state = UserState {
        quotas: quotas_of(engine, &mailboxes)?,
        mailboxes,
        ..UserState::default()
    };
    if exists(&state) {
        let store = &engine.store;
        let inbox = store.home_mailbox_of(&mut engine.list, user, inbox)?;
        let home = home_of(user, inbox.as_ref());
        state.seen = states_in(store.seen_at(home, Create::No)?)?;
        state.subscriptions = store.subscriptions_at(home, user)?;
    }
    Ok(state)
}

/// Whether the user has a mailbox.
fn exists(state: &UserState) -> bool {
    let is_real = |item: &MailboxItem| !item.mailbox_type.flags.contains(TypeFlags::INTERMEDIATE);
    state.mailboxes.iter().any(is_real)
}

fn quotas_of(engine: &Engine, mailboxes: &[MailboxItem]) -> Result<Vec<Quota>, Failure> {
    let mut roots: Vec<QuotaRoot> = Vec::new();
    for item in mailboxes {
        let root = item.quota_root.as_deref();
        let root = root.and_then(|root| QuotaRoot::parse(root).ok());
        roots.extend(root.filter(|root| !roots.contains(root)));
    }
    let mut quotas = Vec::new();
    for root in &roots {
        quotas.extend(quota_of(engine, root)?);
    }
    Ok(quotas)
}

fn states_in(seen: Option<SeenDb>) -> Result<Vec<SeenState>, Failure> {
    let Some(mut seen) = seen else {
        return Ok(Vec::new());
    };
    let states = seen.all()?.into_iter().map(|(unique_id, state)| SeenState {
        unique_id,
        last_read: state.last_read,
        last_uid: state.last_uid,
        last_change: state.last_change,
        seen_uids: state.seen_uids,
    });
    Ok(states.collect())
}

fn meta_lines(
    seen: Vec<SeenState>,
    subscriptions: Vec<MailboxName>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    for state in seen {
        output.answer(&Answer::Seen(state))?;
    }
    if !subscriptions.is_empty() {
        output.answer(&Answer::Lsub(subscriptions))?;
    }
    Ok(())
}

fn scripts(engine: &mut Engine, user: &UserId, output: &mut Output<'_>) -> Result<(), Failure> {
    if !engine.sieve_mailbox {
        for script in super::apply::sieve::states(engine, user)? {
            output.answer(&Answer::Sieve(script))?;
        }
    }
    Ok(())
}

/// GET MAILBOXES: those of the names that exist.
pub fn mailboxes(
    engine: &mut Engine,
    names: &[MailboxName],
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    for name in names {
        let entry = engine.list.find(name)?;
        listed(engine, entry, output)?;
    }
    Ok(())
}

/// GET UNIQUEIDS: those of the ids that exist.
pub fn unique_ids(
    engine: &mut Engine,
    ids: &[UniqueId],
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    for id in ids {
        let entry = engine.list.find_id(id)?;
        listed(engine, entry, output)?;
    }
    Ok(())
}

fn listed(
    engine: &mut Engine,
    entry: Option<MailboxEntry>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let Some(entry) = entry else { return Ok(()) };
    let items = {
        let lock = engine.store.locks.owner_of(&entry.name, LockKind::Shared)?;
        items_of(engine, &lock, std::slice::from_ref(&entry))?
    };
    items
        .into_iter()
        .try_for_each(|item| mailbox_line(item, output))
}

fn mailbox_line(item: MailboxItem, output: &mut Output<'_>) -> Result<(), Failure> {
    let answer = MailboxAnswer {
        item,
        records: None,
    };
    Ok(output.answer(&Answer::Mailbox(Box::new(answer)))?)
}

/// The states of those mailboxes that this session may see. One that vanished meanwhile is left
/// out; one that cannot be read fails the request, or the client would believe it gone.
fn items_of(
    engine: &mut Engine,
    lock: &UserLock,
    entries: &[MailboxEntry],
) -> Result<Vec<MailboxItem>, Failure> {
    let is_told = |entry: &&MailboxEntry| {
        let hidden = entry.mailbox_type.kind == MailboxKind::Sieve && !engine.sieve_mailbox;
        !(entry.is_tombstone() || hidden)
    };
    let told: Vec<&MailboxEntry> = entries.iter().filter(is_told).collect();
    // One that changes before its mailbox is opened is told with a later modseq: it is sent again.
    let annotations = engine.annotations_of(&told)?;
    let mut items = Vec::new();
    for (entry, annotations) in told.into_iter().zip(annotations) {
        if entry.is_intermediate() {
            items.push(intermediate_item(entry));
            continue;
        }
        let store = Arc::clone(&engine.store);
        let opened = store.open_for_reading(lock, entry);
        if let Some(mailbox) = Engine::in_mailbox(&entry.name, opened)? {
            engine.note_cleanup(&mailbox);
            items.push(mailbox_item(entry, &mailbox, annotations));
        }
    }
    Ok(items)
}

/// GET FULLMAILBOX: a mailbox with all its records. The answer is written to a file without name
/// under the locks, and sent after these are released: a mailbox may have more records than there
/// is memory for, and nobody shall wait for a lock until the client has read them.
pub fn full_mailbox(
    engine: &mut Engine,
    name: &MailboxName,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let entry = engine.list.find(name)?.filter(MailboxEntry::is_real);
    let entry = entry.ok_or(Failure::Refused(Refusal::MailboxNonexistent))?;
    let store = Arc::clone(&engine.store);
    let mut answer = {
        let lock = store.locks.owner_of(name, LockKind::Shared)?;
        let mailbox = Engine::in_mailbox(name, store.open_for_reading(&lock, &entry))?
            .ok_or(Failure::Refused(Refusal::MailboxNonexistent))?;
        engine.note_cleanup(&mailbox);
        let annotations = Engine::in_mailbox(name, store.mailbox_annotations(&entry))?;
        write_full_mailbox(&mailbox, &mailbox_item(&entry, &mailbox, annotations))?
    };
    answer.rewind()?;
    let mut piece = vec![0; CHUNK];
    loop {
        // After the first octets only the end of the session is honest about an error.
        match answer.read(&mut piece)? {
            0 => return Ok(()),
            length => output.append(|octets| {
                octets.extend_from_slice(piece.get(..length).unwrap_or_default());
            })?,
        }
    }
}

/// The whole data line of a mailbox with all its records.
fn write_full_mailbox(
    mailbox: &Mailbox<'_>,
    item: &MailboxItem,
) -> Result<SpooledTempFile, Failure> {
    let failed = |error| {
        let reason = format!("{}: cannot keep the answer in a file: {error}", item.name);
        Failure::explained(Refusal::Unknown, reason)
    };
    let records = Records::of(mailbox.header());
    let mut answer = SpooledTempFile::new(IN_MEMORY);
    let mut octets = Vec::new();
    Answer::write_mailbox_prefix(&mut octets);
    let mut writer = MailboxWriter::begin(&mut octets, item, RecordForm::Pairs, STYLE);
    for stored in mailbox.records() {
        let record = stored.and_then(|stored| records.record(mailbox, &stored));
        let record = Engine::in_mailbox(&item.name, record)?;
        writer.record(&mut octets, &record, records.flags());
        if octets.len() >= CHUNK {
            answer.write_all(&octets).map_err(failed)?;
            octets.clear();
        }
    }
    writer.end(&mut octets);
    octets.extend_from_slice(b"\r\n");
    answer.write_all(&octets).map_err(failed)?;
    Ok(answer)
}

/// GET QUOTA: the limits of a root, if it is one.
pub fn quota(
    engine: &mut Engine,
    root: &MailboxName,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    if let Some(quota) = quota_of(engine, &QuotaRoot::of_mailbox(root))? {
        output.answer(&Answer::Quota(quota))?;
    }
    Ok(())
}

fn quota_of(engine: &Engine, root: &QuotaRoot) -> Result<Option<Quota>, Failure> {
    let Some(quota) = engine.store.quotas()?.get(root)? else {
        return Ok(None);
    };
    let limit = |limit: Option<u64>| limit.and_then(|limit| u32::try_from(limit).ok());
    Ok(root.mailbox().map(|name| Quota {
        root: name,
        storage: limit(quota.limits.storage),
        messages: limit(quota.limits.messages),
        annotation_storage: limit(quota.limits.annotation_storage),
        folders: limit(quota.limits.mailboxes),
        modseq: Some(quota.modseq),
    }))
}

/// GET ANNOTATION: the annotations of the server. With a mailbox name 3.6.1 answers nothing
/// (commands §2.6); later versions tell the mailbox's, and so do we.
pub fn annotations(
    engine: &mut Engine,
    mailbox: Option<&MailboxName>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let annotations = match mailbox {
        None => engine.store.annotations()?.all(Scope::Server)?,
        Some(name) => {
            let entry = engine.list.find(name)?.filter(MailboxEntry::is_real);
            match entry {
                Some(entry) => engine.store.mailbox_annotations(&entry)?,
                None => Vec::new(),
            }
        }
    };
    for annotation in annotations {
        let key = crate::protocol::command::AnnotationKey {
            mailbox: mailbox.cloned(),
            entry: annotation.entry,
            user: annotation.user,
        };
        output.answer(&Answer::Annotation(key, annotation.value))?;
    }
    Ok(())
}

/// GET FETCH: a message file. No lock is taken: the client asks while it holds its own.
pub fn fetch(engine: &mut Engine, fetch: &Fetch, output: &mut Output<'_>) -> Result<(), Failure> {
    let entry = engine
        .list
        .find(&fetch.mailbox)?
        .filter(MailboxEntry::is_real);
    let partition = entry.as_ref().and_then(|entry| entry.partition.as_ref());
    let partition = partition.unwrap_or(&fetch.partition);
    let homes = [
        MailboxHome::UniqueId(&fetch.unique_id),
        MailboxHome::Name(&fetch.mailbox),
    ];
    for home in homes {
        let Ok(paths) = engine.store.layout.mailbox(partition, home) else {
            continue;
        };
        for path in [paths.message(fetch.uid), paths.archived_message(fetch.uid)] {
            if let Some(status) = engine.store.disk.status(&path)? {
                return send_file(engine, &path, status.length(), fetch, output);
            }
        }
    }
    Err(Failure::Refused(Refusal::MailboxNonexistent))
}

/// Sends a file if it is the message that was asked for, else NIL. The file is read twice, so
/// that nothing is announced which does not follow.
fn send_file(
    engine: &Engine,
    path: &std::path::Path,
    size: u64,
    fetch: &Fetch,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let file = engine.store.disk.open_read(path)?;
    let size = u32::try_from(size).ok();
    let Some(size) = size.filter(|_| guid_of(&file).is_ok_and(|guid| guid == fetch.guid)) else {
        warn!(
            sync_mailbox = %fetch.mailbox,
            "{} is not the message {} that is asked for: not sent", path.display(), fetch.guid
        );
        return Ok(output.answer(&Answer::Message(None))?);
    };
    let header = FileHeader {
        partition: fetch.partition.to_string(),
        guid: fetch.guid,
        size,
    };
    output.append(|octets| {
        octets.extend_from_slice(b"* MESSAGE ");
        write_file_header(octets, &header);
    })?;
    let mut offset = 0;
    while offset < u64::from(size) {
        let piece = file.read_at(offset, CHUNK)?;
        if piece.is_empty() {
            // More octets are announced than there are: only the end of the session is honest.
            let reason = format!("{} became shorter while it was sent", path.display());
            return Err(Failure::Connection(io::Error::other(reason)));
        }
        offset += piece.len() as u64;
        output.append(|octets| octets.extend_from_slice(&piece))?;
    }
    Ok(output.append(|octets| octets.extend_from_slice(b"\r\n"))?)
}

fn guid_of(file: &DiskFile) -> Result<Guid, DiskError> {
    let mut digest = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    let mut offset = 0;
    loop {
        let piece = file.read_at(offset, CHUNK)?;
        if piece.is_empty() {
            break;
        }
        digest.update(&piece);
        offset += piece.len() as u64;
    }
    let mut guid = [0; Guid::LEN];
    guid.copy_from_slice(digest.finish().as_ref());
    Ok(Guid::from_bytes(guid))
}

/// Octets of a file that are read or written at once.
const CHUNK: usize = 256 << 10;

/// Octets of an answer that are kept in memory.
const IN_MEMORY: usize = 1 << 20;

/// GET FETCH_SIEVE: a Sieve script.
pub fn fetch_sieve(
    engine: &mut Engine,
    key: &ScriptKey,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let script = super::apply::sieve::read(engine, key)?;
    let script = script.ok_or(Failure::Refused(Refusal::MailboxNonexistent))?;
    Ok(output.answer(&Answer::Script(script))?)
}
