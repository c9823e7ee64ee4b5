//! Do stock Cyrus and this store read each other's mailboxes?
//!
//! A stock server is filled by the corpus tools; every mailbox is opened here, its files must be
//! what we would write, and its stored counters and CRCs what we compute. Then a mailbox is made
//! and changed here, and the stock server's tools and its imapd must find nothing wrong with it;
//! both go on writing it in turn.
//!
//! Without an installed Cyrus these tests do nothing and say so.

#![allow(clippy::expect_used, clippy::unwrap_used)]

// Each test uses some of the tools.
#[allow(dead_code)]
mod tools;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use cyrus_sync::config::{Config, Environment, PartitionPlaces, Places};
use cyrus_sync::mail::{
    Acl, Annotation, FlagName, Guid, MailboxName, MailboxOptions, MailboxType, ModSeq, Partition,
    SystemFlags, Uid, UidValidity, UniqueId, UnixTime,
};
use cyrus_sync::spool::SpoolError;
use cyrus_sync::spool::annotations::{AnnotationDb, Scope};
use cyrus_sync::spool::cyrusdb::{Backend, Create, Db};
use cyrus_sync::spool::disk::{Disk, LockKind};
use cyrus_sync::spool::layout::{Layout, MailboxFile};
use cyrus_sync::spool::lock::{Locks, UserLock};
use cyrus_sync::spool::mailbox::{
    HeaderUpdate, IndexHeader, IndexRecord, IndexVersion, Mailbox, MailboxHeader, MailboxPlace,
    MailboxSettings, Mailboxes, NewMailbox, Preparation, Prepared, RecordState, Source,
    WritableMailbox,
};
use cyrus_sync::spool::mailboxes::{MailboxEntry, MailboxList};
use cyrus_sync::spool::message::MessageParser;
use cyrus_sync::spool::quota::{Amounts, QuotaRoot};
use cyrus_sync::spool::staging::{Staging, StagingSettings};
use jiff::tz::TimeZone;

use tools::lab::{Lab, run, tool};

/// The store of a stock instance, as this program opens it.
struct Store {
    disk: Disk,
    config: Config,
    layout: Layout,
    locks: Locks,
    mailboxes: Mailboxes,
}

impl Store {
    fn of(lab: &Lab) -> Store {
        let environment = Environment::of_process("sync_server");
        let config = Config::load(&lab.root().join("imapd.conf"), &environment).unwrap();
        let layout = Layout::new(config.places.clone(), config.namespace.clone());
        let disk = Disk::new(0o077, Duration::from_secs(10));
        let settings = MailboxSettings {
            annotation_backend: Backend::Twoskip,
            expunge_mode: config.mailboxes.expunge_mode,
            time_zone: TimeZone::UTC,
        };
        Store {
            locks: Locks::new(disk.clone(), layout.clone(), config.locks),
            mailboxes: Mailboxes::new(disk.clone(), settings),
            disk,
            config,
            layout,
        }
    }

    fn list(&self) -> MailboxList {
        let path = &self.config.places.mailboxes_db;
        let namespace = &self.config.namespace;
        MailboxList::open(&self.disk, path, Backend::Twoskip, namespace, &[]).unwrap()
    }

    fn place(&self, entry: &MailboxEntry) -> MailboxPlace {
        MailboxPlace::new(
            &self.layout,
            entry.name.clone(),
            entry.unique_id.clone(),
            entry.mailbox_type,
            entry.partition.clone().unwrap(),
        )
        .unwrap()
    }

    fn owner(&self, place: &MailboxPlace) -> UserLock {
        self.locks
            .owner_of(&place.name, LockKind::Exclusive)
            .unwrap()
    }

