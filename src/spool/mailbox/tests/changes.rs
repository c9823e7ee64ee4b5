//! Changes, and what they leave on the disk.

use super::*;
use crate::mail::{ConversationId, FlagName};
use crate::spool::disk::Recorder;
use crate::spool::layout::MailboxFile;
use crate::spool::mailbox::test_vectors::{
    HEADER_LINE, INDEX_HEADER, INDEX_RECORD, cache_record, message, unhex,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn flag(name: &str) -> FlagName {
    FlagName::parse(name).unwrap()
}

/// The message of the vector becomes what 3.6.1 made of it, octet by octet.
#[test]
fn a_new_mailbox_with_a_message_is_that_of_the_original() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    let user = store.user();
    let mailbox = store.create(&user);
    let mut staging = store.staging();
    let guid = stage(&mut staging, &store.place.partition, &message());
    let mut changes = mailbox.prepare().unwrap();
    let time = UnixTime(0x6b02_9e61);
    let vector = RecordState {
        modseq: ModSeq(2),
        last_updated: time,
        internal_date: UnixTime(1_772_452_800),
        system_flags: SystemFlags::SEEN,
        user_flags: changes.user_flags(&[flag("foo")]).unwrap(),
        save_date: time,
        created_modseq: ModSeq(2),
        ..state(2, 0)
    };
    let source = Source::Staged(staging.get(&store.place.partition, &guid).unwrap());
    changes.append(Uid(1), &guid, &vector, source, &[]).unwrap();
    changes.set_header(&HeaderUpdate {
        last_append_date: time,
        highest_modseq: ModSeq(2),
        recent_uid: Uid(0),
        ..HeaderUpdate::of(&changes.result())
    });
    let prepared = changes.finish().unwrap();
    let (_, committed) = mailbox
        .commit(prepared, Some(&staging), free_of_charge)
        .unwrap();
    assert_eq!((committed.appended, committed.updated), (1, 0));

    let read = |file| std::fs::read(store.place.paths.file(file)).unwrap();
    assert!(read(MailboxFile::Header).ends_with(HEADER_LINE.as_bytes()));
    assert_eq!(read(MailboxFile::Cache)[4..], cache_record());
    let index = store.index_file();
    assert_eq!(index[160..], unhex(INDEX_RECORD));
    let vector = IndexHeader::decode(&unhex(INDEX_HEADER)).unwrap();
    let header = IndexHeader::decode(&index).unwrap();
    assert_eq!(
        IndexHeader {
            // The clock of the vector.
            changes_epoch: vector.changes_epoch,
            ..header
        },
        vector
    );
    let path = store.place.paths.message(Uid(1));
    assert_eq!(std::fs::read(&path).unwrap(), message());
    let modified = std::fs::metadata(path).unwrap().modified().unwrap();
    let since = modified.duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(since.as_secs(), 1_772_452_800);
}

/// One change of a random history.
#[derive(Clone, Debug)]
enum Change {
    Append {
        state: RecordState,
        annotations: Vec<Annotation>,
        gap: u32,
        has_file: bool,
    },
    Update {
        place: usize,
        state: RecordState,
        annotations: Option<Vec<Annotation>>,
    },
}

fn any_annotations() -> impl Strategy<Value = Vec<Annotation>> {
    let one = (
        "/[ab]|/vendor/cmu/cyrus-imapd/snoozed",
        "|tv|bob",
        "|x|yy|z{300}",
    );
    vec(
        one.prop_map(|(entry, user, value)| annotation(&entry, &user, &value)),
        0..4,
    )
}

prop_compose! {
    fn any_state()(
        modseq in 1u64..50,
        time in 1u32..2_000_000_000,
        system in 0u32..32,
        slots in vec(0usize..3, 0..3),
        expunged in proptest::bool::weighted(0.3),
        conversation in prop_oneof![Just(0u64), any::<u64>()],
        save_date in prop_oneof![Just(0u32), any::<u32>()],
    ) -> RecordState {
        let mut user_flags = UserFlags::default();
        slots.into_iter().for_each(|slot| user_flags.insert(slot));
        RecordState {
            system_flags: SystemFlags::from_bits_retain(system),
            user_flags,
            expunged,
            conversation: ConversationId(conversation),
            save_date: UnixTime(save_date),
            ..state(modseq, time)
        }
    }
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any_state(), any_annotations(), 0u32..3, any::<bool>()).prop_map(
            |(state, annotations, gap, has_file)| Change::Append {
                state,
                annotations,
                gap,
                has_file
            }
        ),
        (0usize..20, any_state(), option::of(any_annotations())).prop_map(
            |(place, state, annotations)| Change::Update {
                place,
                state,
                annotations
            }
        ),
    ]
}

