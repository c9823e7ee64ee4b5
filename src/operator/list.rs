//! `syncctl ls`: users and mailboxes, and what they hold.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;

use serde::Serialize;

use super::options::List;
use super::output::Output;
use super::{OperatorError, open};
use crate::mail::{MailboxName, NameError, UserId};
use crate::spool::SpoolError;
use crate::spool::disk::LockKind;
use crate::spool::mailboxes::{Deleted, MailboxEntry, MailboxList};
use crate::spool::store::Store;

/// A mailbox and what it holds.
#[derive(Debug, Serialize)]
struct MailboxLine {
    mailbox: String,
    messages: u32,
    /// Octets of the messages.
    octets: u64,
    unseen: u32,
    uid_validity: u32,
    last_uid: u32,
    highest_modseq: u64,
    unique_id: String,
    /// Where the message files are.
    directory: PathBuf,
}

/// A user and what the user's mailboxes hold.
#[derive(Debug, Serialize)]
struct UserLine {
    user: String,
    mailboxes: u64,
    messages: u64,
    octets: u64,
}

/// Prints a table, or the same as JSON.
pub fn run(options: &List, output: &mut Output) -> Result<(), OperatorError> {
    let store = open(&options.config)?;
    let mut list = store.mailbox_list()?;
    let Some(name) = &options.name else {
        return everything(&store, &mut list, output);
    };
    let mut found = Vec::new();
    if let Ok(user) = UserId::parse(name) {
        found = real(list.of_user(&user, Deleted::Skip)?);
    }
    if found.is_empty() {
        let not_found = |_: NameError| OperatorError::NotFound(name.clone());
        let mailbox = store.namespace().from_admin(name).map_err(not_found)?;
        found = real(list.tree(&mailbox)?);
    }
    if found.is_empty() {
        return Err(OperatorError::NotFound(name.clone()));
    }
    print_mailboxes(&store, found, output)
}

fn real(mut entries: Vec<MailboxEntry>) -> Vec<MailboxEntry> {
    entries.retain(MailboxEntry::is_real);
    entries
}

/// All users, then the shared mailboxes.
fn everything(
    store: &Store,
    list: &mut MailboxList,
    output: &mut Output,
) -> Result<(), OperatorError> {
    let namespace = store.namespace();
    let mut users: BTreeMap<String, Vec<MailboxEntry>> = BTreeMap::new();
    let mut shared = Vec::new();
    list.for_each(|entry| {
        if entry.is_real() && !namespace.is_deleted(&entry.name) {
            match namespace.owner_of(&entry.name) {
                Some(user) => users.entry(user.to_string()).or_default().push(entry),
                None => shared.push(entry),
            }
        }
        ControlFlow::<()>::Continue(())
    })?;
    output.text(&format!(
        "{:<40} {:>9} {:>9} {:>15}",
        "USER", "MAILBOXES", "MESSAGES", "OCTETS"
    ))?;
    for (user, entries) in users {
        let mut line = UserLine {
            user,
            mailboxes: 0,
            messages: 0,
            octets: 0,
        };
        for entry in entries {
            if let Some(mailbox) = mailbox_line(store, &entry)? {
                line.mailboxes += 1;
                line.messages += u64::from(mailbox.messages);
                line.octets = line.octets.saturating_add(mailbox.octets);
            }
        }
        output.result(&line, || {
            format!(
                "{:<40} {:>9} {:>9} {:>15}",
                line.user, line.mailboxes, line.messages, line.octets
            )
        })?;
    }
    if shared.is_empty() {
        return Ok(());
    }
    output.text("")?;
    print_mailboxes(store, shared, output)
}

fn print_mailboxes(
    store: &Store,
    entries: Vec<MailboxEntry>,
    output: &mut Output,
) -> Result<(), OperatorError> {
    output.text(&format!(
        "{:<40} {:>9} {:>9} {:>15}",
        "MAILBOX", "UNSEEN", "MESSAGES", "OCTETS"
    ))?;
    for entry in entries {
        if let Some(line) = mailbox_line(store, &entry)? {
            output.result(&line, || {
                format!(
                    "{:<40} {:>9} {:>9} {:>15}",
                    line.mailbox, line.unseen, line.messages, line.octets
                )
            })?;
        }
    }
    Ok(())
}

/// What a mailbox holds; `None` if it has just been removed.
fn mailbox_line(store: &Store, entry: &MailboxEntry) -> Result<Option<MailboxLine>, SpoolError> {
    let name: &MailboxName = &entry.name;
    let lock = store.locks.owner_of(name, LockKind::Shared)?;
    let Some(mailbox) = store.open_for_reading(&lock, entry)? else {
        return Ok(None);
    };
    let index = mailbox.index_header();
    Ok(Some(MailboxLine {
        mailbox: store.namespace().to_admin(name),
        messages: index.exists,
        octets: index.quota_mailbox_used,
        unseen: index.unseen,
        uid_validity: index.uid_validity.0,
        last_uid: index.last_uid.0,
        highest_modseq: index.highest_modseq.0,
        unique_id: entry.unique_id.to_string(),
        directory: mailbox.place().paths.data_directory().to_owned(),
    }))
}
