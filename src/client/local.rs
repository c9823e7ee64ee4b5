//! The master: what the local store has, as the replica will be told.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::SpooledTempFile;

use crate::client::batches::PlannedBatches;
use crate::client::error::SyncError;
use crate::dlist::LiteralStyle;
use crate::exchange::{Records, compared_state, intermediate_item, mailbox_item};
use crate::mail::{
    Guid, MailboxKind, MailboxName, ModSeq, Partition, SyncCrc, TypeFlags, Uid, UserId,
};
use crate::plan::folders::{Fate, LocalFolder, RemoteFolder};
use crate::plan::update::{
    Batch, Difference, Mark, Selection, TakeOver, difference, lost_history, take_over,
};
use crate::protocol::command::{MailboxItem, MailboxWriter, RecordForm, Since};
use crate::spool::SpoolError;
use crate::spool::annotations::{AnnotationDb, Scope};
use crate::spool::disk::LockKind;
use crate::spool::mailbox::{HeaderUpdate, Mailbox, StoredRecord, WritableMailbox};
use crate::spool::mailboxes::{Deleted, MailboxEntry, MailboxList};
use crate::spool::store::Store;

/// One connection's view of the store.
#[derive(Debug)]
pub struct Local {
    store: Arc<Store>,
    /// In which mailboxes are read: one that waits as long for them as is to be waited.
    readers: Arc<Store>,
    list: MailboxList,
    annotations: AnnotationDb,
    batches: PlannedBatches,
}

/// How an update is computed.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Give up if expunges can no longer be described; tell the replica which of its states the
    /// update builds on.
    pub is_delta: bool,
    /// Calculate the local CRCs anew.
    pub recalculate: bool,
    /// Send all records.
    pub everything: bool,
    /// Most messages of one update; 0 = no bound.
    pub batch_size: u32,
    /// How the records are written.
    pub form: RecordForm,
    /// Change nothing here either.
    pub dry_run: bool,
}

/// What there is to send of a mailbox.
#[derive(Debug)]
pub enum Preparation {
    /// The mailbox is gone; the deletion will be replicated by itself.
    Vanished,
    /// Both sides are equal.
    Unchanged,
    /// A delta cannot describe what happened.
    LostHistory,
    /// This.
    Send(Box<Update>),
}

/// What a look at a mailbox found.
enum Looked {
    /// These counters are to be raised first.
    Behind(TakeOver),
    /// What there is to send.
    Prepared(Preparation),
}

/// An update, ready to be sent.
#[derive(Debug)]
pub struct Update {
    /// The mailbox, as the replica will have it.
    pub item: MailboxItem,
    /// The argument of APPLY MAILBOX; large ones lie in a file without name.
    pub body: SpooledTempFile,
    /// Messages whose files the replica may lack, in the order of their UIDs.
    pub uploads: Vec<Upload>,
    /// Whether more is to be sent afterwards.
    pub is_partial: bool,
    /// The first difference, for the log.
    pub difference: Difference,
}

/// Messages that a replica lacks.
#[derive(Debug, Default)]
pub struct NewMessages {
    /// Their GUIDs.
    pub guids: Vec<Guid>,
    /// Their octets.
    pub octets: u64,
}

/// A message file to send.
#[derive(Clone, Debug)]
pub struct Upload {
    /// UID of the message.
    pub uid: Uid,
    /// Its GUID.
    pub guid: Guid,
    /// Octets, as the record says.
    pub size: u32,
    /// Its file.
    pub path: PathBuf,
}

/// Octets of an update that are kept in memory.
const IN_MEMORY: usize = 1 << 20;

impl Local {
    /// Opens what each connection has for itself. Mailboxes are read in `readers`, the same store
    /// with other waits.
    ///
    /// # Errors
    /// If the mailbox list or the annotations cannot be opened.
    pub fn open(store: &Arc<Store>, readers: &Arc<Store>) -> Result<Local, SyncError> {
        Ok(Local {
            store: Arc::clone(store),
            readers: Arc::clone(readers),
            list: store.mailbox_list()?,
            annotations: store.annotations()?,
            batches: PlannedBatches::default(),
        })
    }

    /// Reads mailboxes in `store` from now on. What is changed is still changed in the other: a
    /// change that has begun waits for all locks that it needs.
    pub fn read_in(&mut self, store: Arc<Store>) {
        self.readers = store;
    }

