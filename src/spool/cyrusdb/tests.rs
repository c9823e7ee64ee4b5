//! Tests that every backend has to pass.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::spool::disk::{Recorder, Survival};

/// A directory in memory, if there is such a place: these tests sync a great deal, and what a
/// sync is worth is the recorder's affair.
pub(super) fn scratch_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

type Content = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Clone, Debug)]
enum Change {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
}

#[derive(Clone, Debug)]
struct Step {
    changes: Vec<Change>,
    end: End,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Commit,
    Abort,
    CommitAndReopen,
    CommitAndRepack,
}

fn any_key() -> impl Strategy<Value = Vec<u8>> {
    let letters = prop::sample::select(b"ab.\x1f\x80\xff\t\n\0".to_vec());
    vec(letters, 1..5)
}

fn any_value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => vec(any::<u8>(), 0..20),
        1 => (any::<u8>(), 0..9000usize).prop_map(|(byte, length)| vec![byte; length]),
    ]
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (any_key(), any_value()).prop_map(|(key, value)| Change::Put(key, value)),
        2 => any_key().prop_map(Change::Delete),
    ]
}

fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    let end = prop_oneof![
        5 => Just(End::Commit),
        2 => Just(End::Abort),
        2 => Just(End::CommitAndReopen),
        1 => Just(End::CommitAndRepack),
    ];
    let step = (vec(any_change(), 0..12), end).prop_map(|(changes, end)| Step { changes, end });
    vec(step, 1..12)
}

fn open(disk: &Disk, path: &Path, backend: Backend) -> Db {
    Db::open(disk, path, backend, Create::Yes).unwrap().unwrap()
}

fn content(db: &mut Db) -> Result<Content, DbError> {
    let mut all = Content::new();
    let scanned = db.scan(b"", |key, value| {
        assert!(
            all.insert(key.to_owned(), value.to_owned()).is_none(),
            "seen twice"
        );
        ControlFlow::<()>::Continue(())
    })?;
    assert!(scanned.is_none());
    Ok(all)
}

fn apply(transaction: &mut Transaction<'_>, changes: &[Change], expected: &mut Content) {
    for change in changes {
        match change {
            Change::Put(key, value) => {
                transaction.put(key, value).unwrap();
                expected.insert(key.clone(), value.clone());
                assert_eq!(transaction.get(key).unwrap().as_ref(), Some(value));
            }
            Change::Delete(key) => {
                let was_there = expected.remove(key).is_some();
                assert_eq!(transaction.delete(key).unwrap(), was_there);
                assert_eq!(transaction.get(key).unwrap(), None);
            }
        }
    }
}

/// Runs `steps`, comparing with a map after each; calls `committed` with the number of disk
/// changes so far and the content, after every commit.
fn run(
    disk: &Disk,
    path: &Path,
    backend: Backend,
    steps: &[Step],
    mut committed: impl FnMut(&Content),
) {
    let mut db = open(disk, path, backend);
    let mut expected = Content::new();
    committed(&expected);
    for Step { changes, end } in steps {
        let mut changed = expected.clone();
        let mut transaction = db.begin(disk.lock_deadline()).unwrap();
        apply(&mut transaction, changes, &mut changed);
        let mut seen = Content::new();
        let scanned = transaction.scan(b"", |key, value| {
            seen.insert(key.to_owned(), value.to_owned());
            ControlFlow::<()>::Continue(())
        });
        assert!(scanned.unwrap().is_none());
        assert_eq!(seen, changed);
        match end {
            End::Abort => drop(transaction),
            _ => {
                transaction.commit().unwrap();
                expected = changed;
                committed(&expected);
            }
        }
        match end {
            End::CommitAndReopen => db = open(disk, path, backend),
            End::CommitAndRepack => db.repack().unwrap(),
            End::Commit | End::Abort => {}
        }
        db.check().unwrap();
        assert_eq!(content(&mut db).unwrap(), expected);
        for (key, value) in &expected {
            assert_eq!(db.get(key).unwrap().as_ref(), Some(value));
        }
    }
}

fn is_a_map(backend: Backend, steps: &[Step]) {
    let dir = scratch_dir();
    let path = dir.path().join("x.db");
    run(&Disk::default(), &path, backend, steps, |_| {});
}

