use super::*;
use crate::config::{PartitionPlaces, Places};
use crate::mail::Namespace;
use std::fs;
use std::os::unix::fs::MetadataExt;

const TEXT: &[u8] = b"Subject: x\r\nDate: Mon, 02 Mar 2026 10:11:12 +0100\r\n\r\ntext\r\n";

struct Fixture {
    dir: tempfile::TempDir,
    layout: Layout,
    partition: Partition,
}

impl Fixture {
    fn new() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let mut places = Places::below(dir.path());
        let partition = Partition::parse("default").unwrap();
        let data = PartitionPlaces {
            data: dir.path().join("spool"),
            ..PartitionPlaces::default()
        };
        places.partitions.insert(partition.clone(), data);
        Fixture {
            layout: Layout::new(places, Namespace::default()),
            partition,
            dir,
        }
    }

    fn staging(&self, share_files: bool) -> Staging {
        let settings = StagingSettings {
            parser: ParserOptions::default(),
            share_files,
        };
        Staging::new(Disk::default(), self.layout.clone(), settings)
    }

    /// Every file below the staging root.
    fn files(&self) -> Vec<PathBuf> {
        fn walk(path: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(path).into_iter().flatten().flatten() {
                match entry.path() {
                    path if path.is_dir() => walk(&path, found),
                    path => found.push(path),
                }
            }
        }
        let mut found = Vec::new();
        let root = self.layout.staging_root(&self.partition).unwrap();
        walk(&root, &mut found);
        found
    }
}

fn guid_of(text: &[u8]) -> Guid {
    let mut parser = MessageParser::new(&ParserOptions::default());
    parser.feed(text);
    parser.finish().guid
}

fn receive(staging: &mut Staging, partition: &Partition, announced: &Guid, text: &[u8]) {
    let mut writer = staging.begin(partition, announced).unwrap().unwrap();
    for piece in text.chunks(10) {
        writer.write(piece).unwrap();
    }
    staging.finish(writer).unwrap();
}

#[test]
fn a_received_message_is_parsed_and_kept() {
    let fixture = Fixture::new();
    let partition = &fixture.partition;
    let mut staging = fixture.staging(true);
    let guid = guid_of(TEXT);
    assert!(!staging.contains(partition, &guid));
    receive(&mut staging, partition, &guid, TEXT);
    let mut parser = MessageParser::new(&ParserOptions::default());
    parser.feed(TEXT);
    let parsed = parser.finish();
    let message = staging.get(partition, &guid).unwrap();
    assert_eq!(message.guid(), guid);
    assert_eq!(message.size() as usize, TEXT.len());
    assert_eq!(message.header_size(), parsed.header_size);
    assert_eq!(message.cache_crc(), parsed.cache_crc);
    let dates = message.dates(UnixTime(5), &TimeZone::UTC);
    assert_eq!(dates.gm_time, UnixTime(1_772_442_672));
    let mut cache = b"before".to_vec();
    staging.read_cache(message, &mut cache).unwrap();
    assert_eq!(cache[6..], parsed.cache);
    assert!(staging.begin(partition, &guid).unwrap().is_none());
    let [file] = &fixture.files()[..] else {
        panic!("one file");
    };
    assert_eq!(fs::read(file).unwrap(), TEXT);
}

#[test]
fn large_messages_are_kept_whole() {
    let fixture = Fixture::new();
    let mut staging = fixture.staging(true);
    let text = [TEXT, &b"line\r\n".repeat(100_000)].concat();
    let guid = guid_of(&text);
    let mut writer = staging.begin(&fixture.partition, &guid).unwrap().unwrap();
    text.chunks(1000)
        .for_each(|piece| writer.write(piece).unwrap());
    staging.finish(writer).unwrap();
    assert!(staging.contains(&fixture.partition, &guid));
    let target = fixture.dir.path().join("target");
    let placing = staging.placing(&fixture.partition, fixture.dir.path());
    placing.unwrap().place(&guid, &target).unwrap();
    assert!(fs::read(target).unwrap() == text);
}

#[test]
fn damaged_content_does_not_count_and_is_replaced() {
    let fixture = Fixture::new();
    let partition = &fixture.partition;
    let mut staging = fixture.staging(true);
    let guid = guid_of(TEXT);
    receive(&mut staging, partition, &guid, b"damaged");
    assert!(!staging.contains(partition, &guid));
    assert_ne!(staging.get(partition, &guid).unwrap().guid(), guid);
    receive(&mut staging, partition, &guid, TEXT);
    assert!(staging.contains(partition, &guid));
    assert_eq!(fixture.files().len(), 1);
}

#[test]
fn what_is_not_finished_leaves_nothing() {
    let fixture = Fixture::new();
    let mut staging = fixture.staging(true);
    let guid = guid_of(TEXT);
    let mut writer = staging.begin(&fixture.partition, &guid).unwrap().unwrap();
    writer.write(TEXT).unwrap();
    drop(writer);
    assert!(staging.get(&fixture.partition, &guid).is_none());
    assert!(fixture.files().is_empty());
}

