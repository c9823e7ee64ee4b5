//! The full update: both sides changed a mailbox, and the master takes up what the replica has
//! (algorithm §5.6).

use crate::client::error::SyncError;
use crate::client::local::{self, Local};
use crate::client::session::Session;
use crate::dlist::FileHeader;
use crate::exchange::Records;
use crate::mail::{FlagName, Guid, MailboxName, ModSeq, Partition, Uid, UnixTime};
use crate::plan::RecordFacts;
use crate::plan::folders::LocalFolder;
use crate::plan::merge::{
    Counters, DatedRecord, Merge, MergeContext, MergeStep, Reason, Take, merge_counters,
};
use crate::protocol::command::{
    Answer, Apply, Expunge, Fetch, FileSink, FlagTable, Get, MailboxItem, Record, RecordList,
};
use crate::spool::SpoolError;
use crate::spool::annotations::Scope;
use crate::spool::mailbox::{
    HeaderUpdate, Mailbox, Preparation, RecordState, Source, StoredRecord, WritableMailbox,
};
use crate::spool::mailboxes::MailboxEntry;
use crate::spool::staging::{StagedWriter, Staging};
use crate::spool::store::Store;
use crate::spool::synclog::{self, LogItem, Origin};

/// A record of the master, in both forms.
#[derive(Clone, Debug)]
struct LocalRecord {
    stored: StoredRecord,
    wire: Record,
}

impl RecordFacts for LocalRecord {
    fn uid(&self) -> Uid {
        self.wire.uid
    }

    fn modseq(&self) -> ModSeq {
        self.wire.modseq
    }

    fn guid(&self) -> Guid {
        self.wire.guid
    }

    fn is_expunged(&self) -> bool {
        self.wire.expunged
    }
}

impl DatedRecord for LocalRecord {
    fn last_updated(&self) -> UnixTime {
        self.wire.last_updated
    }
}

impl DatedRecord for Record {
    fn last_updated(&self) -> UnixTime {
        self.last_updated
    }
}

impl<T: DatedRecord + ?Sized> DatedRecord for &T {
    fn last_updated(&self) -> UnixTime {
        (**self).last_updated()
    }
}

/// How often a mailbox that changes under our hands is looked at again.
const TRIES: usize = 3;

type Step<'r> = MergeStep<LocalRecord, &'r Record>;

impl Session {
    /// Merges the replica's mailbox into the master's, and expunges on the replica what has got
    /// a new UID here.
    ///
    /// # Errors
    /// If the replica does not have the mailbox or cannot deliver a message, the local mailbox
    /// cannot be changed, or the connection is lost. Nothing is changed on either side then.
    pub(super) async fn full_update(&mut self, folder: &LocalFolder) -> Result<(), SyncError> {
        self.reporter()
            .action(&format!("FULLMAILBOX {}", folder.name));
        let answers = self
            .peer
            .get(&Get::FullMailbox(folder.name.clone()))
            .await?;
        let found = answers.into_iter().find_map(|answer| match answer {
            Answer::Mailbox(mailbox) => Some((mailbox.item, mailbox.records?)),
            _ => None,
        });
        let Some((item, list)) = found.filter(|(item, _)| item.unique_id == folder.unique_id)
        else {
            return Err(SyncError::Merge {
                mailbox: folder.name.clone(),
                problem: "the replica does not list its records".to_owned(),
            });
        };
        let store = self.local.store().clone();
        let mut staging = store.staging();
        for _ in 0..TRIES {
            let Some(entry) = self
                .local
                .list()
                .find(&folder.name)?
                .filter(MailboxEntry::is_real)
            else {
                return Ok(());
            };
            let Some(partition) = entry.partition.clone() else {
                return Ok(());
            };
            let wanted = local::read(&store, &entry, |mailbox| {
                wanted_files(mailbox, &item, &list)
            })?;
            for record in wanted.unwrap_or_default() {
                self.fetch(&item, &partition, record, &mut staging).await?;
            }
            if let Some(expunged) = merge(&mut self.local, &entry, &item, &list, &mut staging)? {
                return self.expunge_remotely(&item, expunged).await;
            }
        }
        Err(SyncError::Moved(folder.name.clone()))
    }

