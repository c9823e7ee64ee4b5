//! How often and in which order one request makes things durable. All of it is before the answer:
//! the session sends that when [`Engine::handle`] has returned.

use std::path::{Path, PathBuf};

use super::*;
use crate::dlist::FileHeader;
use crate::exchange::bare_item;
use crate::mail::{
    Acl, Guid, MailboxName, ModSeq, Partition, SystemFlags, Uid, UidValidity, UniqueId, UnixTime,
};
use crate::protocol::command::{
    FileSink, MailboxArgument, MailboxItem, MailboxUpdate, Record, RecordList, Scope,
};
use crate::server::activity::Activity;
use crate::server::reserve::StagingSink;
use crate::spool::disk::{Disk, Recorder, Step};
use crate::spool::message::MessageParser;
use crate::spool::store::testing::store_below;

fn engine(root: &Path, disk: Disk) -> Engine {
    Engine::new(store_below(root, disk, "")).unwrap()
}

fn content(uid: u32) -> Vec<u8> {
    format!("Subject: message {uid}\r\n\r\nbody\r\n").into_bytes()
}

fn guid(uid: u32) -> Guid {
    let mut parser = MessageParser::new(&Default::default());
    parser.feed(&content(uid));
    parser.finish().guid
}

/// What APPLY MESSAGE does.
fn stage(engine: &mut Engine, uid: u32) {
    let activity = Activity::default();
    let content = content(uid);
    let header = FileHeader {
        partition: "default".to_owned(),
        guid: guid(uid),
        size: u32::try_from(content.len()).unwrap(),
    };
    let mut sink = StagingSink::new(engine.staging(), &activity);
    sink.begin(&header).unwrap();
    sink.chunk(&content).unwrap();
    sink.end().unwrap();
}

fn record(uid: u32, modseq: u64, flags: SystemFlags) -> Record {
    Record {
        uid: Uid(uid),
        modseq: ModSeq(modseq),
        last_updated: UnixTime(1000),
        system_flags: flags,
        expunged: false,
        user_flags: Default::default(),
        internal_date: UnixTime(1000),
        size: u32::try_from(content(uid).len()).unwrap(),
        guid: guid(uid),
        thread: Default::default(),
        save_date: UnixTime(1000),
        created_modseq: ModSeq(1),
        annotations: Box::default(),
    }
}

/// What APPLY MAILBOX does with these records.
fn update(engine: &mut Engine, last_uid: u32, modseq: u64, records: Vec<Record>) {
    let item = MailboxItem {
        last_uid: Uid(last_uid),
        highest_modseq: ModSeq(modseq),
        last_append_date: UnixTime(1000),
        uid_validity: UidValidity(1),
        partition: Some(Partition::parse("default").unwrap()),
        acl: Acl::parse("alice\tlrswipkxtecdan\t").unwrap(),
        created_modseq: ModSeq(1),
        folder_modseq: ModSeq(1),
        ..bare_item(
            UniqueId::parse("54lxoc7sbxiyqaap5r8c1wsm").unwrap(),
            MailboxName::parse("user.alice").unwrap(),
        )
    };
    let list = RecordList {
        records,
        ..RecordList::default()
    };
    let update = MailboxArgument::Update(Box::new(MailboxUpdate { item, list }));
    let request = Request::Apply(Apply::Mailbox(Scope::Everywhere, update));
    let mut nowhere = |_: &[u8]| Ok(());
    engine
        .handle(request, &mut Output::new(&mut nowhere))
        .unwrap();
}

/// A mailbox with `old` messages, and what the disk is told while `change` changes it.
fn steps_of(old: u32, change: impl FnOnce(&mut Engine)) -> Vec<Step> {
    let directory = tempfile::tempdir().unwrap();
    let mut before = engine(directory.path(), Disk::default());
    (1..=old).for_each(|uid| stage(&mut before, uid));
    let records = (1..=old).map(|uid| record(uid, 2, SystemFlags::empty()));
    update(&mut before, old, 2, records.collect());
    drop(before);
    let recorder = Recorder::new(directory.path()).unwrap();
    let mut engine = engine(directory.path(), Disk::default().recorded_by(&recorder));
    change(&mut engine);
    recorder.steps()
}

fn append(old: u32, new: u32) -> Vec<Step> {
    steps_of(old, |engine| {
        let uids = old + 1..=old + new;
        uids.clone().for_each(|uid| stage(engine, uid));
        let records = uids.map(|uid| record(uid, 3, SystemFlags::empty()));
        update(engine, old + new, 3, records.collect());
    })
}

fn is_message(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.strip_suffix('.')
        .is_some_and(|uid| uid.parse::<u32>().is_ok())
}

