//! A mailbox store in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::mail::{
    Acl, AclEntry, CrcRecord, Guid, MailboxName, MailboxOptions, MailboxType, ModSeq, Partition,
    SyncCrc, Uid, UidValidity, UniqueId, UnixTime, annotation_crc,
};
use crate::plan::RecordFacts;
use crate::plan::merge::DatedRecord;
use crate::plan::update::MailboxState;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub uid: Uid,
    pub modseq: ModSeq,
    pub guid: Guid,
    pub last_updated: UnixTime,
    pub flags: u8,
    pub note: u8,
    pub expunged: bool,
}

impl RecordFacts for Record {
    fn uid(&self) -> Uid {
        self.uid
    }
    fn modseq(&self) -> ModSeq {
        self.modseq
    }
    fn guid(&self) -> Guid {
        self.guid
    }
    fn is_expunged(&self) -> bool {
        self.expunged
    }
}

impl DatedRecord for Record {
    fn last_updated(&self) -> UnixTime {
        self.last_updated
    }
}

impl Record {
    pub fn same_contents(&self, other: &Record) -> bool {
        self.flags == other.flags && self.note == other.note
    }

    fn crc(&self) -> SyncCrc {
        SyncCrc {
            basic: CrcRecord {
                uid: self.uid,
                modseq: self.modseq,
                last_updated: self.last_updated,
                flags_crc: u32::from(self.flags),
                internal_date: UnixTime(0),
                guid: &self.guid,
            }
            .crc(),
            annotations: annotation_crc(self.uid, "/note", "", &[self.note]),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mailbox {
    pub unique_id: UniqueId,
    pub partition: Partition,
    pub acl: Acl,
    pub uid_validity: UidValidity,
    pub last_uid: Uid,
    pub highest_modseq: ModSeq,
    pub deleted_modseq: ModSeq,
    pub folder_modseq: ModSeq,
    pub records: BTreeMap<Uid, Record>,
    /// What each UID ever meant.
    pub meanings: HashMap<Uid, Guid>,
}

impl Mailbox {
    pub fn new(unique_id: UniqueId, uid_validity: UidValidity) -> Mailbox {
        Mailbox {
            unique_id,
            partition: partition(0),
            acl: Acl::default(),
            uid_validity,
            last_uid: Uid(0),
            highest_modseq: ModSeq(0),
            deleted_modseq: ModSeq(0),
            folder_modseq: ModSeq(0),
            records: BTreeMap::new(),
            meanings: HashMap::new(),
        }
    }

    /// Adds or changes a record; a UID never changes its meaning.
    pub fn put(&mut self, record: Record) {
        let meaning = self.meanings.entry(record.uid).or_insert(record.guid);
        assert_eq!(
            *meaning, record.guid,
            "uid {} means two messages",
            record.uid
        );
        self.last_uid = self.last_uid.max(record.uid);
        self.records.insert(record.uid, record);
    }

    pub fn next_uid(&self) -> Uid {
        Uid(self.last_uid.0 + 1)
    }

    pub fn live(&self) -> impl Iterator<Item = &Record> {
        self.records.values().filter(|record| !record.expunged)
    }

    pub fn crc(&self) -> SyncCrc {
        let mut sum = SyncCrc::EMPTY;
        self.live().for_each(|record| sum ^= record.crc());
        sum
    }

    pub fn state(&self) -> MailboxState<'_> {
        MailboxState {
            mailbox_type: MailboxType::default(),
            last_uid: self.last_uid,
            highest_modseq: self.highest_modseq,
            uid_validity: self.uid_validity,
            recent_uid: Uid(0),
            recent_time: UnixTime(0),
            pop3_last_login: UnixTime(0),
            pop3_show_after: UnixTime(0),
            options: MailboxOptions::empty(),
            folder_modseq: self.folder_modseq,
            racl_modseq: ModSeq(0),
            xconv_modseq: None,
            acl: &self.acl,
            annotations: &[],
            crc: self.crc(),
        }
    }
}

pub(super) fn partition(number: u8) -> Partition {
    Partition::parse(&format!("p{number}")).unwrap()
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Store {
    pub mailboxes: BTreeMap<MailboxName, Mailbox>,
    /// Unique ids of mailboxes that were deleted at once.
    pub tombstones: BTreeSet<UniqueId>,
    pub former_names: HashMap<UniqueId, Vec<MailboxName>>,
    modseq: u64,
    clock: u32,
}

impl Store {
    pub fn ids(&self) -> impl Iterator<Item = UniqueId> {
        self.mailboxes
            .values()
            .map(|mailbox| mailbox.unique_id.clone())
    }

    pub fn name_of(&self, id: &UniqueId) -> Option<MailboxName> {
        let found = self
            .mailboxes
            .iter()
            .find(|(_, mailbox)| mailbox.unique_id == *id);
        found.map(|(name, _)| name.clone())
    }

    /// A modseq above all that this store knows.
    pub fn next_modseq(&mut self) -> ModSeq {
        self.modseq += 1;
        ModSeq(self.modseq)
    }

    pub fn raise_modseq(&mut self, modseq: ModSeq) {
        self.modseq = self.modseq.max(modseq.0);
    }

    pub fn now(&mut self) -> UnixTime {
        self.clock += 1;
        UnixTime(self.clock)
    }

    pub fn create(&mut self, name: &MailboxName, id: &UniqueId, uid_validity: UidValidity) {
        let modseq = self.next_modseq();
        let mut mailbox = Mailbox::new(id.clone(), uid_validity);
        mailbox.highest_modseq = modseq;
        mailbox.folder_modseq = modseq;
        self.mailboxes.insert(name.clone(), mailbox);
    }

    /// Appends a message; returns its UID.
    pub fn append(&mut self, name: &MailboxName, guid: Guid, flags: u8) -> Uid {
        let (modseq, last_updated) = (self.next_modseq(), self.now());
        let mailbox = self.mailboxes.get_mut(name).unwrap();
        let uid = mailbox.next_uid();
        mailbox.highest_modseq = modseq;
        mailbox.put(Record {
            uid,
            modseq,
            guid,
            last_updated,
            flags,
            note: 0,
            expunged: false,
        });
        uid
    }

    /// Rewrites a record with a fresh modseq.
    pub fn change(&mut self, name: &MailboxName, uid: Uid, change: impl FnOnce(&mut Record)) {
        let (modseq, last_updated) = (self.next_modseq(), self.now());
        let mailbox = self.mailboxes.get_mut(name).unwrap();
        let mut record = mailbox.records[&uid].clone();
        change(&mut record);
        record.modseq = modseq;
        record.last_updated = last_updated;
        mailbox.highest_modseq = modseq;
        mailbox.put(record);
    }

    /// Removes the records of expunged messages.
    pub fn purge(&mut self, name: &MailboxName) {
        let mailbox = self.mailboxes.get_mut(name).unwrap();
        let deleted_modseq = &mut mailbox.deleted_modseq;
        mailbox.records.retain(|_, record| {
            if record.expunged {
                *deleted_modseq = record.modseq.max(*deleted_modseq);
            }
            !record.expunged
        });
    }

    /// Touches the mailbox-list entry.
    pub fn touch(&mut self, name: &MailboxName, change: impl FnOnce(&mut Mailbox)) {
        let modseq = self.next_modseq();
        let mailbox = self.mailboxes.get_mut(name).unwrap();
        change(mailbox);
        mailbox.highest_modseq = modseq;
        mailbox.folder_modseq = modseq;
    }

    pub fn rename(&mut self, old: &MailboxName, new: &MailboxName) {
        let mailbox = self.mailboxes.remove(old).unwrap();
        self.former_names
            .entry(mailbox.unique_id.clone())
            .or_default()
            .insert(0, old.clone());
        self.mailboxes.insert(new.clone(), mailbox);
    }

    pub fn delete(&mut self, name: &MailboxName) {
        let mailbox = self.mailboxes.remove(name).unwrap();
        self.tombstones.insert(mailbox.unique_id);
    }
}

/// Rights that differ for every number.
pub(super) fn acl(number: u8) -> Acl {
    Acl::from_entries(vec![AclEntry {
        identifier: format!("user{number}"),
        rights: "lrs".into(),
    }])
}
