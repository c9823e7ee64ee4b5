//! The list against the operations of databases §9.6, and against a model.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::mail::{Acl, MailboxType, Partition, UidValidity, UnixTime};
use crate::spool::cyrusdb::Create;
use crate::spool::disk::{Recorder, Survival};

struct Store {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

impl Store {
    fn new() -> Store {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mailboxes.db");
        Store {
            _directory: directory,
            path,
        }
    }

    fn list(&self) -> MailboxList {
        self.list_on(&Disk::default())
    }

    fn list_on(&self, disk: &Disk) -> MailboxList {
        let admins = ["cyrus".to_owned()];
        MailboxList::open(
            disk,
            &self.path,
            Backend::Twoskip,
            &Namespace::default(),
            &admins,
        )
        .unwrap()
    }

    fn db(&self) -> Db {
        Db::open(&Disk::default(), &self.path, Backend::Twoskip, Create::Yes)
            .unwrap()
            .unwrap()
    }

    fn put_raw(&self, key: &[u8], value: &[u8]) {
        let mut db = self.db();
        let mut transaction = db.begin(Disk::default().lock_deadline()).unwrap();
        transaction.put(key, value).unwrap();
        transaction.commit().unwrap();
    }

    /// Keys and values with readable separators and without times.
    fn dump(&self) -> Vec<String> {
        let mut lines = Vec::new();
        self.db()
            .scan(b"", |key, value| {
                lines.push(readable(key) + " " + &without_times(&readable(value)));
                ControlFlow::<()>::Continue(())
            })
            .unwrap();
        lines
    }
}

fn readable(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets)
        .replace('\x1f', "/")
        .replace('\x1e', "|")
}

fn without_times(value: &str) -> String {
    let mut pieces = value.split(" M ");
    let mut masked = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        masked += " M *";
        masked += piece.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    masked
}

fn name(text: &str) -> MailboxName {
    MailboxName::parse(text).unwrap()
}

fn id(text: &str) -> UniqueId {
    UniqueId::parse(text).unwrap()
}

fn entry(mailbox: &str, unique_id: &str) -> MailboxEntry {
    MailboxEntry {
        name: name(mailbox),
        unique_id: id(unique_id),
        mailbox_type: MailboxType::default(),
        partition: Some(Partition::parse("default").unwrap()),
        server: None,
        uid_validity: UidValidity(17),
        created_modseq: ModSeq(1),
        folder_modseq: ModSeq(4),
        mtime: UnixTime(0),
        acl: Some(Acl::parse("alice\tlrs\tbob\tlr\tcyrus\tlra\tdan\tp\t").unwrap()),
    }
}

fn of_type(entry: MailboxEntry, kind: &str) -> MailboxEntry {
    MailboxEntry {
        mailbox_type: MailboxType::parse(kind).unwrap(),
        ..entry
    }
}

#[test]
fn create_and_change() {
    let store = Store::new();
    let mut list = store.list();
    let mut mailbox = entry("user.alice.Sub", "aa1");
    list.put(&mailbox).unwrap();
    let acl = "A %(alice lrs bob lr cyrus lra dan p)";
    assert_eq!(
        store.dump(),
        [
            format!("Iaa1 %(T e N user/alice/Sub P default V 17 C 1 F 4 M * {acl} H ())"),
            format!("Nuser/alice/Sub %(T e I aa1 P default V 17 C 1 F 4 M * {acl})"),
        ]
    );
    mailbox.folder_modseq = ModSeq(9);
    mailbox.acl = None;
    list.put(&mailbox).unwrap();
    let found = list.find(&mailbox.name).unwrap().unwrap();
    assert_eq!(found.folder_modseq, ModSeq(9));
    assert!(found.mtime > UnixTime(1_700_000_000));
    assert_eq!(list.find_id(&id("aa1")).unwrap().unwrap(), found);
    assert_eq!(list.find(&name("user.alice")).unwrap(), None);
    assert_eq!(list.find_id(&id("aa2")).unwrap(), None);
}

