//! Preparing a change of a mailbox: everything is computed, nothing is written.

use super::cache::append_offset;
use super::header::{FlagTableFull, MailboxHeader};
use super::message_annotations::{AnnotationChange, normalized, replacement};
use super::open::{Mailbox, StoredRecord, WritableMailbox};
use super::pseudo::pseudo_annotations;
use super::record::{IndexRecord, UserFlags};
use super::totals::{Accounting, Totals};
use super::version::FormatError;
use super::{IndexHeader, IndexVersion};
use crate::config::Removal;
use crate::mail::{
    Acl, Annotation, ConversationId, FlagName, Guid, InternalFlags, MailboxName, MailboxOptions,
    ModSeq, SyncCrc, SystemFlags, Uid, UidValidity, UniqueId, UnixTime,
};
use crate::spool::SpoolError;
use crate::spool::disk::Identity;
use crate::spool::layout::MailboxFile;
use crate::spool::message::HeaderDate;
use crate::spool::quota::{Amounts, QuotaRoot};
use crate::spool::staging::StagedMessage;

const SNOOZED: &str = "/vendor/cmu/cyrus-imapd/snoozed";

/// What a change must not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// An expunged message never comes back (mailbox-format §7.2).
    #[error("uid {uid} is expunged and cannot come back")]
    Unexpunge {
        /// The message.
        uid: Uid,
    },
    /// Records are changed and appended by ascending UIDs, each once.
    #[error("uid {uid} does not follow {after}")]
    Order {
        /// The record.
        uid: Uid,
        /// The one before.
        after: Uid,
    },
    /// The content that came for a message is another one.
    #[error("uid {uid}: the content received for {guid} does not have this GUID")]
    WrongContent {
        /// The message.
        uid: Uid,
        /// Its GUID.
        guid: Guid,
    },
    /// A live message has no content.
    #[error("uid {uid}: no content was received for {guid}")]
    NoContent {
        /// The message.
        uid: Uid,
        /// Its GUID.
        guid: Guid,
    },
    /// The index cannot hold more records.
    #[error("uid {uid}: the index is full")]
    IndexFull {
        /// The message.
        uid: Uid,
    },
    /// There is no room for another user flag.
    #[error(transparent)]
    Flags(#[from] FlagTableFull),
    /// A property of the mailbox cannot be stored.
    #[error("cyrus.header: {0}")]
    Unstorable(FormatError),
    /// The change was prepared for another state of the mailbox, or for another mailbox.
    #[error("the change was not prepared for this mailbox as it is now")]
    Stale,
}

/// What replication tells of a message; all else in its record comes from its file or stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordState {
    /// Modseq of the last change.
    pub modseq: ModSeq,
    /// Time of the last change.
    pub last_updated: UnixTime,
    /// IMAP INTERNALDATE.
    pub internal_date: UnixTime,
    /// System flags.
    pub system_flags: SystemFlags,
    /// User flags, see [`Preparation::user_flags`].
    pub user_flags: UserFlags,
    /// Whether the message is expunged.
    pub expunged: bool,
    /// Conversation id; zero for none.
    pub conversation: ConversationId,
    /// Save date; zero for unknown.
    pub save_date: UnixTime,
    /// Modseq of the creation; zero for unknown.
    pub created_modseq: ModSeq,
}

impl RecordState {
    /// The state of a record.
    pub fn of(record: &IndexRecord) -> RecordState {
        RecordState {
            modseq: record.modseq,
            last_updated: record.last_updated,
            internal_date: record.internal_date,
            system_flags: record.system_flags,
            user_flags: record.user_flags,
            expunged: record.is_expunged(),
            conversation: record.conversation,
            save_date: record.save_date,
            created_modseq: record.created_modseq,
        }
    }

    fn put_into(&self, record: &mut IndexRecord) {
        record.modseq = self.modseq;
        record.last_updated = self.last_updated;
        record.internal_date = self.internal_date;
        record.system_flags = self.system_flags;
        record.user_flags = self.user_flags;
        record
            .internal_flags
            .set(InternalFlags::EXPUNGED, self.expunged);
        record.conversation = self.conversation;
        record.save_date = self.save_date;
        record.created_modseq = self.created_modseq;
    }
}