    /// The store.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The mailbox list.
    pub fn list(&mut self) -> &mut MailboxList {
        &mut self.list
    }

    /// The annotations of mailboxes and the server.
    pub fn annotations(&mut self) -> &mut AnnotationDb {
        &mut self.annotations
    }

    /// Whether the user has an INBOX here.
    ///
    /// # Errors
    /// If the mailbox list cannot be read.
    pub fn has_user(&mut self, user: &UserId) -> Result<bool, SyncError> {
        let inbox = self.store.namespace().inbox_of(user);
        let entry = self.list.find(&inbox)?;
        Ok(entry.is_some_and(|entry| entry.is_real()))
    }

    /// All mailboxes of a user, deleted ones included; those with Sieve scripts only if they
    /// travel as messages.
    ///
    /// # Errors
    /// If the mailbox list cannot be read.
    pub fn folders_of(
        &mut self,
        user: &UserId,
        with_scripts: bool,
        partition: Option<&Partition>,
    ) -> Result<Vec<LocalFolder>, SyncError> {
        let _consistent = self
            .readers
            .locks
            .user(user, LockKind::Shared)
            .map_err(SpoolError::from)?;
        let entries = self.list.of_user(user, Deleted::Include)?;
        entries
            .into_iter()
            .filter(|entry| with_scripts || entry.mailbox_type.kind != MailboxKind::Sieve)
            .filter_map(|entry| self.folder(entry, partition).transpose())
            .collect()
    }

