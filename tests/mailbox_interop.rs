//! Do stock Cyrus and this store read each other's mailboxes?
//!
//! A stock server is filled by the corpus tools; every mailbox is opened here, its files must be
//! what we would write, and its stored counters and CRCs what we compute. Then a mailbox is made
//! and changed here, and the stock server's tools and its imapd must find nothing wrong with it;
//! both go on writing it in turn.
//!
//! Without an installed Cyrus these tests do nothing and say so.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod tools;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use cyrus_sync::mail::{
    Acl, Annotation, FlagName, MailboxName, MailboxOptions, MailboxType, ModSeq, Partition,
    SystemFlags, Uid, UidValidity, UniqueId, UnixTime,
};
use cyrus_sync::spool::disk::LockKind;
use cyrus_sync::spool::mailbox::{
    HeaderUpdate, IndexVersion, NewMailbox, Prepared, RecordState, Source, WritableMailbox,
};
use cyrus_sync::spool::mailboxes::MailboxEntry;
use cyrus_sync::spool::staging::Staging;

use tools::lab::{Lab, run, tool};
use tools::mailbox_store::{Store, assert_ours, content, free_of_charge, stage};

#[test]
fn mailboxes_of_a_stock_server_are_read() {
    let Some(lab) = Lab::start() else {
        return;
    };
    let mut fill = Command::new(tool("lab/corpus.py"));
    fill.args(["variety", "--imap", &lab.imap(), "--users", "2"]);
    fill.args(["--messages", "30", "--sieve", &lab.endpoint(2), "--lmtp"]);
    fill.arg(lab.root().join("conf/socket/lmtp"));
    fill.arg("--instance").arg(lab.root());
    run(&mut fill);

    let store = Store::of(&lab);
    let mut entries = Vec::new();
    let all = store.list().for_each(|entry| -> ControlFlow<()> {
        entries.push(entry);
        ControlFlow::Continue(())
    });
    all.unwrap();
    entries.retain(MailboxEntry::is_real);
    let mut records = 0;
    let mut annotated = 0;
    for entry in &entries {
        let place = store.place(entry);
        let user = store.owner(&place);
        let mailbox = store.read(&place, &user);
        assert_ours(&store, &mailbox);
        for stored in mailbox.records() {
            let record = stored.unwrap().record;
            records += 1;
            annotated += usize::from(!mailbox.annotations_of(record.uid).unwrap().is_empty());
        }
    }
    println!(
        "{} mailboxes, {records} records, {annotated} with annotations",
        entries.len()
    );
    assert!(entries.len() > 10 && records > 200 && annotated > 0);
}

const NAME: &str = "user.ours";
/// Creates the INBOX of a new user.
fn create(store: &Store) -> MailboxEntry {
    let now = UnixTime::now();
    let entry = MailboxEntry {
        name: MailboxName::parse(NAME).unwrap(),
        unique_id: UniqueId::parse("oursoursoursoursoursours").unwrap(),
        mailbox_type: MailboxType::default(),
        partition: Some(Partition::parse("default").unwrap()),
        server: None,
        uid_validity: UidValidity(now.0),
        created_modseq: ModSeq(1),
        folder_modseq: ModSeq(1),
        mtime: now,
        acl: Some(Acl::parse("ours\tlrswipkxtecdan\t").unwrap()),
    };
    let place = store.place(&entry);
    let user = store.owner(&place);
    let exclusive = LockKind::Exclusive;
    let lock = store
        .locks
        .mailbox(&user, &place.name, place.home(), exclusive)
        .unwrap();
    let new = NewMailbox {
        version: IndexVersion::CREATED,
        acl: entry.acl.clone().unwrap(),
        quota_root: None,
        options: MailboxOptions::POP3_NEW_UIDL,
        uid_validity: entry.uid_validity,
        highest_modseq: ModSeq(1),
        created_modseq: ModSeq(1),
    };
    drop(
        store
            .mailboxes
            .create(place, lock, &new, free_of_charge)
            .unwrap(),
    );
    store.list().put(&entry).unwrap();
    entry
}