#[test]
fn a_rename_leaves_a_tombstone_and_a_history() {
    let store = Store::new();
    let mut list = store.list();
    let old = of_type(entry("user.alice.Old", "aa1"), "el");
    list.put(&old).unwrap();
    let new = MailboxEntry {
        name: name("user.alice.New"),
        folder_modseq: ModSeq(7),
        ..old.clone()
    };
    list.rename(&old, &new).unwrap();
    let acl = "A %(alice lrs bob lr cyrus lra dan p)";
    assert_eq!(
        store.dump(),
        [
            format!(
                "Iaa1 %(T el N user/alice/New P default V 17 C 1 F 7 M * {acl} \
                 H (%(N user/alice/Old M * V 17 C 1 F 7 T edl)))"
            ),
            format!("Nuser/alice/New %(T el I aa1 P default V 17 C 1 F 7 M * {acl})"),
            "Nuser/alice/Old %(T edl I aa1 V 17 C 1 F 7 M *)".to_owned(),
        ]
    );
    let third = MailboxEntry {
        name: name("DELETED.user.alice.New.6B029D23"),
        ..new.clone()
    };
    list.rename(&new, &third).unwrap();
    let names: Vec<MailboxName> = list
        .history(&id("aa1"))
        .unwrap()
        .into_iter()
        .map(|former| former.name)
        .collect();
    assert_eq!(names, [name("user.alice.New"), name("user.alice.Old")]);
    assert_eq!(list.find_id(&id("aa1")).unwrap().unwrap().name, third.name);
}

#[test]
fn a_move_between_partitions_is_no_rename() {
    let store = Store::new();
    let mut list = store.list();
    let old = entry("user.alice", "aa1");
    list.put(&old).unwrap();
    let new = MailboxEntry {
        partition: Some(Partition::parse("fast").unwrap()),
        ..old.clone()
    };
    list.rename(&old, &new).unwrap();
    assert!(list.history(&id("aa1")).unwrap().is_empty());
    let found = list.find(&old.name).unwrap().unwrap();
    assert!(found.is_real());
    assert_eq!(found.partition, new.partition);
}

#[test]
fn a_new_id_under_a_name() {
    let store = Store::new();
    let mut list = store.list();
    list.put(&entry("user.alice", "aa1")).unwrap();
    list.put(&entry("user.alice", "bb2")).unwrap();
    assert_eq!(list.find_id(&id("aa1")).unwrap(), None);
    assert_eq!(store.dump().len(), 2);

    // The old id lives on under another name: its record stays.
    let old = entry("user.alice", "bb2");
    let moved = MailboxEntry {
        name: name("DELETED.user.alice.6B029D23"),
        ..old.clone()
    };
    list.rename(&old, &moved).unwrap();
    list.put(&entry("user.alice", "cc3")).unwrap();
    assert_eq!(list.find_id(&id("bb2")).unwrap().unwrap().name, moved.name);
    assert_eq!(list.find_id(&id("cc3")).unwrap().unwrap().name, old.name);
}

#[test]
fn what_stays_after_a_delete() {
    let store = Store::new();
    let mut list = store.list();
    for (mailbox, unique_id, kind) in [
        ("user.alice.a", "aa1", "cl"),
        ("user.alice.a.b", "aa2", "e"),
        ("user.alice.im", "aa3", "ei"),
        ("user.alice.im.x", "aa4", "ed"),
        ("DELETED.user.alice.a.6B029D23", "aa5", "e"),
    ] {
        list.put(&of_type(entry(mailbox, unique_id), kind)).unwrap();
    }
    let mut delete = |mailbox: &str| list.delete(&name(mailbox), ModSeq(20)).unwrap();
    delete("user.alice.a");
    delete("user.alice.a.b");
    delete("user.alice.im");
    delete("user.alice.im.x");
    delete("DELETED.user.alice.a.6B029D23");
    delete("user.alice.unknown");
    let names: Vec<String> = store
        .dump()
        .into_iter()
        .filter(|line| line.starts_with('N'))
        .collect();
    assert_eq!(
        names,
        [
            "Nuser/alice/a %(T ei I aa1 V 17 C 1 F 20 M *)",
            "Nuser/alice/a/b %(T ed I aa2 V 17 C 1 F 20 M *)",
            "Nuser/alice/im %(T edi I aa3 P default V 17 C 1 F 20 M * \
             A %(alice lrs bob lr cyrus lra dan p))",
            "Nuser/alice/im/x %(T ed I aa4 P default V 17 C 1 F 4 M * \
             A %(alice lrs bob lr cyrus lra dan p))",
        ]
    );
    assert_eq!(list.history(&id("aa5")).unwrap(), []);
    assert!(list.was_deleted(&id("aa2")).unwrap());
    assert!(!list.was_deleted(&id("aa1")).unwrap());
    assert!(!list.was_deleted(&id("aa5")).unwrap());
    assert!(!list.has_children(&name("user.alice")).unwrap());
}

