//! What a sync log asks for, and what becomes of an entry that fails (algorithm §9.2 and §9.3).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::time::Duration;

use crate::mail::{MailboxName, UniqueId, UserId};
use crate::spool::quota::QuotaRoot;
use crate::spool::synclog::LogItem;

/// The entries that belong together: those of one user, those of the shared mailboxes, or those
/// of several owners that a rename or copy ties together. Cohorts may be processed in parallel,
/// the entries of one only in the order of [`Cohort::tasks`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cohort {
    /// Whose entries these are; `None` stands for the shared mailboxes and the server.
    pub owners: BTreeSet<Option<UserId>>,
    /// Names of mailboxes that changed, in the order of the log.
    mailboxes: Vec<MailboxName>,
    quotas: Vec<QuotaRoot>,
    annotations: Vec<Option<MailboxName>>,
    seen: Vec<(UserId, UniqueId)>,
    subscriptions: Vec<(UserId, MailboxName)>,
    unmailboxes: Vec<MailboxName>,
    metas: Vec<UserId>,
    users: Vec<UserId>,
    unusers: Vec<UserId>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Mailbox mode with these names.
    Mailboxes(Vec<MailboxName>),
    /// Send the limits of a quota root, or that it is gone.
    Quota(QuotaRoot),
    /// Compare the annotations of a mailbox, or of the server.
    Annotation(Option<MailboxName>),
    /// Send what a user has seen of a mailbox.
    Seen(UserId, UniqueId),
    /// Send whether a user subscribes a mailbox.
    Subscription(UserId, MailboxName),
    /// Delete a mailbox on the replica if it has a tombstone here.
    Unmailbox(MailboxName),
    /// Meta mode.
    Meta(UserId),
    /// User mode.
    User(UserId),
    /// Remove a user on the replica if the user does not exist here.
    Unuser(UserId),
}

impl Task {
    /// The log lines that ask for this task.
    pub fn log_items(&self) -> Vec<LogItem> {
        match self {
            Task::Mailboxes(names) => names.iter().cloned().map(LogItem::Mailbox).collect(),
            Task::Quota(root) => vec![LogItem::Quota(root.clone())],
            Task::Annotation(name) => vec![LogItem::Annotation(name.clone())],
            Task::Seen(user, id) => vec![LogItem::Seen(user.clone(), id.clone())],
            Task::Subscription(user, name) => {
                vec![LogItem::Subscription(user.clone(), name.clone())]
            }
            Task::Unmailbox(name) => vec![LogItem::Unmailbox(name.clone())],
            Task::Meta(user) => vec![LogItem::Meta(user.clone())],
            Task::User(user) => vec![LogItem::User(user.clone())],
            Task::Unuser(user) => vec![LogItem::Unuser(user.clone())],
        }
    }

    /// Whether the server's reserve list is emptied afterwards, if the task succeeds.
    pub fn is_followed_by_restart(&self) -> bool {
        matches!(self, Task::Mailboxes(_) | Task::User(_))
    }
}

impl Cohort {
    /// What to do, in the order of execution.
    pub fn tasks(&self) -> impl Iterator<Item = Task> + '_ {
        let mailboxes =
            (!self.mailboxes.is_empty()).then(|| Task::Mailboxes(self.mailboxes.clone()));
        mailboxes
            .into_iter()
            .chain(self.quotas.iter().cloned().map(Task::Quota))
            .chain(self.annotations.iter().cloned().map(Task::Annotation))
            .chain(
                self.seen
                    .iter()
                    .map(|(user, id)| Task::Seen(user.clone(), id.clone())),
            )
            .chain(
                self.subscriptions
                    .iter()
                    .map(|(user, name)| Task::Subscription(user.clone(), name.clone())),
            )
            .chain(self.unmailboxes.iter().cloned().map(Task::Unmailbox))
            .chain(self.metas.iter().cloned().map(Task::Meta))
            .chain(self.users.iter().cloned().map(Task::User))
            .chain(self.unusers.iter().cloned().map(Task::Unuser))
    }

    /// Drops what a larger entry covers.
    fn drop_covered(&mut self) {
        let unusers: BTreeSet<&UserId> = self.unusers.iter().collect();
        self.users.retain(|user| !unusers.contains(user));
        let whole: BTreeSet<&UserId> = self.users.iter().chain(unusers).collect();
        self.metas.retain(|user| !whole.contains(user));
        let covered: BTreeSet<&UserId> = whole.into_iter().chain(&self.metas).collect();
        self.seen.retain(|(user, _)| !covered.contains(user));
        self.subscriptions
            .retain(|(user, _)| !covered.contains(user));
    }

    fn absorb(&mut self, other: Cohort) {
        self.owners.extend(other.owners);
        self.mailboxes.extend(other.mailboxes);
        self.quotas.extend(other.quotas);
        self.annotations.extend(other.annotations);
        self.seen.extend(other.seen);
        self.subscriptions.extend(other.subscriptions);
        self.unmailboxes.extend(other.unmailboxes);
        self.metas.extend(other.metas);
        self.users.extend(other.users);
        self.unusers.extend(other.unusers);
    }
}