    fn read<'u>(&self, place: &MailboxPlace, user: &'u UserLock) -> Mailbox<'u> {
        let lock = self
            .locks
            .mailbox(user, &place.name, place.home(), LockKind::Shared);
        let opened = self.mailboxes.read(place.clone(), lock.unwrap());
        opened.unwrap().unwrap()
    }

    fn write<'u>(&self, place: &MailboxPlace, user: &'u UserLock) -> WritableMailbox<'u> {
        let lock = self
            .locks
            .mailbox(user, &place.name, place.home(), LockKind::Shared);
        let opened = self.mailboxes.write(place.clone(), lock.unwrap());
        opened.unwrap().unwrap()
    }

    fn own_annotations(&self, place: &MailboxPlace) -> u64 {
        let path = &self.config.places.annotations_db;
        let mut db = AnnotationDb::open(&self.disk, path, Backend::Twoskip).unwrap();
        let scope = Scope::Mailbox {
            id: &place.unique_id,
            owner: place.owner.as_ref(),
        };
        let annotations = db.all(scope).unwrap();
        annotations.iter().map(|one| one.value.len() as u64).sum()
    }

    fn staging(&self) -> Staging {
        let settings = StagingSettings {
            parser: Default::default(),
            share_files: true,
        };
        Staging::new(self.disk.clone(), self.layout.clone(), settings)
    }
}

/// Header, index and counters are what this program would write.
fn assert_ours(store: &Store, mailbox: &Mailbox<'_>) {
    let place = mailbox.place();
    let read = |file| std::fs::read(place.paths.file(file)).unwrap();
    let header = read(MailboxFile::Header);
    let decoded = MailboxHeader::decode(&header).unwrap();
    assert_eq!(decoded.encode().unwrap(), header, "{}", place.name);
    assert_eq!(mailbox.index_header().header_file_crc, crc32(&header));

    let index = read(MailboxFile::Index);
    let header = IndexHeader::decode(&index).unwrap();
    let mut written = header.encode();
    for record in index[written.len()..].chunks_exact(header.version.record_size()) {
        let record = IndexRecord::decode(header.version, record).unwrap();
        record.encode(header.version, &mut written);
    }
    assert_eq!(written, index, "{}", place.name);

    let own = store.own_annotations(place);
    let computed = mailbox.recalculated(Some(own)).unwrap();
    assert_eq!(*mailbox.index_header(), computed, "{}", place.name);
    for stored in mailbox.records() {
        let record = stored.unwrap().record;
        if record.has_file() {
            let length = std::fs::metadata(mailbox.message_path(&record)).unwrap();
            assert_eq!(length.len(), u64::from(record.size));
        }
    }
}

fn crc32(octets: &[u8]) -> u32 {
    crc32fast::hash(octets)
}

#[test]
fn mailboxes_of_a_stock_server_are_read() {
    let Some(lab) = Lab::start(31500) else {
        return;
    };
    let mut fill = Command::new(tool("lab/corpus.py"));
    fill.args(["variety", "--imap", &lab.imap(), "--users", "2"]);
    fill.args(["--messages", "30", "--sieve", "127.0.0.1:31502", "--lmtp"]);
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
const OCTETS: &str = "From: a@example.org\r\nDate: Mon, 02 Mar 2026 10:11:12 +0100\r\nSubject: ";

fn content(number: u32) -> Vec<u8> {
    format!("{OCTETS}message {number}\r\n\r\n{}\r\n", "text ".repeat(30)).into_bytes()
}

fn stage(staging: &mut Staging, partition: &Partition, octets: &[u8]) -> Guid {
    let mut parser = MessageParser::new(&Default::default());
    parser.feed(octets);
    let guid = parser.finish().guid;
    let mut writer = staging.begin(partition, &guid).unwrap().unwrap();
    octets
        .chunks(7)
        .for_each(|piece| writer.write(piece).unwrap());
    staging.finish(writer).unwrap();
    guid
}

fn free_of_charge(_: &QuotaRoot, _: Amounts) -> Result<(), SpoolError> {
    panic!("the mailbox has no quota root")
}

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
    let Some(lab) = Lab::start(31510) else {
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
const REPLICATED: &str = "user.repl";
const ID: &str = "replreplreplreplreplrepl";

/// A replicated message as both servers get it.
struct Message {
    uid: u32,
    modseq: u64,
    flags: &'static str,
    expunged: bool,
    sent: bool,
    annotations: &'static [(&'static str, &'static str, &'static str)],
}

