//! `syncctl compare`: what two stores show to their clients, and where they differ.
//!
//! Compared is what replication carries: mailboxes that are not deleted, messages that are not
//! expunged, and what users have beside mailboxes. Not compared are partitions and directories,
//! deleted mailboxes, and the annotations of the server itself, which only the sync log tells of.

mod facts;
mod mailbox;
mod user;

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use serde::Serialize;

use super::options::Compare;
use super::output::Output;
use super::{OperatorError, Verdict, load, open_existing};
use crate::mail::{MailboxName, UserId};
use crate::service::process;
use crate::spool::SpoolError;
use crate::spool::disk::LockKind;
use crate::spool::lock::UserLock;
use crate::spool::mailboxes::{Deleted, MailboxEntry, MailboxList};
use crate::spool::store::Store;

/// One of the two stores.
struct Side {
    store: Store,
    list: MailboxList,
}

/// Something that is not the same on both sides; `None` where a side does not have it.
#[derive(Debug, Serialize)]
struct Difference {
    /// The user or mailbox.
    subject: String,
    /// The message.
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    /// What of it.
    what: String,
    a: Option<String>,
    b: Option<String>,
}

/// How much was compared, and the result.
#[derive(Debug, Default, Serialize)]
struct Summary {
    result: &'static str,
    users: u64,
    mailboxes: u64,
    messages: u64,
    octets: u64,
    differences: u64,
}

/// Takes the differences as they are found.
struct Report<'output> {
    output: &'output mut Output,
    /// Whether the messages are read.
    content: bool,
    summary: Summary,
}

/// Compares the stores user by user, each under its locks in both stores.
pub fn run(options: &Compare, output: &mut Output) -> Result<Verdict, OperatorError> {
    let [a, b] = [load(&options.a)?, load(&options.b)?];
    process::become_user(&a.process)?;
    let mut sides = [open_side(a)?, open_side(b)?];
    let mut report = Report {
        output,
        content: options.content,
        summary: Summary::default(),
    };
    let mut owners = BTreeSet::new();
    for side in &mut sides {
        side.add_owners(&mut owners)?;
    }
    for owner in owners {
        let owner = owner.map(|owner| UserId::parse(&owner)).transpose()?;
        compare_owner(&mut sides, owner.as_ref(), &mut report)?;
    }
    compare_quotas(&sides, &mut report)?;
    report.end()
}

fn open_side(config: crate::config::Config) -> Result<Side, OperatorError> {
    let store = open_existing(config)?;
    let list = store.mailbox_list()?;
    Ok(Side { store, list })
}

impl Side {
    /// Adds the users with mailboxes, and `None` if there are shared ones.
    fn add_owners(&mut self, owners: &mut BTreeSet<Option<String>>) -> Result<(), SpoolError> {
        let namespace = self.store.namespace();
        self.list.for_each(|entry| {
            if entry.is_real() && !namespace.is_deleted(&entry.name) {
                let owner = namespace.owner_of(&entry.name);
                owners.insert(owner.map(|owner| owner.to_string()));
            }
            ControlFlow::<()>::Continue(())
        })?;
        Ok(())
    }

    /// The mailboxes of a user, or the shared ones.
    fn mailboxes_of(&mut self, owner: Option<&UserId>) -> Result<Vec<MailboxEntry>, SpoolError> {
        let mut entries = Vec::new();
        match owner {
            Some(user) => entries = self.list.of_user(user, Deleted::Skip)?,
            None => {
                let namespace = self.store.namespace();
                self.list.for_each(|entry| {
                    let shared = namespace.owner_of(&entry.name).is_none();
                    if shared && !namespace.is_deleted(&entry.name) {
                        entries.push(entry);
                    }
                    ControlFlow::<()>::Continue(())
                })?;
            }
        }
        entries.retain(MailboxEntry::is_real);
        Ok(entries)
    }

    fn lock(&self, owner: Option<&UserId>) -> Result<UserLock, SpoolError> {
        Ok(self.store.locks.owner(owner, LockKind::Shared)?)
    }
}

