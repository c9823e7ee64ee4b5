//! Random histories of two stores, and what must be left of them.

use std::collections::HashSet;

use proptest::prelude::*;

use super::replication::{Replication, Server};
use super::store::{Store, acl, partition};
use crate::mail::{Guid, MailboxName, Namespace, UidValidity, UniqueId, UserId};
use crate::plan::log::{Failure, Ownership, Reaction, Task, merge, reaction};
use crate::spool::quota::QuotaRoot;
use crate::spool::synclog::LogItem;

/// Where something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Master,
    Replica,
    /// For histories: on either.
    Both,
}

/// Something a user or an administrator does. Mailboxes are numbers of [`mailbox`]; messages are
/// counted among the live ones. What is impossible at the time does not happen.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    side: Side,
    mailbox: u8,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Create,
    Append,
    Copy { message: u8, to: u8 },
    Flag { message: u8, flags: u8 },
    Note { message: u8, note: u8 },
    Expunge { message: u8 },
    Purge,
    Rename { to: u8 },
    Swap { with: u8 },
    Delete,
    DelayedDelete,
    Acl(u8),
    Partition(u8),
}

impl Operation {
    pub fn create(side: Side, mailbox: u8) -> Operation {
        let kind = Kind::Create;
        Operation {
            side,
            mailbox,
            kind,
        }
    }

    pub fn append(side: Side, mailbox: u8) -> Operation {
        let kind = Kind::Append;
        Operation {
            side,
            mailbox,
            kind,
        }
    }

    pub fn flag(side: Side, mailbox: u8, message: u8, flags: u8) -> Operation {
        let kind = Kind::Flag { message, flags };
        Operation {
            side,
            mailbox,
            kind,
        }
    }
}

/// Histories of one side or both.
pub(super) fn operations(side: Side) -> impl Strategy<Value = Vec<Operation>> {
    let kind = prop_oneof![
        3 => Just(Kind::Create),
        8 => Just(Kind::Append),
        3 => (any::<u8>(), 0..MAILBOXES).prop_map(|(message, to)| Kind::Copy { message, to }),
        4 => (any::<u8>(), 0..4_u8).prop_map(|(message, flags)| Kind::Flag { message, flags }),
        2 => (any::<u8>(), 0..4_u8).prop_map(|(message, note)| Kind::Note { message, note }),
        4 => any::<u8>().prop_map(|message| Kind::Expunge { message }),
        2 => Just(Kind::Purge),
        2 => (0..MAILBOXES).prop_map(|to| Kind::Rename { to }),
        2 => (0..MAILBOXES).prop_map(|with| Kind::Swap { with }),
        1 => Just(Kind::Delete),
        1 => Just(Kind::DelayedDelete),
        1 => (0..3_u8).prop_map(Kind::Acl),
        1 => (0..2_u8).prop_map(Kind::Partition),
    ];
    let sides = match side {
        Side::Both => prop_oneof![Just(Side::Master), Just(Side::Replica)].boxed(),
        one => Just(one).boxed(),
    };
    let operation = (sides, 0..MAILBOXES, kind).prop_map(|(side, mailbox, kind)| Operation {
        side,
        mailbox,
        kind,
    });
    prop::collection::vec(operation, 0..30)
}

const MAILBOXES: u8 = 4;

fn mailbox(number: u8) -> MailboxName {
    MailboxName::parse(["user.u", "user.u.a", "user.u.b", "user.u.a.c"][usize::from(number)])
        .unwrap()
}

/// Both stores, and what is remembered of their histories.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    pub master: Store,
    pub replica: Store,
    counter: u32,
    /// Every message that was ever added to a mailbox.
    added: HashSet<(UniqueId, Guid)>,
    /// Messages that a user expunged, on either side, or whose fate nobody can tell.
    expunged: HashSet<(UniqueId, Guid)>,
}

impl World {
    /// Lets a history happen; returns the master's sync log.
    pub fn run(&mut self, operations: &[Operation]) -> Vec<LogItem> {
        let mut log = Vec::new();
        for operation in operations {
            let written = self.perform(operation);
            if operation.side == Side::Master {
                log.extend(written);
            }
        }
        log
    }

