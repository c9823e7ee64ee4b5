//! A small store for tests of the client.

use std::path::Path;
use std::sync::Arc;

use crate::client::local::write;
use crate::mail::{Guid, MailboxName, ModSeq, Partition, SystemFlags, Uid, UnixTime};
use crate::spool::disk::{Disk, LockKind};
use crate::spool::mailbox::{HeaderUpdate, RecordState, Source};
use crate::spool::mailboxes::MailboxEntry;
use crate::spool::message::MessageParser;
use crate::spool::staging::Staging;
use crate::spool::store::Store;
use crate::spool::store::testing::store_below;

/// A store below `root`.
pub fn store(root: &Path, disk: Disk) -> Arc<Store> {
    store_below(root, disk, "expunge_mode: immediate\n")
}

/// The name of its mailbox.
pub fn name() -> MailboxName {
    MailboxName::parse("user.alice").unwrap()
}

/// Makes the mailbox.
pub fn create(store: &Store) -> MailboxEntry {
    let lock = store.locks.owner_of(&name(), LockKind::Exclusive).unwrap();
    let mut list = store.mailbox_list().unwrap();
    let partition = Partition::parse("default").unwrap();
    store
        .create_mailbox(&mut list, &lock, &name(), partition)
        .unwrap()
}

/// A message that all records share.
fn stage(staging: &mut Staging) -> Guid {
    let content = b"Subject: one\r\n\r\nbody\r\n";
    let mut parser = MessageParser::new(&Default::default());
    parser.feed(content);
    let guid = parser.finish().guid;
    let partition = Partition::parse("default").unwrap();
    if let Some(mut writer) = staging.begin(&partition, &guid).unwrap() {
        writer.write(content).unwrap();
        staging.finish(writer).unwrap();
    }
    guid
}

/// Appends a message for each modseq.
pub fn append(store: &Store, entry: &MailboxEntry, modseqs: impl Iterator<Item = u64>) {
    let mut staging = store.staging();
    let guid = stage(&mut staging);
    let partition = Partition::parse("default").unwrap();
    write(store, entry, |mailbox| {
        let mut changes = mailbox.prepare()?;
        let index = mailbox.index_header();
        let (mut uid, mut highest) = (index.last_uid, index.highest_modseq);
        for modseq in modseqs.map(ModSeq) {
            uid = Uid(uid.0 + 1);
            highest = highest.max(modseq);
            let state = RecordState {
                modseq,
                last_updated: UnixTime(1000),
                internal_date: UnixTime(1000),
                system_flags: SystemFlags::empty(),
                user_flags: Default::default(),
                expunged: false,
                conversation: Default::default(),
                save_date: UnixTime(1000),
                created_modseq: ModSeq(1),
            };
            let source = Source::Staged(staging.get(&partition, &guid).unwrap());
            changes.append(uid, &guid, &state, source, &[])?;
        }
        changes.set_header(&HeaderUpdate {
            last_uid: uid,
            highest_modseq: highest,
            ..HeaderUpdate::of(index)
        });
        let prepared = changes.finish()?;
        drop(store.commit(mailbox, prepared, Some(&staging))?);
        Ok(())
    })
    .unwrap()
    .unwrap();
}

/// Flags a message.
pub fn flag(store: &Store, entry: &MailboxEntry, uid: Uid) {
    change(store, entry, uid, |state| {
        state.system_flags = SystemFlags::FLAGGED;
    });
}

/// Expunges a message and purges its record.
pub fn purge(store: &Store, entry: &MailboxEntry, uid: Uid) {
    change(store, entry, uid, |state| state.expunged = true);
    let lock = store.locks.owner_of(&name(), LockKind::Exclusive).unwrap();
    let place = store.place(entry).unwrap().unwrap();
    let exclusive = store
        .locks
        .mailbox(&lock, &name(), place.home(), LockKind::Exclusive)
        .unwrap();
    let done = store.mailboxes.clean_up(place, exclusive).unwrap().unwrap();
    assert_eq!(done.removed, 1);
}

fn change(store: &Store, entry: &MailboxEntry, uid: Uid, change: impl FnOnce(&mut RecordState)) {
    write(store, entry, |mailbox| {
        let mut changes = mailbox.prepare()?;
        let stored = mailbox.find(uid)?.unwrap();
        let modseq = ModSeq(mailbox.index_header().highest_modseq.0 + 1);
        let mut state = RecordState {
            modseq,
            ..RecordState::of(&stored.record)
        };
        change(&mut state);
        changes.update(&stored, &state, None)?;
        changes.set_header(&HeaderUpdate {
            highest_modseq: modseq,
            ..HeaderUpdate::of(mailbox.index_header())
        });
        let prepared = changes.finish()?;
        drop(store.commit(mailbox, prepared, None)?);
        Ok(())
    })
    .unwrap()
    .unwrap();
}