/// Whose a name is; depends on the configuration of the store
/// ([`Namespace`](crate::mail::Namespace)).
pub trait Ownership {
    /// The user to whom the mailbox belongs, also if it is a deleted one; `None` if it is shared.
    fn owner_of(&self, name: &MailboxName) -> Option<UserId>;
    /// The user to whom the quota root belongs; `None` if it is of shared mailboxes.
    fn owner_of_root(&self, root: &QuotaRoot) -> Option<UserId>;
}

/// Merges the entries of a log: equal ones collapse, those of one owner come together, and what
/// a larger entry covers is dropped.
pub fn merge(items: impl IntoIterator<Item = LogItem>, ownership: &impl Ownership) -> Vec<Cohort> {
    let mut merger = Merger::default();
    for item in items {
        merger.add(item, ownership);
    }
    merger.finish()
}

#[derive(Default)]
struct Merger {
    /// Cohorts that were absorbed by another are `None`.
    cohorts: Vec<Option<Cohort>>,
    of_owner: BTreeMap<Option<UserId>, usize>,
    known: HashSet<LogItem>,
}

impl Merger {
    fn add(&mut self, item: LogItem, ownership: &impl Ownership) {
        // What touches two mailboxes is the same as two changes in one cohort.
        let (first, second) = match item {
            LogItem::Rename(from, to) | LogItem::DoubleMailbox(from, to) => {
                self.tie(ownership.owner_of(&from), ownership.owner_of(&to));
                (LogItem::Mailbox(from), Some(LogItem::Mailbox(to)))
            }
            LogItem::Append(name) => (LogItem::Mailbox(name), None),
            other => (other, None),
        };
        for item in [Some(first), second].into_iter().flatten() {
            if !self.known.insert(item.clone()) {
                continue;
            }
            let owner = match &item {
                LogItem::User(user)
                | LogItem::Unuser(user)
                | LogItem::Meta(user)
                | LogItem::Seen(user, _)
                | LogItem::Subscription(user, _) => Some(user.clone()),
                LogItem::Quota(root) => ownership.owner_of_root(root),
                LogItem::Annotation(None) => None,
                LogItem::Annotation(Some(name))
                | LogItem::Mailbox(name)
                | LogItem::Append(name)
                | LogItem::Unmailbox(name)
                | LogItem::DoubleMailbox(name, _)
                | LogItem::Rename(name, _) => ownership.owner_of(name),
            };
            let index = self.cohort_of(owner);
            if let Some(Some(cohort)) = self.cohorts.get_mut(index) {
                cohort.put(item);
            }
        }
    }

    fn cohort_of(&mut self, owner: Option<UserId>) -> usize {
        if let Some(index) = self.of_owner.get(&owner) {
            return *index;
        }
        let index = self.cohorts.len();
        self.cohorts.push(Some(Cohort {
            owners: BTreeSet::from([owner.clone()]),
            ..Cohort::default()
        }));
        self.of_owner.insert(owner, index);
        index
    }

    /// Makes one cohort of those of two owners.
    fn tie(&mut self, a: Option<UserId>, b: Option<UserId>) {
        let (keep, give) = (self.cohort_of(a), self.cohort_of(b));
        if keep == give {
            return;
        }
        let given = self.cohorts.get_mut(give).and_then(Option::take);
        let kept = self.cohorts.get_mut(keep).and_then(Option::as_mut);
        if let (Some(given), Some(kept)) = (given, kept) {
            for owner in &given.owners {
                self.of_owner.insert(owner.clone(), keep);
            }
            kept.absorb(given);
        }
    }

    fn finish(self) -> Vec<Cohort> {
        let mut cohorts: Vec<Cohort> = self.cohorts.into_iter().flatten().collect();
        cohorts.iter_mut().for_each(Cohort::drop_covered);
        cohorts
    }
}

impl Cohort {
    fn put(&mut self, item: LogItem) {
        match item {
            LogItem::User(user) => self.users.push(user),
            LogItem::Unuser(user) => self.unusers.push(user),
            LogItem::Meta(user) => self.metas.push(user),
            LogItem::Mailbox(name) | LogItem::Append(name) => self.mailboxes.push(name),
            LogItem::DoubleMailbox(from, to) | LogItem::Rename(from, to) => {
                self.mailboxes.extend([from, to]);
            }
            LogItem::Unmailbox(name) => self.unmailboxes.push(name),
            LogItem::Quota(root) => self.quotas.push(root),
            LogItem::Annotation(name) => self.annotations.push(name),
            LogItem::Seen(user, id) => self.seen.push((user, id)),
            LogItem::Subscription(user, name) => self.subscriptions.push((user, name)),
        }
    }
}

