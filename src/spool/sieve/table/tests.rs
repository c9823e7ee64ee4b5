//! The table against mailboxes that change.

use super::*;

struct Store {
    directory: tempfile::TempDir,
    mailbox: UniqueId,
    messages: BTreeMap<u32, String>,
    asked: Vec<u32>,
}

impl Store {
    fn new() -> Store {
        Store {
            directory: tempfile::tempdir().unwrap(),
            mailbox: UniqueId::parse("v7axbkeebxvmgr2ep6rbsc9l").unwrap(),
            messages: BTreeMap::new(),
            asked: Vec::new(),
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("user/uuid/v/m/vm/dav.db")
    }

    fn open(&self) -> ScriptTable {
        ScriptTable::open(&Disk::default(), &self.path(), Duration::from_secs(1)).unwrap()
    }

    fn message(&mut self, uid: u32, id: &str, name: &str) {
        let message = format!(
            "Subject: {name}\r\nContent-Disposition: attachment;\r\n\tfilename=\"{id}.sieve\"\r\n\
             \r\n# {uid}\r\n"
        );
        self.messages.insert(uid, message);
    }

    fn synchronize(&mut self, records: &[ScriptRecord]) -> ScriptChanges {
        let mut table = self.open();
        self.asked.clear();
        let (messages, asked) = (&self.messages, &mut self.asked);
        table
            .synchronize(&self.mailbox, records, |uid| {
                asked.push(uid.0);
                Ok(messages.get(&uid.0).map(|text| text.clone().into_bytes()))
            })
            .unwrap()
    }

    /// Name, UID and whether active of the living scripts, and the number of all rows.
    fn rows(&self) -> (Vec<(String, u32, bool)>, u32) {
        let table = self.open();
        let scripts = table.scripts().unwrap();
        let all = table
            .connection
            .query_row("SELECT count(*) FROM sieve_scripts", [], |row| row.get(0))
            .unwrap();
        let seen = |row: &ScriptRow| (row.name.to_string(), row.uid.0, row.is_active);
        (scripts.iter().map(seen).collect(), all)
    }
}

fn record(uid: u32, state: &str) -> ScriptRecord {
    ScriptRecord {
        uid: Uid(uid),
        modseq: ModSeq(u64::from(uid) + 10),
        created_modseq: ModSeq(u64::from(uid)),
        internal_date: UnixTime(1_000 + uid),
        is_active: state.contains('a'),
        is_expunged: state.contains('x'),
    }
}

fn names(names: &[&str]) -> Vec<ScriptName> {
    names
        .iter()
        .map(|name| ScriptName::parse(name).unwrap())
        .collect()
}

#[test]
fn scripts_come_change_and_go() {
    let mut store = Store::new();
    store.message(1, "id1", "main");
    store.message(2, "id2", "other");
    let changes = store.synchronize(&[record(1, "a"), record(2, "")]);
    assert_eq!(changes.outdated, names(&["main", "other"]));
    assert_eq!(changes.active, Some(names(&["main"])[0].clone()));

    // Another one is activated: only the states change, no message is read.
    let changes = store.synchronize(&[record(1, ""), record(2, "a")]);
    assert!(changes.outdated.is_empty());
    assert_eq!(changes.active, Some(names(&["other"])[0].clone()));
    assert!(store.asked.is_empty());

    // "main" gets a new version under the same id.
    store.message(3, "id1", "main");
    let changes = store.synchronize(&[record(1, "x"), record(2, "a"), record(3, "")]);
    assert_eq!(changes.outdated, names(&["main"]));
    assert_eq!(store.asked, [3]);
    let main = store.open().find(&names(&["main"])[0]).unwrap().unwrap();
    assert_eq!((main.uid, main.last_updated), (Uid(3), UnixTime(1_003)));
    assert_eq!(main.content_id, super::super::content_id(b"# 3\r\n"));

    // The same again changes nothing; the old version is not taken up again.
    let again = store.synchronize(&[record(1, "x"), record(2, "a"), record(3, "")]);
    assert!(again.outdated.is_empty());

    let gone = store.synchronize(&[record(2, "ax"), record(3, "")]);
    assert_eq!((gone.outdated, gone.active), (names(&["other"]), None));
    assert_eq!(store.rows(), (vec![("main".to_owned(), 3, false)], 2));
    let forgotten = store.synchronize(&[record(3, "")]);
    assert!(forgotten.outdated.is_empty());
    assert_eq!(store.rows().1, 1);
    store.open().remove_all().unwrap();
    assert_eq!(store.rows().1, 0);
}

#[test]
fn a_renamed_script_keeps_its_row() {
    let mut store = Store::new();
    store.message(1, "id1", "old");
    store.synchronize(&[record(1, "a")]);
    store.message(2, "id1", "new");
    let changes = store.synchronize(&[record(1, "ax"), record(2, "a")]);
    assert_eq!(changes.outdated, names(&["new", "old"]));
    assert_eq!(changes.active, Some(names(&["new"])[0].clone()));
    assert_eq!(store.rows(), (vec![("new".to_owned(), 2, true)], 1));

    // Here the record of the old version has gone in the meantime.
    store.message(3, "id1", "newest");
    let changes = store.synchronize(&[record(3, "a")]);
    assert_eq!(changes.outdated, names(&["new", "newest"]));
    assert_eq!(store.rows(), (vec![("newest".to_owned(), 3, true)], 1));
}

#[test]
fn messages_without_a_script_are_passed_over() {
    let mut store = Store::new();
    store.messages.insert(1, "Subject: x\r\n\r\n".to_owned());
    store.message(3, "id3", "good");
    let records = [record(1, ""), record(2, ""), record(3, "a"), record(4, "x")];
    store.synchronize(&records);
    assert_eq!(store.asked, [1, 2, 3]);
    assert_eq!(store.rows(), (vec![("good".to_owned(), 3, true)], 1));
}

#[test]
fn scripts_of_a_mailbox_that_was_replaced_are_forgotten() {
    let mut store = Store::new();
    store.message(1, "id1", "main");
    store.message(2, "id2", "main");
    store.synchronize(&[record(1, "a"), record(2, "")]);
    store.mailbox = UniqueId::parse("other").unwrap();
    store.synchronize(&[record(1, "")]);
    assert_eq!(store.rows(), (vec![("main".to_owned(), 1, false)], 1));
}

#[test]
fn a_failed_read_changes_nothing() {
    let mut store = Store::new();
    store.message(1, "id1", "main");
    store.synchronize(&[record(1, "")]);
    let error = store
        .open()
        .synchronize(&store.mailbox, &[record(2, "")], |_| {
            Err(SpoolError::corrupt(Path::new("2."), 0, "unreadable"))
        })
        .unwrap_err();
    assert!(error.to_string().contains("unreadable"));
    assert_eq!(store.rows(), (vec![("main".to_owned(), 1, false)], 1));
}

#[test]
fn of_several_active_scripts_the_last_changed_counts() {
    let mut store = Store::new();
    for (uid, id) in [(1, "id1"), (2, "id2"), (3, "id3")] {
        store.message(uid, id, id);
    }
    let changes = store.synchronize(&[record(1, "a"), record(2, "a"), record(3, "")]);
    assert_eq!(changes.active, Some(names(&["id2"])[0].clone()));
}

#[test]
fn files_of_other_versions() {
    for (version, refused) in [(10, false), (11, false), (14, true), (9, true), (13, true)] {
        let store = Store::new();
        drop(store.open());
        let connection = Connection::open(store.path()).unwrap();
        connection
            .execute_batch(&format!(
                "DROP TABLE sieve_scripts; PRAGMA user_version = {version}"
            ))
            .unwrap();
        let opened = ScriptTable::open(&Disk::default(), &store.path(), Duration::ZERO);
        let scripts = opened.and_then(|table| table.scripts());
        assert_eq!(scripts.is_err(), refused, "{version}");
    }
}

#[test]
fn others_who_write_are_waited_for() {
    let mut store = Store::new();
    store.message(1, "id1", "main");
    drop(store.open());
    let other = Connection::open(store.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut table =
        ScriptTable::open(&Disk::default(), &store.path(), Duration::from_millis(50)).unwrap();
    let error = table
        .synchronize(&store.mailbox, &[], |_| Ok(None))
        .unwrap_err();
    assert!(error.is_retryable() && error.is_lock_timeout(), "{error}");
}