#[test]
fn messages_of_mailboxes_are_reserved() {
    let fixture = Fixture::new();
    let partition = &fixture.partition;
    let source = fixture.dir.path().join("1.");
    fs::write(&source, TEXT).unwrap();
    let guid = guid_of(TEXT);
    for (share_files, links) in [(true, 2), (false, 1)] {
        let mut staging = fixture.staging(share_files);
        let missing = fixture.dir.path().join("2.");
        assert!(!staging.reserve(partition, &guid, &missing).unwrap());
        let other = Guid::from_bytes([1; 20]);
        assert!(!staging.reserve(partition, &other, &source).unwrap());
        assert!(fixture.files().is_empty());
        assert!(staging.reserve(partition, &guid, &source).unwrap());
        assert!(staging.contains(partition, &guid));
        assert_eq!(fs::metadata(&source).unwrap().nlink(), links);
        assert!(staging.begin(partition, &guid).unwrap().is_none());
    }
}

#[test]
fn a_left_over_file_gives_way() {
    let fixture = Fixture::new();
    let mut staging = fixture.staging(true);
    let guid = guid_of(TEXT);
    receive(&mut staging, &fixture.partition, &guid, TEXT);
    let target = fixture.dir.path().join("7.");
    let shared = fixture.dir.path().join("elsewhere");
    fs::write(&shared, b"left by a crash").unwrap();
    fs::hard_link(&shared, &target).unwrap();
    let placing = staging.placing(&fixture.partition, fixture.dir.path());
    placing.unwrap().place(&guid, &target).unwrap();
    assert_eq!(fs::read(&target).unwrap(), TEXT);
    assert_eq!(fs::read(&shared).unwrap(), b"left by a crash");
}

#[test]
fn many_files_are_made_durable() {
    let fixture = Fixture::new();
    let mut staging = fixture.staging(true);
    receive(&mut staging, &fixture.partition, &guid_of(TEXT), TEXT);
    let placing = staging
        .placing(&fixture.partition, fixture.dir.path())
        .unwrap();
    let files: Vec<(PathBuf, UnixTime)> = (1..=50)
        .map(|number| {
            (
                fixture.dir.path().join(format!("{number}.")),
                UnixTime(number),
            )
        })
        .collect();
    let missing = placing.make_durable(&files).unwrap_err();
    assert!(missing.to_string().contains("cannot open"));
    files
        .iter()
        .for_each(|(path, _)| fs::write(path, TEXT).unwrap());
    placing.make_durable(&files).unwrap();
    for (path, time) in &files {
        assert_eq!(fs::metadata(path).unwrap().mtime(), i64::from(time.0));
    }
}

#[test]
fn sessions_do_not_meet_and_clean_up() {
    let fixture = Fixture::new();
    let partition = &fixture.partition;
    let guid = guid_of(TEXT);
    let mut first = fixture.staging(true);
    let mut second = fixture.staging(true);
    receive(&mut first, partition, &guid, TEXT);
    assert!(!second.contains(partition, &guid));
    receive(&mut second, partition, &guid, TEXT);
    assert_eq!(fixture.files().len(), 2);
    first.clear();
    assert!(!first.contains(partition, &guid));
    receive(&mut first, partition, &guid, TEXT);
    drop(second);
    assert_eq!(fixture.files().len(), 1);
    drop(first);
    assert!(fixture.files().is_empty());
    let unknown = Partition::parse("unknown").unwrap();
    assert!(fixture.staging(true).begin(&unknown, &guid).is_err());
}

#[test]
fn a_directory_that_somebody_removes_is_made_again() {
    let fixture = Fixture::new();
    let mut staging = fixture.staging(true);
    let guid = guid_of(TEXT);
    receive(&mut staging, &fixture.partition, &guid, TEXT);
    staging.clear();
    assert!(fixture.files().is_empty());
    let root = fixture.layout.staging_root(&fixture.partition).unwrap();
    fs::remove_dir_all(&root).unwrap();
    receive(&mut staging, &fixture.partition, &guid, TEXT);
    assert!(staging.contains(&fixture.partition, &guid));
    assert_eq!(fixture.files().len(), 1);
}

#[test]
fn what_ended_processes_left_is_removed() {
    let fixture = Fixture::new();
    let root = fixture.layout.staging_root(&fixture.partition).unwrap();
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let ended = child.id();
    child.wait().unwrap();
    let own = std::process::id();
    let outside = fixture.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("1."), TEXT).unwrap();
    for process in [ended, own, 1] {
        let directory = root.join(process.to_string());
        fs::create_dir_all(directory.join("0")).unwrap();
        fs::write(directory.join("flat"), TEXT).unwrap();
        fs::write(directory.join("0/deep"), TEXT).unwrap();
    }
    std::os::unix::fs::symlink(&outside, root.join(ended.to_string()).join("link")).unwrap();
    fs::create_dir(root.join("other")).unwrap();
    remove_stale(&Disk::default(), &fixture.layout).unwrap();
    let mut left = Disk::default().read_dir(&root).unwrap().unwrap();
    left.sort();
    assert_eq!(left, ["1", "other"]);
    assert!(outside.join("1.").exists());
}