/// Where the file of a new message comes from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// A staged message of the mailbox's partition.
    Staged(&'a StagedMessage),
    /// Nowhere: the message is expunged and only its record is kept. `size` is what its file had.
    NoFile {
        /// Octets.
        size: u32,
    },
}

/// Fields of the mailbox that an update replaces (algorithm §6, step 11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct HeaderUpdate {
    /// Never becomes less than the highest UID of a record.
    pub last_uid: Uid,
    pub highest_modseq: ModSeq,
    pub recent_uid: Uid,
    pub recent_time: UnixTime,
    pub last_append_date: UnixTime,
    pub pop3_last_login: UnixTime,
    pub pop3_show_after: UnixTime,
    pub created_modseq: ModSeq,
    pub uid_validity: UidValidity,
    /// Only the options that replication carries are taken.
    pub options: MailboxOptions,
}

impl HeaderUpdate {
    /// The fields as they are in a header.
    pub fn of(header: &IndexHeader) -> HeaderUpdate {
        HeaderUpdate {
            last_uid: header.last_uid,
            highest_modseq: header.highest_modseq,
            recent_uid: header.recent_uid,
            recent_time: header.recent_time,
            last_append_date: header.last_append_date,
            pop3_last_login: header.pop3_last_login,
            pop3_show_after: header.pop3_show_after,
            created_modseq: header.created_modseq,
            uid_validity: header.uid_validity,
            options: header.options,
        }
    }
}

/// The records to be written, encoded: the whole mailbox may be in a change.
#[derive(Clone, Debug, Default)]
pub(super) struct RecordWrites {
    /// Numbers of the records that are overwritten, ascending.
    pub numbers: Vec<u32>,
    /// Their new octets, one after the other.
    pub updated: Vec<u8>,
    /// The octets of new records.
    pub appended: Vec<u8>,
}

/// A change being prepared. Records are updated by ascending numbers and appended by ascending
/// UIDs. Dropping it changes nothing.
#[derive(Debug)]
pub struct Preparation<'mailbox, 'user> {
    mailbox: &'mailbox Mailbox<'user>,
    /// The header with everything but the changes of the sums.
    base: IndexHeader,
    header: MailboxHeader,
    stored_accounting: Accounting,
    accounting: Accounting,
    gone: Totals,
    come: Totals,
    writes: RecordWrites,
    annotations: Vec<AnnotationChange>,
    last_updated_uid: Uid,
    /// Whether something that clients see of a stored message changes.
    changed_records: bool,
    cache_start: u64,
    cache_end: u64,
}

/// A change with nothing left to compute, to be handed to [`WritableMailbox::commit`].
#[derive(Debug)]
pub struct Prepared {
    pub(super) index: Identity,
    pub(super) before: IndexHeader,
    pub(super) after: IndexHeader,
    pub(super) header: MailboxHeader,
    /// The octets of `cyrus.header`, if it changes.
    pub(super) header_file: Option<Vec<u8>>,
    pub(super) writes: RecordWrites,
    pub(super) annotations: Vec<AnnotationChange>,
    pub(super) cache_start: u64,
    pub(super) quota_delta: Amounts,
}

impl<'user> WritableMailbox<'user> {
    /// Starts to prepare a change.
    ///
    /// # Errors
    /// If the cache cannot be looked at.
    pub fn prepare(&self) -> Result<Preparation<'_, 'user>, SpoolError> {
        let mailbox = &self.0;
        let disk = &mailbox.mailboxes.disk;
        let cache = mailbox.place.paths.file(MailboxFile::Cache);
        let length = disk.status(&cache)?.map_or(0, |status| status.length());
        let cache_start = append_offset(length).map_err(|error| error.at(&cache, length))?;
        let version = mailbox.index_header.version;
        let accounting = Accounting::new(version, &mailbox.header.flags);
        Ok(Preparation {
            mailbox,
            base: mailbox.index_header.clone(),
            header: mailbox.header.clone(),
            stored_accounting: accounting.clone(),
            accounting,
            gone: Totals::NOTHING,
            come: Totals::NOTHING,
            writes: RecordWrites::default(),
            annotations: Vec::new(),
            last_updated_uid: Uid(0),
            changed_records: false,
            cache_start,
            cache_end: cache_start,
        })
    }
}