fn versions() -> impl Strategy<Value = IndexVersion> {
    (12u32..=19).prop_map(|number| IndexVersion::from_number(number).unwrap())
}

fn removals() -> impl Strategy<Value = Removal> {
    prop_oneof![
        Just(Removal::Delayed),
        Just(Removal::SemiDelayed),
        Just(Removal::Immediate)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// After every commit the counters and CRCs are those that the records and annotations give.
    #[test]
    fn incremental_sums_equal_recomputed_ones(
        version in versions(),
        expunge_mode in removals(),
        history in vec(vec(any_change(), 1..6), 1..5),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::on(dir.path(), Disk::default(), expunge_mode);
        let user = store.user();
        drop(store.create_version(&user, version));
        let mut staging = store.staging();
        let mut content = 0u64;
        for batch in history {
            let mailbox = store.write(&user);
            let mut changes = mailbox.prepare().unwrap();
            changes.user_flags(&[flag("a"), flag("B"), flag("$c")]).unwrap();
            let mut next_number = 0;
            for change in batch {
                match change {
                    Change::Append { state, annotations, gap, has_file } => {
                        let uid = Uid(changes.result().last_uid.0 + 1 + gap);
                        content += 1;
                        let text = format!("Subject: {content}\r\n\r\n{content}\r\n");
                        let guid = stage(&mut staging, &store.place.partition, text.as_bytes());
                        let source = match has_file || !state.expunged {
                            true => Source::Staged(
                                staging.get(&store.place.partition, &guid).unwrap(),
                            ),
                            false => Source::NoFile { size: 77 },
                        };
                        changes.append(uid, &guid, &state, source, &annotations).unwrap();
                    }
                    Change::Update { place, state, annotations } => {
                        let wanted = next_number + place / 4;
                        let mut live = mailbox.records().map(Result::unwrap);
                        let Some(found) =
                            live.find(|r| r.record.is_live() && r.number as usize >= wanted)
                        else {
                            continue;
                        };
                        changes.update(&found, &state, annotations.as_deref()).unwrap();
                        next_number = found.number as usize + 1;
                    }
                }
            }
            let incremental = changes.result();
            changes.recalculate(Some(0)).unwrap();
            prop_assert_eq!(&changes.result(), &incremental);
            let prepared = changes.finish().unwrap();
            let (mailbox, _) = mailbox.commit(prepared, Some(&staging), free_of_charge).unwrap();
            let kept = mailbox.index_header().clone();
            drop(mailbox);
            let mailbox = store.write(&user);
            assert_sound(&mailbox);
            let stored = mailbox.index_header();
            prop_assert_eq!((stored.record_count, stored.last_uid), (kept.record_count, kept.last_uid));
        }
    }
}

#[test]
fn refused_changes_leave_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    let user = store.user();
    let mailbox = store.create(&user);
    let mut staging = store.staging();
    let guid = stage(
        &mut staging,
        &store.place.partition,
        b"Subject: x\r\n\r\nx\r\n",
    );
    let partition = &store.place.partition;
    let mut changes = mailbox.prepare().unwrap();
    let staged = || Source::Staged(staging.get(partition, &guid).unwrap());
    let other = Guid::from_bytes([7; 20]);
    let live = state(5, 100);
    let gone = RecordState {
        expunged: true,
        ..live
    };
    let no_file = Source::NoFile { size: 9 };
    changes.append(Uid(4), &guid, &live, staged(), &[]).unwrap();
    changes.append(Uid(5), &other, &gone, no_file, &[]).unwrap();
    let refused = [
        (Uid(5), guid, live, staged()),
        (Uid(6), other, live, staged()),
        (Uid(6), other, live, no_file),
    ];
    for (uid, guid, state, source) in refused {
        let before = changes.result();
        assert!(changes.append(uid, &guid, &state, source, &[]).is_err());
        assert_eq!(changes.result(), before);
    }
    let prepared = changes.finish().unwrap();
    let index_before = store.index_file();
    let (mailbox, committed) = mailbox
        .commit(prepared, Some(&staging), free_of_charge)
        .unwrap();
    assert_ne!(store.index_file(), index_before);
    assert_eq!((committed.appended, committed.updated), (2, 0));
    assert_sound(&mailbox);

    let expunged = mailbox.find(Uid(5)).unwrap().unwrap();
    assert!(!expunged.record.has_file());
    let mut changes = mailbox.prepare().unwrap();
    let refused = changes.update(&expunged, &live, None).unwrap_err();
    assert!(refused.to_string().contains("uid 5 is expunged"));
    let stale = mailbox.prepare().unwrap().finish().unwrap();
    let generation = mailbox.index_header().generation;
    let first = mailbox.find(Uid(4)).unwrap().unwrap();
    let mut changes = mailbox.prepare().unwrap();
    changes.expunge_silently(&first).unwrap();
    assert!(changes.expunge_silently(&first).is_err());
    let prepared = changes.finish().unwrap();
    let (mailbox, committed) = mailbox.commit(prepared, None, free_of_charge).unwrap();
    assert_eq!((committed.appended, committed.updated), (0, 1));
    assert_eq!(mailbox.index_header().exists, 0);
    assert_eq!(mailbox.index_header().generation, generation + 1);
    assert_eq!(
        mailbox.find(Uid(4)).unwrap().unwrap().record.modseq,
        ModSeq(5)
    );
    assert_sound(&mailbox);
    let error = mailbox.commit(stale, None, free_of_charge).unwrap_err();
    assert!(error.to_string().contains("not prepared for this mailbox"));
}