/// Appends messages, one of them expunged without a file, with flags and annotations.
fn append(store: &Store, mailbox: &WritableMailbox<'_>, staging: &mut Staging) -> Prepared {
    let partition = &mailbox.place().partition;
    let mut changes = mailbox.prepare().unwrap();
    let before = changes.result();
    let names = ["$label", "other"].map(|name| FlagName::parse(name).unwrap());
    let user_flags = changes.user_flags(&names).unwrap();
    let now = UnixTime::now();
    for number in 1..=40 {
        let uid = Uid(before.last_uid.0 + 2 * number);
        let guid = stage(staging, partition, &content(uid.0));
        let state = RecordState {
            modseq: ModSeq(before.highest_modseq.0 + u64::from(number)),
            last_updated: now,
            internal_date: UnixTime(1_700_000_000 + number),
            system_flags: SystemFlags::from_bits_truncate(number),
            user_flags,
            expunged: number % 10 == 0,
            conversation: Default::default(),
            save_date: now,
            created_modseq: ModSeq(before.highest_modseq.0 + u64::from(number)),
        };
        let annotations = [Annotation {
            entry: "/comment".to_owned(),
            user: if number % 2 == 0 { "" } else { "ours" }.to_owned(),
            modseq: state.modseq,
            value: format!("note {number}").into_bytes(),
        }];
        let source = match number {
            20 => Source::NoFile { size: 100 },
            _ => Source::Staged(staging.get(partition, &guid).unwrap()),
        };
        changes
            .append(uid, &guid, &state, source, &annotations)
            .unwrap();
    }
    changes.set_header(&HeaderUpdate {
        highest_modseq: ModSeq(before.highest_modseq.0 + 40),
        last_append_date: now,
        ..HeaderUpdate::of(&changes.result())
    });
    let own = store.own_annotations(mailbox.place());
    let incremental = changes.result();
    changes.recalculate(Some(own)).unwrap();
    assert_eq!(changes.result(), incremental);
    changes.finish().unwrap()
}

/// Flags one in three live messages, expunges one in seven, changes annotations.
fn change(mailbox: &WritableMailbox<'_>) -> Prepared {
    let mut changes = mailbox.prepare().unwrap();
    let before = changes.result();
    let flag = FlagName::parse("late").unwrap();
    let user_flags = changes.user_flags(&[flag]).unwrap();
    let modseq = ModSeq(before.highest_modseq.0 + 1);
    for stored in mailbox.records() {
        let stored = stored.unwrap();
        let uid = stored.record.uid.0;
        if stored.record.is_expunged() || !(uid % 3 == 0 || uid % 7 == 0) {
            continue;
        }
        let state = RecordState {
            modseq,
            last_updated: UnixTime::now(),
            user_flags,
            system_flags: stored.record.system_flags ^ SystemFlags::SEEN,
            expunged: uid % 7 == 0,
            ..RecordState::of(&stored.record)
        };
        let annotations = mailbox.annotations_of(stored.record.uid).unwrap();
        let fewer = &annotations[..annotations.len() * usize::from(uid % 2 == 0)];
        changes.update(&stored, &state, Some(fewer)).unwrap();
    }
    changes.set_header(&HeaderUpdate {
        highest_modseq: modseq,
        ..HeaderUpdate::of(&before)
    });
    changes.finish().unwrap()
}

/// Files made here get the owner of the instance's.
fn give_to_the_instance(lab: &Lab) {
    let root = lab.root();
    let mut chown = Command::new("chown");
    chown.arg("-R").arg("--reference").arg(root.join("conf"));
    run(chown.arg(root.join("spool")).arg(root.join("conf")));
}