impl Preparation<'_, '_> {
    fn version(&self) -> IndexVersion {
        self.base.version
    }

    /// The slots of user flags; names that are new to the mailbox get one.
    ///
    /// # Errors
    /// If all slots are taken.
    pub fn user_flags<'a>(
        &mut self,
        names: impl IntoIterator<Item = &'a FlagName>,
    ) -> Result<UserFlags, SpoolError> {
        let mut flags = UserFlags::default();
        for name in names {
            let slot = match self.header.flags.slot(name) {
                Some(slot) => slot,
                None => {
                    let slot = self.header.flags.slot_or_insert(name);
                    self.accounting.set_flags(&self.header.flags);
                    slot.map_err(ChangeError::from)?
                }
            };
            flags.insert(slot);
        }
        Ok(flags)
    }

    /// Gives a message the state that replication tells, exactly: nothing gets a new modseq or
    /// time. Its annotations become those given; `None` leaves them alone.
    ///
    /// # Errors
    /// If the message would come back from being expunged, the order is not kept, or its present
    /// annotations cannot be read.
    pub fn update(
        &mut self,
        stored: &StoredRecord,
        state: &RecordState,
        annotations: Option<&[Annotation]>,
    ) -> Result<(), SpoolError> {
        let old = &stored.record;
        let uid = old.uid;
        if old.is_expunged() && !state.expunged {
            return Err(ChangeError::Unexpunge { uid }.into());
        }
        self.keep_order(uid)?;
        let present = self.mailbox.annotations_of(uid)?;
        let mut new = *old;
        state.put_into(&mut new);
        let wanted = annotations.map(|given| self.to_store(&new, given));
        if let Some(wanted) = &wanted {
            self.annotations.extend(replacement(uid, &present, wanted));
            new.internal_flags
                .set(InternalFlags::SNOOZED, is_snoozed(wanted));
        }
        self.mark_for_cleanup(&mut new);
        self.gone.add_all(old, &present, &self.stored_accounting);
        self.come
            .add_all(&new, wanted.as_ref().unwrap_or(&present), &self.accounting);
        self.changed_records = true;
        self.writes.numbers.push(stored.number);
        new.encode(self.version(), &mut self.writes.updated);
        Ok(())
    }

    /// Rewrites a record whose counters, CRC and annotations stay what they are.
    pub(super) fn rewrite(
        &mut self,
        stored: &StoredRecord,
        record: &IndexRecord,
    ) -> Result<(), ChangeError> {
        self.keep_order(record.uid)?;
        self.writes.numbers.push(stored.number);
        record.encode(self.version(), &mut self.writes.updated);
        Ok(())
    }

    fn keep_order(&mut self, uid: Uid) -> Result<(), ChangeError> {
        let after = self.last_updated_uid;
        if uid <= after {
            return Err(ChangeError::Order { uid, after });
        }
        self.last_updated_uid = uid;
        Ok(())
    }

    /// Takes away options that are not replicated.
    pub(super) fn clear_options(&mut self, options: MailboxOptions) {
        self.base.options -= options;
    }

    /// Expunges a message without giving it a new modseq or time (commands §4.3).
    ///
    /// # Errors
    /// As [`Preparation::update`].
    pub fn expunge_silently(&mut self, stored: &StoredRecord) -> Result<(), SpoolError> {
        let state = RecordState {
            expunged: true,
            ..RecordState::of(&stored.record)
        };
        self.update(stored, &state, None)
    }

    /// Adds a message with exactly this UID and state.
    ///
    /// # Errors
    /// If the UID is not above all others, the content is missing, empty or of another GUID, or
    /// annotations that a crash left for this UID cannot be read.
    pub fn append(
        &mut self,
        uid: Uid,
        guid: &Guid,
        state: &RecordState,
        source: Source<'_>,
        annotations: &[Annotation],
    ) -> Result<(), SpoolError> {
        if uid <= self.base.last_uid {
            let after = self.base.last_uid;
            return Err(ChangeError::Order { uid, after }.into());
        }
        let mut record = IndexRecord {
            uid,
            guid: *guid,
            ..IndexRecord::default()
        };
        state.put_into(&mut record);
        self.put_source(&mut record, source)?;
        let left_over = self.mailbox.annotations_of(uid)?;
        let wanted = self.to_store(&record, annotations);
        self.annotations
            .extend(replacement(uid, &left_over, &wanted));
        record
            .internal_flags
            .set(InternalFlags::SNOOZED, is_snoozed(&wanted));
        self.come.add_all(&record, &wanted, &self.accounting);
        record.encode(self.version(), &mut self.writes.appended);
        self.base.record_count = self
            .base
            .record_count
            .checked_add(1)
            .ok_or(ChangeError::IndexFull { uid })?;
        self.base.last_uid = uid;
        Ok(())
    }

    /// The annotations to be stored for a record: those given, and the fields that the record has
    /// no room for.
    fn to_store(&self, record: &IndexRecord, given: &[Annotation]) -> Vec<Annotation> {
        let mut annotations = pseudo_annotations(self.version(), record).stored;
        annotations.extend_from_slice(given);
        normalized(annotations, self.mailbox.place.owner.as_ref())
    }

    /// What the record of a new message tells of its file.
    fn put_source(
        &mut self,
        record: &mut IndexRecord,
        source: Source<'_>,
    ) -> Result<(), ChangeError> {
        let (uid, guid) = (record.uid, record.guid);
        let zone = &self.mailbox.mailboxes.settings.time_zone;
        let dates = match source {
            Source::NoFile { size } => {
                if !record.is_expunged() || guid.is_null() {
                    return Err(ChangeError::NoContent { uid, guid });
                }
                record.internal_flags |= InternalFlags::UNLINKED;
                record.size = size;
                HeaderDate::default().resolve(record.internal_date, zone)
            }
            Source::Staged(message) => {
                if message.guid() != guid {
                    return Err(ChangeError::WrongContent { uid, guid });
                }
                if message.size() == 0 {
                    return Err(ChangeError::NoContent { uid, guid });
                }
                record.size = message.size();
                record.header_size = message.header_size();
                record.cache_version = message.cache_version();
                record.cache_crc = message.cache_crc();
                record.cache_offset = self.cache_end;
                self.cache_end = append_offset(self.cache_end + u64::from(message.cache_length()))
                    .map_err(ChangeError::Unstorable)?;
                message.dates(record.internal_date, zone)
            }
        };
        record.sent_date = dates.sent_date;
        record.gm_time = dates.gm_time;
        Ok(())
    }

    /// An expunged message's flags by `expunge_mode`, and what they ask of the next cleanup
    /// (mailbox-format §7.2).
    fn mark_for_cleanup(&mut self, record: &mut IndexRecord) {
        let mode = self.mailbox.mailboxes.settings.expunge_mode;
        if record.is_expunged() && mode != Removal::Delayed {
            record.internal_flags |= InternalFlags::UNLINKED | InternalFlags::NEEDS_CLEANUP;
        }
        if !record.has_file() {
            self.base.options |= MailboxOptions::NEEDS_UNLINK;
            if mode == Removal::Immediate {
                self.base.options |= MailboxOptions::NEEDS_REPACK;
            }
        }
    }

    /// Replaces the fields of the mailbox that replication carries.
    pub fn set_header(&mut self, update: &HeaderUpdate) {
        self.base.last_uid = self.base.last_uid.max(update.last_uid);
        self.base.highest_modseq = update.highest_modseq;
        self.base.recent_uid = update.recent_uid;
        self.base.recent_time = update.recent_time;
        self.base.last_append_date = update.last_append_date;
        self.base.pop3_last_login = update.pop3_last_login;
        self.base.pop3_show_after = update.pop3_show_after;
        self.base.created_modseq = update.created_modseq;
        self.base.uid_validity = update.uid_validity;
        let replicated = MailboxOptions::REPLICATED;
        self.base.options = (self.base.options - replicated) | (update.options & replicated);
    }

    /// Replaces the ACL in `cyrus.header`; that of the mailbox list is the caller's.
    pub fn set_acl(&mut self, acl: Acl) {
        self.header.acl = acl;
    }

    /// Replaces the name in `cyrus.header`, for a mailbox that is being renamed.
    pub fn set_name(&mut self, name: MailboxName) {
        self.header.name = Some(name);
    }

    /// Replaces the unique id in `cyrus.header`.
    pub fn set_unique_id(&mut self, id: UniqueId) {
        self.header.unique_id = Some(id);
    }

    /// Replaces the quota root in `cyrus.header`; the commit takes what the mailbox uses off the
    /// old root and adds it to the new one.
    pub fn set_quota_root(&mut self, root: Option<QuotaRoot>) {
        self.header.quota_root = root;
    }

    /// Takes up that the mailbox's own annotations changed, in octets of all values.
    pub fn mailbox_annotations_changed(&mut self, before: u64, after: u64) {
        self.gone.annotation_octets = self.gone.annotation_octets.saturating_add(before);
        self.come.annotation_octets = self.come.annotation_octets.saturating_add(after);
    }

    /// The CRCs that the mailbox will have.
    pub fn sync_crc(&self) -> SyncCrc {
        self.result().sync_crc
    }

    /// The header that the mailbox will have, but for the CRC of `cyrus.header`.
    pub fn result(&self) -> IndexHeader {
        let mut header = self.base.clone();
        header.exchange(&self.gone, &self.come);
        header
    }

    /// Computes CRCs and counters from scratch instead of from those stored, for a mailbox whose
    /// stored ones are in doubt. With `mailbox_annotations`, the octets of the mailbox's own
    /// annotations as stored before this change, the use of annotation storage as well.
    ///
    /// # Errors
    /// If the records or annotations cannot be read.
    pub fn recalculate(&mut self, mailbox_annotations: Option<u64>) -> Result<(), SpoolError> {
        let totals = self.mailbox.sum_of_records()?;
        self.base.set_totals(&totals, mailbox_annotations);
        Ok(())
    }

    /// By how much the use of the quota root changes.
    pub fn quota_delta(&self) -> Amounts {
        difference(&self.mailbox.index_header, &self.result())
    }

    /// Ends the preparation.
    ///
    /// # Errors
    /// If `cyrus.header` cannot hold a changed property.
    pub fn finish(self) -> Result<Prepared, SpoolError> {
        let mut after = self.result();
        let header_changes = self.header != self.mailbox.header;
        let header_file = match header_changes {
            true => Some(self.header.encode().map_err(ChangeError::Unstorable)?),
            false => None,
        };
        if let Some(file) = &header_file {
            after.header_file_crc = crc32fast::hash(file);
        }
        let before = self.mailbox.index_header.clone();
        // A session of imapd reads the records again only where the modseq or the generation is
        // another one; it aborts when it then changes a message that was expunged meanwhile.
        if self.changed_records && after.highest_modseq == before.highest_modseq {
            after.generation = after.generation.wrapping_add(1);
        }
        Ok(Prepared {
            index: self.mailbox.index.identity()?,
            quota_delta: difference(&before, &after),
            before,
            after,
            header: self.header,
            header_file,
            writes: self.writes,
            annotations: self.annotations,
            cache_start: self.cache_start,
        })
    }
}

fn is_snoozed(annotations: &[Annotation]) -> bool {
    annotations.iter().any(|one| one.entry == SNOOZED)
}

fn difference(before: &IndexHeader, after: &IndexHeader) -> Amounts {
    let (before, after) = (before.usage(), after.usage());
    Amounts {
        storage: after.storage.saturating_sub(before.storage),
        messages: after.messages.saturating_sub(before.messages),
        annotation_storage: after
            .annotation_storage
            .saturating_sub(before.annotation_storage),
        mailboxes: after.mailboxes.saturating_sub(before.mailboxes),
    }
}

impl IndexHeader {
    /// What the mailbox counts for in its quota root; nothing once it is marked as removed.
    pub fn usage(&self) -> Amounts {
        if self.options.contains(MailboxOptions::DELETED) {
            return Amounts::default();
        }
        let octets = |octets: u64| i64::try_from(octets).unwrap_or(i64::MAX);
        Amounts {
            storage: octets(self.quota_mailbox_used),
            messages: self.exists.into(),
            annotation_storage: octets(self.quota_annotations_used),
            mailboxes: 1,
        }
    }
}