    /// Fetches the file of a message of the replica into the staging area.
    async fn fetch(
        &mut self,
        item: &MailboxItem,
        partition: &Partition,
        record: &Record,
        staging: &mut Staging,
    ) -> Result<(), SyncError> {
        if staging.contains(partition, &record.guid) {
            return Ok(());
        }
        let fetch = Get::Fetch(Fetch {
            mailbox: item.name.clone(),
            partition: item.partition.clone().unwrap_or_else(|| partition.clone()),
            unique_id: item.unique_id.clone(),
            guid: record.guid,
            uid: record.uid,
        });
        let mut receiver = Receiver {
            staging,
            partition: partition.clone(),
            guid: record.guid,
            writer: None,
        };
        self.peer.get_file(&fetch, &mut receiver).await?;
        if staging.contains(partition, &record.guid) {
            Ok(())
        } else {
            Err(SyncError::NotFetched {
                mailbox: item.name.clone(),
                uid: record.uid,
            })
        }
    }

    /// A failure is only logged: the next full update would find the messages again.
    async fn expunge_remotely(
        &mut self,
        item: &MailboxItem,
        uids: Vec<Uid>,
    ) -> Result<(), SyncError> {
        if uids.is_empty() {
            return Ok(());
        }
        let expunge = Apply::Expunge(Expunge {
            mailbox: item.name.clone(),
            unique_id: item.unique_id.clone(),
            uids,
        });
        match self.peer.apply(&expunge).await {
            Err(error) if error.leaves_connection_usable() => {
                tracing::error!(
                    "SYNCERROR: failed to expunge in cleanup: {} {error}",
                    item.name
                );
                Ok(())
            }
            result => Ok(result.map(|_| ())?),
        }
    }
}

/// Puts a fetched file into the staging area.
struct Receiver<'a> {
    staging: &'a mut Staging,
    partition: Partition,
    guid: Guid,
    writer: Option<StagedWriter>,
}

impl FileSink for Receiver<'_> {
    type Error = std::io::Error;

    fn begin(&mut self, _: &FileHeader) -> Result<(), std::io::Error> {
        self.writer = self
            .staging
            .begin(&self.partition, &self.guid)
            .map_err(std::io::Error::other)?;
        Ok(())
    }

    fn chunk(&mut self, octets: &[u8]) -> Result<(), std::io::Error> {
        match &mut self.writer {
            Some(writer) => writer.write(octets).map_err(std::io::Error::other),
            None => Ok(()),
        }
    }

    fn end(&mut self) -> Result<(), std::io::Error> {
        match self.writer.take() {
            Some(writer) => self.staging.finish(writer).map_err(std::io::Error::other),
            None => Ok(()),
        }
    }
}

/// Walks over both sides; calls `take` with every step.
fn walk<'r>(
    mailbox: &Mailbox<'_>,
    item: &MailboxItem,
    list: &'r RecordList,
    mut take: impl FnMut(Step<'r>) -> Result<(), SyncError>,
) -> Result<(), SyncError> {
    let index = mailbox.index_header();
    let records = Records::of(mailbox.header());
    let local = mailbox.records().map(|stored| {
        let stored = stored?;
        let wire = records.record(mailbox, &stored)?;
        Ok::<_, SpoolError>(LocalRecord { stored, wire })
    });
    let context = MergeContext {
        local_last_uid: index.last_uid,
        local_deleted_modseq: index.deleted_modseq,
        remote_last_uid: item.last_uid,
        remote_highest_modseq: item.highest_modseq,
    };
    let flags = records.flags();
    let same = |local: &LocalRecord, remote: &&Record| {
        have_same_contents(&local.wire, flags, remote, &list.flags)
    };
    for step in Merge::new(local, list.records.iter().map(Ok), context, same) {
        take(step.map_err(|error| SyncError::merge(&item.name, error))?)?;
    }
    Ok(())
}