/// Whether this is where a session stages messages, of which it makes a directory once.
fn is_staging(path: &Path) -> bool {
    path.ends_with("spool") || path.iter().any(|name| name == "sync.")
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// What is made durable, in this order; message files are counted by themselves.
fn durable(steps: &[Step]) -> (usize, Vec<String>) {
    let mut messages = 0;
    let mut others = Vec::new();
    for step in steps {
        match step {
            Step::Sync { path, .. } if is_message(path) => messages += 1,
            Step::Sync { path, .. } => others.push(file_name(path)),
            Step::SyncDir { path } if is_staging(path) => {}
            // The names of directories are made up.
            Step::SyncDir { .. } => others.push("directory".to_owned()),
            _ => {}
        }
    }
    (messages, others)
}

/// Each message file once, and the same few files whether few messages come or many.
#[test]
fn a_batch_costs_one_sync_for_each_message_and_few_for_all() {
    let (_, few) = durable(&append(3, 1));
    assert_eq!(
        few,
        ["directory", "cyrus.cache", "cyrus.index", "cyrus.index"]
    );
    for new in [2, 7, 8, 40, 600] {
        let (messages, others) = durable(&append(3, new));
        assert_eq!(messages, new as usize);
        assert_eq!(others, few, "{new} new messages");
    }
}

/// The cache records of a few messages are written to the mailbox and nowhere else.
#[test]
fn few_cache_records_are_kept_in_memory() {
    let is_kept =
        |step: &Step| matches!(step, Step::Create { path } if file_name(path) == "caches");
    assert!(!append(3, 7).iter().any(is_kept));
    assert!(append(3, 600).iter().any(is_kept));
}

/// Changed records are protected by a copy while they are overwritten, all of them by one.
#[test]
fn flags_of_many_messages_cost_as_much_as_those_of_a_few() {
    let flags = |old: u32| {
        let steps = steps_of(old, |engine| {
            let records = (1..=old).map(|uid| record(uid, 3, SystemFlags::FLAGGED));
            update(engine, old, 3, records.collect());
        });
        durable(&steps)
    };
    let (messages, few) = flags(20);
    assert_eq!(messages, 0);
    assert_eq!(
        few,
        [
            "cyrus.index.redo.NEW",
            "directory",
            "cyrus.index",
            "cyrus.index"
        ]
    );
    assert_eq!(flags(400), (0, few));
}

/// Files before the records that name them, records before the header that counts them.
#[test]
fn nothing_is_named_before_it_is_durable() {
    let steps = append(3, 40);
    let places = |wanted: &dyn Fn(&Step) -> bool| -> Vec<usize> {
        let found = steps.iter().enumerate().filter(|(_, step)| wanted(step));
        found.map(|(place, _)| place).collect()
    };
    let is = |path: &PathBuf, name: &str| file_name(path) == name;
    let messages = places(&|step| matches!(step, Step::Sync { path, .. } if is_message(path)));
    let directory = places(&|step| matches!(step, Step::SyncDir { path } if !is_staging(path)));
    let cache = places(&|step| matches!(step, Step::Sync { path, .. } if is(path, "cyrus.cache")));
    let records = places(
        &|step| matches!(step, Step::Write { path, offset, .. } if is(path, "cyrus.index") && *offset > 0),
    );
    let synced = places(&|step| matches!(step, Step::Sync { path, .. } if is(path, "cyrus.index")));
    let header = places(
        &|step| matches!(step, Step::Write { path, offset: 0, .. } if is(path, "cyrus.index")),
    );
    let in_order = [messages, directory, cache, records];
    for pair in in_order.windows(2) {
        assert!(pair[0].iter().max() < pair[1].iter().min(), "{in_order:?}");
    }
    let [_, _, _, records] = &in_order;
    assert_eq!((header.len(), synced.len()), (1, 2));
    assert!(records.iter().max() < Some(&synced[0]));
    assert!(synced[0] < header[0] && header[0] < synced[1]);
}

/// What a batch costs does not depend on how much of the mailbox came before it.
#[test]
fn an_update_reads_what_it_is_about() {
    let octets_read = |old: u32| {
        let directory = tempfile::tempdir().unwrap();
        let expunged = |uid: u32, modseq: u64| Record {
            expunged: true,
            ..record(uid, modseq, SystemFlags::empty())
        };
        let mut before = engine(directory.path(), Disk::default());
        let records = (1..=old).map(|uid| expunged(uid, 2));
        update(&mut before, old, 2, records.collect());
        drop(before);
        let recorder = Recorder::new(directory.path()).unwrap();
        let mut engine = engine(directory.path(), Disk::default().recorded_by(&recorder));
        let early = [5, old / 2].map(|uid| expunged(uid, 3));
        let new = (old + 1..=old + 20).map(|uid| expunged(uid, 3));
        update(
            &mut engine,
            old + 20,
            3,
            early.into_iter().chain(new).collect(),
        );
        let steps = recorder.steps();
        let index = steps.iter().find_map(|step| match step {
            Step::Write { path, .. } if file_name(path) == "cyrus.index" => Some(path.clone()),
            _ => None,
        });
        recorder.octets_read(&index.unwrap())
    };
    let (few, many) = (octets_read(2_000), octets_read(16_000));
    assert!(
        few > 0 && many < few + few / 4,
        "{few} octets of 2,000 records, {many} of 16,000"
    );
}
