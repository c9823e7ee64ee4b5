//! One connection at work on a run of the log: task after task, and what becomes of those that
//! fail (algorithm §9.3).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::client::error::SyncError;
use crate::client::requeue::Requeue;
use crate::client::session::{Session, Shared};
use crate::client::worker::{Dialer, Item, WorkerError, replicate};
use crate::mail::{MailboxName, Namespace, UserId};
use crate::plan::log::{Failure, Ownership, Reaction, Task, reaction};
use crate::service::event;
use crate::spool::quota::QuotaRoot;
use crate::spool::synclog::LogItem;

/// How a run of the log ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// Everything was done or put aside.
    Done,
    /// The connection was lost; the work file is to be processed again.
    Lost,
}

/// One connection at work on a run.
#[derive(Debug)]
pub struct LogRun<'a> {
    /// The connection.
    pub session: &'a mut Session,
    /// How to make another one.
    pub dialer: &'a Dialer,
    /// Where entries wait that could not be replicated.
    pub requeue: &'a Mutex<Requeue>,
    /// Shortest time from the beginning of one run to that of the next.
    pub delay: Duration,
    /// Tasks of which something was locked, to be tried again at the end of the run; `None` at the
    /// end of it.
    pub locked: Option<&'a mut Vec<Task>>,
}

impl LogRun<'_> {
    /// Carries out tasks one after the other.
    ///
    /// # Errors
    /// If no connection is to be had any more, or the log cannot be written.
    pub async fn carry_out(&mut self, mut tasks: Vec<Task>) -> Result<Run, WorkerError> {
        let mut next = 0;
        while let Some(task) = tasks.get(next).cloned() {
            next += 1;
            let Some(task) = self.requeue().without_those_on_hold(task)? else {
                continue;
            };
            self.dialer.replace_if_old(self.session).await?;
            let Err(error) = self.perform(&task).await? else {
                self.requeue().succeeded(&task);
                if task.is_followed_by_restart() {
                    self.session.forget_staged();
                }
                continue;
            };
            for (task, failure) in failed_parts(task, &error) {
                let more = match self.react(&task, failure, &error)? {
                    Some(more) => more,
                    None => return Ok(Run::Lost),
                };
                for larger in more {
                    if !tasks.get(next..).is_some_and(|rest| rest.contains(&larger)) {
                        tasks.push(larger);
                    }
                }
            }
        }
        Ok(Run::Done)
    }

    fn requeue(&self) -> MutexGuard<'_, Requeue> {
        self.requeue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shared(&self) -> &Shared {
        &self.session.shared
    }

    /// Does with a task that failed what the rules say. Returns the tasks that take its place;
    /// `None` if the run is over.
    fn react(
        &mut self,
        task: &Task,
        failure: Failure,
        error: &SyncError,
    ) -> Result<Option<Vec<Task>>, SyncError> {
        let store = self.shared().store.clone();
        let owners = Owners(store.namespace());
        let user = owner_of(task, &owners);
        match reaction(task, failure, &owners) {
            Reaction::Promote(larger) => {
                for larger in &larger {
                    self.tell("Promoting", task, Some(larger), error);
                }
                return Ok(Some(larger));
            }
            Reaction::Defer => match &mut self.locked {
                Some(locked) => locked.push(task.clone()),
                None => {
                    self.tell("Deferred", task, None, error);
                    self.requeue().defer(task, self.delay)?;
                }
            },
            Reaction::SetAside => {
                let delay = self.requeue().set_aside(task)?;
                self.shared().activity.failed();
                tracing::error!(
                    message_id = event::SET_ASIDE,
                    sync_user = user.map(tracing::field::display),
                    sync_mailbox = mailbox_of(task).map(tracing::field::display),
                    sync_verb = verb_of(task),
                    sync_result = "set aside",
                    "{}: set aside for {} s: {error}",
                    describe(task),
                    delay.as_secs()
                );
                self.tell("Set aside", task, None, error);
            }
            Reaction::Ignore => tracing::warn!(
                message_id = event::FAILED,
                sync_user = user.map(tracing::field::display),
                sync_verb = verb_of(task),
                sync_result = "ignored",
                "{}: {error}",
                describe(task)
            ),
            Reaction::Stop => {
                let channel = &self.shared().settings.channel;
                tracing::info!(
                    message_id = event::LOST,
                    "Processing sync log file {} failed: {error}",
                    store.layout.sync_log_work_file(channel).display()
                );
                return Ok(None);
            }
        }
        Ok(Some(Vec::new()))
    }

    /// Carries out a task. A lost connection is one of its errors; only where it is a matter of
    /// several mailboxes is it tried to find the one to blame.
    async fn perform(&mut self, task: &Task) -> Result<Result<(), SyncError>, WorkerError> {
        let item = match task {
            Task::Mailboxes(names) => Item::Mailboxes(names.clone()),
            Task::User(user) => Item::User(user.clone()),
            // Annotations of a mailbox travel with it.
            Task::Annotation(Some(name)) => Item::Mailboxes(vec![name.clone()]),
            task => return Ok(self.perform_small(task).await),
        };
        replicate(self.dialer, self.session, &item).await
    }

    async fn perform_small(&mut self, task: &Task) -> Result<(), SyncError> {
        let session = &mut *self.session;
        match task {
            Task::Mailboxes(names) => session.mailboxes(names).await,
            Task::User(user) => session.user(user).await,
            Task::Meta(user) => session.meta(user).await,
            Task::Quota(root) => session.quota(root).await,
            Task::Annotation(_) => session.server_annotations().await,
            Task::Seen(user, mailbox) => session.seen_of(user, mailbox).await,
            Task::Subscription(user, mailbox) => session.subscription_of(user, mailbox).await,
            Task::Unmailbox(name) => session.unmailbox(name).await,
            Task::Unuser(user) => session.remove_user(user).await,
        }
    }

    fn tell(&self, what: &str, task: &Task, larger: Option<&Task>, error: &SyncError) {
        let mut text = format!("  {what}: {}", describe(task));
        if let Some(larger) = larger {
            text.push_str(&format!(" -> {}", describe(larger)));
        }
        tracing::info!("{} ({error})", text.trim_start());
        self.shared().reporter.action(&text);
    }
}