fn have_same_contents(
    local: &Record,
    local_flags: &FlagTable,
    remote: &Record,
    remote_flags: &FlagTable,
) -> bool {
    let has = |flags: &FlagTable, record: &Record, name: &FlagName| {
        flags.of(record.user_flags).any(|other| other == name)
    };
    local.system_flags == remote.system_flags
        && local.internal_date == remote.internal_date
        && local.thread == remote.thread
        && local.save_date == remote.save_date
        && local.created_modseq == remote.created_modseq
        && local_flags
            .of(local.user_flags)
            .all(|name| has(remote_flags, remote, name))
        && remote_flags
            .of(remote.user_flags)
            .all(|name| has(local_flags, local, name))
        && crate::plan::update::have_same_values(&local.annotations, &remote.annotations)
}

/// The replica's messages that the merge will need.
fn wanted_files<'r>(
    mailbox: &Mailbox<'_>,
    item: &MailboxItem,
    list: &'r RecordList,
) -> Result<Vec<&'r Record>, SyncError> {
    let mut wanted = Vec::new();
    walk(mailbox, item, list, |step| {
        if let MergeStep::Append { remote } | MergeStep::CopyBack { remote, .. } = step {
            wanted.push(remote);
        }
        Ok(())
    })?;
    Ok(wanted)
}

/// A message that gets a new UID.
enum Renumbered<'r> {
    /// One of the replica.
    Remote(&'r Record),
    /// One of the master.
    Local(Box<LocalRecord>),
}

/// Merges under the lock of the mailbox. Returns the UIDs to be expunged on the replica; `None`
/// if the mailbox has changed since its files were fetched.
fn merge(
    local: &mut Local,
    entry: &MailboxEntry,
    item: &MailboxItem,
    list: &RecordList,
    staging: &mut Staging,
) -> Result<Option<Vec<Uid>>, SyncError> {
    let store = local.store().clone();
    let merged = local::write(&store, entry, |mailbox| {
        merge_records(local, &store, entry, mailbox, item, list, staging)
    })?;
    match merged {
        None => Ok(Some(Vec::new())),
        Some(None) => Ok(None),
        Some(Some(done)) => {
            let mut entry = entry.clone();
            entry.uid_validity = done.base.uid_validity;
            entry.folder_modseq = done.base.folder_modseq;
            local.list().put(&entry)?;
            tell(&store, &entry)?;
            Ok(Some(done.expunged))
        }
    }
}

struct Merged {
    base: Counters,
    expunged: Vec<Uid>,
}

