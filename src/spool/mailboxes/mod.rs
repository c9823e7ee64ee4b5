//! The mailbox list, `mailboxes.db`, as Cyrus 3.6 and later keep it (databases §9).
//!
//! Under `N` and a name stands what the name means now; under `I` and a unique id which name that
//! mailbox has and had. `N` decides: an `I` record counts only if the `N` record of its name has
//! the same id. Where reverse ACLs are switched on, an `A…` key stands for each identifier that
//! sees a mailbox. Every change here is one transaction over all of these.

mod change;
mod record;
mod reverse_acl;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::mail::{MailboxName, ModSeq, Namespace, UniqueId, UserId};
use crate::spool::SpoolError;
use crate::spool::cyrusdb::{Backend, Db, DbError, Wanted};
use crate::spool::disk::Disk;

use change::Change;
pub use record::{FormerName, MailboxEntry, RecordError};
use record::{decode_id_record, decode_name_record};

/// An open mailbox list. Each session opens its own.
#[derive(Debug)]
pub struct MailboxList {
    disk: Disk,
    db: Db,
    context: Context,
}

/// What is needed to make sense of the records.
#[derive(Debug)]
struct Context {
    path: PathBuf,
    namespace: Namespace,
    admins: Vec<String>,
}

/// Whether deleted mailboxes of a user are wanted too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// Those under `DELETED`, after the others.
    Include,
    /// Only what the user sees.
    Skip,
}

/// Who sees more or less mailboxes than before a change; always empty without reverse ACLs.
///
/// For each of these that is a user with an INBOX, the counter
/// [`Counter::ReverseAcl`](crate::spool::counters::Counter::ReverseAcl) is to be raised and a
/// `MAILBOX` line for that INBOX to be logged (databases §9.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VisibilityChange {
    /// Identifiers of the ACLs.
    pub identifiers: Vec<String>,
}

impl MailboxList {
    /// Opens the list, creating it if there is none. `admins` is the option of that name, split at
    /// blanks.
    ///
    /// # Errors
    /// If it cannot be opened, or was written by Cyrus 3.4 or older: such a list must be converted
    /// by the daemons first (`ctl_cyrusdb -r`).
    pub fn open(
        disk: &Disk,
        path: &Path,
        backend: Backend,
        namespace: &Namespace,
        admins: &[String],
    ) -> Result<MailboxList, SpoolError> {
        let mut list = MailboxList {
            disk: disk.clone(),
            db: Db::open_vital(disk, path, backend)?,
            context: Context {
                path: path.to_owned(),
                namespace: namespace.clone(),
                admins: admins.to_vec(),
            },
        };
        list.refuse_old_form()?;
        Ok(list)
    }

    fn refuse_old_form(&mut self) -> Result<(), SpoolError> {
        let mut holds = |prefix: &[u8]| -> Result<bool, DbError> {
            let found = self.db.scan(prefix, |_, _| ControlFlow::Break(()))?;
            Ok(found.is_some())
        };
        let current = holds(b"N")? || holds(b"I")?;
        if holds(b"user.")? || (!current && holds(b"")? && !holds(b"A")?) {
            return Err(SpoolError::Unsupported {
                path: self.context.path.clone(),
                what: "a mailbox list of Cyrus 3.4 or older".to_owned(),
            });
        }
        Ok(())
    }

    /// What the list says of a name: a mailbox, but maybe a tombstone or an intermediate; ask
    /// [`MailboxEntry::is_real`].
    ///
    /// # Errors
    /// If the list cannot be read or the record is damaged.
    pub fn find(&mut self, name: &MailboxName) -> Result<Option<MailboxEntry>, SpoolError> {
        let value = self.db.get(&self.context.name_key(name))?;
        value
            .map(|value| self.context.name_record(name.clone(), &value))
            .transpose()
    }

    /// The entry of a mailbox by its id; maybe a tombstone or an intermediate. Records that only
    /// remain from mailboxes long gone do not count.
    ///
    /// # Errors
    /// If the list cannot be read or a record is damaged.
    pub fn find_id(&mut self, id: &UniqueId) -> Result<Option<MailboxEntry>, SpoolError> {
        let Some(value) = self.db.get(&id_key(id))? else {
            return Ok(None);
        };
        let (named, _) = self.context.id_record(id.clone(), &value)?;
        let entry = self.find(&named.name)?;
        Ok(entry.filter(|entry| entry.unique_id == *id))
    }

    /// The former names of a mailbox, newest first.
    ///
    /// # Errors
    /// If the list cannot be read or the record is damaged.
    pub fn history(&mut self, id: &UniqueId) -> Result<Vec<FormerName>, SpoolError> {
        match self.db.get(&id_key(id))? {
            Some(value) => Ok(self.context.id_record(id.clone(), &value)?.1),
            None => Ok(Vec::new()),
        }
    }

