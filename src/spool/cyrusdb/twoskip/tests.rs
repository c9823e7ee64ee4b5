//! Tests of what is particular to the format; those of every backend are in `cyrusdb::tests`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use super::*;

struct Scratch {
    dir: tempfile::TempDir,
    disk: Disk,
}

impl Scratch {
    fn new() -> Scratch {
        Scratch {
            dir: tempfile::tempdir().unwrap(),
            disk: Disk::default(),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("x.db")
    }

    fn open(&self) -> Twoskip {
        let opened = Twoskip::open(&self.disk, &self.path(), Create::Yes);
        opened.unwrap().unwrap()
    }

    /// Opens the database and makes changes, each a transaction of its own.
    fn change(&self, changes: &[(&str, Option<&str>)]) -> Twoskip {
        let mut db = self.open();
        for (key, value) in changes {
            db.lock_exclusive(self.disk.lock_deadline()).unwrap();
            match value {
                Some(value) => db.put(key.as_bytes(), value.as_bytes()).unwrap(),
                None => assert!(db.delete(key.as_bytes()).unwrap()),
            }
            db.commit().unwrap();
        }
        db
    }
}

fn content(db: &mut Twoskip) -> BTreeMap<String, String> {
    let deadline = db.disk.lock_deadline();
    let mut all = BTreeMap::new();
    let mut last: Option<Vec<u8>> = None;
    loop {
        let pairs = db.stretch(b"", last.as_deref(), deadline).unwrap();
        let Some((key, _)) = pairs.last() else {
            return all;
        };
        last = Some(key.clone());
        let text = |bytes| String::from_utf8(bytes).unwrap();
        all.extend(
            pairs
                .into_iter()
                .map(|(key, value)| (text(key), text(value))),
        );
    }
}

fn pairs(list: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = list
        .iter()
        .map(|(key, value)| (key.to_string(), value.to_string()));
    owned.collect()
}

/// The file of databases §2.8.
fn vector() -> Vec<u8> {
    let hex: String = [
        "a1028b0d74776f736b69702066696c650000000000000001000000000000000100000000000000010000000000000150000000000000019000000000d45b53c5",
        "3d1f00000000000000000000000000000000000000000150",
        &"0".repeat(30 * 16),
        "bb3f203200000000",
        "2b010001000000010000000000000000000000000000000054",
        "0b03c57777d1aa",
        "613100000000000024000000000000000000000000000150",
        "5dc51c1a00000000",
    ]
    .concat();
    let digits: Vec<u8> = hex
        .bytes()
        .map(|c| char::from(c).to_digit(16).unwrap() as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

#[test]
fn vector_is_written_byte_for_byte() {
    // The level is drawn: repeat until it is that of the vector.
    for _ in 0..100 {
        let scratch = Scratch::new();
        scratch.change(&[("a", Some("1"))]);
        let bytes = fs::read(scratch.path()).unwrap();
        if bytes[EMPTY_LENGTH as usize + 1] == 1 {
            assert_eq!(bytes, vector());
            return;
        }
    }
    panic!("level 1 was never drawn");
}

#[test]
fn vector_is_read() {
    let scratch = Scratch::new();
    fs::write(scratch.path(), vector()).unwrap();
    let mut db = scratch.open();
    db.check(scratch.disk.lock_deadline()).unwrap();
    assert_eq!(content(&mut db), pairs(&[("a", "1")]));
}
