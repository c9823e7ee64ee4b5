//! Tests that every backend has to pass.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::spool::disk::{Recorder, Survival};

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
    let dir = tempfile::tempdir().unwrap();
    run(
        &Disk::default(),
        &dir.path().join("x.db"),
        backend,
        steps,
        |_| {},
    );
}

/// Cuts the power after every change of the disk.
fn survives_cuts(backend: Backend, steps: &[Step], seed: u64) {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::new(dir.path()).unwrap();
    let recorded = Disk::default().recorded_by(&recorder);
    let mut states = Vec::new();
    run(
        &recorded,
        &dir.path().join("x.db"),
        backend,
        steps,
        |content| {
            states.push((recorder.len(), content.clone()));
        },
    );
    let disk = Disk::default();
    for cut in 0..=recorder.len() {
        for survival in [
            Survival::OnlySynced,
            Survival::Everything,
            Survival::Sectors(seed),
            Survival::Sectors(!seed),
        ] {
            let target = tempfile::tempdir().unwrap();
            recorder.after_cut(cut, survival, target.path()).unwrap();
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

macro_rules! tests_of {
    ($module:ident, $backend:expr) => {
        mod $module {
            use super::*;

            proptest! {
                #![proptest_config(ProptestConfig::with_cases(64))]
                #[test]
                fn is_a_map(steps in any_steps()) {
                    super::is_a_map($backend, &steps);
                }
            }

            proptest! {
                #![proptest_config(ProptestConfig::with_cases(8))]
                #[test]
                fn survives_cuts(steps in any_steps(), seed: u64) {
                    super::survives_cuts($backend, &steps, seed);
                }
            }
        }
    };
}

tests_of!(twoskip_files, Backend::Twoskip);