const fn message(uid: u32, modseq: u64, flags: &'static str) -> Message {
    Message {
        uid,
        modseq,
        flags,
        expunged: false,
        sent: true,
        annotations: &[],
    }
}

const NOTE: &str = "/comment";
const SNOOZED: &str = "/vendor/cmu/cyrus-imapd/snoozed";

/// Two updates of one mailbox.
fn updates() -> [Vec<Message>; 2] {
    [
        vec![
            message(1, 3, r"\Seen $label"),
            Message {
                annotations: &[
                    (NOTE, "", "shared"),
                    (NOTE, "repl", "own"),
                    (NOTE, "x", "y"),
                ],
                ..message(2, 4, r"\Flagged")
            },
            Message {
                expunged: true,
                ..message(4, 5, r"\Deleted late")
            },
            Message {
                expunged: true,
                sent: false,
                annotations: &[(NOTE, "", "of a message that is gone")],
                ..message(5, 6, "")
            },
            message(6, 6, r"\Draft \Answered other"),
        ],
        vec![
            Message {
                annotations: &[(SNOOZED, "", "until"), (NOTE, "repl", "mine")],
                ..message(1, 8, "other")
            },
            Message {
                expunged: true,
                annotations: &[(NOTE, "", "changed")],
                ..message(2, 9, r"\Deleted")
            },
            message(6, 9, ""),
            message(9, 9, "new"),
        ],
    ]
}

const DATE: u32 = 1_772_452_800;
const VALIDITY: u32 = 1_700_000_000;

fn last_uid(update: &[Message]) -> u32 {
    update.iter().map(|message| message.uid).max().unwrap()
}

fn highest_modseq(update: &[Message]) -> u64 {
    update.iter().map(|message| message.modseq).max().unwrap()
}

fn apply_message(update: &[Message]) -> Vec<u8> {
    let mut line = b"APPLY MESSAGE (".to_vec();
    for message in update.iter().filter(|message| message.sent) {
        let octets = content(message.uid);
        let mut parser = MessageParser::new(&Default::default());
        parser.feed(&octets);
        let guid = parser.finish().guid;
        write!(line, "%{{default {guid} {}}}\r\n", octets.len()).unwrap();
        line.extend(octets);
    }
    line.extend(b")\r\n");
    line
}

fn apply_mailbox(update: &[Message]) -> Vec<u8> {
    let (uid, modseq) = (last_uid(update), highest_modseq(update));
    let mut line = format!(
        "APPLY MAILBOX %(UNIQUEID {ID} MBOXNAME {REPLICATED} SYNC_CRC 0 SYNC_CRC_ANNOT 0 \
         LAST_UID {uid} HIGHESTMODSEQ {modseq} RECENTUID 1 RECENTTIME 7 LAST_APPENDDATE 8 \
         POP3_LAST_LOGIN 9 POP3_SHOW_AFTER 0 UIDVALIDITY {VALIDITY} PARTITION default \
         ACL \"repl\tlrswipkxtecdan\t\" OPTIONS PS CREATEDMODSEQ 1 FOLDERMODSEQ 2 RECORD ("
    );
    for message in update {
        let mut parser = MessageParser::new(&Default::default());
        parser.feed(&content(message.uid));
        let parsed = parser.finish();
        let expunged = if message.expunged { r" \Expunged" } else { "" };
        let virtual_entry = "/vendor/cmu/cyrus-imapd";
        let modseq = message.modseq;
        line += &format!(
            "%(UID {} MODSEQ {modseq} LAST_UPDATED {} FLAGS ({}{expunged}) INTERNALDATE {DATE} \
             SIZE {} GUID {} ANNOTATIONS (",
            message.uid,
            DATE + message.uid,
            message.flags,
            parsed.size,
            parsed.guid,
        );
        for (entry, user, value) in message.annotations {
            line +=
                &format!("%(ENTRY {entry} USERID \"{user}\" MODSEQ {modseq} VALUE \"{value}\") ");
        }
        line += &format!(
            "%(ENTRY {virtual_entry}/savedate USERID \"\" MODSEQ 0 VALUE 77) \
             %(ENTRY {virtual_entry}/createdmodseq USERID \"\" MODSEQ 0 VALUE 3))) "
        );
    }
    let mut line = line.trim_end().replace("( \\Expunged)", "(\\Expunged)");
    line += "))\r\n";
    line.into_bytes()
}

