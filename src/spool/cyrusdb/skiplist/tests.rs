//! Tests of what is particular to the format; those of every backend are in `cyrusdb::tests`.

use std::path::PathBuf;

use super::*;
use crate::spool::cyrusdb::tests::scratch_dir;

fn scratch() -> (tempfile::TempDir, PathBuf, Disk) {
    let dir = scratch_dir();
    let path = dir.path().join("x.db");
    (dir, path, Disk::default())
}

fn open(disk: &Disk, path: &Path, recovered_since: u32) -> Skiplist {
    let since = UnixTime(recovered_since);
    Skiplist::open(disk, path, since, Create::Yes)
        .unwrap()
        .unwrap()
}

fn put(db: &mut Skiplist, pairs: &[(&[u8], &[u8])]) {
    db.lock_exclusive(db.disk.lock_deadline()).unwrap();
    for (key, value) in pairs {
        db.put(key, value).unwrap();
    }
    db.commit().unwrap();
    db.unlock().unwrap();
}

fn keys(db: &mut Skiplist) -> Vec<Vec<u8>> {
    db.lock_shared(db.disk.lock_deadline()).unwrap();
    db.check().unwrap();
    let pairs = db.stretch(b"", None).unwrap().pairs;
    db.unlock().unwrap();
    pairs.into_iter().map(|(key, _)| key).collect()
}

#[test]
fn an_empty_file_is_as_specified() {
    let (_dir, path, disk) = scratch();
    open(&disk, &path, 0);
    let octets = std::fs::read(&path).unwrap();
    assert_eq!(octets.len(), 144);
    assert_eq!(octets[..20], *format::MAGIC);
    let words: Vec<u32> = octets[20..].chunks(4).map(word).collect();
    assert_eq!(words[..6], [1, 2, 20, 1, 0, 144]);
    assert!(UnixTime::now().0 - words[6] < 10);
    assert_eq!(words[7..10], [257, 0, 0]);
    assert_eq!(words[10..30], [0; 20]);
    assert_eq!(words[30..], [u32::MAX]);
}

#[test]
fn keys_sort_by_signed_octets() {
    let (_dir, path, disk) = scratch();
    let mut db = open(&disk, &path, 0);
    put(
        &mut db,
        &[(b"a", b""), (b"\x80", b""), (b"\xff", b""), (b"\x7f", b"")],
    );
    assert_eq!(keys(&mut db), [b"\x80", b"\xff", b"a", b"\x7f"]);
}

/// A replaced record keeps its level, so that nothing above it changes.
#[test]
fn a_replacement_has_the_level_of_the_old_record() {
    let (_dir, path, disk) = scratch();
    let mut db = open(&disk, &path, 0);
    for n in 0..50u8 {
        put(&mut db, &[(b"key", &[n])]);
    }
    db.lock_shared(disk.lock_deadline()).unwrap();
    let mut offset = 144;
    let mut levels = std::collections::BTreeSet::new();
    while offset < db.end {
        match db.word_at(offset).unwrap() {
            COMMIT => offset += 4,
            DELETE => offset += 8,
            _ => {
                let node = db.node(offset as u32).unwrap();
                levels.insert(node.level());
                offset = node.end();
            }
        }
    }
    assert_eq!(levels.len(), 1);
}

#[test]
fn a_recovery_sets_all_pointers_anew() {
    let (_dir, path, disk) = scratch();
    let mut db = open(&disk, &path, 0);
    let all: Vec<[u8; 1]> = (b'a'..=b'z').map(|letter| [letter]).collect();
    for key in &all {
        put(&mut db, &[(key, b"1"), (key, b"2")]);
    }
    db.lock_exclusive(disk.lock_deadline()).unwrap();
    assert!(db.delete(b"m").unwrap());
    db.commit().unwrap();
    db.unlock().unwrap();
    // As if the crash had lost every pointer of the DUMMY.
    let file = disk.open_write(&path).unwrap();
    file.write_at(u64::from(DUMMY_OFFSET) + 12, &[0; 80])
        .unwrap();
    assert!(keys(&mut open(&disk, &path, 0)).is_empty());
    let mut recovered = open(&disk, &path, u32::MAX);
    let expected = all.iter().filter(|key| **key != *b"m");
    assert!(keys(&mut recovered).iter().eq(expected));
    assert_eq!(recovered.header.list_size, 25);
}

#[test]
fn a_checkpoint_comes_when_the_log_has_grown() {
    let (_dir, path, disk) = scratch();
    let mut db = open(&disk, &path, 0);
    while !db.is_repack_due() {
        put(
            &mut db,
            &[(b"a", &[0; 500]), (b"a", &[1; 500]), (b"b", b"2")],
        );
    }
    assert!(db.committed > 2 * 144 + 16834);
    db.lock_exclusive(disk.lock_deadline()).unwrap();
    db.repack().unwrap();
    db.unlock().unwrap();
    assert!(!db.is_repack_due());
    assert_eq!(u64::from(db.header.log_start), db.end);
    assert_eq!(db.header.list_size, 2);
    assert_eq!(keys(&mut open(&disk, &path, 0)), [b"a", b"b"]);
}

#[test]
fn uncommitted_records_are_cut_off_by_whoever_comes() {
    let (_dir, path, disk) = scratch();
    let mut db = open(&disk, &path, 0);
    put(&mut db, &[(b"a", b"1")]);
    let length = std::fs::metadata(&path).unwrap().len();
    db.lock_exclusive(disk.lock_deadline()).unwrap();
    db.put(b"b", b"2").unwrap();
    db.flush().unwrap();
    db.unlock().unwrap();
    let mut other = open(&disk, &path, 0);
    assert_eq!(keys(&mut other), [b"a"]);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), length);
}

/// Found by fuzzing: such a file was recovered again and again.
#[test]
fn a_file_that_recovery_does_not_mend_is_an_error() {
    let octets = include_bytes!("../../../../fuzz/corpus/skiplist/recovery-without-end");
    let (_dir, path, disk) = scratch();
    for since in [0, u32::MAX] {
        std::fs::write(&path, octets).unwrap();
        let opened = Skiplist::open(&disk, &path, UnixTime(since), Create::No);
        let error = opened.unwrap_err().to_string();
        assert!(error.contains("is damaged at offset"), "{error}");
    }
}
