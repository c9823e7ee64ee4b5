//! Reads the index and cache files that a stock server wrote (mailbox-format §3, §4.1), with
//! nothing of the code under test.

use std::path::{Path, PathBuf};

/// What the server recorded of one message.
pub struct StoredRecord {
    pub file: PathBuf,
    pub internal_date: u32,
    pub sent_date: u32,
    pub size: u32,
    pub header_size: u32,
    pub gm_time: u32,
    pub guid: String,
    pub cache_version: u16,
    pub cache_crc: u32,
    pub cache: Vec<u8>,
}

/// All records of all mailboxes below a directory that have a message file.
pub fn read_store(directory: &Path) -> Vec<StoredRecord> {
    let mut records = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(&directory).expect("read directory") {
            let path = entry.expect("read directory").path();
            if path.is_dir() {
                pending.push(path);
            } else if path.file_name().is_some_and(|name| name == "cyrus.index") {
                read_mailbox(&directory, &mut records);
            }
        }
    }
    records
}

fn read_mailbox(directory: &Path, records: &mut Vec<StoredRecord>) {
    let index = std::fs::read(directory.join("cyrus.index")).expect("read index");
    let cache = std::fs::read(directory.join("cyrus.cache")).unwrap_or_default();
    let word = |at: usize| u32::from_be_bytes(index[at..at + 4].try_into().expect("four bytes"));
    assert_eq!(word(8), 17, "index version");
    let (header_size, record_size) = (word(12) as usize, word(16) as usize);
    for start in (header_size..index.len()).step_by(record_size) {
        let uid = word(start);
        let file = directory.join(format!("{uid}."));
        let cache_offset = word(start + 24) as usize;
        if !file.exists() || cache_offset == 0 {
            continue;
        }
        records.push(StoredRecord {
            file,
            internal_date: word(start + 4),
            sent_date: word(start + 8),
            size: word(start + 12),
            header_size: word(start + 16),
            gm_time: word(start + 20),
            guid: hex(&index[start + 60..start + 80]),
            cache_version: (word(start + 56) & 0xFFFF) as u16,
            cache_crc: word(start + 104),
            cache: cache[cache_offset..cache_end(&cache, cache_offset)].to_vec(),
        });
    }
}

/// Where the ten items from `at` end.
fn cache_end(cache: &[u8], mut at: usize) -> usize {
    for _ in 0..10 {
        let length = u32::from_be_bytes(cache[at..at + 4].try_into().expect("four bytes"));
        at += 4 + (length as usize).next_multiple_of(4);
    }
    at
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
