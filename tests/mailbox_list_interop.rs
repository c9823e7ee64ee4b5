//! The mailbox list, shared with stock Cyrus: the same changes are made by its sync_server and by us
//! and the files compared, and its imapd works on a list that we changed.
//!
//! Without an installed Cyrus these tests do nothing and say so.

#![allow(clippy::expect_used, clippy::unwrap_used)]

#[path = "tools/lab.rs"]
mod lab;
#[path = "tools/store.rs"]
mod store;

use std::fs;
use std::path::Path;

use cyrus_sync::mail::{Acl, MailboxType, ModSeq, Partition, UidValidity, UniqueId, UnixTime};
use cyrus_sync::spool::SpoolError;
use cyrus_sync::spool::mailboxes::{Deleted, MailboxEntry, MailboxList};

use store::{Store, masked, name, user};

fn entry(mailbox: &str, id: &str, acl: &str, folder_modseq: u64) -> MailboxEntry {
    MailboxEntry {
        name: name(mailbox),
        unique_id: UniqueId::parse(id).unwrap(),
        mailbox_type: MailboxType::default(),
        partition: Some(Partition::parse("default").unwrap()),
        server: None,
        uid_validity: UidValidity(1_500_000_000),
        created_modseq: ModSeq(1),
        folder_modseq: ModSeq(folder_modseq),
        mtime: UnixTime(0),
        acl: Some(Acl::parse(acl).unwrap()),
    }
}

/// An APPLY MAILBOX of an empty mailbox.
fn mailbox_line(entry: &MailboxEntry) -> String {
    format!(
        "APPLY MAILBOX %(UNIQUEID {} MBOXNAME \"{}\" SYNC_CRC 0 SYNC_CRC_ANNOT 12345678 LAST_UID 0 \
         HIGHESTMODSEQ {modseq} RECENTUID 0 RECENTTIME 0 LAST_APPENDDATE 0 POP3_LAST_LOGIN 0 \
         POP3_SHOW_AFTER 0 UIDVALIDITY {} PARTITION default ACL \"{}\" OPTIONS P \
         CREATEDMODSEQ {} FOLDERMODSEQ {modseq} RECORD ())",
        entry.unique_id,
        entry.name,
        entry.uid_validity,
        entry.acl.as_ref().unwrap(),
        entry.created_modseq,
        modseq = entry.folder_modseq,
    )
}

type Ours = Box<dyn Fn(&mut MailboxList) -> Result<(), SpoolError>>;

/// One change, in both tongues.
struct Operation {
    what: &'static str,
    line: String,
    ours: Ours,
}

impl Operation {
    fn put(what: &'static str, entry: MailboxEntry) -> Operation {
        Operation {
            what,
            line: mailbox_line(&entry),
            ours: Box::new(move |list| list.put(&entry).map(drop)),
        }
    }

    fn rename(what: &'static str, from: &str, to: &str) -> Operation {
        let (old_name, new_name) = (name(from), name(to));
        Operation {
            what,
            line: format!(
                "APPLY RENAME %(OLDMBOXNAME \"{from}\" NEWMBOXNAME \"{to}\" PARTITION default \
                 UIDVALIDITY 1500000000)"
            ),
            ours: Box::new(move |list| {
                let old = list.find(&old_name)?.expect("old mailbox");
                let new = MailboxEntry {
                    name: new_name.clone(),
                    ..old.clone()
                };
                list.rename(&old, &new).map(drop)
            }),
        }
    }

    fn delete(what: &'static str, mailbox: &str, folder_modseq: u64) -> Operation {
        let mailbox = name(mailbox);
        Operation {
            what,
            line: format!("APPLY LOCAL_UNMAILBOX \"{mailbox}\""),
            ours: Box::new(move |list| list.delete(&mailbox, ModSeq(folder_modseq)).map(drop)),
        }
    }
}

fn list_operations() -> Vec<Operation> {
    let alice = "alice\tlrswipkxtecdan\t";
    let shared = "alice\tlrswipkxtecdan\tbob\tlrs\tgroup:staff\tlr\t-anyone\tr\tcyrus\tlra\t";
    vec![
        Operation::put("INBOX", entry("user.alice", "uidaaaa01", alice, 1)),
        Operation::put(
            "a mailbox that others see",
            entry("user.alice.Work", "uidaaaa02", shared, 3),
        ),
        Operation::put(
            "below it",
            entry("user.alice.Work.a b", "uidaaaa03", alice, 3),
        ),
        Operation::put(
            "an odd name",
            entry("user.alice.st*ar (x)^y", "uidaaaa04", alice, 3),
        ),
        Operation::put(
            "another ACL",
            entry(
                "user.alice.Work",
                "uidaaaa02",
                "alice\tlrs\tbob\tr\tcarol\tl\t",
                5,
            ),
        ),
        Operation::put(
            "a shared mailbox",
            entry("team.news", "uidaaaa05", shared, 2),
        ),
        Operation::rename("a rename", "user.alice.Work.a b", "user.alice.Moved"),
        Operation::rename("another rename", "user.alice.Moved", "user.alice.Moved^2"),
        Operation::rename(
            "a delayed delete",
            "user.alice.Work",
            "DELETED.user.alice.Work.6B029D23",
        ),
        Operation::put(
            "a new mailbox over a tombstone",
            entry("user.alice.Work", "uidaaaa06", alice, 9),
        ),
        Operation {
            what: "an intermediate",
            line: "APPLY MAILBOX %(UNIQUEID uidaaaa07 MBOXNAME user.alice.im MBOXTYPE ei \
                   HIGHESTMODSEQ 5 CREATEDMODSEQ 4 FOLDERMODSEQ 5)"
                .to_owned(),
            ours: Box::new(|list| {
                let intermediate = MailboxEntry {
                    mailbox_type: MailboxType::parse("ei").unwrap(),
                    partition: None,
                    uid_validity: UidValidity(0),
                    created_modseq: ModSeq(4),
                    acl: None,
                    ..entry("user.alice.im", "uidaaaa07", "", 5)
                };
                list.put(&intermediate).map(drop)
            }),
        },
        Operation::put("below it", entry("user.alice.im.x", "uidaaaa08", alice, 6)),
        Operation::delete("an immediate delete", "user.alice.im.x", 6),
        Operation::put(
            "a new mailbox over a tombstone that its id still names",
            entry("user.alice.im.x", "uidaaaa09", alice, 7),
        ),
        Operation::delete("a delete of a shared mailbox", "team.news", 2),
    ]
}