fn merge_records(
    local: &mut Local,
    store: &Store,
    entry: &MailboxEntry,
    mailbox: WritableMailbox<'_>,
    item: &MailboxItem,
    list: &RecordList,
    staging: &mut Staging,
) -> Result<Option<Merged>, SyncError> {
    let partition = mailbox.place().partition.clone();
    let merged = merge_counters(counters(&mailbox, entry), remote_counters(item));
    let fresh = ModSeq(merged.base.highest_modseq.0.saturating_add(1));
    let now = UnixTime::now();
    let mut changes = mailbox.prepare()?;
    let mut later = Vec::new();
    let mut expunged = Vec::new();
    let mut next_uid = merged.base.last_uid;
    let mut is_complete = true;
    let mut appends = Vec::new();
    let mut has_changed = merged.must_advance;

    walk(&mailbox, item, list, |step| {
        has_changed = true;
        match step {
            MergeStep::Rewrite {
                local,
                take,
                reason,
            } => {
                note(&item.name, local.uid(), reason);
                rewrite(&mut changes, &local, &take, list, fresh, now)?;
            }
            MergeStep::Append { remote } => {
                note(&item.name, remote.uid, Reason::OnlyOnReplica);
                is_complete &= staging.contains(&partition, &remote.guid);
                next_uid = next_uid.max(remote.uid);
                appends.push(remote);
            }
            MergeStep::CopyBack { remote, reason } => {
                note(&item.name, remote.uid, reason);
                is_complete &= staging.contains(&partition, &remote.guid);
                expunged.push(remote.uid);
                later.push(Renumbered::Remote(remote));
            }
            MergeStep::ExpungeRemote { remote } => {
                has_changed = merged.must_advance;
                expunged.push(remote.uid);
            }
            MergeStep::Renumber { local, reason } => {
                note(&item.name, local.uid(), reason);
                let state = RecordState {
                    expunged: true,
                    modseq: fresh,
                    last_updated: now,
                    ..RecordState::of(&local.stored.record)
                };
                changes.update(&local.stored, &state, None)?;
                later.push(Renumbered::Local(Box::new(local)));
            }
        }
        Ok(())
    })?;
    if !is_complete {
        return Ok(None);
    }
    for record in appends {
        append_remote(
            &mut changes,
            record,
            record.uid,
            list,
            &partition,
            staging,
            (fresh, now),
        )?;
    }
    for renumbered in later {
        next_uid = Uid(next_uid.0.checked_add(1).ok_or_else(|| SyncError::Merge {
            mailbox: item.name.clone(),
            problem: "there are no UIDs left".to_owned(),
        })?);
        match renumbered {
            Renumbered::Remote(record) => {
                append_remote(
                    &mut changes,
                    record,
                    next_uid,
                    list,
                    &partition,
                    staging,
                    (fresh, now),
                )?;
            }
            Renumbered::Local(record) => {
                let path = mailbox.message_path(&record.stored.record);
                if !staging.reserve(&partition, &record.wire.guid, &path)? {
                    return Err(SyncError::FileDamaged {
                        mailbox: item.name.clone(),
                        uid: record.wire.uid,
                        path,
                        what: "it is missing, or its SHA-1 is not that of its record".to_owned(),
                    });
                }
                let state = RecordState {
                    modseq: fresh,
                    last_updated: now,
                    created_modseq: fresh,
                    ..RecordState::of(&record.stored.record)
                };
                append(
                    &mut changes,
                    next_uid,
                    &record.wire,
                    &state,
                    &partition,
                    staging,
                )?;
            }
        }
    }
    let mut header = HeaderUpdate::of(mailbox.index_header());
    header.last_uid = next_uid;
    header.uid_validity = merged.base.uid_validity;
    header.highest_modseq = if has_changed {
        fresh
    } else {
        merged.base.highest_modseq
    };
    changes.set_header(&header);
    if merged.take_annotations {
        replace_annotations(local, entry, item, &mut changes)?;
    }
    let prepared = changes.finish()?;
    drop(store.commit(mailbox, prepared, Some(staging))?);
    store.tell_readers(&entry.name)?;
    Ok(Some(Merged {
        base: merged.base,
        expunged,
    }))
}

fn rewrite(
    changes: &mut Preparation<'_, '_>,
    local: &LocalRecord,
    take: &Take<&Record>,
    list: &RecordList,
    fresh: ModSeq,
    now: UnixTime,
) -> Result<(), SyncError> {
    let mut state = RecordState {
        modseq: fresh,
        last_updated: now,
        ..RecordState::of(&local.stored.record)
    };
    let mut annotations = None;
    match take {
        Take::Nothing => {}
        Take::Expunged => state.expunged = true,
        Take::Contents(remote) => {
            state.system_flags = remote.system_flags;
            state.user_flags = changes.user_flags(list.flags.of(remote.user_flags))?;
            state.conversation = remote.thread;
            annotations = Some(&*remote.annotations);
        }
    }
    changes.update(&local.stored, &state, annotations)?;
    Ok(())
}

fn append_remote(
    changes: &mut Preparation<'_, '_>,
    record: &Record,
    uid: Uid,
    list: &RecordList,
    partition: &Partition,
    staging: &Staging,
    (fresh, now): (ModSeq, UnixTime),
) -> Result<(), SyncError> {
    let state = RecordState {
        modseq: fresh,
        last_updated: now,
        internal_date: record.internal_date,
        system_flags: record.system_flags,
        user_flags: changes.user_flags(list.flags.of(record.user_flags))?,
        expunged: false,
        conversation: record.thread,
        save_date: record.save_date,
        created_modseq: if uid == record.uid {
            record.created_modseq
        } else {
            fresh
        },
    };
    append(changes, uid, record, &state, partition, staging)
}