fn assert_stock_agrees(lab: &Lab, live: u32) {
    give_to_the_instance(lab);
    let said = lab.instance("tool", &["reconstruct", "-n", "-G", "user/ours"]);
    assert_eq!(said, "user/ours");
    let examined = lab.instance("tool", &["mbexamine", "user/ours"]);
    assert!(
        examined.contains(&format!("Number of Messages: {live} ")),
        "{examined}"
    );
    let errors = Path::new("log/cyrus.log");
    let log = std::fs::read_to_string(lab.root().join(errors)).unwrap();
    let complaints = ["IOERROR", "DBERROR", "CRC", "checksum"];
    let bad = log
        .lines()
        .find(|line| complaints.iter().any(|bad| line.contains(bad)));
    assert_eq!(bad, None);
}

/// A session as the owner of the mailbox.
struct Imap {
    stream: BufReader<TcpStream>,
}

impl Imap {
    fn login(lab: &Lab) -> Imap {
        let stream = TcpStream::connect(lab.imap()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let mut imap = Imap {
            stream: BufReader::new(stream),
        };
        imap.line();
        let identity = base64::prelude::BASE64_STANDARD.encode("ours\0cyrus\0secret");
        imap.command(&format!("AUTHENTICATE PLAIN {identity}"));
        imap
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(self.stream.read_line(&mut line).unwrap(), 0);
        line
    }

    /// Everything before the tagged answer, which must be OK.
    fn command(&mut self, text: &str) -> String {
        write!(self.stream.get_mut(), "a {text}\r\n").unwrap();
        let mut said = String::new();
        loop {
            let line = self.line();
            if line.starts_with("a ") {
                assert!(line.starts_with("a OK"), "{text}: {line}");
                return said;
            }
            said.push_str(&line);
        }
    }
}

#[test]
fn a_stock_server_reads_and_writes_our_mailbox() {
    let Some(lab) = Lab::start() else {
        return;
    };
    let store = Store::of(&lab);
    let entry = create(&store);
    let place = store.place(&entry);
    assert_stock_agrees(&lab, 0);

    let mut live = 0;
    for _ in 0..2 {
        let user = store.owner(&place);
        let mut staging = store.staging();
        let mailbox = store.write(&place, &user);
        let prepared = append(&store, &mailbox, &mut staging);
        let (mailbox, committed) = mailbox
            .commit(prepared, Some(&staging), free_of_charge)
            .unwrap();
        assert_eq!(committed.appended, 40);
        let prepared = change(&mailbox);
        let (mailbox, committed) = mailbox.commit(prepared, None, free_of_charge).unwrap();
        assert!(committed.updated > 5);
        assert_ours(&store, &mailbox);
        live = mailbox.index_header().exists;
        drop(mailbox);
        drop(user);
        assert_stock_agrees(&lab, live);

        let mut imap = Imap::login(&lab);
        let selected = imap.command("SELECT INBOX");
        assert!(selected.contains(&format!("* {live} EXISTS")), "{selected}");
        assert!(selected.contains("$label") && selected.contains("late"));
        let fetched =
            imap.command("FETCH 1:* (FLAGS ENVELOPE BODYSTRUCTURE ANNOTATION (/* (value)))");
        assert_eq!(fetched.matches("\"message ").count(), live as usize);
        assert!(fetched.contains("\"note "), "{fetched}");
        let searched = imap.command("SEARCH SUBJECT message UNKEYWORD late");
        assert!(searched.len() > 30, "{searched}");
        let body = imap.command("UID FETCH 2 BODY[]");
        assert!(
            body.contains(&String::from_utf8(content(2)).unwrap()),
            "{body}"
        );

        imap.command("STORE 1:5 +FLAGS (\\Answered stock)");
        imap.command("STORE 2 +FLAGS (\\Deleted)");
        let second = imap.command("FETCH 2 UID");
        let (_, uid) = second.split_once("UID ").unwrap();
        let (uid, _) = uid.split_once(')').unwrap();
        imap.command(&format!("UID EXPUNGE {uid}"));
        imap.command("COPY 1:3 INBOX");
        imap.command("LOGOUT");
        live = live - 1 + 3;

        let user = store.owner(&place);
        let mailbox = store.read(&place, &user);
        assert_ours(&store, &mailbox);
        assert_eq!(mailbox.index_header().exists, live);
    }
    assert_stock_agrees(&lab, live);
}