    /// Whether the list remembers that a mailbox was deleted, even if its name means another one
    /// by now.
    ///
    /// # Errors
    /// If the list cannot be read or the record is damaged.
    pub fn was_deleted(&mut self, id: &UniqueId) -> Result<bool, SpoolError> {
        match self.db.get(&id_key(id))? {
            Some(value) => Ok(self.context.id_record(id.clone(), &value)?.0.is_tombstone()),
            None => Ok(false),
        }
    }

    /// All entries of a user: INBOX, what is below it, and then, if wanted, deleted mailboxes;
    /// each part in the order of the list, tombstones and intermediates included.
    ///
    /// The list may change meanwhile; hold the user's lock to get a consistent answer.
    ///
    /// # Errors
    /// If the list cannot be read or one of the records is damaged: a mailbox left out would look
    /// like one that does not exist.
    pub fn of_user(
        &mut self,
        user: &UserId,
        deleted: Deleted,
    ) -> Result<Vec<MailboxEntry>, SpoolError> {
        let inbox = self.context.namespace.inbox_of(user);
        let deleted_tree = match deleted {
            Deleted::Include => Some(self.context.deleted_tree(&inbox)?),
            Deleted::Skip => None,
        };
        self.trees(&inbox, deleted_tree.as_ref())
    }

    /// The entry of a name and all below it, in the order of the list.
    ///
    /// # Errors
    /// If the list cannot be read or one of the records is damaged.
    pub fn tree(&mut self, name: &MailboxName) -> Result<Vec<MailboxEntry>, SpoolError> {
        self.trees(name, None)
    }

    /// The entry of a name and all below it, then all below another name. The list is locked
    /// once, unless there are very many.
    fn trees(
        &mut self,
        name: &MailboxName,
        deleted_tree: Option<&MailboxName>,
    ) -> Result<Vec<MailboxEntry>, SpoolError> {
        let context = &self.context;
        let key = context.name_key(name);
        let roots = [Some(name), deleted_tree].into_iter().flatten();
        let below: Vec<Vec<u8>> = roots.map(|name| context.children_prefix(name)).collect();
        let below = below.iter().map(|prefix| Wanted::Prefix(prefix));
        let wanted: Vec<Wanted<'_>> = std::iter::once(Wanted::Key(&key)).chain(below).collect();
        let mut entries = Vec::new();
        let mut keep = |entry| {
            entries.push(entry);
            ControlFlow::<()>::Continue(())
        };
        let failed = self.db.scan_all(&wanted, |_, key, value| {
            context.visit_name_record(key, value, &mut keep)
        })?;
        failed.transpose()?;
        Ok(entries)
    }

    /// Calls `each` with every entry in the order of the list, until it breaks; returns what it
    /// broke with.
    ///
    /// # Errors
    /// If the list cannot be read or one of the records is damaged.
    pub fn for_each<B>(
        &mut self,
        each: impl FnMut(MailboxEntry) -> ControlFlow<B>,
    ) -> Result<Option<B>, SpoolError> {
        scan(&mut self.db, &self.context, b"N", each)
    }

    /// Whether there are real mailboxes below a name.
    ///
    /// # Errors
    /// If the list cannot be read or one of the records is damaged.
    pub fn has_children(&mut self, name: &MailboxName) -> Result<bool, SpoolError> {
        let prefix = self.context.children_prefix(name);
        let found = scan(&mut self.db, &self.context, &prefix, break_if_real)?;
        Ok(found.is_some())
    }

    /// Writes an entry, new or changed, with the present time: `N` and `I` record, history kept,
    /// reverse ACLs adjusted. If the name stood for another mailbox before, that one's `I` record
    /// goes, unless it names another name. If the mailbox stood under another name, that name
    /// becomes part of the history, but its `N` record is left alone: use
    /// [`MailboxList::rename`].
    ///
    /// On disk when this returns.
    ///
    /// # Errors
    /// If the list cannot be locked in time, read or written; then nothing is changed.
    pub fn put(&mut self, entry: &MailboxEntry) -> Result<VisibilityChange, SpoolError> {
        self.change(|change| change.store(entry))
    }

    /// Gives a mailbox another name: a tombstone stays under the old one (with the new entry's
    /// folder modseq), the new entry is written, the old name becomes the first of its history.
    /// A delayed delete is a rename, too. The entries have the same id; if they have the same
    /// name, the entry is only rewritten (a move between partitions).
    ///
    /// On disk when this returns, all or nothing.
    ///
    /// # Errors
    /// If the list cannot be locked in time, read or written; then nothing is changed.
    pub fn rename(
        &mut self,
        old: &MailboxEntry,
        new: &MailboxEntry,
    ) -> Result<VisibilityChange, SpoolError> {
        self.change(|change| {
            if old.name != new.name {
                change.store(&old.tombstone(new.folder_modseq))?;
            }
            change.store(new)
        })
    }

