//! New mailboxes as the daemons make them: their layout, ACL, id and first state.

use tracing::info;

use super::SpoolError;
use super::disk::LockKind;
use super::lock::UserLock;
use super::mailbox::{MailboxPlace, NewMailbox, WritableMailbox};
use super::mailboxes::{MailboxEntry, MailboxList};
use super::quota::QuotaRoot;
use super::store::Store;
use super::synclog::LogItem;
use crate::mail::{
    Acl, AclEntry, MailboxName, MailboxOptions, MailboxType, ModSeq, Partition, TypeFlags,
    UidValidity, UniqueId, UnixTime,
};

/// All rights, as the owner of a new mailbox gets them.
pub const OWNER_RIGHTS: &str = "lrswipkxtecdan";

/// An id of 24 characters, as 3.6 makes them (databases §9.6).
///
/// # Errors
/// If the system has no random octets.
pub fn new_unique_id() -> Result<UniqueId, SpoolError> {
    let mut random = [0_u8; 24];
    getrandom::fill(&mut random)?;
    Ok(UniqueId::from_random(&random))
}

impl Store {
    /// The type of a new mailbox with the layout it gets: that of the owner's INBOX, else what the
    /// configuration says (databases §8.2).
    ///
    /// # Errors
    /// If the mailbox list cannot be read.
    pub fn type_of_new(
        &self,
        list: &mut MailboxList,
        name: &MailboxName,
        wanted: MailboxType,
    ) -> Result<MailboxType, SpoolError> {
        let inbox = match self.inbox_above(name) {
            Some(inbox) => list.find(&inbox)?,
            None => None,
        };
        let legacy = match inbox {
            Some(inbox) => inbox.mailbox_type.flags.contains(TypeFlags::LEGACY_LAYOUT),
            None => self.config.mailboxes.legacy_directories,
        };
        let mut new = wanted.on_wire();
        new.flags.set(TypeFlags::LEGACY_LAYOUT, legacy);
        Ok(new)
    }

    /// The ACL of the closest mailbox above, else all rights for the owner.
    ///
    /// # Errors
    /// If the mailbox list cannot be read.
    pub fn inherited_acl(
        &self,
        list: &mut MailboxList,
        name: &MailboxName,
    ) -> Result<Acl, SpoolError> {
        for ancestor in std::iter::successors(name.parent(), MailboxName::parent) {
            let entry = list.find(&ancestor)?.filter(MailboxEntry::is_real);
            if let Some(acl) = entry.and_then(|entry| entry.acl) {
                return Ok(acl);
            }
        }
        let entries = self.namespace().owner_of(name).map(|owner| AclEntry {
            identifier: owner.to_string(),
            rights: OWNER_RIGHTS.to_owned(),
        });
        Ok(Acl::from_entries(entries.into_iter().collect()))
    }

    /// Makes the files of an empty mailbox. The list does not know it before it is put there.
    ///
    /// # Errors
    /// If the mailbox cannot be locked in time, or something cannot be written.
    pub fn create_files<'lock>(
        &self,
        lock: &'lock UserLock,
        place: MailboxPlace,
        entry: &MailboxEntry,
        options: MailboxOptions,
        highest_modseq: ModSeq,
    ) -> Result<WritableMailbox<'lock>, SpoolError> {
        let mailbox_lock =
            self.locks
                .mailbox(lock, &entry.name, place.home(), LockKind::Exclusive)?;
        let new = NewMailbox {
            version: self.index_version_of_new(),
            acl: entry.acl.clone().unwrap_or_default(),
            quota_root: self.quotas()?.find_root(&entry.name)?,
            options,
            uid_validity: entry.uid_validity,
            highest_modseq,
            created_modseq: entry.created_modseq,
        };
        let charge = |root: &QuotaRoot, amounts| self.charge(&entry.name, root, amounts);
        self.mailboxes.create(place, mailbox_lock, &new, charge)
    }

    /// Makes an empty mailbox as the daemons do for `CREATE`: files, list entry, sync log.
    ///
    /// # Errors
    /// If the mailbox cannot be locked in time, or something cannot be read or written.
    pub fn create_mailbox(
        &self,
        list: &mut MailboxList,
        lock: &UserLock,
        name: &MailboxName,
        partition: Partition,
    ) -> Result<MailboxEntry, SpoolError> {
        let now = UnixTime::now();
        let entry = MailboxEntry {
            name: name.clone(),
            unique_id: new_unique_id()?,
            mailbox_type: self.type_of_new(list, name, MailboxType::default())?,
            partition: Some(partition.clone()),
            server: None,
            uid_validity: UidValidity(now.0.saturating_add(1)),
            created_modseq: ModSeq(1),
            folder_modseq: ModSeq(1),
            mtime: now,
            acl: Some(self.inherited_acl(list, name)?),
        };
        let place = MailboxPlace::new(
            &self.layout,
            name.clone(),
            entry.unique_id.clone(),
            entry.mailbox_type,
            partition,
        )?;
        let options = self.config.mailboxes.default_options | MailboxOptions::POP3_NEW_UIDL;
        drop(self.create_files(lock, place, &entry, options, ModSeq(1))?);
        let visibility = list.put(&entry)?;
        self.tell_visibility(list, &visibility)?;
        self.mailbox_changed(name, &[LogItem::Mailbox(name.clone())])?;
        Ok(entry)
    }

    /// Makes the missing mailboxes between a user's mailbox and the INBOX, as 3.6 does: real ones
    /// with ids of their own (algorithm §6, step 4). A folder called INBOX is not made: it only
    /// stands in the names of those which clients of an alternative namespace see below the INBOX.
    ///
    /// # Errors
    /// As [`Store::create_mailbox`].
    pub fn create_parents(
        &self,
        list: &mut MailboxList,
        lock: &UserLock,
        name: &MailboxName,
        partition: &Partition,
    ) -> Result<(), SpoolError> {
        let Some(inbox) = self.inbox_above(name) else {
            return Ok(());
        };
        let is_folder = |parent: &MailboxName| {
            parent
                .as_str()
                .strip_prefix(inbox.as_str())
                .is_some_and(|folder| folder.starts_with('.') && folder != ".INBOX")
        };
        let parents = std::iter::successors(name.parent(), MailboxName::parent);
        for parent in parents.take_while(is_folder) {
            let known = list.find(&parent)?;
            if known.is_none_or(|entry| entry.is_tombstone()) {
                self.create_mailbox(list, lock, &parent, partition.clone())?;
                info!(sync_mailbox = %parent, "mailbox created, since {name} is below it");
            }
        }
        Ok(())
    }

    fn inbox_above(&self, name: &MailboxName) -> Option<MailboxName> {
        let namespace = self.namespace();
        let owner = namespace.owner_of(name)?;
        Some(namespace.inbox_of(&owner))
    }
}