#[test]
fn orphans_do_not_count() {
    let store = Store::new();
    let mut list = store.list();
    store.put_raw(
        b"Iaa1",
        b"%(T e N DELETED\x1fuser\x1fa\x1f6B029D23 V 1 H ())",
    );
    store.put_raw(b"Iaa2", b"%(T e N user\x1fb V 1 H ())");
    list.put(&entry("user.b", "bb2")).unwrap();
    assert_eq!(list.find_id(&id("aa1")).unwrap(), None);
    assert_eq!(list.find_id(&id("aa2")).unwrap(), None);
    assert!(list.find_id(&id("bb2")).unwrap().is_some());
}

#[test]
fn a_users_mailboxes_in_order() {
    let store = Store::new();
    let mut list = store.list();
    for (number, mailbox) in [
        "DELETED.user.al.Sub.6B029D23",
        "DELETED.user.al.6B029D24",
        "DELETED.user.al^x.6B029D24",
        "user.al",
        "user.al.Sub.b",
        "user.al.Sub",
        "user.al.Sub b",
        "user.al^x",
        "user.alice",
        "al.shared",
    ]
    .into_iter()
    .enumerate()
    {
        list.put(&entry(mailbox, &format!("id{number}"))).unwrap();
    }
    let al = UserId::parse("al").unwrap();
    let mut names = |deleted| -> Vec<String> {
        let entries = list.of_user(&al, deleted).unwrap();
        entries.iter().map(|entry| entry.name.to_string()).collect()
    };
    let seen = ["user.al", "user.al.Sub", "user.al.Sub.b", "user.al.Sub b"];
    assert_eq!(names(Deleted::Skip), seen);
    let all = names(Deleted::Include);
    assert_eq!(all[..4], seen);
    assert_eq!(
        all[4..],
        ["DELETED.user.al.6B029D24", "DELETED.user.al.Sub.6B029D23"]
    );
    let mut count = 0;
    list.for_each(|_| {
        count += 1;
        if count == 6 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })
    .unwrap()
    .unwrap();
    assert!(list.has_children(&name("user.al")).unwrap());
    assert!(!list.has_children(&name("user.alice")).unwrap());
}

#[test]
fn reverse_acls_follow_where_they_are_on() {
    let store = Store::new();
    let mut list = store.list();
    let reverse = || -> Vec<String> {
        let lines = store.dump().into_iter();
        lines.filter(|line| line.starts_with('A')).collect()
    };
    let off = list.put(&entry("user.alice.off", "aa0")).unwrap();
    assert_eq!((off.identifiers.len(), reverse().len()), (0, 0));

    store.put_raw(b"AS\x1e", b"");
    let own = entry("user.alice", "aa1");
    let on = list.put(&own).unwrap();
    assert_eq!(on.identifiers, ["bob"]);
    list.put(&entry("shared.x", "aa2")).unwrap();
    assert_eq!(
        reverse(),
        [
            "AS| ",
            "AS|alice|shared/x ",
            "AS|bob|shared/x ",
            "AU|bob|user/alice "
        ]
    );
    let changed = MailboxEntry {
        acl: Some(Acl::parse("anyone\tl\t-bob\tr\t").unwrap()),
        ..own.clone()
    };
    assert_eq!(
        list.put(&changed).unwrap().identifiers,
        ["-bob", "anyone", "bob"]
    );
    let moved = MailboxEntry {
        name: name("DELETED.user.alice.6B029D23"),
        ..changed.clone()
    };
    list.rename(&changed, &moved).unwrap();
    assert_eq!(
        reverse()[3..],
        [
            "AU|-bob|DELETED/user/alice/6B029D23 ",
            "AU|anyone|DELETED/user/alice/6B029D23 "
        ]
    );
    list.remove(&moved.name).unwrap();
    assert_eq!(reverse().len(), 3);
}

