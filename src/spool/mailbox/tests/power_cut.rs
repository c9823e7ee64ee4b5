//! The power is cut after every step of a commit; what is on the disk then must be a mailbox.

use super::*;
use crate::mail::FlagName;
use crate::spool::disk::{Recorder, Survival};
use crate::spool::layout::MailboxFile;

const OLD: std::ops::RangeInclusive<u32> = 1..=8;
const NEW: std::ops::RangeInclusive<u32> = 9..=11;

pub fn content(uid: u32) -> Vec<u8> {
    format!("Subject: message {uid}\r\n\r\n{}\r\n", "x".repeat(600)).into_bytes()
}

pub fn append(changes: &mut Preparation<'_, '_>, staging: &mut Staging, uid: u32, modseq: u64) {
    let partition = Partition::parse("default").unwrap();
    let guid = stage(staging, &partition, &content(uid));
    let source = Source::Staged(staging.get(&partition, &guid).unwrap());
    let annotations = [annotation("/comment", "", &format!("note {uid}"))];
    let state = state(modseq, 1000 + uid);
    changes
        .append(Uid(uid), &guid, &state, source, &annotations)
        .unwrap();
}

/// A mailbox with old messages.
pub fn fill(store: &Store) {
    let user = store.user();
    let mailbox = store.create(&user);
    let mut staging = store.staging();
    let mut changes = mailbox.prepare().unwrap();
    OLD.for_each(|uid| append(&mut changes, &mut staging, uid, 2));
    changes.set_header(&HeaderUpdate {
        highest_modseq: ModSeq(2),
        ..HeaderUpdate::of(&changes.result())
    });
    let prepared = changes.finish().unwrap();
    mailbox
        .commit(prepared, Some(&staging), free_of_charge)
        .unwrap();
}

/// Flags, annotations and an expunge on all old messages, and new messages.
fn change(store: &Store) {
    let user = store.user();
    let mailbox = store.write(&user);
    let mut staging = store.staging();
    let mut changes = mailbox.prepare().unwrap();
    let user_flags = changes.user_flags(&[FlagName::parse("new").unwrap()]);
    let user_flags = user_flags.unwrap();
    for stored in mailbox.records() {
        let stored = stored.unwrap();
        let state = RecordState {
            modseq: ModSeq(3),
            user_flags,
            system_flags: SystemFlags::SEEN,
            expunged: stored.record.uid == Uid(7),
            ..RecordState::of(&stored.record)
        };
        let annotations = [annotation("/comment", "tv", "private")];
        changes.update(&stored, &state, Some(&annotations)).unwrap();
    }
    let last_uid = changes.result().last_uid.0;
    NEW.filter(|uid| *uid > last_uid)
        .for_each(|uid| append(&mut changes, &mut staging, uid, 3));
    changes.set_header(&HeaderUpdate {
        highest_modseq: ModSeq(3),
        ..HeaderUpdate::of(&changes.result())
    });
    changes.recalculate(Some(0)).unwrap();
    let prepared = changes.finish().unwrap();
    mailbox
        .commit(prepared, Some(&staging), free_of_charge)
        .unwrap();
}

/// The mailbox holds all old messages, each as it was or as it was to be, and no new message or
/// all of them.
fn assert_all_or_nothing(store: &Store) {
    let user = store.user();
    let mailbox = store.write(&user);
    let records: Result<Vec<StoredRecord>, SpoolError> = mailbox.records().collect();
    let records: Vec<IndexRecord> = records.unwrap().iter().map(|s| s.record).collect();
    let uids: Vec<u32> = records.iter().map(|record| record.uid.0).collect();
    let all: Vec<u32> = OLD.chain(NEW).collect();
    assert!(uids == all || uids == all[..8], "{uids:?}");
    for record in &records {
        let path = mailbox.message_path(record);
        assert_eq!(std::fs::read(&path).unwrap(), content(record.uid.0));
        assert_file_belongs(&mailbox, record, &path);
        let is_changed = OLD.contains(&record.uid.0) && record.modseq == ModSeq(3);
        assert_eq!(is_changed, record.system_flags.contains(SystemFlags::SEEN));
        // A flag that a record has also has a name.
        let flags: Vec<&str> = mailbox.flag_names(record).collect();
        assert_eq!(flags == ["new"], is_changed);
        let texts = mailbox.annotations_of(record.uid).unwrap();
        assert_eq!(texts.len(), 1);
    }
}