    /// The mailboxes of these names, as far as they exist.
    ///
    /// # Errors
    /// If the mailbox list cannot be read.
    pub fn folders_named<'n>(
        &mut self,
        names: impl IntoIterator<Item = &'n MailboxName>,
        partition: Option<&Partition>,
    ) -> Result<Vec<LocalFolder>, SyncError> {
        let mut folders = Vec::new();
        for name in names {
            if let Some(entry) = self.list.find(name)? {
                folders.extend(self.folder(entry, partition)?);
            }
        }
        Ok(folders)
    }

    /// The entry of a user's INBOX and the states of all mailboxes, as the replica must tell them
    /// for nothing to be sent; `None` if there is no such state.
    ///
    /// # Errors
    /// If the mailbox list or a mailbox cannot be read.
    pub fn mailboxes_of(
        &mut self,
        user: &UserId,
        partition: Option<&Partition>,
    ) -> Result<Option<(MailboxEntry, Vec<MailboxItem>)>, SyncError> {
        let store = Arc::clone(&self.store);
        let consistent = store
            .locks
            .user(user, LockKind::Shared)
            .map_err(SpoolError::from)?;
        let entries = self.list.of_user(user, Deleted::Include)?;
        let name = store.namespace().inbox_of(user);
        let inbox = entries
            .first()
            .filter(|entry| entry.name == name && entry.is_real());
        let Some(inbox) = inbox else {
            return Ok(None);
        };
        let replicated = entries.iter().filter(|entry| is_replicated(entry));
        let (intermediates, mailboxes): (Vec<&MailboxEntry>, Vec<&MailboxEntry>) =
            replicated.partition(|entry| entry.is_intermediate());
        let mut items: Vec<MailboxItem> =
            intermediates.into_iter().map(intermediate_item).collect();
        let annotations = store.annotations_of_mailboxes(&mut self.annotations, &mailboxes)?;
        for (entry, annotations) in mailboxes.into_iter().zip(annotations) {
            let Some(mailbox) = store.open_for_reading(&consistent, entry)? else {
                return Ok(None);
            };
            let index = mailbox.index_header();
            if lost_history(index.deleted_modseq, index.highest_modseq) {
                return Ok(None);
            }
            let mut item = mailbox_item(entry, &mailbox, annotations);
            item.partition = item.partition.map(|own| partition.cloned().unwrap_or(own));
            items.push(item);
        }
        Ok(Some((inbox.clone(), items)))
    }

    fn folder(
        &mut self,
        entry: MailboxEntry,
        partition: Option<&Partition>,
    ) -> Result<Option<LocalFolder>, SyncError> {
        if !is_replicated(&entry) {
            return Ok(None);
        }
        let history = self.list.history(&entry.unique_id)?;
        let own_partition = entry
            .partition
            .filter(|_| !entry.mailbox_type.flags.contains(TypeFlags::INTERMEDIATE));
        Ok(Some(LocalFolder {
            name: entry.name,
            unique_id: entry.unique_id,
            mailbox_type: entry.mailbox_type.on_wire(),
            partition: own_partition.map(|own| partition.cloned().unwrap_or(own)),
            uid_validity: entry.uid_validity,
            created_modseq: entry.created_modseq,
            folder_modseq: entry.folder_modseq,
            former_names: history.into_iter().map(|former| former.name).collect(),
        }))
    }

    /// What became of a mailbox that only the replica has.
    ///
    /// # Errors
    /// If the mailbox list cannot be read.
    pub fn fate_of(&mut self, remote: &RemoteFolder) -> Result<Fate, SyncError> {
        match self.list.find_id(&remote.unique_id)? {
            Some(entry) if !entry.is_tombstone() => return Ok(Fate::Alive(entry.name)),
            Some(_) => return Ok(Fate::Tombstone),
            None => {}
        }
        // Its name may have been given to another mailbox since.
        let was_deleted = self.list.was_deleted(&remote.unique_id)?;
        Ok(if was_deleted {
            Fate::Tombstone
        } else {
            Fate::Unknown
        })
    }

    /// Computes what has to be sent of a mailbox. `remote` is what the replica has; counters of
    /// the replica that are ahead are taken over first (algorithm §5.4, steps 1 to 5).
    ///
    /// # Errors
    /// If the mailbox is not the one that was compared any more, or cannot be read.
    pub fn prepare(
        &mut self,
        folder: &LocalFolder,
        remote: Option<&MailboxItem>,
        style: Style,
    ) -> Result<Preparation, SyncError> {
        let Some(mut entry) = self.list.find(&folder.name)?.filter(MailboxEntry::is_real) else {
            return Ok(Preparation::Vanished);
        };
        if entry.unique_id != folder.unique_id {
            return Err(SyncError::Moved(folder.name.clone()));
        }
        let mut takes_over = !style.dry_run;
        loop {
            match self.look(folder, &entry, remote, style, takes_over)? {
                Looked::Behind(ahead) => entry = self.take_over(entry, ahead)?,
                Looked::Prepared(preparation) => return Ok(preparation),
            }
            takes_over = false;
        }
    }

    /// Computes what has to be sent, unless counters of the replica are ahead and are to be taken
    /// over before.
    fn look(
        &mut self,
        folder: &LocalFolder,
        entry: &MailboxEntry,
        remote: Option<&MailboxItem>,
        style: Style,
        takes_over: bool,
    ) -> Result<Looked, SyncError> {
        let annotations = self.mailbox_annotations(entry)?;
        let store = Arc::clone(&self.readers);
        let batches = &mut self.batches;
        let looked = read(&store, entry, |mailbox| {
            let mut item = mailbox_item(entry, mailbox, annotations);
            if let Some(remote) = remote {
                let deleted_modseq = mailbox.index_header().deleted_modseq;
                if style.is_delta && lost_history(deleted_modseq, remote.highest_modseq) {
                    return Ok(Looked::Prepared(Preparation::LostHistory));
                }
                let ahead = ahead(&item, remote);
                if takes_over && ahead != TakeOver::default() {
                    return Ok(Looked::Behind(ahead));
                }
            }
            item.partition.clone_from(&folder.partition);
            let preparation = update_of(&store, mailbox, batches, item, remote, style)?;
            Ok(Looked::Prepared(preparation))
        })?;
        Ok(looked.unwrap_or(Looked::Prepared(Preparation::Vanished)))
    }

    /// The first messages that the replica lacks, at most `most` of them. Only a hint: the mailbox
    /// may change until its update is computed.
    ///
    /// # Errors
    /// If the mailbox cannot be read.
    pub fn new_messages(
        &mut self,
        folder: &LocalFolder,
        remote: Option<&MailboxItem>,
        most: usize,
    ) -> Result<NewMessages, SyncError> {
        let entry = self.list.find(&folder.name)?;
        let Some(entry) = entry.filter(MailboxEntry::is_real) else {
            return Ok(NewMessages::default());
        };
        let last_uid = remote.map(|remote| remote.last_uid).unwrap_or_default();
        let found = read(&self.readers, &entry, |mailbox| {
            let mut new = NewMessages::default();
            for stored in mailbox.records_after(last_uid)? {
                let record = stored?.record;
                if new.guids.len() == most {
                    break;
                }
                if record.has_file() {
                    new.guids.push(record.guid);
                    new.octets += u64::from(record.size);
                }
            }
            Ok(new)
        })?;
        Ok(found.unwrap_or_default())
    }

    /// Raises local counters to the replica's.
    fn take_over(
        &mut self,
        mut entry: MailboxEntry,
        ahead: TakeOver,
    ) -> Result<MailboxEntry, SyncError> {
        tracing::info!(
            "{}: counters are higher on the replica, updating: {ahead:?}",
            entry.name
        );
        let store = Arc::clone(&self.store);
        if let Some(uid_validity) = ahead.uid_validity {
            write(&store, &entry, |mailbox| {
                let mut changes = mailbox.prepare()?;
                let mut header = HeaderUpdate::of(mailbox.index_header());
                header.uid_validity = uid_validity;
                changes.set_header(&header);
                let prepared = changes.finish()?;
                store.commit(mailbox, prepared, None)?;
                Ok(())
            })?;
            entry.uid_validity = uid_validity;
            self.store.tell_readers(&entry.name)?;
        }
        if let Some(folder_modseq) = ahead.folder_modseq {
            entry.folder_modseq = folder_modseq;
        }
        if ahead.uid_validity.is_some() || ahead.folder_modseq.is_some() {
            self.list.put(&entry)?;
        }
        Ok(entry)
    }

    /// The annotations of a mailbox itself.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn mailbox_annotations(
        &mut self,
        entry: &MailboxEntry,
    ) -> Result<Vec<crate::mail::Annotation>, SyncError> {
        let annotations = &mut self.annotations;
        Ok(self.store.mailbox_annotations_in(annotations, entry)?)
    }

    /// The annotations of the server.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn server_annotations(&mut self) -> Result<Vec<crate::mail::Annotation>, SyncError> {
        Ok(self.annotations.all(Scope::Server)?)
    }
}

