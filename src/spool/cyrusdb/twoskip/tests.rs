//! Tests of what is particular to the format; those of every backend are in `cyrusdb::tests`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::spool::cyrusdb::tests::scratch_dir;

struct Scratch {
    dir: tempfile::TempDir,
    disk: Disk,
}

impl Scratch {
    fn new() -> Scratch {
        Scratch {
            dir: scratch_dir(),
            disk: Disk::default(),
        }
    }

    /// A database with these changes, each a transaction of its own.
    fn with(changes: &[(&str, Option<&str>)]) -> Scratch {
        let scratch = Scratch::new();
        let mut db = scratch.open();
        for (key, value) in changes {
            scratch.change(&mut db, key, *value);
            db.commit().unwrap();
            db.unlock().unwrap();
        }
        scratch
    }

    /// Makes a change in a transaction that is left open.
    fn change(&self, db: &mut Twoskip, key: &str, value: Option<&str>) {
        db.lock_exclusive(self.disk.lock_deadline()).unwrap();
        match value {
            Some(value) => db.put(key.as_bytes(), value.as_bytes()).unwrap(),
            None => assert!(db.delete(key.as_bytes()).unwrap()),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("x.db")
    }

    fn open(&self) -> Twoskip {
        self.try_open().unwrap()
    }

    fn try_open(&self) -> Result<Twoskip, DbError> {
        Twoskip::open(&self.disk, &self.path(), Create::Yes).map(Option::unwrap)
    }

    fn octets(&self) -> Vec<u8> {
        fs::read(self.path()).unwrap()
    }

    fn set_octets(&self, octets: &[u8]) {
        fs::write(self.path(), octets).unwrap();
    }

    /// Changes the header on the disk.
    fn set_header(&self, change: impl FnOnce(&mut Header)) {
        let mut octets = self.octets();
        let mut header = Header::decode(&octets).unwrap();
        change(&mut header);
        octets[..64].copy_from_slice(&header.encode());
        self.set_octets(&octets);
    }

    /// Opens the database, which recovers it if need be, and checks and reads it.
    fn content(&self) -> String {
        content(&mut self.open())
    }
}

fn position(octets: &[u8], wanted: &[u8]) -> usize {
    let mut windows = octets.windows(wanted.len());
    windows.position(|window| window == wanted).unwrap()
}

/// All pairs as `key=value`, in order.
fn content(db: &mut Twoskip) -> String {
    db.lock_shared(db.disk.lock_deadline()).unwrap();
    db.check().unwrap();
    let mut all = Vec::new();
    loop {
        let last = all.last().map(|(key, _): &Pair| key.clone());
        let pairs = db.stretch(b"", last.as_deref()).unwrap().pairs;
        if pairs.is_empty() {
            break;
        }
        all.extend(pairs);
    }
    db.unlock().unwrap();
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let lines = all
        .iter()
        .map(|(key, value)| format!("{}={}", text(key), text(value)));
    lines.collect::<Vec<_>>().join(" ")
}

/// The file of databases §2.8.
fn vector() -> Vec<u8> {
    let lines = [
        "a1028b0d 74776f73 6b697020 66696c65 00000000 00000001 00000000 00000001",
        "00000000 00000001 00000000 00000150 00000000 00000190 00000000 d45b53c5",
        "3d1f0000 00000000 00000000 00000000 00000000 00000150",
        &"00000000 00000000".repeat(30),
        "bb3f2032 00000000",
        "2b010001 00000001 00000000 00000000 00000000 00000000 540b03c5 7777d1aa",
        "61310000 00000000 24000000 00000000 00000000 00000150 5dc51c1a 00000000",
    ];
    let digits = lines.concat();
    let digits: Vec<u32> = digits.chars().filter_map(|c| c.to_digit(16)).collect();
    digits
        .chunks(2)
        .map(|pair| (pair[0] << 4 | pair[1]) as u8)
        .collect()
}

#[test]
fn vector_is_written_byte_for_byte() {
    // The level is drawn: repeat until it is that of the vector.
    for _ in 0..100 {
        let octets = Scratch::with(&[("a", Some("1"))]).octets();
        if octets[EMPTY_LENGTH as usize + 1] == 1 {
            assert_eq!(octets, vector());
            return;
        }
    }
    panic!("level 1 was never drawn");
}

#[test]
fn vector_is_read() {
    let scratch = Scratch::new();
    scratch.set_octets(&vector());
    assert_eq!(scratch.content(), "a=1");
}

#[test]
fn an_equal_value_changes_nothing() {
    let scratch = Scratch::with(&[("a", Some("1"))]);
    let before = scratch.octets();
    let mut db = scratch.open();
    scratch.change(&mut db, "a", Some("1"));
    db.commit().unwrap();
    assert_eq!(scratch.octets(), before);
}

/// The unclean states of databases §2.5.
#[test]
fn unclean_files_are_recovered() {
    let changes = [
        ("a", Some("1")),
        ("b", Some("2")),
        ("c", Some("3")),
        ("b", None),
    ];
    let clean = Scratch::with(&changes).octets();
    let recovered = |spoil: &dyn Fn(&Scratch)| {
        let scratch = Scratch::new();
        scratch.set_octets(&clean);
        spoil(&scratch);
        let content = scratch.content();
        assert!(!Header::decode(&scratch.octets()).unwrap().dirty);
        (content, scratch.octets() == clean)
    };
    let unchanged = ("a=1 c=3".to_owned(), true);
    let dirty = recovered(&|scratch| scratch.set_header(|header| header.dirty = true));
    assert_eq!(dirty, unchanged);
    let garbage = recovered(&|scratch| {
        scratch.set_octets(&[clean.as_slice(), b"garbage"].concat());
    });
    assert_eq!(garbage, unchanged);
    let miscounted = recovered(&|scratch| {
        scratch.set_header(|header| (header.dirty, header.records) = (true, 99));
    });
    assert_eq!(miscounted, unchanged);
}

/// Unlike the daemons, which go on with what is left and forget the rest.
#[test]
fn a_file_that_lacks_what_was_committed_is_refused_and_left_alone() {
    let scratch = Scratch::with(&[("a", Some("1")), ("b", Some("2"))]);
    let whole = scratch.octets();
    for length in [whole.len() - 1, whole.len() - 24, EMPTY_LENGTH as usize] {
        scratch.set_octets(&whole[..length]);
        let error = scratch.try_open().unwrap_err().to_string();
        assert!(
            error.contains(&format!("offset {length}: the file ends")),
            "{error}"
        );
        assert_eq!(scratch.octets(), whole[..length]);
    }
}

/// A search that trusted a wrong key would tell that what is behind it does not exist.
#[test]
fn no_search_is_led_astray_by_a_damaged_key() {
    let keys: Vec<String> = (0..40).map(|number| format!("key{number:02}")).collect();
    let pairs: Vec<(&str, Option<&str>)> =
        keys.iter().map(|key| (key.as_str(), Some("v"))).collect();
    let scratch = Scratch::with(&pairs);
    let whole = scratch.octets();
    for damaged in &keys {
        let at = whole.windows(5).position(|part| part == damaged.as_bytes());
        for (offset, bit) in [(0, 0), (0, 7), (4, 1)] {
            let mut octets = whole.clone();
            octets[at.unwrap() + offset] ^= 1 << bit;
            scratch.set_octets(&octets);
            let mut db = scratch.open();
            for key in &keys {
                db.lock_shared(scratch.disk.lock_deadline()).unwrap();
                let got = db.get(key.as_bytes());
                db.unlock().unwrap();
                if let Ok(value) = got {
                    assert_eq!(
                        value.as_deref(),
                        Some(&b"v"[..]),
                        "{key}, {damaged} damaged"
                    );
                }
            }
        }
    }
}

#[test]
fn a_transaction_that_was_not_ended_is_undone() {
    let scratch = Scratch::with(&[("a", Some("1")), ("c", Some("3"))]);
    let mut dying = scratch.open();
    scratch.change(&mut dying, "b", Some("2"));
    dying.put(b"a", b"other").unwrap();
    dying.delete(b"c").unwrap();
    dying.flush().unwrap();
    dying.unlock().unwrap();
    assert!(Header::decode(&scratch.octets()).unwrap().dirty);
    assert_eq!(scratch.content(), "a=1 c=3");
}

/// A reader may remember pages from before a transaction that was undone after it had reached
/// the disk.
#[test]
fn an_undone_transaction_does_not_confuse_readers() {
    let scratch = Scratch::with(&[("a", Some("1")), ("c", Some("3"))]);
    let mut reader = scratch.open();
    assert_eq!(content(&mut reader), "a=1 c=3");
    let mut writer = scratch.open();
    scratch.change(&mut writer, "b", Some("2"));
    writer.flush().unwrap();
    writer.abort().unwrap();
    writer.unlock().unwrap();
    assert_eq!(content(&mut reader), "a=1 c=3");
}

#[test]
fn a_header_that_cannot_be_trusted_is_an_error() {
    let whole = Scratch::with(&[("a", Some("1"))]).octets();
    for (at, octet) in [(0, b'x'), (23, 2), (30, 1), (63, 0)] {
        let scratch = Scratch::new();
        let mut octets = whole.clone();
        octets[at] = octet;
        scratch.set_octets(&octets);
        let error = scratch.try_open().unwrap_err();
        assert!(
            matches!(error, DbError::Corrupt { offset: 0, .. }),
            "{at}: {error}"
        );
        assert_eq!(scratch.octets(), octets);
    }
    let scratch = Scratch::new();
    scratch.set_octets(&whole[..63]);
    assert!(scratch.try_open().unwrap_err().is_corrupt());
}

/// Links the first record to itself, with correct checksums.
#[test]
fn pointers_in_a_circle_are_an_error() {
    let scratch = Scratch::with(&[("a", Some("1")), ("b", Some("2"))]);
    let mut octets = scratch.octets();
    let first = EMPTY_LENGTH as usize;
    let end = octets.len() as u64;
    let mut record = Record::decode(first as u64, &octets[first..], end).unwrap();
    record.pointers[..=record.level].fill(first as u64);
    let head = record.encode_head();
    octets[first..first + head.len()].copy_from_slice(&head);
    scratch.set_octets(&octets);
    let mut db = scratch.open();
    db.lock_shared(scratch.disk.lock_deadline()).unwrap();
    let error = db.get(b"b").unwrap_err();
    let expected = format!(
        "{} is damaged at offset 336: keys are out of order",
        scratch.path().display()
    );
    assert_eq!(error.to_string(), expected);
    assert!(db.check().is_err() && db.stretch(b"", None).is_err());
}

#[test]
fn a_flipped_bit_in_a_value_is_an_error() {
    let scratch = Scratch::with(&[("a", Some("1234567"))]);
    let mut octets = scratch.octets();
    let at = position(&octets, b"a1234567");
    octets[at + 1] ^= 2;
    scratch.set_octets(&octets);
    let mut db = scratch.open();
    db.lock_shared(scratch.disk.lock_deadline()).unwrap();
    assert!(db.get(b"a").unwrap_err().is_corrupt());
}

#[test]
fn a_repack_comes_when_half_is_garbage() {
    let scratch = Scratch::new();
    let mut db = scratch.open();
    let generations: Vec<(u64, u64)> = (0..200)
        .map(|n| {
            scratch.change(&mut db, "key", Some(&format!("{n:0100}")));
            db.commit().unwrap();
            let due = db.is_repack_due();
            assert_eq!(due, db.header.current_size > WORTH_REPACKING);
            if due {
                db.repack().unwrap();
            }
            db.unlock().unwrap();
            (db.header.generation, db.header.current_size)
        })
        .collect();
    assert!(generations.iter().any(|(generation, _)| *generation == 2));
    assert!(generations.iter().all(|(_, size)| *size <= WORTH_REPACKING));
    assert_eq!(scratch.content(), format!("key={:0100}", 199));
}

/// A transaction beyond what is kept in memory.
#[test]
fn a_large_transaction_reaches_the_disk_before_its_end() {
    let scratch = Scratch::with(&[("a", Some("1"))]);
    let before = scratch.octets();
    let mut db = scratch.open();
    let large = "x".repeat(1024 * 1024);
    let fill = |db: &mut Twoskip| {
        for n in 0..10 {
            scratch_put(db, &format!("b{n}"), &large);
        }
    };
    db.lock_exclusive(scratch.disk.lock_deadline()).unwrap();
    fill(&mut db);
    assert!(Header::decode(&scratch.octets()).unwrap().dirty);
    db.abort().unwrap();
    db.unlock().unwrap();
    assert_eq!(scratch.octets().len(), before.len());
    assert_eq!(scratch.content(), "a=1");

    db.lock_exclusive(scratch.disk.lock_deadline()).unwrap();
    fill(&mut db);
    db.commit().unwrap();
    db.unlock().unwrap();
    assert_eq!(
        scratch.content().len(),
        "a=1".len() + 10 * (" b0=".len() + large.len())
    );
}

fn scratch_put(db: &mut Twoskip, key: &str, value: &str) {
    db.put(key.as_bytes(), value.as_bytes()).unwrap();
}

/// What recovery 2 makes of the file.
fn salvaged(scratch: &Scratch) -> String {
    let mut db = scratch.open();
    db.lock_exclusive(scratch.disk.lock_deadline()).unwrap();
    db.salvage().unwrap();
    db.unlock().unwrap();
    scratch.content()
}

/// A key that was deleted stays so, and the one after it stays (databases §2.5: the daemons
/// confuse the two).
#[test]
fn salvage_knows_what_a_delete_removed() {
    let adds = [
        ("a", Some("1")),
        ("b", Some("2")),
        ("c", Some("3")),
        ("d", Some("4")),
    ];
    for (deleted, expected) in [
        ("a", "b=2 c=3 d=4"),
        ("b", "a=1 c=3 d=4"),
        ("d", "a=1 b=2 c=3"),
    ] {
        let changes = [&adds[..], &[(deleted, None)]].concat();
        assert_eq!(salvaged(&Scratch::with(&changes)), expected);
    }
}

/// When the record that a DELETE removed cannot be read, nothing else is removed instead.
#[test]
fn salvage_removes_nothing_in_doubt() {
    for (lost, tail, expected) in [
        ("b", b"b2\0\0\0\0\0\0", "a=1 c=3"),
        ("c", b"c3\0\0\0\0\0\0", "a=1 b=2"),
    ] {
        let adds = [("a", Some("1")), ("b", Some("2")), ("c", Some("3"))];
        let scratch = Scratch::with(&[&adds[..], &[(lost, None)]].concat());
        let mut octets = scratch.octets();
        let at = position(&octets, tail);
        octets[at] ^= 0x40;
        scratch.set_octets(&octets);
        assert_eq!(salvaged(&scratch), expected);
    }
}

#[test]
fn salvage_loses_only_what_is_damaged() {
    let scratch = Scratch::with(&[("a", Some("1")), ("b", Some("2")), ("c", Some("3"))]);
    let mut db = scratch.open();
    db.lock_exclusive(scratch.disk.lock_deadline()).unwrap();
    db.repack().unwrap();
    db.unlock().unwrap();
    let mut octets = scratch.octets();
    let at = octets
        .windows(8)
        .position(|window| window == b"b2\0\0\0\0\0\0");
    octets[at.unwrap() - 8] ^= 1;
    scratch.set_octets(&octets);
    scratch.set_header(|header| header.dirty = true);
    assert_eq!(scratch.content(), "a=1 c=3");
}

#[test]
fn a_file_without_any_record_is_left_alone() {
    let scratch = Scratch::new();
    let mut octets = scratch.open().header.encode().to_vec();
    octets.extend([0xEE; 1000]);
    scratch.set_octets(&octets);
    let error = scratch.try_open().unwrap_err();
    assert!(error.to_string().ends_with("no record can be read"));
    assert_eq!(scratch.octets()[336..], octets[336..]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Salvaging a file without damage finds what is in it.
    #[test]
    fn salvage_is_complete(
        transactions in vec(vec(("[a-f]{1,2}", proptest::option::of("[0-9]{0,3}")), 1..6), 1..12),
    ) {
        let scratch = Scratch::new();
        let mut db = scratch.open();
        let mut expected = BTreeMap::new();
        for transaction in &transactions {
            db.lock_exclusive(scratch.disk.lock_deadline()).unwrap();
            for (key, value) in transaction {
                match value {
                    Some(value) => {
                        expected.insert(key.clone(), value.clone());
                        scratch_put(&mut db, key, value);
                    }
                    None => {
                        let was_there = expected.remove(key).is_some();
                        prop_assert_eq!(db.delete(key.as_bytes()).unwrap(), was_there);
                    }
                }
            }
            db.commit().unwrap();
            db.unlock().unwrap();
        }
        prop_assume!(!expected.is_empty());
        let lines = expected.iter().map(|(key, value)| format!("{key}={value}"));
        let expected = lines.collect::<Vec<_>>().join(" ");
        prop_assert_eq!(salvaged(&scratch), expected);
    }
}
