//! Reverse ACLs: which identifiers see which mailbox (databases §9.1).

use std::collections::BTreeSet;

use super::record::MailboxEntry;
use crate::mail::{MailboxName, Namespace};

/// The marker key. Reverse ACLs are kept exactly where it exists.
pub(super) const MARKER: &[u8] = b"AS\x1e";

/// The keys to delete and to add, and whose they are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    pub lost: Vec<String>,
    pub gained: Vec<String>,
}

/// Compares what two entries of one name let others see. Identifiers are taken literally, be they
/// users, groups or negative; the owner and the administrators are left out.
pub(super) fn difference(
    old: Option<&MailboxEntry>,
    new: Option<&MailboxEntry>,
    owner: Option<&str>,
    admins: &[String],
) -> Difference {
    let readers = |entry: Option<&MailboxEntry>| readers(entry, owner, admins);
    let (before, after) = (readers(old), readers(new));
    Difference {
        lost: before.difference(&after).cloned().collect(),
        gained: after.difference(&before).cloned().collect(),
    }
}

fn readers(
    entry: Option<&MailboxEntry>,
    owner: Option<&str>,
    admins: &[String],
) -> BTreeSet<String> {
    entry
        .filter(|entry| !entry.is_tombstone())
        .and_then(|entry| entry.acl.as_ref())
        .into_iter()
        .flat_map(|acl| acl.entries())
        .filter(|entry| entry.rights.contains(['l', 'r']))
        .map(|entry| &entry.identifier)
        .filter(|identifier| Some(identifier.as_str()) != owner && !admins.contains(identifier))
        .cloned()
        .collect()
}

/// The key that lets `identifier` find `name`.
pub(super) fn key(namespace: &Namespace, name: &MailboxName, identifier: &str) -> Vec<u8> {
    let kind = match namespace.owner_of(name) {
        Some(_) => b"AU\x1e",
        None => b"AS\x1e",
    };
    let mut key = kind.to_vec();
    key.extend_from_slice(identifier.as_bytes());
    key.push(0x1e);
    key.extend_from_slice(&namespace.db_name(name));
    key
}