/// Whether the mailbox, or intermediate, is one that this server has and the replica shall have.
fn is_replicated(entry: &MailboxEntry) -> bool {
    let elsewhere = TypeFlags::REMOTE | TypeFlags::MOVING | TypeFlags::RESERVED;
    !entry.is_tombstone() && !entry.mailbox_type.flags.intersects(elsewhere)
}

/// Opens a mailbox for reading; `None` if it is gone.
///
/// # Errors
/// If it cannot be locked or read, or `use_it` fails.
pub fn read<T>(
    store: &Store,
    entry: &MailboxEntry,
    use_it: impl FnOnce(&Mailbox<'_>) -> Result<T, SyncError>,
) -> Result<Option<T>, SyncError> {
    let user = store
        .locks
        .owner_of(&entry.name, LockKind::Shared)
        .map_err(SpoolError::from)?;
    match store.open_for_reading(&user, entry)? {
        Some(mailbox) => use_it(&mailbox).map(Some),
        None => Ok(None),
    }
}

/// Opens a mailbox for changes; `None` if it is gone.
///
/// # Errors
/// If it cannot be locked, read or changed, or `use_it` fails.
pub fn write<T>(
    store: &Store,
    entry: &MailboxEntry,
    use_it: impl FnOnce(WritableMailbox<'_>) -> Result<T, SyncError>,
) -> Result<Option<T>, SyncError> {
    let user = store
        .locks
        .owner_of(&entry.name, LockKind::Exclusive)
        .map_err(SpoolError::from)?;
    match store.open_for_writing(&user, entry)? {
        Some(mailbox) => use_it(mailbox).map(Some),
        None => Ok(None),
    }
}

/// The counters of the replica that are ahead.
fn ahead(item: &MailboxItem, remote: &MailboxItem) -> TakeOver {
    TakeOver {
        // The owner's counter is only kept with conversations, which the store has not.
        racl_modseq: None,
        ..take_over(&compared_state(item), &compared_state(remote))
    }
}

/// How far a side has come.
pub fn mark_of(item: &MailboxItem) -> Mark {
    Mark {
        last_uid: item.last_uid,
        highest_modseq: item.highest_modseq,
    }
}

fn update_of(
    store: &Store,
    mailbox: &Mailbox<'_>,
    batches: &mut PlannedBatches,
    mut item: MailboxItem,
    remote: Option<&MailboxItem>,
    style: Style,
) -> Result<Preparation, SyncError> {
    let reverse_acls = store.config.mailboxes.reverse_acls;
    if style.recalculate {
        item.crc = mailbox.recalculated(None)?.sync_crc;
    }
    let remote_state = remote.map(compared_state);
    let compare =
        |item: &MailboxItem| difference(&compared_state(item), remote_state.as_ref(), reverse_acls);
    let mut found = compare(&item);
    if found == Some(Difference::Crc) && !style.recalculate {
        item.crc = mailbox.recalculated(None)?.sync_crc;
        found = compare(&item);
    }
    let Some(difference) = found else {
        return Ok(Preparation::Unchanged);
    };

    let mut mark = remote.map(mark_of).unwrap_or_default();
    if style.everything {
        mark.highest_modseq = ModSeq(0);
    }
    let size = if style.is_delta { style.batch_size } else { 0 };
    let planned = batches.next(mailbox, mark, size)?;
    item.since = remote
        .filter(|remote| style.is_delta && remote.highest_modseq != ModSeq(0))
        .map(|remote| Since {
            modseq: remote.highest_modseq,
            crc: remote.crc,
        });
    let batch = planned.map(|(batch, _)| batch);
    let selection = Selection { mark, batch };
    let (body, uploads) = match planned {
        None => write_body(mailbox, &item, selection, style.form, mailbox.records())?,
        Some((batch, late)) => {
            limit_to(&mut item, batch, remote);
            let late = mailbox.records_of(late.iter().copied());
            let new = mailbox.records_after(mark.last_uid)?;
            let is_in_batch = |stored: &Result<StoredRecord, SpoolError>| {
                let uid = stored.as_ref().map(|stored| stored.record.uid);
                uid.map_or(true, |uid| uid <= batch.last_uid)
            };
            let records = late.chain(new.take_while(is_in_batch));
            write_body(mailbox, &item, selection, style.form, records)?
        }
    };
    Ok(Preparation::Send(Box::new(Update {
        item,
        body,
        uploads,
        is_partial: batch.is_some(),
        difference,
    })))
}

/// Makes the item that of a partial update (algorithm §5.8).
fn limit_to(item: &mut MailboxItem, batch: Batch, remote: Option<&MailboxItem>) {
    item.crc = SyncCrc::UNKNOWN;
    item.last_uid = batch.last_uid;
    item.highest_modseq = batch.highest_modseq;
    item.last_append_date = Default::default();
    item.recent_uid = remote.map(|remote| remote.recent_uid).unwrap_or_default();
    item.recent_time = remote.map(|remote| remote.recent_time).unwrap_or_default();
    item.pop3_last_login = remote
        .map(|remote| remote.pop3_last_login)
        .unwrap_or_default();
    item.pop3_show_after = remote
        .map(|remote| remote.pop3_show_after)
        .unwrap_or_default();
}

/// Writes the argument of APPLY MAILBOX with those of the records that are selected, and collects
/// the files that go with it.
fn write_body(
    mailbox: &Mailbox<'_>,
    item: &MailboxItem,
    selection: Selection,
    form: RecordForm,
    stored: impl Iterator<Item = Result<StoredRecord, SpoolError>>,
) -> Result<(SpooledTempFile, Vec<Upload>), SyncError> {
    let failed = |source| SyncError::Io {
        what: format!("{}: cannot keep the update in a temporary file", item.name),
        source,
    };
    let records = Records::of(mailbox.header());
    let mut body = SpooledTempFile::new(IN_MEMORY);
    let mut uploads = Vec::new();
    let mut octets = Vec::new();
    let mut writer = MailboxWriter::begin(&mut octets, item, form, LiteralStyle::Plus);
    for stored in stored {
        let stored = stored?;
        let Some(modseq) = selection.modseq_to_send(&stored) else {
            continue;
        };
        if selection.needs_file(&stored) && stored.record.has_file() {
            uploads.push(Upload {
                uid: stored.record.uid,
                guid: stored.record.guid,
                size: stored.record.size,
                path: mailbox.message_path(&stored.record),
            });
        }
        let mut record = records.record(mailbox, &stored)?;
        record.modseq = modseq;
        writer.record(&mut octets, &record, records.flags());
        if octets.len() >= IN_MEMORY / 16 {
            body.write_all(&octets).map_err(failed)?;
            octets.clear();
        }
    }
    writer.end(&mut octets);
    body.write_all(&octets).map_err(failed)?;
    Ok((body, uploads))
}

#[cfg(test)]
mod tests;
