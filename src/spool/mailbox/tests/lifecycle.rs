//! Making, moving, cleaning and removing mailboxes, with the power cut in between.

use super::power_cut::{content, fill};
use super::*;
use crate::spool::disk::{Recorder, Survival};
use crate::spool::layout::MailboxFile;

fn exclusive<'u>(store: &Store, user: &'u UserLock) -> WritableMailbox<'u> {
    let lock = store.lock(user, LockKind::Exclusive);
    let opened = store.mailboxes.write(store.place.clone(), lock);
    opened.unwrap().unwrap()
}

fn remove(store: &Store) {
    let user = store.user();
    let lock = store.lock(&user, LockKind::Exclusive);
    if let Some(mailbox) = store.mailboxes.write(store.place.clone(), lock).unwrap() {
        drop(mailbox.mark_removed(free_of_charge).unwrap());
    }
    let lock = store.lock(&user, LockKind::Exclusive);
    store.mailboxes.remove_files(&store.place, &lock).unwrap();
}

#[test]
fn a_removed_mailbox_is_gone_at_once_and_can_be_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    fill(&store);
    let user = store.user();
    let lock = store.lock(&user, LockKind::Exclusive);
    let refused = store.mailboxes.remove_files(&store.place, &lock);
    assert!(refused.unwrap_err().to_string().contains("nobody deleted"));
    drop(lock);
    let lock = exclusive(&store, &user)
        .mark_removed(free_of_charge)
        .unwrap();
    drop(lock);
    let lock = store.lock(&user, LockKind::Shared);
    let opened = store.mailboxes.read(store.place.clone(), lock).unwrap();
    assert!(opened.is_none());
    let directory = store.place.paths.data_directory();
    assert!(directory.join("1.").exists());
    let lock = store.lock(&user, LockKind::Exclusive);
    store.mailboxes.remove_files(&store.place, &lock).unwrap();
    drop(lock);
    assert!(!directory.exists());
    assert_eq!(store.create(&user).index_header().record_count, 0);
}

#[test]
fn a_mailbox_is_not_made_over_messages() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    fill(&store);
    let user = store.user();
    let index = store.place.paths.file(MailboxFile::Index);
    for damage in ["nothing", "no index", "bad index"] {
        match damage {
            "no index" => std::fs::rename(&index, dir.path().join("kept")).unwrap(),
            "bad index" => std::fs::write(&index, b"garbage").unwrap(),
            _ => {}
        }
        let lock = store.lock(&user, LockKind::Exclusive);
        let new = NewMailbox {
            version: IndexVersion::CREATED,
            acl: Acl::default(),
            quota_root: None,
            options: MailboxOptions::empty(),
            uid_validity: UidValidity(1),
            highest_modseq: ModSeq(1),
            created_modseq: ModSeq(1),
        };
        let refused = store
            .mailboxes
            .create(store.place.clone(), lock, &new, free_of_charge);
        assert!(refused.is_err(), "{damage}");
        let message = store.place.paths.message(Uid(1));
        assert_eq!(std::fs::read(message).unwrap(), content(1));
    }
    let lock = store.lock(&user, LockKind::Shared);
    let opened = store.mailboxes.read(store.place.clone(), lock);
    assert!(opened.is_err());
}

#[test]
fn locks_that_are_not_strong_enough_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    fill(&store);
    let user = store.user();
    assert!(store.write(&user).mark_removed(free_of_charge).is_err());
    let lock = store.lock(&user, LockKind::Shared);
    assert!(store.mailboxes.remove_files(&store.place, &lock).is_err());
    drop(lock);
    let lock = store.lock(&user, LockKind::Shared);
    assert!(store.mailboxes.clean_up(store.place.clone(), lock).is_err());
    drop(user);
    let name = &store.place.name;
    let reader = store.locks.owner_of(name, LockKind::Shared).unwrap();
    let lock = store.lock(&reader, LockKind::Shared);
    assert!(store.mailboxes.write(store.place.clone(), lock).is_err());
}

