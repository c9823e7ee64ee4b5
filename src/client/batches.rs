//! The batches of the mailbox that is on its way to the replica.

use crate::client::error::SyncError;
use crate::mail::{ModSeq, Uid, UidValidity, UniqueId};
use crate::plan::batches::{BatchSearch, Batches};
use crate::plan::update::{Batch, Mark};
use crate::spool::mailbox::Mailbox;

/// What was planned for the mailbox whose batches are on their way, so that not each of them needs
/// a walk over all its records.
#[derive(Debug, Default)]
pub struct PlannedBatches(Option<Planned>);

#[derive(Debug)]
struct Planned {
    mailbox: UniqueId,
    uid_validity: UidValidity,
    /// The mailbox's, when the batches were planned.
    highest_modseq: ModSeq,
    batches: Batches,
}

impl PlannedBatches {
    /// The next batch of at most `size` new messages (0 = no bound) for a replica that has come so
    /// far, and the earlier messages whose records it carries; `None` for a complete update.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn next(
        &mut self,
        mailbox: &Mailbox<'_>,
        remote: Mark,
        size: u32,
    ) -> Result<Option<(Batch, &[Uid])>, SyncError> {
        let index = mailbox.index_header();
        let new = index.last_uid.0.saturating_sub(remote.last_uid.0);
        if size == 0 || new <= size {
            return Ok(None);
        }
        let planned = self.0.take().filter(|planned| {
            planned.mailbox == mailbox.place().unique_id
                && planned.uid_validity == index.uid_validity
                && planned.highest_modseq <= index.highest_modseq
                && planned.batches.after(remote).is_some()
        });
        let planned = match planned {
            Some(planned) => planned,
            None => Planned {
                mailbox: mailbox.place().unique_id.clone(),
                uid_validity: index.uid_validity,
                highest_modseq: index.highest_modseq,
                batches: plan(mailbox, remote, size)?,
            },
        };
        Ok(self.0.insert(planned).batches.after(remote))
    }
}

fn plan(mailbox: &Mailbox<'_>, remote: Mark, size: u32) -> Result<Batches, SyncError> {
    let index = mailbox.index_header();
    let mut search = BatchSearch::new(size, remote);
    for stored in mailbox.records_after(remote.last_uid)? {
        let stored = stored?;
        search.see(&stored, stored.record.has_file());
    }
    let mut batches = search.finish(Mark {
        last_uid: index.last_uid,
        highest_modseq: index.highest_modseq,
    });
    for stored in mailbox.records() {
        batches.see(&stored?);
    }
    Ok(batches)
}
