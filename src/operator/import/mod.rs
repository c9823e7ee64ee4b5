//! `syncctl import`: appends the messages of mbox files and Maildirs to mailboxes.
//!
//! The formats are read here and not by a library: those that exist read whole messages or files
//! into memory, or know nothing of line ends and flags as a mail store needs them.

mod content;
mod delivery;
mod maildir;
mod mbox;

use std::fs::File;
use std::io::{BufRead, BufReader, stdin};
use std::path::Path;

use serde::Serialize;

use self::content::Content;
use self::delivery::Delivery;
use self::maildir::Maildir;
use self::mbox::Mbox;
use super::init::make_mailbox;
use super::options::Import;
use super::output::Output;
use super::{OperatorError, open};
use crate::mail::namespace::plain_to_internal;
use crate::mail::{FlagName, MailboxName, SystemFlags, UnixTime};
use crate::spool::store::Store;

/// A message read from somewhere.
#[derive(Debug)]
pub struct Message {
    /// Where it was found, for people.
    origin: String,
    content: Content,
    flags: SystemFlags,
    keywords: Vec<FlagName>,
    /// When it was received, if the source tells.
    date: Option<UnixTime>,
}

/// What became of the messages of one source.
#[derive(Debug, Serialize)]
struct Imported {
    source: String,
    mailbox: String,
    messages: u64,
    octets: u64,
    refused: u64,
}

/// Appends all messages of all sources; each batch is durable before the next is read.
pub fn run(options: &Import, output: &mut Output) -> Result<(), OperatorError> {
    let store = open(&options.config)?;
    let target = target(&store, options)?;
    let mut refused = 0;
    for source in &options.sources {
        refused += import_source(&store, &target, source, output)?;
        output.flush()?;
    }
    match refused {
        0 => Ok(()),
        refused => Err(OperatorError::Refused(refused)),
    }
}

/// The mailbox that the options mean; the user must exist.
fn target(store: &Store, options: &Import) -> Result<MailboxName, OperatorError> {
    let namespace = store.namespace();
    let inbox = namespace.inbox_of(&options.user);
    let entry = store.mailbox_list()?.find(&inbox)?;
    if !entry.is_some_and(|entry| entry.is_real()) {
        return Err(OperatorError::NoUser(options.user.clone()));
    }
    match options.mailbox.as_deref() {
        None => Ok(inbox),
        Some(name) if name.eq_ignore_ascii_case("INBOX") => Ok(inbox),
        Some(name) if namespace.unix_hierarchy_separator => {
            below(&inbox, name.split('/').map(plain_to_internal))
        }
        Some(name) => below(&inbox, name.split('.').map(str::to_owned)),
    }
}

fn below(
    mailbox: &MailboxName,
    levels: impl Iterator<Item = String>,
) -> Result<MailboxName, OperatorError> {
    let name = levels.fold(mailbox.to_string(), |name, level| format!("{name}.{level}"));
    Ok(MailboxName::parse(&name)?)
}

/// Imports one file or Maildir; returns how many messages were refused.
fn import_source(
    store: &Store,
    target: &MailboxName,
    source: &Path,
    output: &mut Output,
) -> Result<u64, OperatorError> {
    let failed = |error| OperatorError::Source {
        path: source.to_owned(),
        source: error,
    };
    if source.as_os_str() == "-" {
        let messages = Mbox::new("standard input", stdin().lock())?;
        return deliver(store, target, "-", messages, output);
    }
    if source.is_dir() {
        let mut refused = 0;
        for folder in maildir::folders(source)? {
            let mailbox = below(
                target,
                folder.levels.iter().map(|level| plain_to_internal(level)),
            )?;
            let shown = folder.path.display().to_string();
            let messages = Maildir::open(&folder.path)?;
            refused += deliver(store, &mailbox, &shown, messages, output)?;
        }
        return Ok(refused);
    }
    let shown = source.display().to_string();
    let file: Box<dyn BufRead> = Box::new(BufReader::new(File::open(source).map_err(failed)?));
    deliver(store, target, &shown, Mbox::new(&shown, file)?, output)
}

/// Appends messages to a mailbox, which is made if it is missing.
fn deliver(
    store: &Store,
    mailbox: &MailboxName,
    source: &str,
    messages: impl Iterator<Item = Result<Read, OperatorError>>,
    output: &mut Output,
) -> Result<u64, OperatorError> {
    make_mailbox(store, mailbox)?;
    let mut delivery = Delivery::to(store, mailbox)?;
    let mut imported = Imported {
        source: source.to_owned(),
        mailbox: store.namespace().to_admin(mailbox),
        messages: 0,
        octets: 0,
        refused: 0,
    };
    for message in messages {
        match message? {
            Read::Message(message) => {
                imported.messages += 1;
                imported.octets += message.content.octets;
                delivery.add(message)?;
            }
            Read::Refused { origin, reason } => {
                imported.refused += 1;
                eprintln!("syncctl: {origin}: not imported: {reason}");
            }
        }
    }
    delivery.commit()?;
    output.result(&imported, || {
        format!(
            "{}: {} messages, {} octets from {source}",
            imported.mailbox, imported.messages, imported.octets
        )
    })?;
    Ok(imported.refused)
}

/// What was found at a place where a message should be.
#[derive(Debug)]
pub enum Read {
    /// A message.
    Message(Message),
    /// Something that cannot be stored.
    Refused { origin: String, reason: String },
}

impl Message {
    /// The message, unless no mailbox can hold it.
    fn checked(self) -> Read {
        let refused = |reason: &str| Read::Refused {
            origin: self.origin.clone(),
            reason: reason.to_owned(),
        };
        if self.content.octets == 0 {
            refused("it is empty")
        } else if self.content.has_nul {
            refused("it holds a NUL octet, which IMAP cannot carry")
        } else if u32::try_from(self.content.octets).is_err() {
            refused("it is longer than 4 GiB")
        } else {
            Read::Message(self)
        }
    }
}

#[cfg(test)]
mod tests;