/// Adds records of expunged messages without files, whose sizes are their UIDs.
fn of_expunged(
    mailbox: WritableMailbox<'_>,
    uids: impl Iterator<Item = u32>,
) -> WritableMailbox<'_> {
    let mut changes = mailbox.prepare().unwrap();
    let gone = RecordState {
        expunged: true,
        ..state(2, 100)
    };
    let guid = Guid::from_bytes([1; 20]);
    for uid in uids {
        let source = Source::NoFile { size: uid };
        changes.append(Uid(uid), &guid, &gone, source, &[]).unwrap();
    }
    let prepared = changes.finish().unwrap();
    mailbox.commit(prepared, None, free_of_charge).unwrap().0
}

#[test]
fn records_are_found_by_uid() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    let user = store.user();
    let mailbox = of_expunged(store.create(&user), (3..4000).step_by(3));
    assert_eq!(mailbox.records().count(), 1333);
    for uid in [3, 6, 1536, 1539, 3999] {
        assert_eq!(mailbox.find(Uid(uid)).unwrap().unwrap().record.size, uid);
    }
    for uid in [0, 1, 4, 4000, u32::MAX] {
        assert!(mailbox.find(Uid(uid)).unwrap().is_none(), "{uid}");
    }
    let after = mailbox.records_after(Uid(3990)).unwrap();
    let uids: Vec<u32> = after.map(|stored| stored.unwrap().record.uid.0).collect();
    assert_eq!(uids, [3993, 3996, 3999]);
}

/// A mailbox of 5,000 records with the UIDs 3, 6, 9, ..., of which some slots are wiped, and all
/// from number `end` on.
fn sparse(store: &Store, end: usize) {
    let user = store.user();
    let mailbox = of_expunged(store.create(&user), (1..=5000).map(|number| number * 3));
    let version = mailbox.index_header().version;
    let (header, size) = (version.header_size(), version.record_size());
    let mut wiped = Vec::new();
    IndexRecord::default().encode(version, &mut wiped);
    let is_wiped = |number: &usize| {
        number % 7 == 3 || (1000..1100).contains(number) || (end..5000).contains(number)
    };
    for number in (0..5000).filter(is_wiped) {
        let offset = (header + number * size) as u64;
        mailbox.index.write_at(offset, &wiped).unwrap();
    }
}

#[test]
fn some_records_are_found_as_by_reading_all() {
    for end in [5000, 4990, 4900] {
        found_as_by_reading_all(end);
    }
}

