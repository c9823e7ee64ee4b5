//! Appends messages to a mailbox, many at a time: each commit is durable as a whole.

use std::io::Read;

use super::{Content, Message};
use crate::mail::{
    ConversationId, FlagName, Guid, MailboxName, ModSeq, Partition, SystemFlags, Uid, UniqueId,
    UnixTime,
};
use crate::operator::OperatorError;
use crate::spool::SpoolError;
use crate::spool::disk::LockKind;
use crate::spool::mailbox::{HeaderUpdate, RecordState, Source, WritableMailbox};
use crate::spool::mailboxes::{MailboxEntry, MailboxList};
use crate::spool::staging::Staging;
use crate::spool::store::Store;
use crate::spool::synclog::LogItem;

/// Most messages of one commit: while it lasts the daemons wait for the user's lock.
const BATCH_MESSAGES: usize = 250;
/// A commit comes at the latest when so many octets are staged.
const BATCH_OCTETS: u64 = 32 << 20;
/// Octets copied at a time.
const PIECE: usize = 64 * 1024;

/// Appends to one mailbox.
pub struct Delivery<'store> {
    store: &'store Store,
    list: MailboxList,
    shown: String,
    unique_id: UniqueId,
    partition: Partition,
    staging: Staging,
    staged: Vec<Staged>,
    octets: u64,
}

/// A message that is staged and not yet appended.
struct Staged {
    guid: Guid,
    flags: SystemFlags,
    keywords: Vec<FlagName>,
    date: Option<UnixTime>,
}

impl<'store> Delivery<'store> {
    /// Starts to append to a mailbox, which must exist.
    ///
    /// # Errors
    /// If the mailbox list cannot be read or does not know the mailbox.
    pub fn to(
        store: &'store Store,
        mailbox: &MailboxName,
    ) -> Result<Delivery<'store>, OperatorError> {
        let mut list = store.mailbox_list()?;
        let shown = store.namespace().to_admin(mailbox);
        let entry = list.find(mailbox)?.filter(MailboxEntry::is_real);
        let place = match &entry {
            Some(entry) => store.place(entry)?,
            None => None,
        };
        let place = place.ok_or_else(|| OperatorError::NotFound(shown.clone()))?;
        Ok(Delivery {
            store,
            list,
            shown,
            unique_id: place.unique_id,
            partition: place.partition,
            staging: store.staging(),
            staged: Vec::new(),
            octets: 0,
        })
    }

    /// Takes a message; it is in the mailbox after the next [`Delivery::commit`], which this calls
    /// when enough have come.
    ///
    /// # Errors
    /// If the message cannot be staged, or the commit fails.
    pub fn add(&mut self, message: Message) -> Result<(), OperatorError> {
        self.octets += message.content.octets;
        self.staged.push(Staged {
            guid: message.content.guid,
            flags: message.flags,
            keywords: message.keywords,
            date: message.date,
        });
        self.stage(message.content)?;
        if self.staged.len() >= BATCH_MESSAGES || self.octets >= BATCH_OCTETS {
            self.commit()?;
        }
        Ok(())
    }

    fn stage(&mut self, mut content: Content) -> Result<(), OperatorError> {
        let Some(mut writer) = self.staging.begin(&self.partition, &content.guid)? else {
            return Ok(());
        };
        let mut piece = vec![0; PIECE];
        loop {
            let length = content.file.read(&mut piece);
            match length.map_err(OperatorError::Temporary)? {
                0 => return Ok(self.staging.finish(writer)?),
                length => writer.write(piece.get(..length).unwrap_or_default())?,
            }
        }
    }

    /// Appends what has come. On disk, and in the sync log, when this returns.
    ///
    /// # Errors
    /// If the mailbox is gone, cannot be locked in time, or something cannot be written.
    pub fn commit(&mut self) -> Result<(), OperatorError> {
        if self.staged.is_empty() {
            return Ok(());
        }
        let not_found = || OperatorError::NotFound(self.shown.clone());
        let entry = self.list.find_id(&self.unique_id)?;
        let entry = entry.filter(MailboxEntry::is_real).ok_or_else(not_found)?;
        let lock = self.store.locks.owner_of(&entry.name, LockKind::Exclusive);
        let lock = lock.map_err(SpoolError::from)?;
        let mailbox = self.store.open_for_writing(&lock, &entry)?;
        let mailbox = mailbox.ok_or_else(not_found)?;
        self.append(mailbox)?;
        let name = entry.name;
        let items = [
            LogItem::Append(name.clone()),
            LogItem::Mailbox(name.clone()),
        ];
        self.store.mailbox_changed(&name, &items)?;
        self.staged.clear();
        self.staging.clear();
        self.octets = 0;
        Ok(())
    }

    /// Appends the staged messages, all with the next modseq.
    fn append(&self, mailbox: WritableMailbox<'_>) -> Result<(), OperatorError> {
        let index = mailbox.index_header();
        let modseq = ModSeq(index.highest_modseq.0.saturating_add(1));
        let mut uid = index.last_uid;
        let now = UnixTime::now();
        let mut changes = mailbox.prepare()?;
        for staged in &self.staged {
            let next = uid.0.checked_add(1);
            uid = Uid(next.ok_or_else(|| OperatorError::NoUids(self.shown.clone()))?);
            let content = self.staging.get(&self.partition, &staged.guid);
            let content = content.ok_or_else(|| SpoolError::Unsupported {
                path: mailbox.place().paths.data_directory().to_owned(),
                what: "appending a message that is not staged".to_owned(),
            })?;
            let written = || content.dates(now, self.store.time_zone()).gm_time;
            let state = RecordState {
                modseq,
                last_updated: now,
                internal_date: staged.date.unwrap_or_else(written),
                system_flags: staged.flags,
                user_flags: changes.user_flags(&staged.keywords)?,
                expunged: false,
                conversation: ConversationId(0),
                save_date: now,
                created_modseq: modseq,
            };
            changes.append(uid, &staged.guid, &state, Source::Staged(content), &[])?;
        }
        changes.set_header(&HeaderUpdate {
            last_uid: uid,
            highest_modseq: modseq,
            last_append_date: now,
            ..HeaderUpdate::of(index)
        });
        let prepared = changes.finish()?;
        self.store.commit(mailbox, prepared, Some(&self.staging))?;
        Ok(())
    }
}
