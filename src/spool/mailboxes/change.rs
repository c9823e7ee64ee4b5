//! One transaction on the mailbox list (databases §9.6).

use super::record::{encode_id_record, encode_name_record};
use super::reverse_acl::{self, MARKER};
use super::{Context, FormerName, MailboxEntry, VisibilityChange, break_if_real, id_key};
use crate::mail::{MailboxName, MailboxType, ModSeq, TypeFlags, UniqueId, UnixTime};
use crate::spool::SpoolError;
use crate::spool::cyrusdb::Transaction;

/// Changes that are made together. Dropping it makes none of them.
pub(super) struct Change<'a> {
    transaction: Transaction<'a>,
    context: &'a Context,
    reverse_acls: bool,
    now: UnixTime,
    identifiers: Vec<String>,
}

impl<'a> Change<'a> {
    pub(super) fn new(
        mut transaction: Transaction<'a>,
        context: &'a Context,
    ) -> Result<Change<'a>, SpoolError> {
        let reverse_acls = transaction.get(MARKER)?.is_some();
        Ok(Change {
            transaction,
            context,
            reverse_acls,
            now: UnixTime::now(),
            identifiers: Vec::new(),
        })
    }

    pub(super) fn commit(self) -> Result<VisibilityChange, SpoolError> {
        self.transaction.commit()?;
        let mut identifiers = self.identifiers;
        identifiers.sort_unstable();
        identifiers.dedup();
        Ok(VisibilityChange { identifiers })
    }

    pub(super) fn store(&mut self, entry: &MailboxEntry) -> Result<(), SpoolError> {
        let entry = MailboxEntry {
            mtime: self.now,
            ..entry.clone()
        };
        let old = self.find(&entry.name)?;
        self.adjust_reverse_acl(&entry.name, old.as_ref(), Some(&entry))?;
        if let Some(old) = old.filter(|old| old.unique_id != entry.unique_id) {
            self.forget_id(&old)?;
        }
        self.transaction.put(
            &self.context.name_key(&entry.name),
            &encode_name_record(&entry),
        )?;
        let history = self.history_of(&entry)?;
        let id_record = encode_id_record(&entry, &history, &self.context.namespace);
        self.transaction
            .put(&id_key(&entry.unique_id), &id_record)?;
        Ok(())
    }

    pub(super) fn delete(
        &mut self,
        name: &MailboxName,
        folder_modseq: ModSeq,
    ) -> Result<(), SpoolError> {
        let Some(entry) = self.find(name)? else {
            return Ok(());
        };
        if self.context.namespace.is_deleted(name) {
            return self.remove(name);
        }
        if entry.is_tombstone() {
            return Ok(());
        }
        let mut remains = entry.tombstone(folder_modseq);
        if entry.is_intermediate() {
            // The original keeps these two here.
            remains.partition = entry.partition;
            remains.acl = entry.acl;
        } else {
            // The kind and the layout went with the mailbox.
            remains.mailbox_type = MailboxType::default();
            remains.mailbox_type.flags = if self.has_children(name)? {
                TypeFlags::INTERMEDIATE
            } else {
                TypeFlags::DELETED
            };
        }
        self.store(&remains)
    }

    pub(super) fn remove(&mut self, name: &MailboxName) -> Result<(), SpoolError> {
        let Some(old) = self.find(name)? else {
            return Ok(());
        };
        self.adjust_reverse_acl(name, Some(&old), None)?;
        self.transaction.delete(&self.context.name_key(name))?;
        self.forget_id(&old)
    }

    fn find(&mut self, name: &MailboxName) -> Result<Option<MailboxEntry>, SpoolError> {
        let value = self.transaction.get(&self.context.name_key(name))?;
        value
            .map(|value| self.context.name_record(name.clone(), &value))
            .transpose()
    }

    fn id_record(
        &mut self,
        id: &UniqueId,
    ) -> Result<Option<(MailboxEntry, Vec<FormerName>)>, SpoolError> {
        let value = self.transaction.get(&id_key(id))?;
        value
            .map(|value| self.context.id_record(id.clone(), &value))
            .transpose()
    }

    /// Removes the `I` record of an entry that goes, unless the id belongs to another name by now.
    fn forget_id(&mut self, old: &MailboxEntry) -> Result<(), SpoolError> {
        let named = self.id_record(&old.unique_id)?;
        if named.is_some_and(|(named, _)| named.name == old.name) {
            self.transaction.delete(&id_key(&old.unique_id))?;
        }
        Ok(())
    }

    /// The history that the `I` record is to have: what it has, and before that the name that it
    /// says now if that is another one.
    fn history_of(&mut self, entry: &MailboxEntry) -> Result<Vec<FormerName>, SpoolError> {
        let Some((named, mut history)) = self.id_record(&entry.unique_id)? else {
            return Ok(Vec::new());
        };
        if named.name != entry.name {
            history.insert(0, named.as_former_name());
        }
        Ok(history)
    }

    fn has_children(&mut self, name: &MailboxName) -> Result<bool, SpoolError> {
        let prefix = self.context.children_prefix(name);
        let context = self.context;
        let found = self.transaction.scan(&prefix, |key, value| {
            context.visit_name_record(key, value, &mut break_if_real)
        })?;
        Ok(found.transpose()?.is_some())
    }

    fn adjust_reverse_acl(
        &mut self,
        name: &MailboxName,
        old: Option<&MailboxEntry>,
        new: Option<&MailboxEntry>,
    ) -> Result<(), SpoolError> {
        if !self.reverse_acls {
            return Ok(());
        }
        let namespace = &self.context.namespace;
        let owner = namespace.owner_of(name);
        let owner = owner.as_ref().map(|owner| owner.as_str());
        let changed = reverse_acl::difference(old, new, owner, &self.context.admins);
        for identifier in changed.lost {
            let key = reverse_acl::key(namespace, name, &identifier);
            self.transaction.delete(&key)?;
            self.identifiers.push(identifier);
        }
        for identifier in changed.gained {
            let key = reverse_acl::key(namespace, name, &identifier);
            self.transaction.put(&key, b"")?;
            self.identifiers.push(identifier);
        }
        Ok(())
    }
}