/// Cuts the power after every change of the disk.
fn survives_cuts(backend: Backend, steps: &[Step], seed: u64) {
    let dir = scratch_dir();
    let recorder = Recorder::new(dir.path()).unwrap();
    let recorded = Disk::default().recorded_by(&recorder);
    let mut states = Vec::new();
    let path = dir.path().join("x.db");
    run(&recorded, &path, backend, steps, |content| {
        states.push((recorder.len(), content.clone()));
    });
    let disk = Disk::default();
    for cut in 0..=recorder.len() {
        for survival in [
            Survival::OnlySynced,
            Survival::Everything,
            Survival::Sectors(seed),
            Survival::Sectors(!seed),
        ] {
            let target = scratch_dir();
            recorder.after_cut(cut, survival, target.path()).unwrap();
            let backend = match (backend, survival) {
                // The death of a process loses nothing, and leaves no stamp.
                (_, Survival::Everything) => backend,
                (Backend::Skiplist { .. }, _) => RECOVERED_SKIPLIST,
                _ => backend,
            };
            let mut db = open(&disk, &target.path().join("x.db"), backend);
            db.check().unwrap();
            let found = content(&mut db).unwrap();
            let next = states.partition_point(|(length, _)| *length <= cut);
            let before = next.checked_sub(1).map(|index| &states[index].1);
            let after = states.get(next).map(|(_, content)| content);
            assert!(
                before == Some(&found)
                    || after == Some(&found)
                    || before.is_none() && found.is_empty(),
                "cut {cut}, {survival:?}: {found:?} is neither {before:?} nor {after:?}"
            );
        }
    }
}

/// Does everything with a file in which octets were changed; nothing may be worse than an error.
fn bears_damage(backend: Backend, steps: &[Step], damages: &[Damage]) {
    let dir = scratch_dir();
    let path = dir.path().join("x.db");
    let disk = Disk::default();
    run(&disk, &path, backend, steps, |_| {});
    let mut octets = std::fs::read(&path).unwrap();
    for damage in damages {
        match damage {
            Damage::Octet(at, octet) => {
                let length = octets.len().max(1);
                if let Some(found) = octets.get_mut(at % length) {
                    *found = *octet;
                }
            }
            Damage::Word(at, word) => {
                let words = (octets.len() / 4).max(1);
                if let Some(found) = octets.chunks_exact_mut(4).nth(at % words) {
                    found.copy_from_slice(&word.to_be_bytes());
                }
            }
            Damage::Cut(at) => octets.truncate(at % (octets.len() + 1)),
        }
    }
    std::fs::write(&path, &octets).unwrap();
    let Ok(Some(mut db)) = Db::open(&disk, &path, backend, Create::Yes) else {
        return;
    };
    let _ = db.check();
    let _ = content(&mut db);
    let _ = db.get(b"a");
    let changed = db.begin(disk.lock_deadline()).and_then(|mut transaction| {
        transaction.put(b"aa", b"new")?;
        transaction.delete(b"b")?;
        transaction.commit()
    });
    if changed.is_ok() {
        let _ = db.get(b"aa");
    }
    let _ = db.repack();
}

#[derive(Clone, Debug)]
enum Damage {
    Octet(usize, u8),
    Word(usize, u32),
    Cut(usize),
}

fn any_damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => any::<(usize, u8)>().prop_map(|(at, octet)| Damage::Octet(at, octet)),
        4 => (any::<usize>(), 0..2000u32).prop_map(|(at, word)| Damage::Word(at, word * 4)),
        1 => any::<usize>().prop_map(Damage::Cut),
    ]
}

const SKIPLIST: Backend = Backend::Skiplist {
    recovered_since: UnixTime(0),
};
const RECOVERED_SKIPLIST: Backend = Backend::Skiplist {
    recovered_since: UnixTime(u32::MAX),
};

macro_rules! tests_of {
    ($module:ident, $backend:expr) => {
        mod $module {
            use super::*;

            proptest! {
                #![proptest_config(ProptestConfig::with_cases(256))]

                #[test]
                fn is_a_map(steps in any_steps()) {
                    super::is_a_map($backend, &steps);
                }

                #[test]
                fn bears_damage(steps in any_steps(), damages in vec(any_damage(), 1..8)) {
                    super::bears_damage($backend, &steps, &damages);
                }
            }

            proptest! {
                #![proptest_config(ProptestConfig::with_cases(16))]

                #[test]
                fn survives_cuts(steps in any_steps(), seed: u64) {
                    super::survives_cuts($backend, &steps, seed);
                }
            }
        }
    };
}