/// Whatever a crash while creating or removing leaves, the mailbox can be made, or is there.
#[test]
fn creation_and_removal_survive_every_cut() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::new(dir.path()).unwrap();
    let disk = Disk::default().recorded_by(&recorder);
    let store = Store::on(dir.path(), disk, Removal::Delayed);
    drop(store.create(&store.user()));
    let created = recorder.len();
    fill_existing(&store);
    let filled = recorder.len();
    remove(&store);
    for steps in (0..=created).chain(filled..=recorder.len()) {
        for survival in [Survival::OnlySynced, Survival::Everything] {
            let target = tempfile::tempdir().unwrap();
            recorder.after_cut(steps, survival, target.path()).unwrap();
            let store = Store::new(target.path());
            let user = store.user();
            let lock = store.lock(&user, LockKind::Exclusive);
            match store.mailboxes.write(store.place.clone(), lock) {
                Ok(Some(mailbox)) => {
                    assert_sound(&mailbox);
                    let expected = if steps < filled { 0 } else { 8 };
                    assert_eq!(mailbox.index_header().exists, expected, "{steps}");
                }
                // Marked as removed, or not there yet or any more.
                Ok(None) | Err(_) => drop(store.create(&user)),
            }
        }
    }
}

fn fill_existing(store: &Store) {
    let user = store.user();
    let mailbox = store.write(&user);
    let mut staging = store.staging();
    let mut changes = mailbox.prepare().unwrap();
    (1..=8).for_each(|uid| power_cut::append(&mut changes, &mut staging, uid, 2));
    let prepared = changes.finish().unwrap();
    mailbox
        .commit(prepared, Some(&staging), free_of_charge)
        .unwrap();
}

fn expunge(store: &Store, uids: &[u32]) {
    let user = store.user();
    let mailbox = store.write(&user);
    let mut changes = mailbox.prepare().unwrap();
    for uid in uids {
        let stored = mailbox.find(Uid(*uid)).unwrap().unwrap();
        let state = RecordState {
            expunged: true,
            modseq: ModSeq(u64::from(*uid) + 10),
            ..RecordState::of(&stored.record)
        };
        changes.update(&stored, &state, None).unwrap();
    }
    changes.set_header(&HeaderUpdate {
        highest_modseq: ModSeq(18),
        ..HeaderUpdate::of(&changes.result())
    });
    let prepared = changes.finish().unwrap();
    let (mailbox, _) = mailbox.commit(prepared, None, free_of_charge).unwrap();
    assert!(mailbox.needs_cleanup());
    assert_sound(&mailbox);
}

fn clean_up(store: &Store) -> CleanedUp {
    let user = store.user();
    let lock = store.lock(&user, LockKind::Exclusive);
    let done = store.mailboxes.clean_up(store.place.clone(), lock);
    done.unwrap().unwrap()
}

#[test]
fn files_of_expunged_messages_go_and_records_as_configured() {
    for (mode, removed) in [(Removal::SemiDelayed, 0), (Removal::Immediate, 2)] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::on(dir.path(), Disk::default(), mode);
        fill(&store);
        expunge(&store, &[3, 5]);
        let cleaned = clean_up(&store);
        let unlinked = 2;
        assert_eq!(cleaned, CleanedUp { unlinked, removed });
        assert_eq!(clean_up(&store), CleanedUp::default());
        let user = store.user();
        let mailbox = store.write(&user);
        assert_sound(&mailbox);
        assert!(!mailbox.needs_cleanup());
        assert_eq!(mailbox.records().count(), 8 - removed as usize);
        for uid in 1..=8 {
            let is_there = ![3, 5].contains(&uid);
            let path = store.place.paths.message(Uid(uid));
            assert_eq!(path.exists(), is_there);
            let annotations = mailbox.annotations_of(Uid(uid)).unwrap();
            assert_eq!(annotations.len(), usize::from(is_there));
        }
        let header = mailbox.index_header();
        assert_eq!(header.generation, removed / 2);
        let deleted = if removed > 0 { 15 } else { 0 };
        assert_eq!(header.deleted_modseq, ModSeq(deleted));
    }
}