#[test]
fn other_forms_are_refused() {
    for (key, value, refused) in [
        (&b"user.alice"[..], &b"%(A %() I aa P default)"[..], true),
        (b"$RACL", b"", true),
        (b"shared", b"0 default alice lr", true),
        (b"AS\x1e", b"", false),
        (b"Iaa1", b"%(T e N x)", false),
    ] {
        let store = Store::new();
        store.put_raw(key, value);
        let opened = MailboxList::open(
            &Disk::default(),
            &store.path,
            Backend::Twoskip,
            &Namespace::default(),
            &[],
        );
        assert_eq!(
            matches!(opened, Err(SpoolError::Unsupported { .. })),
            refused,
            "{}",
            key.escape_ascii()
        );
    }
}

#[test]
fn damage_is_told_with_the_name() {
    let store = Store::new();
    store.put_raw(b"Nuser\x1fa\x1fx", b"%(T e I aa1");
    let mut list = store.list();
    let a = UserId::parse("a").unwrap();
    let error = list.of_user(&a, Deleted::Skip).unwrap_err();
    assert!(error.to_string().contains("user.a.x"), "{error}");
    assert!(list.put(&entry("user.a.x", "aa1")).is_err());
    store.put_raw(b"Nuser\x1fa\x1fx", b"%(T e I aa1 J jj)");
    let error = list.delete(&name("user.a.x"), ModSeq(1)).unwrap_err();
    assert!(matches!(error, SpoolError::Unsupported { .. }), "{error}");
}

#[test]
fn a_power_cut_leaves_old_or_new() {
    let store = Store::new();
    let old = entry("user.alice.Old", "aa1");
    store.put_raw(b"AS\x1e", b"");
    store.list().put(&old).unwrap();
    let new = MailboxEntry {
        name: name("user.alice.New"),
        ..old.clone()
    };
    let before = store.dump();
    let recorder = Recorder::new(store.path.parent().unwrap()).unwrap();
    let disk = Disk::default().recorded_by(&recorder);
    store.list_on(&disk).rename(&old, &new).unwrap();
    let after = store.dump();
    for cut in 0..=recorder.len() {
        for survival in [
            Survival::OnlySynced,
            Survival::Everything,
            Survival::Sectors(cut as u64),
        ] {
            let directory = tempfile::tempdir().unwrap();
            recorder.after_cut(cut, survival, directory.path()).unwrap();
            let found = Store {
                path: directory.path().join("mailboxes.db"),
                _directory: directory,
            }
            .dump();
            assert!(found == before || found == after, "{cut}: {found:#?}");
            assert!(
                cut < recorder.len() || found == after,
                "lost after the return"
            );
        }
    }
}

/// What the list should hold, by plain rules.
#[derive(Default)]
struct Model {
    names: BTreeMap<String, (String, String)>,
    current: BTreeMap<String, String>,
    history: BTreeMap<String, Vec<String>>,
}

impl Model {
    fn store(&mut self, mailbox: &str, unique_id: &str, kind: &str) {
        let owned = (unique_id.to_owned(), kind.to_owned());
        if let Some((old, _)) = self.names.insert(mailbox.to_owned(), owned)
            && old != unique_id
            && self.current.get(&old).is_some_and(|named| named == mailbox)
        {
            self.current.remove(&old);
            self.history.remove(&old);
        }
        let named = self
            .current
            .insert(unique_id.to_owned(), mailbox.to_owned());
        let history = self.history.entry(unique_id.to_owned()).or_default();
        if let Some(named) = named.filter(|named| named != mailbox) {
            history.insert(0, named);
        }
    }

    fn remove(&mut self, mailbox: &str) {
        if let Some((old, _)) = self.names.remove(mailbox)
            && self.current.get(&old).is_some_and(|named| named == mailbox)
        {
            self.current.remove(&old);
            self.history.remove(&old);
        }
    }