tests_of!(twoskip_files, Backend::Twoskip);
tests_of!(skiplist_files, SKIPLIST);
tests_of!(recovered_skiplist_files, RECOVERED_SKIPLIST);
tests_of!(flat_files, Backend::Flat);

const QUOTA: Backend = Backend::QuotaLegacy {
    full_hash: false,
    virtual_domains: true,
};

/// Turns the keys and values of `steps` into quota roots and values.
fn of_roots(steps: Vec<Step>) -> Vec<Step> {
    let root = |key: Vec<u8>| {
        let letters = key.iter().map(|octet| char::from(b'a' + octet % 16));
        let name: String = letters.collect();
        let domain = if key.len().is_multiple_of(2) {
            "x.org!"
        } else {
            ""
        };
        let name = if key.len() == 4 { String::new() } else { name };
        format!("{domain}user.{name}").into_bytes()
    };
    let change = |change| match change {
        Change::Put(key, value) => Change::Put(root(key), [b"%".as_slice(), &value].concat()),
        Change::Delete(key) => Change::Delete(root(key)),
    };
    let step = |step: Step| Step {
        changes: step.changes.into_iter().map(change).collect(),
        end: step.end,
    };
    steps.into_iter().map(step).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn quota_files_are_a_map(steps in any_steps()) {
        is_a_map(QUOTA, &of_roots(steps));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Each root is changed by itself, so there is one change to a transaction here.
    #[test]
    fn quota_files_survive_cuts(steps in any_steps(), seed: u64) {
        let mut steps = of_roots(steps);
        for step in &mut steps {
            step.changes.truncate(1);
        }
        survives_cuts(QUOTA, &steps, seed);
    }
}

#[test]
fn a_file_is_opened_as_what_it_is() {
    let dir = scratch_dir();
    let path = dir.path().join("x.db");
    let disk = Disk::default();
    for (written, asked) in [
        (Backend::Twoskip, Backend::Flat),
        (Backend::Twoskip, SKIPLIST),
        (SKIPLIST, Backend::Twoskip),
        (SKIPLIST, Backend::Flat),
    ] {
        disk.unlink(&path).unwrap();
        let mut db = open(&disk, &path, written);
        let mut transaction = db.begin(disk.lock_deadline()).unwrap();
        transaction.put(b"key", b"value").unwrap();
        transaction.commit().unwrap();
        let mut db = open(&disk, &path, asked);
        assert_eq!(db.get(b"key").unwrap().unwrap(), b"value");
        let is = std::mem::discriminant(&db.backend());
        assert_eq!(is, std::mem::discriminant(&written));
    }
    std::fs::write(&path, b"\xa1\x02\x8b\x0dtwomfile\0\0\0\0").unwrap();
    let error = Db::open(&disk, &path, Backend::Twoskip, Create::Yes).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("is a database of the unknown kind \"twomfile\"")
    );
}

#[test]
fn what_does_not_exist_is_created_on_demand_only() {
    let dir = scratch_dir();
    let disk = Disk::default();
    for backend in [Backend::Twoskip, SKIPLIST, Backend::Flat, QUOTA] {
        let path = dir.path().join(format!("{backend:?}/x.db"));
        assert!(
            Db::open(&disk, &path, backend, Create::No)
                .unwrap()
                .is_none()
        );
        assert!(disk.status(path.parent().unwrap()).unwrap().is_none());
        open(&disk, &path, backend);
        let mut db = Db::open(&disk, &path, backend, Create::No)
            .unwrap()
            .unwrap();
        assert!(content(&mut db).unwrap().is_empty());
    }
}

#[test]
fn the_stamp_of_skiplist_files() {
    let dir = scratch_dir();
    let disk = Disk::default();
    let stamp = |disk| skiplist_stamp(disk, dir.path()).unwrap();
    assert_eq!(stamp(&disk), UnixTime(u32::MAX));
    std::fs::create_dir(dir.path().join("db")).unwrap();
    std::fs::write(dir.path().join("db/skipstamp"), [0, 0, 1, 2]).unwrap();
    assert_eq!(stamp(&disk), UnixTime(258));
}