/// Compares the mailboxes of a user and what the user has beside them, or the shared mailboxes.
fn compare_owner(
    sides: &mut [Side; 2],
    owner: Option<&UserId>,
    report: &mut Report<'_>,
) -> Result<(), OperatorError> {
    let [a, b] = sides;
    let locks = [a.lock(owner)?, b.lock(owner)?];
    let [in_a, in_b] = [a.mailboxes_of(owner)?, b.mailboxes_of(owner)?];
    let names: BTreeSet<&MailboxName> = in_a.iter().chain(&in_b).map(|entry| &entry.name).collect();
    for name in names {
        let find =
            |entries: &[MailboxEntry]| entries.iter().find(|entry| entry.name == *name).cloned();
        let entries = [find(&in_a), find(&in_b)];
        let shown = a.store.namespace().to_admin(name);
        match &entries {
            [Some(entry_a), Some(entry_b)] => {
                let pair = [(&*a, &locks[0], entry_a), (&*b, &locks[1], entry_b)];
                mailbox::compare(&shown, pair, report)?;
            }
            [entry_a, entry_b] => {
                let id = |entry: &Option<MailboxEntry>| {
                    entry.as_ref().map(|entry| entry.unique_id.to_string())
                };
                report.difference(&shown, None, "mailbox", id(entry_a), id(entry_b))?;
            }
        }
    }
    if let Some(user) = owner {
        report.summary.users += 1;
        user::compare([a, b], user, report)?;
    }
    Ok(())
}

fn compare_quotas(sides: &[Side; 2], report: &mut Report<'_>) -> Result<(), OperatorError> {
    let [a, b] = sides;
    let quotas = |side: &Side| -> Result<_, SpoolError> {
        let quotas = side.store.quotas()?.list("")?;
        Ok(facts::quotas(&quotas))
    };
    report.facts("quota", None, &quotas(a)?, &quotas(b)?)
}

impl Report<'_> {
    /// Two lists of facts, each with its name, must be the same.
    fn facts(
        &mut self,
        subject: &str,
        uid: Option<u32>,
        a: &facts::Facts,
        b: &facts::Facts,
    ) -> Result<(), OperatorError> {
        if a == b {
            return Ok(());
        }
        let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        for name in names {
            let (a, b) = (a.get(name), b.get(name));
            if a != b {
                self.difference(subject, uid, name, a.cloned(), b.cloned())?;
            }
        }
        Ok(())
    }

    fn difference(
        &mut self,
        subject: &str,
        uid: Option<u32>,
        what: &str,
        a: Option<String>,
        b: Option<String>,
    ) -> Result<(), OperatorError> {
        self.summary.differences += 1;
        let difference = Difference {
            subject: subject.to_owned(),
            uid,
            what: what.to_owned(),
            a,
            b,
        };
        self.output.result(&difference, || {
            let side =
                |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".to_owned());
            let uid = uid.map_or_else(String::new, |uid| format!(" UID {uid}"));
            let Difference { a, b, .. } = &difference;
            format!("{subject}{uid}: {what}: A {} B {}", side(a), side(b))
        })
    }

    fn end(self) -> Result<Verdict, OperatorError> {
        let mut summary = self.summary;
        let verdict = match summary.differences {
            0 => Verdict::Done,
            _ => Verdict::Different,
        };
        summary.result = match verdict {
            Verdict::Done => "equal",
            Verdict::Different => "different",
        };
        self.output.result(&summary, || {
            let Summary {
                users,
                mailboxes,
                messages,
                octets,
                differences,
                ..
            } = summary;
            let compared = format!(
                "{users} users, {mailboxes} mailboxes, {messages} messages, {octets} octets"
            );
            match verdict {
                Verdict::Done => format!("EQUAL: {compared}"),
                Verdict::Different => format!("DIFFERENT: {differences} differences; {compared}"),
            }
        })?;
        Ok(verdict)
    }
}