fn found_as_by_reading_all(end: usize) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    sparse(&store, end);
    let user = store.user();
    let mailbox = store.write(&user);
    let all: Vec<Uid> = mailbox
        .records()
        .map(|stored| stored.unwrap().record.uid)
        .collect();
    for (first, step) in [
        (0, 1),
        (1, 2),
        (2, 199),
        (900, 31),
        (3000, 3),
        (2990, 70),
        (14_900, 1),
        (0, 14_999),
    ] {
        let wanted: Vec<Uid> = (first..16_000).step_by(step).map(Uid).collect();
        let expected: Vec<Uid> = all
            .iter()
            .copied()
            .filter(|uid| wanted.binary_search(uid).is_ok())
            .collect();
        let found = mailbox.records_of(wanted.iter().copied());
        let found: Vec<Uid> = found.map(|stored| stored.unwrap().record.uid).collect();
        assert_eq!(found, expected, "every {step}th from {first} on, {end}");
    }
    for uid in [
        0, 1, 9, 10, 2999, 3000, 3299, 3300, 3301, 14_900, 14_930, 14_999, 15_000,
    ] {
        let expected = all.iter().filter(|found| **found > Uid(uid)).count();
        assert_eq!(
            mailbox.records_after(Uid(uid)).unwrap().count(),
            expected,
            "after {uid}"
        );
    }
}

#[test]
fn few_records_of_many_are_found_without_reading_all() {
    let dir = tempfile::tempdir().unwrap();
    sparse(&Store::new(dir.path()), 5000);
    let recorder = Recorder::new(dir.path()).unwrap();
    let store = Store::on(
        dir.path(),
        Disk::default().recorded_by(&recorder),
        Removal::Delayed,
    );
    let user = store.user();
    let mailbox = store.write(&user);
    let index = store.place.paths.file(MailboxFile::Index);
    let whole = mailbox.index.len().unwrap();
    let read = |use_it: &dyn Fn() -> usize| {
        let before = recorder.octets_read(&index);
        let count = use_it();
        (count, recorder.octets_read(&index) - before)
    };
    let (count, octets) = read(&|| mailbox.records().count());
    assert_eq!(
        octets,
        whole - mailbox.index_header().version.header_size() as u64
    );
    assert!(count > 4000);
    let some = [30, 9003, 9006, 14_700].map(Uid);
    let (count, octets) = read(&|| mailbox.records_of(some.into_iter()).count());
    assert_eq!(count, 4);
    assert!(octets < whole / 10, "{octets} octets of {whole}");
    let (count, octets) = read(&|| mailbox.records_after(Uid(14_990)).unwrap().count());
    assert!(
        count > 1 && octets < whole / 100,
        "{octets} octets of {whole}"
    );
    // The same number of records costs about the same wherever they are, together or apart.
    let (_, together) = read(&|| mailbox.records_of((12_000..13_500).map(Uid)).count());
    assert!(together < whole / 5, "{together} octets of {whole}");
    let (_, apart) = read(&|| {
        mailbox
            .records_of((0..15_000).step_by(300).map(Uid))
            .count()
    });
    assert!(apart < whole / 5, "{apart} octets of {whole}");
}

#[test]
fn a_commit_that_fails_leaves_index_and_messages_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    let user = store.user();
    let mailbox = store.create(&user);
    let mut staging = store.staging();
    let guid = stage(&mut staging, &store.place.partition, &message());
    let before = store.index_file();
    let mut changes = mailbox.prepare().unwrap();
    let source = Source::Staged(staging.get(&store.place.partition, &guid).unwrap());
    let live = state(2, 100);
    changes.append(Uid(1), &guid, &live, source, &[]).unwrap();
    let root = QuotaRoot::of_mailbox(&store.place.name);
    changes.set_quota_root(Some(root));
    let prepared = changes.finish().unwrap();
    let refuse = |_: &QuotaRoot, _| Err(SpoolError::corrupt(dir.path(), 0, "no quota"));
    let error = mailbox
        .commit(prepared, Some(&staging), refuse)
        .unwrap_err();
    assert!(error.to_string().starts_with("mailbox user.tv: "));
    assert_eq!(store.index_file(), before);
    assert!(!store.place.paths.message(Uid(1)).exists());
    assert_sound(&store.write(&user));
}
