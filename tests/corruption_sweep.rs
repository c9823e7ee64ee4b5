//! A store with one octet flipped, or one file cut short: what is read from it is what was written,
//! or an error that names the file; nothing panics, and nothing is written.
//!
//! `cyrus.header` is the exception: Cyrus itself goes on when its checksum in the index is another
//! (a crash can leave that), so there a warning in the log is enough.
//!
//! An empty file is no damaged database but one that nobody has written to yet (databases §2.5), so
//! those of which a store may do without are cut to one octet at least.
//!
//! The store is `fuzz/store`, made by stock Cyrus. By default some hundred mutations are tried,
//! spread over all files; `CORRUPTION_SWEEP=20000` tries so many, and more than there are single
//! octets every octet with several bits.

#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use cyrus_sync::config::{Config, Environment};
use cyrus_sync::mail::{Guid, UserId};
use cyrus_sync::spool::cyrusdb::Create;
use cyrus_sync::spool::disk::LockKind;
use cyrus_sync::spool::mailboxes::MailboxEntry;
use cyrus_sync::spool::message::MessageParser;
use cyrus_sync::spool::store::Store;

/// Formats without any checksum: there a flipped octet is as good as any other.
fn has_no_checksum(path: &Path) -> bool {
    let path = path.to_string_lossy();
    path.contains("/quota/") || path.ends_with(".sub") || path.ends_with("sub.db")
}

/// Databases that need not exist.
fn may_be_empty(path: &Path) -> bool {
    ["annotations.db", "cyrus.annotations", "seen.db"]
        .iter()
        .any(|name| path.ends_with(name))
}

/// What was read, by what it is about; an error is its text.
type Answers = BTreeMap<String, Result<String, String>>;

/// What was logged since it was last asked for.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<u8>>>);

impl Warnings {
    fn take(&self) -> String {
        let octets = std::mem::take(&mut *self.0.lock().unwrap());
        String::from_utf8_lossy(&octets).into_owned()
    }
}

impl std::io::Write for Warnings {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files_below(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

fn copy_store(to: &Path) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/store");
    for file in files_below(&from) {
        let copy = to.join(file.strip_prefix(&from).unwrap());
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::copy(&file, &copy).unwrap();
    }
}

fn open(root: &Path) -> Result<Store, String> {
    let root = root.display();
    let text = format!(
        "configdirectory: {root}/conf\npartition-default: {root}/spool\nservername: lab.test\n\
         cyrus_sync_lock_timeout: 5\n"
    );
    let read = |_: &Path| Ok(text.clone().into_bytes());
    let config = Config::read(Path::new("/x"), &Environment::default(), &read).unwrap();
    Store::open(config).map_err(|error| error.to_string())
}

/// Reads everything that replication reads.
fn read_all(root: &Path) -> Answers {
    let mut answers = Answers::new();
    let store = match open(root) {
        Ok(store) => store,
        Err(error) => {
            answers.insert("store".to_owned(), Err(error));
            return answers;
        }
    };
    let mut entries: Vec<MailboxEntry> = Vec::new();
    let mut note = |about: String, answer: Result<String, String>| {
        answers.insert(about, answer);
    };
    let mut list = store.mailbox_list().unwrap();
    let listed = list.for_each(|entry| {
        entries.push(entry);
        ControlFlow::<()>::Continue(())
    });
    match listed {
        Ok(_) => {}
        Err(error) => note("list".to_owned(), Err(error.to_string())),
    }
    for entry in &entries {
        note(format!("entry {}", entry.name), Ok(format!("{entry:?}")));
        let found = list.find_id(&entry.unique_id);
        let found = found.map(|found| format!("{found:?}"));
        note(
            format!("id of {}", entry.name),
            found.map_err(|error| error.to_string()),
        );
        mailbox(&store, entry, &mut note);
        let annotations = store.mailbox_annotations(entry);
        note(
            format!("annotations of {}", entry.name),
            annotations
                .map(|all| format!("{all:?}"))
                .map_err(|error| error.to_string()),
        );
    }
    for user in ["anna", "bert"] {
        let user = UserId::parse(user).unwrap();
        let seen = store.seen(&mut list, &user, Create::No);
        let seen = seen.and_then(|db| db.map(|mut db| db.all()).transpose());
        note(
            format!("seen of {user}"),
            seen.map(|all| format!("{all:?}"))
                .map_err(|error| error.to_string()),
        );
    }
    answers
}

fn mailbox(
    store: &Store,
    entry: &MailboxEntry,
    note: &mut impl FnMut(String, Result<String, String>),
) {
    let about = |what: &str| format!("{what} of {}", entry.name);
    let user = store.locks.owner_of(&entry.name, LockKind::Shared).unwrap();
    let opened = match store.open_for_reading(&user, entry) {
        Ok(opened) => opened,
        Err(error) => {
            note(about("mailbox"), Err(error.to_string()));
            return;
        }
    };
    let Some(mailbox) = opened else {
        note(about("mailbox"), Ok("none".to_owned()));
        return;
    };
    let state = format!("{:?} {:?}", mailbox.header(), mailbox.index_header());
    note(about("mailbox"), Ok(state));
    for (number, stored) in mailbox.records().enumerate() {
        let stored = match stored {
            Ok(stored) => stored,
            Err(error) => {
                note(about(&format!("record {number}")), Err(error.to_string()));
                break;
            }
        };
        let record = stored.record;
        note(
            about(&format!("record {number}")),
            Ok(format!("{record:?}")),
        );
        let annotations = mailbox.annotations_of(record.uid);
        note(
            about(&format!("annotations {number}")),
            annotations
                .map(|all| format!("{all:?}"))
                .map_err(|error| error.to_string()),
        );
        if record.has_file() {
            let path = mailbox.message_path(&record);
            // As everybody does who sends a message: what has another GUID is not sent.
            let content = std::fs::read(&path).map(|octets| guid_of(&octets));
            note(
                about(&format!("message {number}")),
                match content {
                    Ok(guid) if guid == record.guid => Ok("as it should be".to_owned()),
                    _ => Err(format!("{}: not the message", path.display())),
                },
            );
        }
    }
}

fn guid_of(octets: &[u8]) -> Guid {
    let mut parser = MessageParser::new(&Default::default());
    parser.feed(octets);
    parser.finish().guid
}

/// A mutation of one file.
#[derive(Clone, Copy, Debug)]
enum Mutation {
    Flip { offset: usize, bit: u8 },
    Cut { length: usize },
}

fn mutated(octets: &[u8], mutation: Mutation) -> Vec<u8> {
    let mut octets = octets.to_vec();
    match mutation {
        Mutation::Flip { offset, bit } => octets[offset] ^= 1 << bit,
        Mutation::Cut { length } => octets.truncate(length),
    }
    octets
}

/// `count` mutations, spread over all octets of all files: three flips for each cut.
fn mutations(files: &[(PathBuf, Vec<u8>)], count: usize) -> Vec<(usize, Mutation)> {
    let total: usize = files.iter().map(|(_, octets)| octets.len()).sum();
    let mut chosen = Vec::new();
    for number in 0..count {
        // Bits change with each pass over the store.
        let place = number as u64 * total as u64 * 7 / count as u64;
        let pass = place / total as u64;
        let mut offset = (place % total as u64) as usize;
        let bit = ((offset as u64 + pass * 3) % 8) as u8;
        for (file, (_, octets)) in files.iter().enumerate() {
            if offset < octets.len() {
                let shortest = usize::from(may_be_empty(&files[file].0));
                let mutation = match number % 4 {
                    3 => Mutation::Cut {
                        length: offset.max(shortest),
                    },
                    _ => Mutation::Flip { offset, bit },
                };
                chosen.push((file, mutation));
                break;
            }
            offset -= octets.len();
        }
    }
    chosen
}

#[test]
fn nothing_wrong_is_told_as_right() {
    let warnings = Warnings::default();
    let sink = warnings.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(move || sink.clone())
        .init();
    let count = std::env::var("CORRUPTION_SWEEP").map_or(800, |text| text.parse().unwrap());
    let memory = Path::new("/dev/shm");
    let directory = match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    };
    let root = directory.path();
    copy_store(root);
    let files: Vec<(PathBuf, Vec<u8>)> = files_below(root)
        .into_iter()
        .filter(|path| !has_no_checksum(path))
        .map(|path| (path.clone(), std::fs::read(&path).unwrap()))
        .collect();
    let expected = read_all(root);
    assert!(expected.values().all(Result::is_ok), "{expected:#?}");
    assert!(expected.len() > 30, "{expected:#?}");