/// Lets the stock server apply the updates.
fn apply_to_stock(port: u16) {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut stream = BufReader::new(stream);
    let mut answer = |until: &str| loop {
        let mut line = String::new();
        assert_ne!(stream.read_line(&mut line).unwrap(), 0);
        assert!(
            !line.starts_with("NO") && !line.starts_with("BAD"),
            "{line}"
        );
        if line.starts_with(until) {
            break stream.get_ref().try_clone().unwrap();
        }
    };
    let mut to = answer("* OK");
    let identity = base64::prelude::BASE64_STANDARD.encode("\0repl\0secret");
    write!(to, "AUTHENTICATE PLAIN {identity}\r\n").unwrap();
    answer("OK");
    for update in updates() {
        to.write_all(&apply_message(&update)).unwrap();
        answer("OK");
        to.write_all(&apply_mailbox(&update)).unwrap();
        answer("OK");
    }
}

/// Applies the updates here, as a replication server does.
fn apply_here(store: &Store, place: &MailboxPlace) {
    let user = store.owner(place);
    let acl = Acl::parse("repl\tlrswipkxtecdan\t").unwrap();
    let kind = LockKind::Exclusive;
    let lock = store
        .locks
        .mailbox(&user, &place.name, place.home(), kind)
        .unwrap();
    let new = NewMailbox {
        version: IndexVersion::CREATED,
        acl,
        quota_root: None,
        options: MailboxOptions::from_wire("PS"),
        uid_validity: UidValidity(VALIDITY),
        highest_modseq: ModSeq(6),
        created_modseq: ModSeq(1),
    };
    let mut mailbox = store
        .mailboxes
        .create(place.clone(), lock, &new, free_of_charge)
        .unwrap();
    for update in updates() {
        let mut staging = store.staging();
        let mut changes = mailbox.prepare().unwrap();
        for message in &update {
            apply_one(&mailbox, &mut changes, &mut staging, message);
        }
        changes.set_header(&HeaderUpdate {
            last_uid: Uid(last_uid(&update)),
            highest_modseq: ModSeq(highest_modseq(&update)),
            recent_uid: Uid(1),
            recent_time: UnixTime(7),
            last_append_date: UnixTime(8),
            pop3_last_login: UnixTime(9),
            pop3_show_after: UnixTime(0),
            created_modseq: ModSeq(1),
            uid_validity: UidValidity(VALIDITY),
            options: MailboxOptions::from_wire("PS"),
        });
        let prepared = changes.finish().unwrap();
        (mailbox, _) = mailbox
            .commit(prepared, Some(&staging), free_of_charge)
            .unwrap();
    }
}

fn apply_one(
    mailbox: &WritableMailbox<'_>,
    changes: &mut Preparation<'_, '_>,
    staging: &mut Staging,
    message: &Message,
) {
    let partition = &mailbox.place().partition;
    let mut system_flags = SystemFlags::empty();
    let mut names = Vec::new();
    for flag in message.flags.split_whitespace() {
        match cyrus_sync::mail::SYSTEM_FLAG_NAMES
            .iter()
            .find(|(_, name)| *name == flag)
        {
            Some((bit, _)) => system_flags |= *bit,
            None => names.push(FlagName::parse(flag).unwrap()),
        }
    }
    let state = RecordState {
        modseq: ModSeq(message.modseq),
        last_updated: UnixTime(DATE + message.uid),
        internal_date: UnixTime(DATE),
        system_flags,
        user_flags: changes.user_flags(&names).unwrap(),
        expunged: message.expunged,
        conversation: Default::default(),
        save_date: UnixTime(77),
        created_modseq: ModSeq(3),
    };
    let annotations: Vec<Annotation> = message
        .annotations
        .iter()
        .map(|(entry, user, value)| Annotation {
            entry: (*entry).to_owned(),
            user: (*user).to_owned(),
            modseq: ModSeq(message.modseq),
            value: value.as_bytes().to_vec(),
        })
        .collect();
    let uid = Uid(message.uid);
    if let Some(stored) = mailbox.find(uid).unwrap() {
        changes.update(&stored, &state, Some(&annotations)).unwrap();
        return;
    }
    let octets = content(message.uid);
    let guid = stage(staging, partition, &octets);
    let source = match message.sent {
        true => Source::Staged(staging.get(partition, &guid).unwrap()),
        false => Source::NoFile {
            size: u32::try_from(octets.len()).unwrap(),
        },
    };
    changes
        .append(uid, &guid, &state, source, &annotations)
        .unwrap();
}

