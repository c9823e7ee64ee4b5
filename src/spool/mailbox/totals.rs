//! The counters and CRCs of a mailbox as sums over its records (mailbox-format §3.9, §3.11).

use super::IndexHeader;
use super::header::FlagTable;
use super::pseudo::{THRID, pseudo_annotations};
use super::record::{IndexRecord, UserFlags};
use super::version::IndexVersion;
use crate::mail::{
    Annotation, CrcRecord, SyncCrc, SystemFlags, Uid, UnixTime, annotation_crc, flags_crc,
};

/// What a set of records adds to the counters and CRCs of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Totals {
    /// The sync CRCs.
    pub sync_crc: SyncCrc,
    /// Live messages.
    pub exists: u32,
    /// Live messages with `\Answered`.
    pub answered: u32,
    /// Live messages with `\Flagged`.
    pub flagged: u32,
    /// Live messages with `\Deleted`.
    pub deleted: u32,
    /// Live messages without `\Seen`.
    pub unseen: u32,
    /// Octets of live messages.
    pub octets: u64,
    /// Octets of live messages with `\Deleted`.
    pub deleted_octets: u64,
    /// Octets of expunged messages whose files still exist.
    pub expunged_octets: u64,
    /// Octets of the annotation values of live messages.
    pub annotation_octets: u64,
    /// Smallest last update of any expunged record; 0 if there is none.
    pub first_expunged: UnixTime,
}

/// What the share of a record depends on besides the record itself.
#[derive(Clone, Debug)]
pub(super) struct Accounting {
    version: IndexVersion,
    flag_crcs: [u32; UserFlags::SLOTS],
}

impl Accounting {
    pub fn new(version: IndexVersion, flags: &FlagTable) -> Accounting {
        Accounting {
            version,
            flag_crcs: flags.crcs(),
        }
    }

    /// Takes up a flag that got a slot.
    pub fn set_flags(&mut self, flags: &FlagTable) {
        self.flag_crcs = flags.crcs();
    }

    fn basic_crc(&self, record: &IndexRecord) -> u32 {
        let user = self
            .flag_crcs
            .iter()
            .enumerate()
            .filter(|(slot, _)| record.user_flags.contains(*slot))
            .fold(0, |crc, (_, flag)| crc ^ flag);
        CrcRecord {
            uid: record.uid,
            modseq: record.modseq,
            last_updated: record.last_updated,
            flags_crc: flags_crc(record.system_flags, []) ^ user,
            internal_date: record.internal_date,
            guid: &record.guid,
        }
        .crc()
    }
}

impl Totals {
    /// The sums over nothing.
    pub const NOTHING: Totals = Totals {
        sync_crc: SyncCrc {
            basic: 0,
            annotations: 0,
        },
        exists: 0,
        answered: 0,
        flagged: 0,
        deleted: 0,
        unseen: 0,
        octets: 0,
        deleted_octets: 0,
        expunged_octets: 0,
        annotation_octets: 0,
        first_expunged: UnixTime(0),
    };

    /// Counts a record; its stored annotations are counted by [`Totals::add_annotation`].
    pub fn add(&mut self, record: &IndexRecord, accounting: &Accounting) {
        let size = u64::from(record.size);
        if record.is_expunged() {
            if record.has_file() {
                self.expunged_octets = self.expunged_octets.saturating_add(size);
            }
            self.first_expunged = earliest(self.first_expunged, record.last_updated);
            return;
        }
        let has = |flag| u32::from(record.system_flags.contains(flag));
        self.exists = self.exists.saturating_add(1);
        self.answered = self.answered.saturating_add(has(SystemFlags::ANSWERED));
        self.flagged = self.flagged.saturating_add(has(SystemFlags::FLAGGED));
        self.deleted = self.deleted.saturating_add(has(SystemFlags::DELETED));
        self.unseen = self.unseen.saturating_add(1 - has(SystemFlags::SEEN));
        self.octets = self.octets.saturating_add(size);
        if record.system_flags.contains(SystemFlags::DELETED) {
            self.deleted_octets = self.deleted_octets.saturating_add(size);
        }
        self.sync_crc.basic ^= accounting.basic_crc(record);
        for annotation in pseudo_annotations(accounting.version, record).in_record {
            // In the CRC a conversation id has no leading zeros (mailbox-format §3.11).
            let value = match annotation.entry.as_str() {
                THRID => format!("{:x}", record.conversation.0).into_bytes(),
                _ => annotation.value,
            };
            self.sync_crc.annotations ^=
                annotation_crc(record.uid, &annotation.entry, &annotation.user, &value);
        }
    }

