//! Tests of whole mailboxes on a disk.

mod changes;
mod lifecycle;
mod power_cut;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::config::{LockSettings, PartitionPlaces, Places, Removal};
use crate::mail::{
    Acl, Annotation, Guid, MailboxName, MailboxOptions, MailboxType, ModSeq, Namespace, Partition,
    SystemFlags, Uid, UidValidity, UniqueId, UnixTime,
};
use crate::spool::SpoolError;
use crate::spool::cyrusdb::Backend;
use crate::spool::disk::{Disk, LockKind};
use crate::spool::layout::Layout;
use crate::spool::lock::{Locks, MailboxLock, UserLock};
use crate::spool::quota::{Amounts, QuotaRoot};
use crate::spool::staging::{Staging, StagingSettings};
use jiff::tz::TimeZone;

/// A store below one directory, and one mailbox in it.
pub struct Store {
    pub disk: Disk,
    pub layout: Layout,
    pub locks: Locks,
    pub mailboxes: Mailboxes,
    pub place: MailboxPlace,
}

impl Store {
    pub fn new(root: &Path) -> Store {
        Store::on(root, Disk::default(), Removal::Delayed)
    }

    pub fn on(root: &Path, disk: Disk, expunge_mode: Removal) -> Store {
        let mut places = Places::below(root.join("conf"));
        for (name, directory) in [("default", "spool"), ("other", "spool2")] {
            let partition = PartitionPlaces {
                data: root.join(directory),
                ..PartitionPlaces::default()
            };
            let name = Partition::parse(name).unwrap();
            places.partitions.insert(name, partition);
        }
        let layout = Layout::new(places, Namespace::default());
        let lock_settings = LockSettings {
            timeout: Duration::from_millis(50),
            ..LockSettings::default()
        };
        let settings = MailboxSettings {
            annotation_backend: Backend::Twoskip,
            expunge_mode,
            time_zone: TimeZone::UTC,
        };
        let place = MailboxPlace::new(
            &layout,
            MailboxName::parse("user.tv").unwrap(),
            UniqueId::parse("q3fgr7etnueolpppp7y44dqn").unwrap(),
            MailboxType::default(),
            Partition::parse("default").unwrap(),
        );
        Store {
            locks: Locks::new(Disk::default(), layout.clone(), lock_settings),
            mailboxes: Mailboxes::new(disk.clone(), settings),
            place: place.unwrap(),
            disk,
            layout,
        }
    }

    pub fn user(&self) -> UserLock {
        let name = &self.place.name;
        self.locks.owner_of(name, LockKind::Exclusive).unwrap()
    }

    pub fn lock<'u>(&self, user: &'u UserLock, kind: LockKind) -> MailboxLock<'u> {
        let place = &self.place;
        self.locks
            .mailbox(user, &place.name, place.home(), kind)
            .unwrap()
    }

    pub fn create<'u>(&self, user: &'u UserLock) -> WritableMailbox<'u> {
        self.create_version(user, IndexVersion::CREATED)
    }

    pub fn create_version<'u>(
        &self,
        user: &'u UserLock,
        version: IndexVersion,
    ) -> WritableMailbox<'u> {
        let lock = self.lock(user, LockKind::Exclusive);
        let new = NewMailbox {
            version,
            acl: Acl::parse("tv\tlrswipkxtecdan\t").unwrap(),
            quota_root: None,
            options: MailboxOptions::POP3_NEW_UIDL,
            uid_validity: UidValidity(0x6b02_9e62),
            highest_modseq: ModSeq(1),
            created_modseq: ModSeq(1),
        };
        self.mailboxes
            .create(self.place.clone(), lock, &new, free_of_charge)
            .unwrap()
    }

    pub fn write<'u>(&self, user: &'u UserLock) -> WritableMailbox<'u> {
        let lock = self.lock(user, LockKind::Shared);
        let opened = self.mailboxes.write(self.place.clone(), lock);
        opened.unwrap().unwrap()
    }

    pub fn staging(&self) -> Staging {
        let settings = StagingSettings {
            parser: Default::default(),
            share_files: true,
        };
        Staging::new(self.disk.clone(), self.layout.clone(), settings)
    }

    pub fn index_file(&self) -> Vec<u8> {
        std::fs::read(
            self.place
                .paths
                .file(crate::spool::layout::MailboxFile::Index),
        )
        .unwrap()
    }
}

pub fn free_of_charge(_: &QuotaRoot, _: Amounts) -> Result<(), SpoolError> {
    panic!("the mailbox has no quota root")
}

/// Stages a message and tells its GUID.
pub fn stage(staging: &mut Staging, partition: &Partition, content: &[u8]) -> Guid {
    let mut parser = crate::spool::message::MessageParser::new(&Default::default());
    parser.feed(content);
    let guid = parser.finish().guid;
    if let Some(mut writer) = staging.begin(partition, &guid).unwrap() {
        writer.write(content).unwrap();
        staging.finish(writer).unwrap();
    }
    guid
}

pub fn state(modseq: u64, time: u32) -> RecordState {
    RecordState {
        modseq: ModSeq(modseq),
        last_updated: UnixTime(time),
        internal_date: UnixTime(time),
        system_flags: SystemFlags::empty(),
        user_flags: UserFlags::default(),
        expunged: false,
        conversation: Default::default(),
        save_date: UnixTime(time),
        created_modseq: ModSeq(modseq),
    }
}

pub fn annotation(entry: &str, user: &str, value: &str) -> Annotation {
    Annotation {
        entry: entry.to_owned(),
        user: user.to_owned(),
        modseq: ModSeq(3),
        value: value.as_bytes().to_vec(),
    }
}

/// What anybody can see of the stored mailbox must follow from its records.
pub fn assert_sound(mailbox: &Mailbox<'_>) {
    let header = mailbox.index_header();
    assert_eq!(*header, mailbox.recalculated(Some(0)).unwrap());
    for stored in mailbox.records() {
        let record = stored.unwrap().record;
        assert!(record.uid <= header.last_uid);
        let path: PathBuf = mailbox.message_path(&record);
        assert!(!record.is_live() || path.exists());
        if path.exists() && record.has_file() {
            assert_file_belongs(mailbox, &record, &path);
        }
    }
}

fn assert_file_belongs(mailbox: &Mailbox<'_>, record: &IndexRecord, path: &Path) {
    let content = std::fs::read(path).unwrap();
    let mut parser = crate::spool::message::MessageParser::new(&Default::default());
    parser.feed(&content);
    let parsed = parser.finish();
    assert_eq!(parsed.guid, record.guid);
    assert_eq!(parsed.size, u64::from(record.size));
    let caches = mailbox
        .place()
        .paths
        .file(crate::spool::layout::MailboxFile::Cache);
    let caches = std::fs::read(caches).unwrap();
    let start = record.cache_offset as usize;
    let end = start + parsed.cache.len();
    assert_eq!(caches[start..end], parsed.cache);
    cache::check(&caches[start..end], record.cache_crc).unwrap();
}
