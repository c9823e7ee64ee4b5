//! The full update: both sides changed a mailbox, and the master takes up what the replica has
//! (algorithm §5.6).

mod merge;
mod records;

use self::records::{RecordKeeper, RemoteRecords};
use crate::client::error::SyncError;
use crate::client::local::{self};
use crate::client::session::Session;
use crate::dlist::FileHeader;
use crate::exchange::Records;
use crate::mail::{FlagName, Guid, ModSeq, Partition, Uid, UnixTime};
use crate::plan::RecordFacts;
use crate::plan::folders::LocalFolder;
use crate::plan::merge::{DatedRecord, Merge, MergeContext, MergeStep};
use crate::protocol::command::{
    Answer, Apply, Expunge, Fetch, FileSink, FlagTable, Get, MailboxItem, Record,
};
use crate::spool::mailbox::{Mailbox, StoredRecord};
use crate::spool::mailboxes::MailboxEntry;
use crate::spool::staging::{StagedWriter, Staging};

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

/// How often a mailbox that changes under our hands is looked at again.
const TRIES: usize = 3;

type Step = MergeStep<LocalRecord, Record>;

/// A message of the replica.
#[derive(Clone, Copy, Debug)]
struct RemoteMessage {
    uid: Uid,
    guid: Guid,
}

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
        let (item, mut list) = self.full_mailbox(folder).await?;
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
                wanted_files(mailbox, &item, &mut list)
            })?;
            for message in wanted.unwrap_or_default() {
                self.fetch(&item, &partition, message, &mut staging).await?;
            }
            if let Some(expunged) =
                merge::merge(&mut self.local, &entry, &item, &mut list, &mut staging)?
            {
                return self.expunge_remotely(&item, expunged).await;
            }
        }
        Err(SyncError::Moved(folder.name.clone()))
    }

    /// The replica's mailbox with all its records.
    async fn full_mailbox(
        &mut self,
        folder: &LocalFolder,
    ) -> Result<(MailboxItem, RemoteRecords), SyncError> {
        let get = Get::FullMailbox(folder.name.clone());
        let mut keeper = RecordKeeper::new();
        let answers = self.peer.get_into(&get, &mut keeper).await?;
        let mailbox = match <[Answer; 1]>::try_from(answers) {
            Ok([Answer::Mailbox(mailbox)]) => Some(*mailbox),
            _ => None,
        };
        let found = mailbox.and_then(|mailbox| Some((mailbox.item, mailbox.records?)));
        let Some((item, list)) = found.filter(|(item, _)| item.unique_id == folder.unique_id)
        else {
            return Err(SyncError::Merge {
                mailbox: folder.name.clone(),
                problem: "the replica does not list its records".to_owned(),
            });
        };
        let list = keeper.finish(list.flags).map_err(|source| SyncError::Io {
            what: format!("{}: cannot keep the replica's records", folder.name),
            source,
        })?;
        Ok((item, list))
    }

    /// Fetches the file of a message of the replica into the staging area.
    async fn fetch(
        &mut self,
        item: &MailboxItem,
        partition: &Partition,
        message: RemoteMessage,
        staging: &mut Staging,
    ) -> Result<(), SyncError> {
        let RemoteMessage { uid, guid } = message;
        if staging.contains(partition, &guid) {
            return Ok(());
        }
        let fetch = Get::Fetch(Fetch {
            mailbox: item.name.clone(),
            partition: item.partition.clone().unwrap_or_else(|| partition.clone()),
            unique_id: item.unique_id.clone(),
            guid,
            uid,
        });
        let mut receiver = Receiver {
            staging,
            partition: partition.clone(),
            guid,
            writer: None,
        };
        self.peer.get_into(&fetch, &mut receiver).await?;
        if staging.contains(partition, &guid) {
            Ok(())
        } else {
            Err(SyncError::NotFetched {
                mailbox: item.name.clone(),
                uid,
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
fn walk(
    mailbox: &Mailbox<'_>,
    item: &MailboxItem,
    list: &mut RemoteRecords,
    mut take: impl FnMut(Step) -> Result<(), SyncError>,
) -> Result<(), SyncError> {
    let index = mailbox.index_header();
    let records = Records::of(mailbox.header());
    let local = mailbox.records().map(|stored| {
        let stored = stored?;
        let wire = records.record(mailbox, &stored)?;
        Ok::<_, SyncError>(LocalRecord { stored, wire })
    });
    let context = MergeContext {
        local_last_uid: index.last_uid,
        local_deleted_modseq: index.deleted_modseq,
        remote_last_uid: item.last_uid,
        remote_highest_modseq: item.highest_modseq,
    };
    let flags = records.flags();
    let remote_flags = list.flags().clone();
    let same = |local: &LocalRecord, remote: &Record| {
        have_same_contents(&local.wire, flags, remote, &remote_flags)
    };
    for step in Merge::new(local, list.iter(&item.name)?, context, same) {
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
fn wanted_files(
    mailbox: &Mailbox<'_>,
    item: &MailboxItem,
    list: &mut RemoteRecords,
) -> Result<Vec<RemoteMessage>, SyncError> {
    let mut wanted = Vec::new();
    walk(mailbox, item, list, |step| {
        if let MergeStep::Append { remote } | MergeStep::CopyBack { remote, .. } = step {
            wanted.push(RemoteMessage {
                uid: remote.uid,
                guid: remote.guid,
            });
        }
        Ok(())
    })?;
    Ok(wanted)
}