    /// Counts a stored annotation of a live message.
    pub fn add_annotation(&mut self, uid: Uid, annotation: &Annotation) {
        self.sync_crc.annotations ^=
            annotation_crc(uid, &annotation.entry, &annotation.user, &annotation.value);
        self.annotation_octets = self
            .annotation_octets
            .saturating_add(annotation.value.len() as u64);
    }

    /// Counts a record with its stored annotations, which do not count once it is expunged.
    pub fn add_all(
        &mut self,
        record: &IndexRecord,
        annotations: &[Annotation],
        accounting: &Accounting,
    ) {
        self.add(record, accounting);
        if record.is_live() {
            for annotation in annotations {
                self.add_annotation(record.uid, annotation);
            }
        }
    }
}

/// The earlier of two times of which 0 means never.
pub(super) fn earliest(a: UnixTime, b: UnixTime) -> UnixTime {
    match (a, b) {
        (UnixTime(0), other) | (other, UnixTime(0)) => other,
        (a, b) => a.min(b),
    }
}

impl IndexHeader {
    /// Puts sums over all records into the header. The use of annotation storage becomes that of
    /// messages plus `mailbox_annotations`, the octets of the mailbox's own annotations; it stays
    /// if they are not known.
    pub(super) fn set_totals(&mut self, totals: &Totals, mailbox_annotations: Option<u64>) {
        self.sync_crc = totals.sync_crc;
        self.sync_crc.annotations ^= SyncCrc::EMPTY.annotations;
        self.exists = totals.exists;
        self.answered = totals.answered;
        self.flagged = totals.flagged;
        self.deleted = totals.deleted;
        self.unseen = totals.unseen;
        self.quota_mailbox_used = totals.octets;
        self.quota_deleted_used = totals.deleted_octets;
        self.quota_expunged_used = totals.expunged_octets;
        if let Some(own) = mailbox_annotations {
            self.quota_annotations_used = totals.annotation_octets.saturating_add(own);
        }
        self.first_expunged = totals.first_expunged;
        self.drop_what_the_version_lacks();
    }

    /// Takes records out of the counters and CRCs and puts others in. Counters that are wrong in
    /// the file stay within their range.
    pub(super) fn exchange(&mut self, gone: &Totals, come: &Totals) {
        let count = |n: &mut u32, gone: u32, come: u32| {
            *n = n.saturating_sub(gone).saturating_add(come);
        };
        let octets = |n: &mut u64, gone: u64, come: u64| {
            *n = n.saturating_sub(gone).saturating_add(come);
        };
        self.sync_crc ^= gone.sync_crc;
        self.sync_crc ^= come.sync_crc;
        count(&mut self.exists, gone.exists, come.exists);
        count(&mut self.answered, gone.answered, come.answered);
        count(&mut self.flagged, gone.flagged, come.flagged);
        count(&mut self.deleted, gone.deleted, come.deleted);
        count(&mut self.unseen, gone.unseen, come.unseen);
        octets(&mut self.quota_mailbox_used, gone.octets, come.octets);
        octets(
            &mut self.quota_deleted_used,
            gone.deleted_octets,
            come.deleted_octets,
        );
        octets(
            &mut self.quota_expunged_used,
            gone.expunged_octets,
            come.expunged_octets,
        );
        octets(
            &mut self.quota_annotations_used,
            gone.annotation_octets,
            come.annotation_octets,
        );
        self.first_expunged = earliest(self.first_expunged, come.first_expunged);
        self.drop_what_the_version_lacks();
    }

    fn drop_what_the_version_lacks(&mut self) {
        if !self.version.has_annotation_totals() {
            self.sync_crc.annotations = 0;
            self.quota_annotations_used = 0;
        }
        if !self.version.has_unseen_count() {
            self.unseen = 0;
        }
        if !self.version.has_deleted_totals() {
            self.quota_deleted_used = 0;
            self.quota_expunged_used = 0;
        }
    }
}