    /// Takes a mailbox off the list for good, as an immediate delete does. What stays under the
    /// name: an intermediate if there are mailboxes below it, else a tombstone, either with the
    /// given folder modseq; of a name under `DELETED` nothing. An intermediate becomes a
    /// tombstone. A name that is not on the list, or a tombstone already, is left as it is.
    ///
    /// On disk when this returns.
    ///
    /// # Errors
    /// If the list cannot be locked in time, read or written; then nothing is changed.
    pub fn delete(
        &mut self,
        name: &MailboxName,
        folder_modseq: ModSeq,
    ) -> Result<VisibilityChange, SpoolError> {
        self.change(|change| change.delete(name, folder_modseq))
    }

    /// Removes what the list says of a name, tombstone or not, and the `I` record if it names
    /// this name. (3.6.1 forgets the latter; later versions do as we do.)
    ///
    /// On disk when this returns.
    ///
    /// # Errors
    /// If the list cannot be locked in time, read or written; then nothing is changed.
    pub fn remove(&mut self, name: &MailboxName) -> Result<VisibilityChange, SpoolError> {
        self.change(|change| change.remove(name))
    }

    fn change(
        &mut self,
        act: impl FnOnce(&mut Change<'_>) -> Result<(), SpoolError>,
    ) -> Result<VisibilityChange, SpoolError> {
        let transaction = self.db.begin(self.disk.lock_deadline())?;
        let mut change = Change::new(transaction, &self.context)?;
        act(&mut change)?;
        change.commit()
    }
}

fn break_if_real(entry: MailboxEntry) -> ControlFlow<()> {
    if entry.is_real() {
        ControlFlow::Break(())
    } else {
        ControlFlow::Continue(())
    }
}

/// Calls `each` with the entries whose `N` keys begin with `prefix`.
fn scan<B>(
    db: &mut Db,
    context: &Context,
    prefix: &[u8],
    mut each: impl FnMut(MailboxEntry) -> ControlFlow<B>,
) -> Result<Option<B>, SpoolError> {
    let stopped = db.scan(prefix, |key, value| {
        context.visit_name_record(key, value, &mut each)
    })?;
    stopped.transpose()
}

fn id_key(id: &UniqueId) -> Vec<u8> {
    [b"I", id.as_str().as_bytes()].concat()
}

impl Context {
    fn name_key(&self, name: &MailboxName) -> Vec<u8> {
        [&b"N"[..], &self.namespace.db_name(name)].concat()
    }

    /// Below which the deleted mailboxes of an INBOX's tree are.
    fn deleted_tree(&self, inbox: &MailboxName) -> Result<MailboxName, SpoolError> {
        let tree = self.namespace.deleted_tree(inbox);
        tree.map_err(|source| SpoolError::Name {
            path: self.path.clone(),
            source,
        })
    }

    fn children_prefix(&self, name: &MailboxName) -> Vec<u8> {
        [&b"N"[..], &self.namespace.db_name(name), b"\x1f"].concat()
    }

    fn name_record(&self, name: MailboxName, value: &[u8]) -> Result<MailboxEntry, SpoolError> {
        let shown = name.to_string();
        decode_name_record(name, value).map_err(|error| self.bad_record(&shown, error))
    }

    fn id_record(
        &self,
        id: UniqueId,
        value: &[u8],
    ) -> Result<(MailboxEntry, Vec<FormerName>), SpoolError> {
        let shown = id.to_string();
        decode_id_record(id, value, &self.namespace).map_err(|error| self.bad_record(&shown, error))
    }

    fn visit_name_record<B>(
        &self,
        key: &[u8],
        value: &[u8],
        each: &mut impl FnMut(MailboxEntry) -> ControlFlow<B>,
    ) -> ControlFlow<Result<B, SpoolError>> {
        let name = self
            .namespace
            .from_db_name(key.get(1..).unwrap_or_default());
        let entry = name
            .map_err(|source| SpoolError::Name {
                path: self.path.clone(),
                source,
            })
            .and_then(|name| self.name_record(name, value));
        match entry {
            Ok(entry) => each(entry).map_break(Ok),
            Err(error) => ControlFlow::Break(Err(error)),
        }
    }

    fn bad_record(&self, key: &str, error: RecordError) -> SpoolError {
        match error {
            RecordError::TextForm | RecordError::JmapId => SpoolError::Unsupported {
                path: self.path.clone(),
                what: format!("{key}: {error}"),
            },
            error => SpoolError::corrupt(&self.path, 0, format!("entry of {key}: {error}")),
        }
    }
}
