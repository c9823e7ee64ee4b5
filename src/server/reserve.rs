//! APPLY RESERVE and APPLY MESSAGE: message files on their way into mailboxes (commands §3).

use tracing::{debug, error, warn};

use super::activity::Activity;
use super::engine::Engine;
use super::failure::Failure;
use super::output::Output;
use crate::dlist::FileHeader;
use crate::mail::{Guid, Partition};
use crate::protocol::command::{Answer, FileSink, Reserve};
use crate::protocol::reply::Refusal;
use crate::service::event;
use crate::spool::SpoolError;
use crate::spool::disk::LockKind;
use crate::spool::mailboxes::MailboxEntry;
use crate::spool::staging::{StagedWriter, Staging};

/// Looks for messages in mailboxes of ours and stages what is found; tells what is missing.
/// Mailboxes of the wanted partition come first: their files can be linked.
pub fn reserve(
    engine: &mut Engine,
    request: &Reserve,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let partition = &request.partition;
    let mut wanted: Vec<Guid> = request
        .guids
        .iter()
        .filter(|guid| !engine.staging.contains(partition, guid))
        .copied()
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut entries = Vec::new();
    for name in &request.mailboxes {
        entries.extend(engine.list.find(name)?.filter(MailboxEntry::is_real));
    }
    entries.sort_by_key(|entry| entry.partition.as_ref() != Some(partition));
    for entry in entries {
        if wanted.is_empty() {
            break;
        }
        if let Err(failure) = reserve_from(engine, &entry, partition, &mut wanted) {
            // What cannot be reserved is uploaded.
            warn!(sync_mailbox = %entry.name, "no messages reserved: {failure}");
        }
    }
    let missing: Vec<Guid> = request
        .guids
        .iter()
        .filter(|guid| wanted.binary_search(guid).is_ok())
        .copied()
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Ok(output.answer(&Answer::Missing(missing))?)
}

/// Stages what one mailbox has of the wanted messages, which are sorted, and takes it out.
fn reserve_from(
    engine: &mut Engine,
    entry: &MailboxEntry,
    partition: &Partition,
    wanted: &mut Vec<Guid>,
) -> Result<(), Failure> {
    let lock = engine.store.locks.owner_of(&entry.name, LockKind::Shared)?;
    let Some(mailbox) = engine.store.open_for_reading(&lock, entry)? else {
        return Ok(());
    };
    for stored in mailbox.records() {
        let record = stored?.record;
        let Ok(position) = wanted.binary_search(&record.guid) else {
            continue;
        };
        if record.has_file() {
            let path = mailbox.message_path(&record);
            if engine.staging.reserve(partition, &record.guid, &path)? {
                wanted.remove(position);
            } else {
                // It stays wanted: another mailbox may have it, or the client sends it.
                error!(
                    message_id = event::STORE_ERROR,
                    sync_mailbox = %entry.name,
                    "{} is missing, or not the message {} of uid {} any more: not used",
                    path.display(), record.guid, record.uid
                );
            }
        }
        if wanted.is_empty() {
            break;
        }
    }
    Ok(())
}

/// Takes the message files of APPLY MESSAGE while they arrive.
pub struct StagingSink<'a> {
    staging: &'a mut Staging,
    open: Option<StagedWriter>,
    activity: &'a Activity,
}

impl<'a> StagingSink<'a> {
    /// A sink into a staging area, which counts the messages.
    pub fn new(staging: &'a mut Staging, activity: &'a Activity) -> StagingSink<'a> {
        StagingSink {
            staging,
            open: None,
            activity,
        }
    }
}

impl FileSink for StagingSink<'_> {
    type Error = Failure;

    fn begin(&mut self, file: &FileHeader) -> Result<(), Failure> {
        let partition = Partition::parse(&file.partition)
            .map_err(|error| Failure::explained(Refusal::Unknown, error.to_string()))?;
        self.open = self
            .staging
            .begin(&partition, &file.guid)
            .map_err(|error| match error {
                SpoolError::Partition(_) => Failure::explained(Refusal::Unknown, error.to_string()),
                other => other.into(),
            })?;
        debug!(guid = %file.guid, octets = file.size, "message arrives");
        Ok(())
    }

    fn chunk(&mut self, octets: &[u8]) -> Result<(), Failure> {
        if let Some(writer) = &mut self.open {
            writer.write(octets)?;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Failure> {
        self.activity.received();
        match self.open.take() {
            Some(writer) => Ok(self.staging.finish(writer)?),
            None => Ok(()),
        }
    }
}