#[test]
fn the_mailbox_list_is_what_the_original_makes() {
    let options = ["--option", "reverseacls: on", "--no-sync-log"];
    let Some(store) = Store::start(&options) else {
        return;
    };
    let theirs = store.places().mailboxes_db.clone();
    let ours = store.lab.root().join("conf/ours.db");
    let switched_on = |line: &String| line.trim_end() == "AS\x1e";
    assert!(store.dump(&theirs).iter().any(switched_on));
    fs::copy(&theirs, &ours).unwrap();
    for operation in list_operations() {
        store.apply(&operation.line);
        (operation.ours)(&mut store.list_at(&ours)).unwrap();
        let (ours, theirs) = (store.dump(&ours), store.dump(&theirs));
        assert_eq!(ours.join("\n"), theirs.join("\n"), "{}", operation.what);
    }
    let listing = |path: &Path| {
        let arguments = ["ctl_mboxlist", "-d", "-f", path.to_str().unwrap()];
        masked(&store.lab.instance("tool", &arguments), "\"mtime\": \"")
    };
    let listed = listing(&ours);
    assert!(listed.contains("user.alice.Moved^2"), "{listed}");
    assert_eq!(listed, listing(&theirs));

    // A deleted name goes without trace in both, but for the orphan that 3.6.1 leaves.
    let gone = Operation::delete("expiry", "DELETED.user.alice.Work.6B029D23", 1);
    store.apply(&gone.line);
    (gone.ours)(&mut store.list_at(&ours)).unwrap();
    let (ours, theirs) = (store.dump(&ours), store.dump(&theirs));
    let orphan = |line: &&String| !line.starts_with("Iuidaaaa02\t");
    assert!(ours.iter().all(|line| orphan(&line)));
    assert_eq!(
        ours,
        theirs.iter().filter(orphan).cloned().collect::<Vec<_>>()
    );
    let id = UniqueId::parse("uidaaaa02").unwrap();
    assert_eq!(store.list().find_id(&id).unwrap(), None);
}

#[test]
fn the_server_works_with_a_list_that_we_changed() {
    let Some(store) = Store::start(&[]) else {
        return;
    };
    store
        .lab
        .instance("user", &["--folders", "Work Work/a Other", "anna", "bert"]);
    let mut list = store.list();
    let anna = user("anna");
    let names = |list: &mut MailboxList| -> Vec<String> {
        let entries = list.of_user(&anna, Deleted::Skip).unwrap();
        entries.iter().map(|entry| entry.name.to_string()).collect()
    };
    assert_eq!(
        names(&mut list),
        [
            "user.anna",
            "user.anna.Other",
            "user.anna.Work",
            "user.anna.Work.a"
        ]
    );
    let old = list.find(&name("user.anna.Other")).unwrap().unwrap();
    let acl = Acl::parse("anna\tlrswipkxtecdan\tbert\tlr\t").unwrap();
    let new = MailboxEntry {
        name: name("user.anna.J^R^ b"),
        acl: Some(acl),
        folder_modseq: ModSeq(old.folder_modseq.0 + 1),
        ..old.clone()
    };
    list.rename(&old, &new).unwrap();
    store.lab.hand_over();
    let answers = store.imap(
        "anna",
        &[
            "LIST \"\" *",
            "STATUS \"J.R. b\" (MESSAGES UIDVALIDITY)",
            "CREATE Other",
            "DELETE Work/a",
            "RENAME \"J.R. b\" Plain",
        ],
    );
    assert!(answers[0].contains("\"J.R. b\""), "{}", answers[0]);
    assert!(!answers[0].contains("Other"), "{}", answers[0]);
    assert!(answers[1].contains(&format!("UIDVALIDITY {}", old.uid_validity)));
    assert!(
        answers[2..].iter().all(|answer| !answer.contains("failed")),
        "{answers:?}"
    );
    assert_eq!(
        list.find_id(&old.unique_id).unwrap().unwrap().name,
        name("user.anna.Plain")
    );
    let former = list.history(&old.unique_id).unwrap();
    assert_eq!(former[0].name, new.name);
    assert_eq!(former[1].name, old.name);
    assert!(
        list.find(&name("user.anna.Work.a"))
            .unwrap()
            .unwrap()
            .is_tombstone()
    );
    let listed = store.imap("bert", &["LIST \"\" *"]);
    assert!(listed[0].contains("Plain"), "{}", listed[0]);
}
