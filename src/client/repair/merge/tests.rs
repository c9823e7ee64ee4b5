use super::super::records::RecordKeeper;
use super::*;
use crate::client::test_store::{append, create, purge, store};
use crate::exchange::{Records, mailbox_item};
use crate::protocol::command::FileSink;
use crate::spool::disk::Disk;

/// What the replica lists that has the mailbox as it is now.
fn listed(store: &Store, entry: &MailboxEntry) -> (MailboxItem, Vec<Record>, FlagTable) {
    let listed = local::read(store, entry, |mailbox| {
        let records = Records::of(mailbox.header());
        let list = mailbox
            .records()
            .map(|stored| records.record(mailbox, &stored?))
            .collect::<Result<_, _>>()?;
        let item = mailbox_item(entry, mailbox, Vec::new());
        Ok((item, list, records.flags().clone()))
    });
    listed.unwrap().unwrap()
}

#[test]
fn highest_modseq_is_above_what_was_rewritten_whatever_is_expunged_on_the_replica() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), Disk::default());
    let entry = create(&store);
    append(&store, &entry, 2..=4);
    let (mut item, mut records, flags) = listed(&store, &entry);
    purge(&store, &entry, Uid(3));
    let (now, _, _) = listed(&store, &entry);
    item.highest_modseq = now.highest_modseq;
    records[0].system_flags |= crate::mail::SystemFlags::DRAFT;
    let mut keeper = RecordKeeper::new();
    for record in records {
        keeper.record(record, &flags).unwrap();
    }
    let mut list = keeper.finish(flags).unwrap();
    let mut local = Local::open(&store, &store).unwrap();
    let expunged = merge(&mut local, &entry, &item, &mut list, &mut store.staging()).unwrap();
    assert_eq!(expunged, Some(vec![Uid(3)]));
    let (merged, records, _) = listed(&store, &entry);
    assert!(records[0].modseq > item.highest_modseq, "{records:?}");
    assert_eq!(records[0].modseq, merged.highest_modseq);
}