fn append(
    changes: &mut Preparation<'_, '_>,
    uid: Uid,
    record: &Record,
    state: &RecordState,
    partition: &Partition,
    staging: &Staging,
) -> Result<(), SyncError> {
    let source = match staging.get(partition, &record.guid) {
        Some(staged) => Source::Staged(staged),
        None => Source::NoFile { size: record.size },
    };
    changes.append(uid, &record.guid, state, source, &record.annotations)?;
    Ok(())
}

/// Makes the mailbox's own annotations those of the replica.
fn replace_annotations(
    local: &mut Local,
    entry: &MailboxEntry,
    item: &MailboxItem,
    changes: &mut Preparation<'_, '_>,
) -> Result<(), SyncError> {
    let octets = |annotations: &[crate::mail::Annotation]| -> u64 {
        annotations
            .iter()
            .map(|annotation| annotation.value.len() as u64)
            .sum()
    };
    let before = local.mailbox_annotations(entry)?;
    if crate::plan::update::have_same_values(&before, &item.annotations) {
        return Ok(());
    }
    let owner = local.store().namespace().owner_of(&entry.name);
    let scope = Scope::Mailbox {
        id: &entry.unique_id,
        owner: owner.as_ref(),
    };
    local.annotations().replace(scope, &item.annotations)?;
    changes.mailbox_annotations_changed(octets(&before), octets(&item.annotations));
    Ok(())
}

fn counters(mailbox: &Mailbox<'_>, entry: &MailboxEntry) -> Counters {
    let index = mailbox.index_header();
    Counters {
        uid_validity: index.uid_validity,
        last_uid: index.last_uid,
        highest_modseq: index.highest_modseq,
        folder_modseq: entry.folder_modseq,
        xconv_modseq: ModSeq(0),
    }
}

fn remote_counters(item: &MailboxItem) -> Counters {
    Counters {
        uid_validity: item.uid_validity,
        last_uid: item.last_uid,
        highest_modseq: item.highest_modseq,
        folder_modseq: item.folder_modseq,
        xconv_modseq: item.conversations_modseq,
    }
}

/// Tells the other daemons that the mailbox has changed.
fn tell(store: &Store, entry: &MailboxEntry) -> Result<(), SyncError> {
    let replication = &store.config.replication;
    let channels = synclog::channels_to_tell(
        replication.log,
        &replication.log_channels,
        &replication.log_always,
        Origin::Local,
    );
    for channel in channels {
        let log = store.layout.sync_log(channel);
        synclog::append(&store.disk, &log, &[LogItem::Mailbox(entry.name.clone())])?;
    }
    Ok(())
}

fn note(mailbox: &MailboxName, uid: Uid, reason: Reason) {
    match reason {
        Reason::GuidMismatch => {
            tracing::error!("SYNCERROR: guid mismatch mailbox=<{mailbox}> uid=<{uid}>");
        }
        Reason::OnlyOnMaster => {
            tracing::error!(
                "SYNCNOTICE: record only exists on master mailbox=<{mailbox}> uid=<{uid}>"
            );
        }
        Reason::OnlyOnReplica => {
            tracing::error!(
                "SYNCNOTICE: record only exists on replica mailbox=<{mailbox}> uid=<{uid}>"
            );
        }
        Reason::ModSeqTooLow => {
            tracing::info!("SYNCNOTICE: bumping modseq mailbox=<{mailbox}> record=<{uid}>");
        }
        Reason::MoreRecentOnReplica
        | Reason::MoreRecentOnMaster
        | Reason::ExpungedOnReplica
        | Reason::ExpungedOnMaster => {
            tracing::info!(
                "SYNCNOTICE: record mismatch with replica: {mailbox} uid:{uid} {reason:?}"
            );
        }
    }
}
