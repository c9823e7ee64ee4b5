//! Does a replica made here equal that of a stock server?
//!
//! The same updates are applied by a stock sync_server, over the wire, and by this store; then the
//! files of both mailboxes are compared.
//!
//! Without an installed Cyrus this test does nothing and says so.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod tools;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use cyrus_sync::config::{PartitionPlaces, Places};
use cyrus_sync::mail::{
    Acl, Annotation, FlagName, MailboxName, MailboxOptions, ModSeq, SystemFlags, Uid, UidValidity,
    UnixTime,
};
use cyrus_sync::spool::cyrusdb::{Backend, Create, Db};
use cyrus_sync::spool::disk::{Disk, LockKind};
use cyrus_sync::spool::layout::{Layout, MailboxFile};
use cyrus_sync::spool::lock::Locks;
use cyrus_sync::spool::mailbox::{
    HeaderUpdate, IndexHeader, IndexRecord, IndexVersion, MailboxPlace, NewMailbox, Preparation,
    RecordState, Source, WritableMailbox,
};
use cyrus_sync::spool::message::MessageParser;
use cyrus_sync::spool::staging::Staging;

use tools::lab::Lab;
use tools::mailbox_store::{Store, content, free_of_charge, stage};

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
    let Some(lab) = Lab::start() else {
        return;
    };
    apply_to_stock(lab.port(1));
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