#[test]
fn a_commit_is_all_or_nothing_after_every_cut() {
    let dir = tempfile::tempdir().unwrap();
    fill(&Store::new(dir.path()));
    let recorder = Recorder::new(dir.path()).unwrap();
    let disk = Disk::default().recorded_by(&recorder);
    change(&Store::on(dir.path(), disk, Removal::Delayed));
    assert!(recorder.len() > 20);
    let survivals = [Survival::OnlySynced, Survival::Everything];
    let tossed = (0..3).map(Survival::Sectors);
    for survival in survivals.into_iter().chain(tossed) {
        for steps in 0..=recorder.len() {
            let target = tempfile::tempdir().unwrap();
            recorder.after_cut(steps, survival, target.path()).unwrap();
            let store = Store::new(target.path());
            assert_all_or_nothing(&store);
            if survival != Survival::OnlySynced {
                continue;
            }
            // The peer sends the change again, and then all is as it was to be.
            change(&store);
            let user = store.user();
            let mailbox = store.write(&user);
            assert_sound(&mailbox);
            assert_eq!(mailbox.index_header().exists, 10);
            assert_eq!(mailbox.index_header().last_uid, Uid(11));
        }
    }
}

#[test]
fn a_confirmed_commit_survives() {
    let dir = tempfile::tempdir().unwrap();
    fill(&Store::new(dir.path()));
    let recorder = Recorder::new(dir.path()).unwrap();
    let disk = Disk::default().recorded_by(&recorder);
    change(&Store::on(dir.path(), disk, Removal::Delayed));
    let target = tempfile::tempdir().unwrap();
    let steps = recorder.len();
    let only_synced = Survival::OnlySynced;
    recorder
        .after_cut(steps, only_synced, target.path())
        .unwrap();
    let store = Store::new(target.path());
    let user = store.user();
    let mailbox = store.write(&user);
    assert_sound(&mailbox);
    assert_eq!(mailbox.index_header().highest_modseq, ModSeq(3));
    let index = store.place.paths.file(MailboxFile::Index);
    assert!(index.starts_with(target.path()));
}

/// A torn record is mended; one that somebody changed after the crash stays.
#[test]
fn only_torn_records_are_mended() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    fill(&store);
    let before = store.index_file();
    let redo = dir.path().join("kept");
    let recorder = Recorder::new(dir.path()).unwrap();
    let disk = Disk::default().recorded_by(&recorder);
    change(&Store::on(dir.path(), disk, Removal::Delayed));
    let replaced = recorder.steps().iter().position(|step| {
        matches!(step, crate::spool::disk::Step::Rename { to, .. }
            if to.ends_with("cyrus.index.redo"))
    });
    let cut = replaced.unwrap() + 1;
    recorder
        .after_cut(cut, Survival::Everything, &redo)
        .unwrap();
    let crashed = Store::new(&redo);
    let index = crashed.place.paths.file(MailboxFile::Index);
    assert_eq!(std::fs::read(&index).unwrap(), before);
    // Records 3 and 7 span sectors; 3 is torn, 7 has been changed since, and so has 0.
    let offset = |number: usize| 160 + 112 * number;
    let after = store.index_file();
    let mut torn = before.clone();
    torn[512..offset(4)].copy_from_slice(&after[512..offset(4)]);
    std::fs::write(&index, &torn).unwrap();
    let user = crashed.user();
    let lock = crashed.lock(&user, LockKind::Shared);
    let opened = crashed.mailboxes.read(crashed.place.clone(), lock);
    let mailbox = opened.unwrap().unwrap();
    let changed: Vec<u32> = mailbox
        .records()
        .map(|stored| stored.unwrap().record)
        .filter(|record| record.modseq == ModSeq(3))
        .map(|record| record.uid.0)
        .collect();
    assert_eq!(changed, [4]);
    assert!(!index.with_file_name("cyrus.index.redo").exists());
}
