//! The store of a stock instance through our own modules.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use cyrus_sync::config::{Config, Environment};
use cyrus_sync::mail::{Guid, Partition};
use cyrus_sync::spool::SpoolError;
use cyrus_sync::spool::annotations::{AnnotationDb, Scope};
use cyrus_sync::spool::cyrusdb::Backend;
use cyrus_sync::spool::disk::{Disk, LockKind};
use cyrus_sync::spool::layout::{Layout, MailboxFile};
use cyrus_sync::spool::lock::{Locks, UserLock};
use cyrus_sync::spool::mailbox::{
    IndexHeader, IndexRecord, Mailbox, MailboxHeader, MailboxPlace, MailboxSettings, Mailboxes,
    WritableMailbox,
};
use cyrus_sync::spool::mailboxes::{MailboxEntry, MailboxList};
use cyrus_sync::spool::message::MessageParser;
use cyrus_sync::spool::quota::{Amounts, QuotaRoot};
use cyrus_sync::spool::staging::{Staging, StagingSettings};
use jiff::tz::TimeZone;

use super::lab::Lab;

/// The store of a stock instance, as this program opens it.
pub struct Store {
    pub disk: Disk,
    pub config: Config,
    pub layout: Layout,
    pub locks: Locks,
    pub mailboxes: Mailboxes,
}

impl Store {
    pub fn of(lab: &Lab) -> Store {
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

    pub fn list(&self) -> MailboxList {
        let path = &self.config.places.mailboxes_db;
        let namespace = &self.config.namespace;
        MailboxList::open(&self.disk, path, Backend::Twoskip, namespace, &[]).unwrap()
    }

    pub fn place(&self, entry: &MailboxEntry) -> MailboxPlace {
        MailboxPlace::new(
            &self.layout,
            entry.name.clone(),
            entry.unique_id.clone(),
            entry.mailbox_type,
            entry.partition.clone().unwrap(),
        )
        .unwrap()
    }

    pub fn owner(&self, place: &MailboxPlace) -> UserLock {
        self.locks
            .owner_of(&place.name, LockKind::Exclusive)
            .unwrap()
    }

    pub fn read<'u>(&self, place: &MailboxPlace, user: &'u UserLock) -> Mailbox<'u> {
        let lock = self
            .locks
            .mailbox(user, &place.name, place.home(), LockKind::Shared);
        let opened = self.mailboxes.read(place.clone(), lock.unwrap());
        opened.unwrap().unwrap()
    }

    pub fn write<'u>(&self, place: &MailboxPlace, user: &'u UserLock) -> WritableMailbox<'u> {
        let lock = self
            .locks
            .mailbox(user, &place.name, place.home(), LockKind::Shared);
        let opened = self.mailboxes.write(place.clone(), lock.unwrap());
        opened.unwrap().unwrap()
    }

    pub fn own_annotations(&self, place: &MailboxPlace) -> u64 {
        let path = &self.config.places.annotations_db;
        let mut db = AnnotationDb::open(&self.disk, path, Backend::Twoskip).unwrap();
        let scope = Scope::Mailbox {
            id: &place.unique_id,
            owner: place.owner.as_ref(),
        };
        let annotations = db.all(scope).unwrap();
        annotations.iter().map(|one| one.value.len() as u64).sum()
    }

    pub fn staging(&self) -> Staging {
        let settings = StagingSettings {
            parser: Default::default(),
            share_files: true,
        };
        Staging::new(self.disk.clone(), self.layout.clone(), settings)
    }
}

/// Header, index and counters are what this program would write.
pub fn assert_ours(store: &Store, mailbox: &Mailbox<'_>) {
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

pub fn crc32(octets: &[u8]) -> u32 {
    crc32fast::hash(octets)
}

pub const OCTETS: &str =
    "From: a@example.org\r\nDate: Mon, 02 Mar 2026 10:11:12 +0100\r\nSubject: ";

pub fn content(number: u32) -> Vec<u8> {
    format!("{OCTETS}message {number}\r\n\r\n{}\r\n", "text ".repeat(30)).into_bytes()
}

pub fn stage(staging: &mut Staging, partition: &Partition, octets: &[u8]) -> Guid {
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

pub fn free_of_charge(_: &QuotaRoot, _: Amounts) -> Result<(), SpoolError> {
    panic!("the mailbox has no quota root")
}
