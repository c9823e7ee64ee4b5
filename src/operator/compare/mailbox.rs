//! Comparing a mailbox that both stores have.

use std::path::Path;

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

use super::{Report, Side, facts};
use crate::mail::Guid;
use crate::operator::OperatorError;
use crate::spool::SpoolError;
use crate::spool::disk::Disk;
use crate::spool::lock::UserLock;
use crate::spool::mailbox::{Mailbox, StoredRecord};
use crate::spool::mailboxes::MailboxEntry;

/// Octets read at a time.
const PIECE: usize = 64 * 1024;

/// A mailbox in one of the stores, with its owner's lock.
pub(super) type InStore<'a> = (&'a Side, &'a UserLock, &'a MailboxEntry);

/// Compares the mailboxes. That one of them cannot be read is a difference, too: the others are
/// still compared.
pub(super) fn compare(
    shown: &str,
    pair: [InStore<'_>; 2],
    report: &mut Report<'_>,
) -> Result<(), OperatorError> {
    report.summary.mailboxes += 1;
    let opened = pair.map(|(side, lock, entry)| side.store.open_for_reading(lock, entry));
    match opened {
        [Ok(Some(a)), Ok(Some(b))] => compare_open(shown, pair, [&a, &b], report),
        [a, b] => {
            let state = |opened: Result<Option<Mailbox<'_>>, SpoolError>| match opened {
                Ok(Some(_)) => "can be read".to_owned(),
                Ok(None) => "is being removed".to_owned(),
                Err(error) => error.to_string(),
            };
            report.difference(shown, None, "state", Some(state(a)), Some(state(b)))
        }
    }
}

fn compare_open(
    shown: &str,
    pair: [InStore<'_>; 2],
    mailboxes: [&Mailbox<'_>; 2],
    report: &mut Report<'_>,
) -> Result<(), OperatorError> {
    let of = |place: usize| -> Result<facts::Facts, SpoolError> {
        let ((side, _, entry), mailbox) = (pair[place], mailboxes[place]);
        let annotations = side.store.mailbox_annotations(entry)?;
        Ok(facts::mailbox(entry, mailbox, &annotations))
    };
    match (of(0), of(1)) {
        (Ok(a), Ok(b)) => report.facts(shown, None, &a, &b)?,
        (a, b) => unreadable(shown, "annotations", a.err(), b.err(), report)?,
    }
    compare_messages(shown, pair, mailboxes, report)
}

/// Goes through the messages of both in the order of their UIDs.
fn compare_messages(
    shown: &str,
    pair: [InStore<'_>; 2],
    [a, b]: [&Mailbox<'_>; 2],
    report: &mut Report<'_>,
) -> Result<(), OperatorError> {
    let (mut in_a, mut in_b) = (live(a), live(b));
    let (mut next_a, mut next_b) = (in_a.next(), in_b.next());
    loop {
        let (record_a, record_b) = match (&next_a, &next_b) {
            (None, None) => return Ok(()),
            (Some(Ok(a)), Some(Ok(b))) => (Some(a), Some(b)),
            (Some(Ok(a)), None) => (Some(a), None),
            (None, Some(Ok(b))) => (None, Some(b)),
            _ => {
                let error = |next: Option<Result<_, SpoolError>>| next.and_then(Result::err);
                return unreadable(shown, "messages", error(next_a), error(next_b), report);
            }
        };
        let uid = [record_a, record_b]
            .into_iter()
            .flatten()
            .map(|stored| stored.record.uid);
        let Some(uid) = uid.min() else {
            return Ok(());
        };
        let record_a = record_a.filter(|stored| stored.record.uid == uid);
        let record_b = record_b.filter(|stored| stored.record.uid == uid);
        match (record_a, record_b) {
            (Some(in_a), Some(in_b)) => {
                report.summary.messages += 1;
                report.summary.octets += u64::from(in_a.record.size);
                let content = report.content;
                match (of(pair[0], a, in_a, content), of(pair[1], b, in_b, content)) {
                    (Ok(a), Ok(b)) => report.facts(shown, Some(uid.0), &a, &b)?,
                    (a, b) => unreadable(shown, "annotations", a.err(), b.err(), report)?,
                }
            }
            (in_a, in_b) => {
                let guid =
                    |stored: Option<&StoredRecord>| stored.map(|s| s.record.guid.to_string());
                report.difference(shown, Some(uid.0), "message", guid(in_a), guid(in_b))?;
            }
        }
        if record_a.is_some() {
            next_a = in_a.next();
        }
        if record_b.is_some() {
            next_b = in_b.next();
        }
    }
}

/// The messages that are not expunged.
fn live<'a>(
    mailbox: &'a Mailbox<'_>,
) -> impl Iterator<Item = Result<StoredRecord, SpoolError>> + 'a {
    mailbox.records().filter(|stored| {
        !stored
            .as_ref()
            .is_ok_and(|stored| stored.record.is_expunged())
    })
}

/// What is known of a message, its file included.
fn of(
    (side, _, _): InStore<'_>,
    mailbox: &Mailbox<'_>,
    stored: &StoredRecord,
    content: bool,
) -> Result<facts::Facts, SpoolError> {
    let record = &stored.record;
    let mut facts = facts::message(mailbox, record, &mailbox.annotations_of(record.uid)?);
    let file = side.store.disk.status(&mailbox.message_path(record))?;
    let size = file.map(|file| file.length());
    if size != Some(record.size.into()) {
        let size = size.map_or_else(|| "missing".to_owned(), |size| format!("{size} octets"));
        facts.insert("message file".to_owned(), size);
    } else if content {
        let found = content_of(&side.store.disk, &mailbox.message_path(record))?;
        if found != record.guid {
            facts.insert("content".to_owned(), format!("SHA-1 {found}"));
        }
    }
    Ok(facts)
}

/// The SHA-1 of a message file.
fn content_of(disk: &Disk, path: &Path) -> Result<Guid, SpoolError> {
    let file = disk.open_read(path)?;
    let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    let mut piece = vec![0; PIECE];
    let mut offset = 0;
    loop {
        let length = file.read_into(offset, &mut piece)?;
        digest.update(piece.get(..length).unwrap_or_default());
        offset += length as u64;
        if length < piece.len() {
            let digest = digest.finish();
            return Ok(Guid::from_bytes(
                digest.as_ref().try_into().unwrap_or_default(),
            ));
        }
    }
}

fn unreadable(
    shown: &str,
    what: &str,
    a: Option<SpoolError>,
    b: Option<SpoolError>,
    report: &mut Report<'_>,
) -> Result<(), OperatorError> {
    let state = |error: Option<SpoolError>| {
        Some(error.map_or_else(|| "can be read".to_owned(), |error| error.to_string()))
    };
    report.difference(shown, None, what, state(a), state(b))
}
