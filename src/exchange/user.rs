//! All that is compared of a user, and its digest (docs/protocol-extensions.md, X-DIGEST).

use aws_lc_rs::digest::{Context, SHA256};

use crate::dlist::LiteralStyle;
use crate::mail::{Acl, MailboxName, ModSeq, TypeFlags, UidValidity, UnixTime};
use crate::protocol::command::{Answer, MailboxAnswer, MailboxItem, Quota, SeenState, StateDigest};

/// What GET USER tells of a user whose Sieve scripts travel as messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserState {
    /// All mailboxes, deleted ones and intermediates included.
    pub mailboxes: Vec<MailboxItem>,
    /// The quota roots that the mailboxes use.
    pub quotas: Vec<Quota>,
    /// Seen state of mailboxes that are not the user's own.
    pub seen: Vec<SeenState>,
    /// Subscriptions.
    pub subscriptions: Vec<MailboxName>,
}

impl UserState {
    /// The digest: that of the answer to GET USER, in an order of its own and without what is not
    /// compared. Two states with one digest have nothing to send to each other.
    #[must_use]
    pub fn digest(mut self) -> StateDigest {
        self.mailboxes.sort_by(|a, b| a.name.cmp(&b.name));
        self.quotas.sort_by(|a, b| a.root.cmp(&b.root));
        self.seen.sort_by(|a, b| a.unique_id.cmp(&b.unique_id));
        self.subscriptions.sort();
        self.subscriptions.dedup();
        let mailboxes = self.mailboxes.into_iter().map(|item| {
            Answer::Mailbox(Box::new(MailboxAnswer {
                item: compared(item),
                records: None,
            }))
        });
        let quotas = self.quotas.into_iter().map(|quota| {
            Answer::Quota(Quota {
                modseq: None,
                ..quota
            })
        });
        let seen = self.seen.into_iter().map(Answer::Seen);
        let subscriptions = std::iter::once(Answer::Lsub(self.subscriptions));
        let mut hash = Context::new(&SHA256);
        let mut line = Vec::new();
        for answer in mailboxes.chain(quotas).chain(seen).chain(subscriptions) {
            line.clear();
            answer.write(&mut line, LiteralStyle::Plain);
            hash.update(&line);
        }
        let mut octets = [0; StateDigest::LEN];
        octets.copy_from_slice(hash.finish().as_ref());
        StateDigest::from_bytes(octets)
    }
}

/// The item without what makes no difference. What comes to the item later counts, until somebody
/// says here that it does not.
fn compared(item: MailboxItem) -> MailboxItem {
    let mut item = MailboxItem {
        last_append_date: UnixTime(0),
        quota_root: None,
        ..item
    };
    if item.mailbox_type.flags.contains(TypeFlags::INTERMEDIATE) {
        item.uid_validity = UidValidity(0);
        item.partition = None;
        item.acl = Acl::default();
    } else {
        item.created_modseq = ModSeq(0);
    }
    for annotation in &mut item.annotations {
        annotation.modseq = ModSeq(0);
    }
    item
}

#[cfg(test)]
mod tests;