    fn has_children(&self, mailbox: &str) -> bool {
        let prefix = format!("{mailbox}.");
        self.names
            .iter()
            .any(|(name, (_, kind))| name.starts_with(&prefix) && kind == "e")
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Put(String, String),
    Rename(String, String),
    Delete(String),
    Remove(String),
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let mailbox = || "user\\.a(\\.[xy]){0,2}|DELETED\\.user\\.a\\.x\\.6B029D2[34]|shared";
    let operation = prop_oneof![
        3 => (mailbox(), "id[1-4]").prop_map(|(name, id)| Operation::Put(name, id)),
        3 => (mailbox(), mailbox()).prop_map(|(old, new)| Operation::Rename(old, new)),
        2 => mailbox().prop_map(Operation::Delete),
        1 => mailbox().prop_map(Operation::Remove),
    ];
    proptest::collection::vec(operation, 1..14)
}

fn apply(list: &mut MailboxList, model: &mut Model, operation: Operation) {
    match operation {
        Operation::Put(mailbox, unique_id) => {
            list.put(&entry(&mailbox, &unique_id)).unwrap();
            model.store(&mailbox, &unique_id, "e");
        }
        Operation::Rename(from, to) => {
            let Some(old) = list
                .find(&name(&from))
                .unwrap()
                .filter(MailboxEntry::is_real)
            else {
                return;
            };
            let new = MailboxEntry {
                name: name(&to),
                ..old.clone()
            };
            list.rename(&old, &new).unwrap();
            if from != to {
                model.store(&from, old.unique_id.as_str(), "ed");
            }
            model.store(&to, old.unique_id.as_str(), "e");
        }
        Operation::Delete(mailbox) => {
            list.delete(&name(&mailbox), ModSeq(9)).unwrap();
            let Some((unique_id, kind)) = model.names.get(&mailbox).cloned() else {
                return;
            };
            match kind.as_str() {
                _ if mailbox.starts_with("DELETED") => model.remove(&mailbox),
                "ei" => model.store(&mailbox, &unique_id, "edi"),
                "e" if model.has_children(&mailbox) => model.store(&mailbox, &unique_id, "ei"),
                "e" => model.store(&mailbox, &unique_id, "ed"),
                _ => {}
            }
        }
        Operation::Remove(mailbox) => {
            list.remove(&name(&mailbox)).unwrap();
            model.remove(&mailbox);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn the_list_agrees_with_the_model(operations in operations()) {
        let store = Store::new();
        store.put_raw(b"AS\x1e", b"");
        let mut list = store.list();
        let mut model = Model::default();
        for operation in operations {
            apply(&mut list, &mut model, operation);
        }
        let mut reverse = Vec::new();
        let mut names = BTreeMap::new();
        list.for_each(|entry| {
            let seen = match (entry.mailbox_type.to_string().as_str(), entry.name.as_str()) {
                (_, _) if entry.is_tombstone() || entry.acl == Some(Acl::default()) => vec![],
                (_, "shared") => vec!["AS|alice|", "AS|bob|"],
                _ => vec!["AU|alice|", "AU|bob|"],
            };
            let db_name = entry.name.as_str().replace('.', "/");
            reverse.extend(seen.into_iter().map(|key| format!("{key}{db_name} ")));
            names.insert(
                entry.name.to_string(),
                (entry.unique_id.to_string(), entry.mailbox_type.to_string()),
            );
            ControlFlow::<()>::Continue(())
        })
        .unwrap();
        prop_assert_eq!(&names, &model.names);
        for (unique_id, current) in &model.current {
            let found = list.find_id(&id(unique_id)).unwrap();
            let expected = model.names.get(current).is_some_and(|(holder, _)| holder == unique_id);
            prop_assert_eq!(found.is_some(), expected);
            let history: Vec<String> = list
                .history(&id(unique_id))
                .unwrap()
                .into_iter()
                .map(|former| former.name.to_string())
                .collect();
            prop_assert_eq!(&history, model.history.get(unique_id).unwrap());
        }
        reverse.push("AS| ".to_owned());
        reverse.sort();
        let stored: Vec<String> = store.dump().into_iter().filter(|line| line.starts_with('A')).collect();
        prop_assert_eq!(stored, reverse);
        let id_records = store.dump().iter().filter(|line| line.starts_with('I')).count();
        prop_assert_eq!(id_records, model.current.len());
    }
}
