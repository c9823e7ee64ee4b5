//! APPLY SUB, UNSUB, SEEN, ANNOTATION: what is not part of a mailbox (commands §4.6, §4.7, §4.10).

use std::sync::Arc;

use crate::mail::{Annotation, ModSeq, UserId};
use crate::protocol::command::{AnnotationKey, SeenState, Subscription};
use crate::protocol::reply::Refusal;
use crate::server::engine::Engine;
use crate::server::failure::Failure;
use crate::spool::annotations::Scope;
use crate::spool::cyrusdb::Create;
use crate::spool::disk::LockKind;
use crate::spool::mailboxes::MailboxEntry;
use crate::spool::seen;
use crate::spool::synclog::LogItem;

/// Adds a subscription; neither user nor mailbox need to exist. On disk before the answer.
pub fn subscribe(engine: &mut Engine, request: &Subscription) -> Result<(), Failure> {
    engine
        .store
        .subscriptions_for_change(&mut engine.list, &request.user)?
        .add(&request.mailbox)?;
    log_subscription(engine, request)
}

/// Removes a subscription, if there is one. On disk before the answer.
pub fn unsubscribe(engine: &mut Engine, request: &Subscription) -> Result<(), Failure> {
    engine
        .store
        .subscriptions_for_change(&mut engine.list, &request.user)?
        .remove(&request.mailbox)?;
    log_subscription(engine, request)
}

fn log_subscription(engine: &Engine, request: &Subscription) -> Result<(), Failure> {
    let item = LogItem::Subscription(request.user.clone(), request.mailbox.clone());
    Ok(engine.store.log(&[item])?)
}

/// Stores what a user has seen of a mailbox, whatever was there. On disk before the answer.
pub fn seen(engine: &mut Engine, user: &UserId, state: &SeenState) -> Result<(), Failure> {
    let stored = seen::SeenState {
        last_read: state.last_read,
        last_uid: state.last_uid,
        last_change: state.last_change,
        seen_uids: state.seen_uids.clone(),
    };
    if let Some(mut states) = engine.store.seen(&mut engine.list, user, Create::Yes)? {
        states.put(&state.unique_id, &stored)?;
    }
    let item = LogItem::Seen(user.clone(), state.unique_id.clone());
    Ok(engine.store.log(&[item])?)
}

/// Sets an annotation of the server or of a mailbox; an empty value removes it. On disk before
/// the answer.
pub fn annotate(engine: &mut Engine, key: &AnnotationKey, value: &[u8]) -> Result<(), Failure> {
    let annotation = Annotation {
        entry: key.entry.clone(),
        user: key.user.clone(),
        modseq: ModSeq(0),
        value: value.to_vec(),
    };
    match &key.mailbox {
        None => {
            engine
                .store
                .annotations()?
                .set(Scope::Server, &annotation)?;
            Ok(engine.store.log(&[LogItem::Annotation(None)])?)
        }
        Some(name) => annotate_mailbox(engine, name, &annotation),
    }
}

/// Sets an annotation of a mailbox. Its HIGHESTMODSEQ stays as it is, as with newer versions:
/// 3.6.1 advances it, and the mailbox then no longer matches the master's (commands §4.10).
fn annotate_mailbox(
    engine: &mut Engine,
    name: &crate::mail::MailboxName,
    annotation: &Annotation,
) -> Result<(), Failure> {
    let store = Arc::clone(&engine.store);
    let lock = store.locks.owner_of(name, LockKind::Exclusive)?;
    let entry = engine.list.find(name)?.filter(MailboxEntry::is_real);
    let entry = entry.ok_or(Failure::Refused(Refusal::MailboxNonexistent))?;
    let mailbox = Engine::in_mailbox(name, store.open_for_writing(&lock, &entry))?
        .ok_or(Failure::Refused(Refusal::MailboxNonexistent))?;
    let octets = |annotations: &[Annotation]| -> u64 {
        annotations
            .iter()
            .map(|annotation| annotation.value.len() as u64)
            .sum()
    };
    let before = octets(&store.mailbox_annotations(&entry)?);
    let owner = store.namespace().owner_of(name);
    let scope = Scope::Mailbox {
        id: &entry.unique_id,
        owner: owner.as_ref(),
    };
    store.annotations()?.set(scope, annotation)?;
    let mut changes = mailbox.prepare()?;
    changes.mailbox_annotations_changed(before, octets(&store.mailbox_annotations(&entry)?));
    let prepared = changes.finish()?;
    let (mailbox, _) = store.commit(mailbox, prepared, None)?;
    engine.note_cleanup(&mailbox);
    drop(mailbox);
    Ok(store.mailbox_changed(name, &[LogItem::Mailbox(name.clone())])?)
}