    fn perform(&mut self, operation: &Operation) -> Vec<LogItem> {
        self.counter += 1;
        let counter = self.counter;
        let name = mailbox(operation.mailbox);
        let store = match operation.side {
            Side::Replica => &mut self.replica,
            Side::Master | Side::Both => &mut self.master,
        };
        let changed = vec![LogItem::Mailbox(name.clone())];
        let Some(present) = store.mailboxes.get(&name).cloned() else {
            if matches!(operation.kind, Kind::Create) {
                let id = UniqueId::parse(&format!("id{counter}")).unwrap();
                store.create(&name, &id, UidValidity(counter));
                return changed;
            }
            return vec![];
        };
        let id = present.unique_id.clone();
        let live: Vec<_> = present.live().cloned().collect();
        let pick = |message: u8| live.get(usize::from(message) % live.len().max(1));
        match operation.kind {
            Kind::Create => vec![],
            Kind::Append => {
                let mut octets = [0; Guid::LEN];
                // Guids do not ascend as they are made.
                octets[..4].copy_from_slice(&counter.wrapping_mul(0x9E37_79B1).to_be_bytes());
                let guid = Guid::from_bytes(octets);
                store.append(&name, guid, 0);
                self.added.insert((id, guid));
                vec![LogItem::Append(name.clone()), LogItem::Mailbox(name)]
            }
            Kind::Copy { message, to } => {
                let to = mailbox(to);
                let Some(message) = pick(message) else {
                    return vec![];
                };
                let Some(target) = store.mailboxes.get(&to).map(|to| to.unique_id.clone()) else {
                    return vec![];
                };
                store.append(&to, message.guid, message.flags);
                self.added.insert((target, message.guid));
                vec![LogItem::DoubleMailbox(name, to)]
            }
            Kind::Flag { message, flags } => {
                let Some(message) = pick(message) else {
                    return vec![];
                };
                store.change(&name, message.uid, |record| record.flags = flags);
                changed
            }
            Kind::Note { message, note } => {
                let Some(message) = pick(message) else {
                    return vec![];
                };
                store.change(&name, message.uid, |record| record.note = note);
                changed
            }
            Kind::Expunge { message } => {
                let Some(message) = pick(message) else {
                    return vec![];
                };
                store.change(&name, message.uid, |record| record.expunged = true);
                self.expunged.insert((id, message.guid));
                changed
            }
            Kind::Purge => {
                store.purge(&name);
                vec![]
            }
            Kind::Rename { to } => {
                let to = mailbox(to);
                if store.mailboxes.contains_key(&to) {
                    return vec![];
                }
                rename(store, &name, &to)
            }
            Kind::Swap { with } => {
                let with = mailbox(with);
                if with == name || !store.mailboxes.contains_key(&with) {
                    return vec![];
                }
                let aside = MailboxName::parse(&format!("user.u.t{}", counter % 3)).unwrap();
                let first = rename(store, &name, &aside);
                let second = rename(store, &with, &name);
                let third = rename(store, &aside, &with);
                [first, second, third].concat()
            }
            Kind::Delete => {
                store.delete(&name);
                if operation.side == Side::Replica {
                    let gone = live.iter().map(|message| (id.clone(), message.guid));
                    self.expunged.extend(gone);
                }
                vec![LogItem::Unmailbox(name)]
            }
            Kind::DelayedDelete => {
                let deleted = format!("DELETED.{name}.{counter:08X}");
                rename(store, &name, &MailboxName::parse(&deleted).unwrap())
            }
            Kind::Acl(number) => {
                store.touch(&name, |mailbox| mailbox.acl = acl(number));
                changed
            }
            Kind::Partition(number) => {
                store.touch(&name, |mailbox| mailbox.partition = partition(number));
                changed
            }
        }
    }

    /// A live message of the replica that the master does not have, but might have had and
    /// purged: nothing tells the two cases apart (algorithm §5.6).
    pub fn note_ambiguous(&mut self) {
        for theirs in self.replica.mailboxes.values() {
            let Some(ours) = self.master.name_of(&theirs.unique_id) else {
                continue;
            };
            let ours = &self.master.mailboxes[&ours];
            let ambiguous = theirs.live().filter(|record| {
                record.uid <= ours.last_uid
                    && !ours.records.contains_key(&record.uid)
                    && record.modseq < ours.deleted_modseq
            });
            self.expunged
                .extend(ambiguous.map(|record| (theirs.unique_id.clone(), record.guid)));
        }
    }

    /// Every message that nobody expunged is still there: on both sides as a rule, on the replica
    /// alone if the mailbox was never on the master or cannot be replicated.
    pub fn assert_nothing_lost(&self) {
        for (id, guid) in self.added.difference(&self.expunged) {
            let holder = |store: &Store| {
                let name = store.name_of(id)?;
                Some(
                    store.mailboxes[&name]
                        .live()
                        .any(|record| record.guid == *guid),
                )
            };
            let found = [holder(&self.master), holder(&self.replica)];
            let mailbox_was_deleted = found == [None, None];
            assert!(
                found.contains(&Some(true)) || mailbox_was_deleted,
                "{guid} of {id} is lost"
            );
        }
    }

    pub fn ownership(&self) -> Names {
        Names(Namespace::default())
    }

    /// Processes a log to its end, with the reactions to failures.
    pub fn run_log(&mut self, log: &[LogItem], server: Server) {
        let names = self.ownership();
        for cohort in merge(log.iter().cloned(), &names) {
            let mut tasks: Vec<Task> = cohort.tasks().collect();
            let mut next = 0;
            while let Some(task) = tasks.get(next).cloned() {
                next += 1;
                if self.run_task(&task, server) {
                    continue;
                }
                match reaction(&task, Failure::Other, &names) {
                    Reaction::Promote(more) => {
                        for task in more {
                            if !tasks[next..].contains(&task) {
                                tasks.push(task);
                            }
                        }
                    }
                    other => panic!("{task:?} failed: {other:?}"),
                }
            }
        }
    }

    /// Carries out one task; false if it failed.
    pub fn run_task(&mut self, task: &Task, server: Server) -> bool {
        let mut replication = Replication::new(server);
        let (master, replica) = (&mut self.master, &mut self.replica);
        match task {
            Task::Mailboxes(names) => {
                return replication.sync_names(master, replica, names).is_ok();
            }
            Task::User(_) => replication.sync_user(master, replica),
            Task::Unmailbox(name) => replication.unmailbox(master, replica, name),
            other => panic!("not in these histories: {other:?}"),
        }
        replication.failed.is_empty()
    }
}

fn rename(store: &mut Store, old: &MailboxName, new: &MailboxName) -> Vec<LogItem> {
    store.rename(old, new);
    store.touch(new, |_| {});
    vec![LogItem::Rename(old.clone(), new.clone())]
}

pub(super) struct Names(Namespace);

impl Ownership for Names {
    fn owner_of(&self, name: &MailboxName) -> Option<UserId> {
        self.0.owner_of(name)
    }

    fn owner_of_root(&self, root: &QuotaRoot) -> Option<UserId> {
        self.0.owner_of(&MailboxName::parse(root.as_str()).ok()?)
    }
}