/// Each pair is told once, with what it was wanted for, also where one stretch is not enough.
#[test]
fn several_things_are_read_at_once() {
    let dir = scratch_dir();
    let disk = Disk::default();
    let backends = [Backend::Twoskip, SKIPLIST, Backend::Flat, QUOTA];
    for (number, backend) in backends.into_iter().enumerate() {
        let path = dir.path().join(format!("{number}/x.db"));
        let mut db = open(&disk, &path, backend);
        let mut transaction = db.begin(disk.lock_deadline()).unwrap();
        for number in 0..600 {
            let key = format!("user.{}.{number:03}", ["a", "b"][number % 2]);
            transaction.put(key.as_bytes(), b"(1)").unwrap();
        }
        transaction.commit().unwrap();
        let wanted = [
            Wanted::Key(b"user.b.001"),
            Wanted::Prefix(b"user.b."),
            Wanted::Key(b"user.b"),
            Wanted::Prefix(b"user.a.00"),
            Wanted::Prefix(b"user.c"),
        ];
        let mut told: Vec<Vec<String>> = vec![Vec::new(); wanted.len()];
        let ended = db.scan_all(&wanted, |index, key, _| {
            told[index].push(String::from_utf8_lossy(key).into_owned());
            ControlFlow::<()>::Continue(())
        });
        assert_eq!(ended.unwrap(), None);
        let odd: Vec<String> = (1..600)
            .step_by(2)
            .map(|n| format!("user.b.{n:03}"))
            .collect();
        let small: Vec<String> = (0..10)
            .step_by(2)
            .map(|n| format!("user.a.{n:03}"))
            .collect();
        assert_eq!(told, [vec![odd[0].clone()], odd, vec![], small, vec![]]);
        let stopped = db.scan_all(&wanted, |index, _, _| ControlFlow::Break(index));
        assert_eq!(stopped.unwrap(), Some(0));
    }
}

/// Sessions of one process exclude each other, and a scan sees no half of a transaction's pair.
#[test]
fn sessions_work_side_by_side() {
    let dir = scratch_dir();
    let disk = Disk::default();
    for backend in [Backend::Twoskip, SKIPLIST, Backend::Flat] {
        let path = dir.path().join(format!("{backend:?}.db"));
        open(&disk, &path, backend);
        let count = |db: &mut Db, key: &[u8]| {
            let value = db.get(key).unwrap().unwrap_or_default();
            String::from_utf8(value)
                .unwrap()
                .parse::<u32>()
                .unwrap_or(0)
        };
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut db = open(&disk, &path, backend);
                    for _ in 0..20 {
                        let mut transaction = db.begin(disk.lock_deadline()).unwrap();
                        let old = transaction.get(b"a").unwrap().unwrap_or_default();
                        let old = String::from_utf8(old).unwrap().parse::<u32>().unwrap_or(0);
                        let new = (old + 1).to_string();
                        transaction.put(b"a", new.as_bytes()).unwrap();
                        transaction.put(b"b", new.as_bytes()).unwrap();
                        transaction.commit().unwrap();
                    }
                });
            }
            scope.spawn(|| {
                let mut db = open(&disk, &path, backend);
                for _ in 0..100 {
                    let content = content(&mut db).unwrap();
                    assert_eq!(content.get(b"a".as_slice()), content.get(b"b".as_slice()));
                }
            });
        });
        let mut db = open(&disk, &path, backend);
        assert_eq!(count(&mut db, b"a"), 60);
        db.check().unwrap();
    }
}

#[test]
fn what_everything_depends_on_does_not_begin_anew() {
    let directory = scratch_dir();
    let disk = Disk::default();
    let recovered_since = UnixTime(u32::MAX);
    for backend in [Backend::Twoskip, Backend::Skiplist { recovered_since }] {
        let path = directory.path().join("vital.db");
        let mut db = Db::open_vital(&disk, &path, backend).unwrap();
        let mut transaction = db.begin(disk.lock_deadline()).unwrap();
        transaction.put(b"key", b"value").unwrap();
        transaction.commit().unwrap();
        let mut db = Db::open_vital(&disk, &path, backend).unwrap();
        assert_eq!(db.get(b"key").unwrap().unwrap(), b"value");

        std::fs::write(&path, "").unwrap();
        let error = Db::open_vital(&disk, &path, backend).unwrap_err();
        let expected = format!(
            "{} is damaged at offset 0: the file is empty",
            path.display()
        );
        assert_eq!(error.to_string(), expected);
        assert_eq!(std::fs::read(&path).unwrap(), b"");
        // Whoever has just made the file may still fill it.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(TIME_TO_FILL / 10);
                Db::open(&disk, &path, backend, Create::Yes).unwrap();
            });
            Db::open_vital(&disk, &path, backend).unwrap();
        });
        std::fs::remove_file(&path).unwrap();
    }
}
