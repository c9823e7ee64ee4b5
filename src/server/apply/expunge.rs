//! APPLY EXPUNGE: mark messages expunged without a new modseq (commands §4.3).

use crate::protocol::command::Expunge;
use crate::protocol::reply::Refusal;
use crate::server::engine::Engine;
use crate::server::failure::Failure;
use crate::spool::disk::LockKind;
use crate::spool::mailboxes::MailboxEntry;
use crate::spool::synclog::LogItem;

/// Expunges the messages. UIDs that do not exist are skipped; if the last one does not, the
/// answer is a refusal although the others were expunged, as with the original.
pub fn expunge(engine: &mut Engine, request: &Expunge) -> Result<(), Failure> {
    let name = &request.mailbox;
    let lock = engine.store.locks.owner_of(name, LockKind::Exclusive)?;
    let entry = engine.list.find(name)?.filter(MailboxEntry::is_real);
    let entry = entry.ok_or(Failure::Refused(Refusal::MailboxNonexistent))?;
    if entry.unique_id != request.unique_id {
        return Err(Failure::Refused(Refusal::MailboxMoved));
    }
    let mailbox = Engine::in_mailbox(name, engine.store.open_for_writing(&lock, &entry))?
        .ok_or(Failure::Refused(Refusal::MailboxNonexistent))?;
    let mut uids = request.uids.clone();
    uids.sort_unstable();
    uids.dedup();
    let mut changes = mailbox.prepare()?;
    for uid in uids {
        if let Some(stored) = mailbox.find(uid)?
            && !stored.record.is_expunged()
        {
            changes.expunge_silently(&stored)?;
        }
    }
    let last_is_unknown = match request.uids.last() {
        Some(uid) => mailbox.find(*uid)?.is_none(),
        None => false,
    };
    let prepared = changes.finish()?;
    let (mailbox, _) = engine.store.commit(mailbox, prepared, None)?;
    engine.note_cleanup(&mailbox);
    drop(mailbox);
    engine
        .store
        .mailbox_changed(name, &[LogItem::Mailbox(name.clone())])?;
    if last_is_unknown {
        return Err(Failure::explained(
            Refusal::Unknown,
            format!("{name}: the last UID to expunge is unknown"),
        ));
    }
    Ok(())
}