    let mut wrong = Vec::new();
    let (mut refused, mut harmless) = (0, 0);
    for (file, mutation) in mutations(&files, count) {
        let (path, octets) = &files[file];
        let broken = mutated(octets, mutation);
        std::fs::write(path, &broken).unwrap();
        let name = path.strip_prefix(root).unwrap().display().to_string();
        match catch_unwind(AssertUnwindSafe(|| read_all(root))) {
            Err(_) => wrong.push(format!("{name} {mutation:?}: panic")),
            Ok(answers) => {
                let warned = warnings.take().contains("Header CRC mismatch");
                let problem = judge(&expected, &answers, path)
                    .filter(|_| !(warned && name.ends_with("cyrus.header")));
                match problem {
                    Some(problem) => wrong.push(format!("{name} {mutation:?}: {problem}")),
                    None if answers == expected => harmless += 1,
                    None => refused += 1,
                }
            }
        }
        if std::fs::read(path).unwrap() != broken {
            wrong.push(format!("{name} {mutation:?}: the file was written"));
        }
        std::fs::write(path, octets).unwrap();
    }
    println!(
        "{count} mutations: {refused} refused, {harmless} of no consequence, {} wrong",
        wrong.len()
    );
    let shown = wrong
        .iter()
        .take(40)
        .cloned()
        .collect::<Vec<_>>()
        .join("\n");
    assert!(wrong.is_empty(), "{} of {count}:\n{shown}", wrong.len());
}

/// What is wrong with the answers, if anything: each must be right, or an error that names the
/// broken file; one that is missing needs an error that explains it.
fn judge(expected: &Answers, answers: &Answers, broken: &Path) -> Option<String> {
    let mut explained = false;
    for (about, answer) in answers {
        match answer {
            Ok(text) if expected.get(about) == Some(&Ok(text.clone())) => {}
            Ok(text) => return Some(format!("{about}: {text}")),
            Err(error) if error.contains(&broken.display().to_string()) => explained = true,
            Err(error) => return Some(format!("{about}: does not name the file: {error}")),
        }
    }
    let missing = expected.keys().find(|about| !answers.contains_key(*about));
    missing
        .filter(|_| !explained)
        .map(|about| format!("{about}: missing without a word"))
}