fn all_pairs(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let disk = Disk::default();
    let mut db = Db::open(&disk, path, Backend::Twoskip, Create::No)
        .unwrap()
        .unwrap();
    let mut pairs = Vec::new();
    let scanned = db.scan(b"", |key, value| -> ControlFlow<()> {
        pairs.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    });
    scanned.unwrap();
    pairs
}

/// The same updates leave the same octets behind in a stock replica and in ours.
#[test]
fn a_replica_here_is_that_of_a_stock_server() {
    let Some(lab) = Lab::start(31520) else {
        return;
    };
    apply_to_stock(31521);
    let store = Store::of(&lab);
    let name = MailboxName::parse(REPLICATED).unwrap();
    let entry = store.list().find(&name).unwrap().unwrap();
    let stock = store.place(&entry);
    assert_eq!(stock.unique_id.as_str(), ID);

    let elsewhere = tempfile::tempdir().unwrap();
    let mut places = Places::below(elsewhere.path());
    let partition = PartitionPlaces {
        data: elsewhere.path().join("spool"),
        ..PartitionPlaces::default()
    };
    places.partitions.insert(stock.partition.clone(), partition);
    let layout = Layout::new(places, store.config.namespace.clone());
    let here = Store {
        locks: Locks::new(store.disk.clone(), layout.clone(), store.config.locks),
        layout,
        ..store
    };
    let ours = here.place(&entry);
    apply_here(&here, &ours);

    let pair = |file| {
        let read = |place: &MailboxPlace| std::fs::read(place.paths.file(file)).unwrap();
        (read(&ours), read(&stock))
    };
    let (ours_header, stock_header) = pair(MailboxFile::Header);
    assert_eq!(
        String::from_utf8_lossy(&ours_header[115..]),
        String::from_utf8_lossy(&stock_header[115..])
    );
    let (ours_cache, stock_cache) = pair(MailboxFile::Cache);
    assert!(ours_cache == stock_cache);
    let (ours_index, stock_index) = pair(MailboxFile::Index);
    let stock_header = IndexHeader::decode(&stock_index).unwrap();
    let ours_header = IndexHeader::decode(&ours_index).unwrap();
    assert_eq!(
        IndexHeader {
            // The time of the creation.
            changes_epoch: stock_header.changes_epoch,
            ..ours_header
        },
        stock_header
    );
    let records = |index: &[u8]| -> Vec<IndexRecord> {
        let records = index[160..].chunks(112);
        let decode = |record| IndexRecord::decode(stock_header.version, record);
        records.map(decode).collect::<Result<_, _>>().unwrap()
    };
    assert_eq!(records(&ours_index), records(&stock_index));
    assert_eq!(ours_index[160..], stock_index[160..]);
    let file = MailboxFile::Annotations;
    assert_eq!(
        all_pairs(&ours.paths.file(file)),
        all_pairs(&stock.paths.file(file))
    );
    for message in ["1.", "2.", "4.", "6.", "9."] {
        let read = |place: &MailboxPlace| {
            std::fs::read(place.paths.data_directory().join(message)).unwrap()
        };
        assert_eq!(read(&ours), read(&stock));
    }
}