#[test]
fn a_cleanup_survives_every_cut() {
    for mode in [Removal::SemiDelayed, Removal::Immediate] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::on(dir.path(), Disk::default(), mode);
        fill(&store);
        expunge(&store, &[3, 5]);
        let recorder = Recorder::new(dir.path()).unwrap();
        let disk = Disk::default().recorded_by(&recorder);
        clean_up(&Store::on(dir.path(), disk, mode));
        let tossed = (0..2).map(Survival::Sectors);
        let survivals = [Survival::OnlySynced, Survival::Everything];
        for survival in survivals.into_iter().chain(tossed) {
            for steps in 0..=recorder.len() {
                let target = tempfile::tempdir().unwrap();
                recorder.after_cut(steps, survival, target.path()).unwrap();
                let store = Store::on(target.path(), Disk::default(), mode);
                clean_up(&store);
                let user = store.user();
                let mailbox = store.write(&user);
                assert_sound(&mailbox);
                assert_eq!(mailbox.index_header().exists, 6);
                assert!(!mailbox.needs_cleanup());
                assert!(!store.place.paths.message(Uid(3)).exists());
            }
        }
    }
}

/// The place of the mailbox on another partition.
fn elsewhere(store: &Store) -> MailboxPlace {
    MailboxPlace::new(
        &store.layout,
        store.place.name.clone(),
        store.place.unique_id.clone(),
        store.place.mailbox_type,
        Partition::parse("other").unwrap(),
    )
    .unwrap()
}

fn relocate(store: &Store, root: &Path) {
    let user = store.user();
    let mailbox = exclusive(store, &user);
    let switch = || {
        let file = store.disk.create_new(&root.join("switched"), 0o600)?;
        file.sync_all()?;
        Ok(store.disk.sync_dir(root)?)
    };
    let to = elsewhere(store);
    mailbox
        .relocate(&to, None, None, free_of_charge, switch)
        .unwrap();
}

#[test]
fn a_mailbox_is_always_in_one_of_two_places() {
    let dir = tempfile::tempdir().unwrap();
    fill(&Store::new(dir.path()));
    let recorder = Recorder::new(dir.path()).unwrap();
    let disk = Disk::default().recorded_by(&recorder);
    relocate(&Store::on(dir.path(), disk, Removal::Delayed), dir.path());
    for survival in [Survival::OnlySynced, Survival::Everything] {
        for steps in 0..=recorder.len() {
            let target = tempfile::tempdir().unwrap();
            recorder.after_cut(steps, survival, target.path()).unwrap();
            let mut store = Store::new(target.path());
            if !target.path().join("switched").exists() {
                let user = store.user();
                assert_sound(&store.write(&user));
                drop(user);
                relocate(&store, target.path());
                assert!(!store.place.paths.data_directory().exists());
            }
            store.place = elsewhere(&store);
            let user = store.user();
            let mailbox = store.write(&user);
            assert_sound(&mailbox);
            assert_eq!(mailbox.index_header().exists, 8);
            for uid in 1..=8 {
                let path = store.place.paths.message(Uid(uid));
                assert_eq!(std::fs::read(path).unwrap(), content(uid));
            }
        }
    }
}

#[test]
fn quota_follows_the_mailbox() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    fill(&store);
    let user = store.user();
    let mut charged = Vec::new();
    let mut charge = |root: &QuotaRoot, amounts: Amounts| {
        charged.push((root.to_string(), amounts.messages, amounts.mailboxes));
        Ok(())
    };
    let set_root = |mailbox: &WritableMailbox<'_>, root: &str| {
        let mut changes = mailbox.prepare().unwrap();
        changes.set_quota_root(Some(QuotaRoot::parse(root).unwrap()));
        changes.finish().unwrap()
    };
    let mailbox = exclusive(&store, &user);
    let prepared = set_root(&mailbox, "user.tv");
    let (mailbox, _) = mailbox.commit(prepared, None, &mut charge).unwrap();
    let prepared = set_root(&mailbox, "user");
    let (mailbox, committed) = mailbox.commit(prepared, None, &mut charge).unwrap();
    assert_eq!(committed.charged.len(), 2);
    let first = mailbox.find(Uid(1)).unwrap().unwrap();
    let mut changes = mailbox.prepare().unwrap();
    changes.expunge_silently(&first).unwrap();
    let prepared = changes.finish().unwrap();
    let (mailbox, _) = mailbox.commit(prepared, None, &mut charge).unwrap();
    mailbox.mark_removed(&mut charge).unwrap();
    let expected = [
        ("user.tv", 8, 1),
        ("user.tv", -8, -1),
        ("user", 8, 1),
        ("user", -1, 0),
        ("user", -7, -1),
    ];
    let expected =
        expected.map(|(root, messages, mailboxes)| (root.to_owned(), messages, mailboxes));
    assert_eq!(charged, expected);
}
