//! The updates of a large mailbox, computed one after the other as for a replica that takes them.

use std::collections::BTreeMap;
use std::io::Seek;

use super::*;
use crate::client::test_store::{append, create, flag, name, store};
use crate::dlist::{Limits, Parser};
use crate::protocol::command::{
    Apply, LineDecoder, MailboxArgument, NoFiles, Record, Request, Verb,
};
use crate::spool::disk::{Disk, Recorder};
use crate::spool::layout::MailboxFile;

/// The records of an update.
fn records_of(mut update: Update) -> Vec<Record> {
    let mut line = b"MAILBOX ".to_vec();
    update.body.rewind().unwrap();
    std::io::copy(&mut update.body, &mut line).unwrap();
    line.extend_from_slice(b"\r\n");
    let limits = Limits::default();
    let mut decoder = LineDecoder::new(&limits, NoFiles);
    let fed = Parser::line(limits.clone()).feed(&line, &mut decoder);
    assert_eq!(fed.result, Some(Ok(())));
    match Request::decode(Verb::Apply, decoder.finish().unwrap()).unwrap() {
        Request::Apply(Apply::Mailbox(_, MailboxArgument::Update(update))) => update.list.records,
        other => panic!("{other:?}"),
    }
}

const STYLE: Style = Style {
    is_delta: true,
    recalculate: false,
    everything: false,
    batch_size: 100,
    form: RecordForm::Compact,
    dry_run: false,
};

/// What a replica has got in the end, and how many octets of the index each update took.
fn first_synchronisation(
    store: &Arc<Store>,
    recorder: &Recorder,
    mut between: impl FnMut(usize),
) -> (BTreeMap<Uid, ModSeq>, Vec<u64>) {
    let mut local = Local::open(store, store).unwrap();
    let folder = local.folders_named([&name()], None).unwrap().remove(0);
    let entry = local.list().find(&name()).unwrap().unwrap();
    let index = store
        .place(&entry)
        .unwrap()
        .unwrap()
        .paths
        .file(MailboxFile::Index);
    let mut remote = None;
    let mut replica = BTreeMap::new();
    let mut costs = Vec::new();
    loop {
        let before = recorder.octets_read(&index);
        let Preparation::Send(update) = local.prepare(&folder, remote.as_ref(), STYLE).unwrap()
        else {
            panic!("nothing to send");
        };
        costs.push(recorder.octets_read(&index) - before);
        let is_partial = update.is_partial;
        let item = MailboxItem {
            since: None,
            ..update.item.clone()
        };
        let new: Vec<Uid> = update.uploads.iter().map(|upload| upload.uid).collect();
        for record in records_of(*update) {
            let is_new = replica.insert(record.uid, record.modseq).is_none();
            assert_eq!(is_new, new.contains(&record.uid), "file of {}", record.uid);
        }
        if !is_partial {
            return (replica, costs);
        }
        remote = Some(item);
        between(costs.len());
    }
}

fn records_in(store: &Store, entry: &MailboxEntry) -> BTreeMap<Uid, ModSeq> {
    let records = read(store, entry, |mailbox| {
        let records = mailbox.records().map(|stored| {
            let record = stored?.record;
            Ok((record.uid, record.modseq))
        });
        records.collect::<Result<_, SyncError>>()
    });
    records.unwrap().unwrap()
}

/// Octets of an index record, and of the header before them.
const RECORD: u64 = 112;
const HEADER: u64 = 160;

#[test]
fn each_batch_reads_only_its_own_records() {
    let dir = tempfile::tempdir().unwrap();
    let entry = create(&store(dir.path(), Disk::default()));
    // Every tenth message was flagged later, in the order of the messages.
    let modseqs = (1..=3000_u64).map(|uid| match uid % 10 {
        0 => uid + 500,
        _ => uid + 1,
    });
    append(&store(dir.path(), Disk::default()), &entry, modseqs);
    let recorder = Recorder::new(dir.path()).unwrap();
    let store = store(dir.path(), Disk::default().recorded_by(&recorder));
    let (replica, costs) = first_synchronisation(&store, &recorder, |_| {});
    assert_eq!(replica, records_in(&store, &entry));
    assert!(costs.len() >= 29, "{costs:?}");
    let (last, batches) = costs.split_last().unwrap();
    let (first, others) = batches.split_first().unwrap();
    // The plan needs two walks, the complete update at the end one more.
    assert!(*first < 3 * 3000 * RECORD, "{costs:?}");
    assert!(*last < 2 * 3000 * RECORD, "{costs:?}");
    for cost in others {
        assert!(*cost < 1000 * RECORD, "{costs:?}");
    }
}

#[test]
fn what_changes_between_batches_is_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let entry = create(&store(dir.path(), Disk::default()));
    append(&store(dir.path(), Disk::default()), &entry, 2..=900);
    let recorder = Recorder::new(dir.path()).unwrap();
    let store = store(dir.path(), Disk::default().recorded_by(&recorder));
    let (replica, costs) = first_synchronisation(&store, &recorder, |batch| match batch {
        2 => flag(&store, &entry, Uid(7)),
        3 => flag(&store, &entry, Uid(850)),
        4 => append(&store, &entry, 2000..=2300),
        5 => flag(&store, &entry, Uid(250)),
        _ => {}
    });
    assert!(costs.len() > 9, "{costs:?}");
    assert_eq!(replica, records_in(&store, &entry));
    assert_eq!(replica.len(), 1200);
}

/// Whatever is compared before, the header and whole records are read for an update, and no other
/// header.
#[test]
fn an_update_opens_a_mailbox_once() {
    let dir = tempfile::tempdir().unwrap();
    let entry = create(&store(dir.path(), Disk::default()));
    append(&store(dir.path(), Disk::default()), &entry, 2..=9);
    let recorder = Recorder::new(dir.path()).unwrap();
    let store = store(dir.path(), Disk::default().recorded_by(&recorder));
    let mut local = Local::open(&store, &store).unwrap();
    let folder = local.folders_named([&name()], None).unwrap().remove(0);
    let Preparation::Send(first) = local.prepare(&folder, None, STYLE).unwrap() else {
        panic!("nothing to send");
    };
    append(&store, &entry, 10..=12);
    let place = store.place(&entry).unwrap().unwrap();
    let index = place.paths.file(MailboxFile::Index);
    let before = recorder.octets_read(&index);
    let prepared = local.prepare(&folder, Some(&first.item), STYLE).unwrap();
    let Preparation::Send(second) = prepared else {
        panic!("nothing to send");
    };
    assert_eq!(second.uploads.len(), 3);
    let octets = recorder.octets_read(&index) - before;
    assert!(octets > HEADER);
    assert_eq!(octets % RECORD, HEADER % RECORD, "{octets} octets");
}