/// What of a task failed, and how. Of several mailboxes those that are only locked are a matter of
/// their own, and what is up to date is no matter at all.
fn failed_parts(task: Task, error: &SyncError) -> Vec<(Task, Failure)> {
    let failed = error.mailboxes();
    if failed.is_empty() || !matches!(task, Task::Mailboxes(_)) {
        return vec![(task, error.failure())];
    }
    let (locked, others): (Vec<_>, Vec<_>) = failed
        .into_iter()
        .partition(|(_, failure)| *failure == Failure::Locked);
    [(locked, Failure::Locked), (others, Failure::Other)]
        .into_iter()
        .filter(|(failed, _)| !failed.is_empty())
        .map(|(failed, failure)| {
            let names = failed.into_iter().map(|(name, _)| name.clone()).collect();
            (Task::Mailboxes(names), failure)
        })
        .collect()
}

/// A task as its log lines.
fn describe(task: &Task) -> String {
    let lines: Vec<String> = task.log_items().iter().map(LogItem::to_string).collect();
    lines.join(", ")
}

/// The kind of a task, as in the log.
fn verb_of(task: &Task) -> &'static str {
    match task {
        Task::Mailboxes(_) => "MAILBOX",
        Task::Quota(_) => "QUOTA",
        Task::Annotation(_) => "ANNOTATION",
        Task::Seen(..) => "SEEN",
        Task::Subscription(..) => "SUB",
        Task::Unmailbox(_) => "UNMAILBOX",
        Task::Meta(_) => "META",
        Task::User(_) => "USER",
        Task::Unuser(_) => "UNUSER",
    }
}

/// The one mailbox that a task is about.
fn mailbox_of(task: &Task) -> Option<&MailboxName> {
    match task {
        Task::Mailboxes(names) => names.first().filter(|_| names.len() == 1),
        Task::Annotation(name) => name.as_ref(),
        Task::Subscription(_, name) | Task::Unmailbox(name) => Some(name),
        _ => None,
    }
}

/// The user whose things a task is about.
fn owner_of(task: &Task, owners: &Owners<'_>) -> Option<UserId> {
    match task {
        Task::Seen(user, _)
        | Task::Subscription(user, _)
        | Task::Meta(user)
        | Task::User(user)
        | Task::Unuser(user) => Some(user.clone()),
        Task::Quota(root) => owners.owner_of_root(root),
        Task::Mailboxes(names) => names.first().and_then(|name| owners.owner_of(name)),
        Task::Annotation(_) | Task::Unmailbox(_) => {
            mailbox_of(task).and_then(|name| owners.owner_of(name))
        }
    }
}

/// Whose a name is.
#[derive(Debug)]
pub struct Owners<'a>(pub &'a Namespace);

impl Ownership for Owners<'_> {
    fn owner_of(&self, name: &MailboxName) -> Option<UserId> {
        self.0.owner_of(name)
    }

    fn owner_of_root(&self, root: &QuotaRoot) -> Option<UserId> {
        self.0.owner_of(&root.mailbox()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox(name: &str) -> MailboxName {
        MailboxName::parse(name).unwrap()
    }

    #[test]
    fn locked_mailboxes_wait_alone() {
        let locked = SyncError::Locked {
            owner: None,
            why: "a test".to_owned(),
        };
        let broken = SyncError::LostHistory(mailbox("user.a.broken"));
        let task = Task::Mailboxes(
            ["user.a", "user.a.locked", "user.a.broken"]
                .map(mailbox)
                .to_vec(),
        );
        let error = SyncError::Mailboxes {
            failed: vec![
                (mailbox("user.a.locked"), locked),
                (mailbox("user.a.broken"), broken),
            ],
        };
        assert_eq!(error.failure(), Failure::Other);
        assert_eq!(
            failed_parts(task, &error),
            [
                (
                    Task::Mailboxes(vec![mailbox("user.a.locked")]),
                    Failure::Locked
                ),
                (
                    Task::Mailboxes(vec![mailbox("user.a.broken")]),
                    Failure::Other
                ),
            ]
        );
    }

    #[test]
    fn what_is_not_a_matter_of_single_mailboxes_fails_as_a_whole() {
        let task = Task::Mailboxes(["user.a", "user.a.x"].map(mailbox).to_vec());
        let renaming = SyncError::Moved(mailbox("user.a.x")).in_mailbox(&mailbox("user.a.x"));
        assert_eq!(
            failed_parts(task.clone(), &renaming),
            [(task, Failure::Other)]
        );
    }
}