/// How a task failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Another process has the lock, here or on the replica, or a `skipuser` file stands.
    Locked,
    /// The connection is gone or the peer said BYE; the peer's opinion of the task is unknown.
    Disconnected,
    /// The peer does not know the user.
    InvalidUser,
    /// Anything else.
    Other,
}

/// What becomes of a task that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Write its lines back to the log; the next run takes them up.
    Defer,
    /// Do these larger tasks instead, later in this run: `Promoting`.
    Promote(Vec<Task>),
    /// Set it aside, to be tried again after a growing delay, while everything else goes on.
    SetAside,
    /// Nothing is lost by doing nothing.
    Ignore,
    /// End the run; the log is kept and processed again over a new connection.
    Stop,
}

/// Decides what becomes of a failed task.
pub fn reaction(task: &Task, failure: Failure, ownership: &impl Ownership) -> Reaction {
    match failure {
        Failure::Disconnected => return Reaction::Stop,
        Failure::Locked => return Reaction::Defer,
        Failure::InvalidUser | Failure::Other => {}
    }
    let promote_owner = |owner: Option<UserId>| match owner {
        Some(user) => Reaction::Promote(vec![Task::User(user)]),
        None => Reaction::SetAside,
    };
    match task {
        Task::Mailboxes(names) => promote_mailboxes(names, ownership),
        Task::Quota(root) => promote_owner(ownership.owner_of_root(root)),
        Task::Annotation(Some(name)) => promote_owner(ownership.owner_of(name)),
        Task::Annotation(None) => Reaction::Ignore,
        Task::Seen(user, _) | Task::Subscription(user, _) => {
            Reaction::Promote(vec![Task::Meta(user.clone())])
        }
        Task::Meta(user) if failure == Failure::Other => {
            Reaction::Promote(vec![Task::User(user.clone())])
        }
        Task::Meta(_) | Task::Unmailbox(_) | Task::User(_) | Task::Unuser(_) => Reaction::SetAside,
    }
}

/// User mode for each owner; the shared mailboxes among them once more for themselves.
fn promote_mailboxes(names: &[MailboxName], ownership: &impl Ownership) -> Reaction {
    let mut users = BTreeSet::new();
    let mut shared = Vec::new();
    for name in names {
        match ownership.owner_of(name) {
            Some(user) => {
                users.insert(user);
            }
            None => shared.push(name.clone()),
        }
    }
    if users.is_empty() {
        return Reaction::SetAside;
    }
    let shared = (!shared.is_empty()).then_some(Task::Mailboxes(shared));
    Reaction::Promote(
        shared
            .into_iter()
            .chain(users.into_iter().map(Task::User))
            .collect(),
    )
}

/// Those whom repeated failures have set aside, and when each is tried again.
///
/// Times are durations since any fixed moment, from a clock that does not jump.
#[derive(Clone, Debug)]
pub struct Quarantine<K> {
    first_delay: Duration,
    longest_delay: Duration,
    entries: HashMap<K, Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    failures: u32,
    due: Duration,
}

impl<K: Hash + Eq + Clone> Quarantine<K> {
    /// An empty quarantine: the first delay doubles with every failure up to the longest.
    pub fn new(first_delay: Duration, longest_delay: Duration) -> Quarantine<K> {
        Quarantine {
            first_delay,
            longest_delay,
            entries: HashMap::new(),
        }
    }

    /// Notes a failure; returns the delay until the next attempt.
    pub fn failed(&mut self, subject: &K, now: Duration) -> Duration {
        let failures = self
            .entries
            .get(subject)
            .map_or(1, |entry| entry.failures.saturating_add(1));
        let factor = 1_u32.checked_shl(failures - 1).unwrap_or(u32::MAX);
        let delay = self
            .first_delay
            .saturating_mul(factor.max(1))
            .min(self.longest_delay);
        let due = now.saturating_add(delay);
        self.entries
            .insert(subject.clone(), Entry { failures, due });
        delay
    }

    /// Notes a success.
    pub fn succeeded(&mut self, subject: &K) {
        self.entries.remove(subject);
    }

    /// Whether the subject must wait.
    pub fn holds(&self, subject: &K, now: Duration) -> bool {
        self.entries
            .get(subject)
            .is_some_and(|entry| entry.due > now)
    }

    /// When the subject is tried again, if it is set aside.
    pub fn due(&self, subject: &K) -> Option<Duration> {
        self.entries.get(subject).map(|entry| entry.due)
    }

    /// Who is set aside, and how often each has failed.
    pub fn subjects(&self) -> impl Iterator<Item = (&K, u32)> {
        self.entries
            .iter()
            .map(|(subject, entry)| (subject, entry.failures))
    }
}

#[cfg(test)]
mod tests;
