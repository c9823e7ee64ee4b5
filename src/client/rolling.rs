//! Rolling mode: the sync log, again and again (algorithm §9, §10).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tracing::Instrument;

use crate::client::error::SyncError;
use crate::client::renewal::{Renewal, Setup};
use crate::client::session::{Session, Shared};
use crate::client::summary::Summary;
use crate::client::watch::LogWatch;
use crate::client::worker::{Dialer, Item, Target, WorkerError, replicate};
use crate::mail::{MailboxName, Namespace, UserId};
use crate::plan::log::{Cohort, Ownership, Quarantine, Reaction, Task, merge, reaction};
use crate::service::{event, notify};
use crate::spool::quota::QuotaRoot;
use crate::spool::synclog::{self, LogItem, WorkFile};

/// How the log is processed.
#[derive(Clone, Debug)]
pub struct Rhythm {
    /// Shortest time from the beginning of one run to that of the next.
    pub delay: Duration,
    /// Age at which a session is replaced; zero = never.
    pub session_age: Duration,
    /// File whose appearance ends the program.
    pub shutdown_file: Option<PathBuf>,
    /// One run only.
    pub once: bool,
}

/// Delay before what was set aside is tried again, first and at most.
const FIRST_RETRY: Duration = Duration::from_secs(5);
const LAST_RETRY: Duration = Duration::from_secs(1800);
/// Delay before what another process has locked is tried again.
const LOCKED_RETRY: Duration = Duration::from_secs(1);
/// Longest sleep between two looks at the log.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// Rolling replication over one connection.
#[derive(Debug)]
pub struct Rolling {
    shared: Arc<Shared>,
    dialer: Dialer,
    renewal: Renewal,
    /// Where the present connection leads to.
    target: Target,
    rhythm: Rhythm,
    log: PathBuf,
    work_file: PathBuf,
    watch: LogWatch,
    quarantine: Quarantine<LogItem>,
    /// When what is locked is tried again.
    locked_until: Vec<(LogItem, Duration)>,
    /// Octets put back into the log since it was last taken.
    written_back: u64,
    /// When the first of what was put back is due.
    wake_at: Option<Duration>,
    start: Instant,
}

/// How a run of the log ended.
enum Run {
    /// Everything was done or put aside.
    Done,
    /// The connection was lost; the work file is to be processed again.
    Lost,
}

impl Rolling {
    /// Prepares to process the log of the channel. What comes from `renewal` replaces `setup`.
    pub fn new(setup: Setup, dialer: Dialer, renewal: Renewal) -> Rolling {
        let Setup {
            shared,
            rhythm,
            target,
        } = setup;
        let (log, work_file) = logs_of(&shared);
        Rolling {
            watch: LogWatch::new(&log),
            dialer,
            renewal,
            target,
            rhythm,
            log,
            work_file,
            quarantine: Quarantine::new(FIRST_RETRY, LAST_RETRY),
            locked_until: Vec::new(),
            written_back: 0,
            wake_at: None,
            start: Instant::now(),
            shared,
        }
    }

    /// Runs until the program is asked to end or, with `once`, the log is processed.
    ///
    /// # Errors
    /// If no connection is to be had, or the log cannot be read or written.
    pub async fn run(&mut self) -> Result<(), WorkerError> {
        match self.roll().await {
            Err(WorkerError::Sync(SyncError::Interrupted)) => Ok(()),
            result => result,
        }
    }

    async fn roll(&mut self) -> Result<(), WorkerError> {
        let mut session = self.dialer.session(&self.shared).await?;
        let mut session_start = Instant::now();
        loop {
            if self.shared.stop.is_requested() {
                return self.end(session).await;
            }
            if let Some(setup) = self.renewal.take()
                && self.renew(setup, &mut session)?
            {
                self.dialer.redial(&mut session).await?;
                session_start = Instant::now();
            }
            let age = self.rhythm.session_age;
            if !age.is_zero() && session_start.elapsed() > age {
                match session.restart().await {
                    Ok(()) => tracing::debug!("sync_client RESTART succeeded"),
                    Err(error) => tracing::info!("sync_client RESTART failed: {error}"),
                }
                self.dialer.redial(&mut session).await?;
                session_start = Instant::now();
            }
            let run_start = Instant::now();
            let written_back = std::mem::take(&mut self.written_back);
            self.wake_at = None;
            let work = WorkFile::take(&self.shared.store.disk, &self.log, &self.work_file)
                .map_err(SyncError::from)?;
            if let Some(work) = work {
                // What we put back ourselves says nothing about when the daemons wrote.
                let since = match written_back {
                    0 => began(work.path()),
                    _ => None,
                };
                match self.run_log(&mut session, &work, since).await? {
                    Run::Done => {
                        work.remove().map_err(SyncError::from)?;
                        self.watch.ignore_own(self.written_back);
                    }
                    Run::Lost if self.rhythm.once => return Ok(()),
                    Run::Lost => {
                        self.dialer.redial(&mut session).await?;
                        session_start = Instant::now();
                        continue;
                    }
                }
            }
            if self.rhythm.once {
                return self.end(session).await;
            }
            let rest = self.rhythm.delay.saturating_sub(run_start.elapsed());
            self.shared.stop.sleep(rest).await?;
            self.wait_for_news(session_start).await?;
        }
    }

    /// Waits until the log has something new, something that was put aside is due, or it is
    /// time to replace the session or the setup.
    async fn wait_for_news(&mut self, session_start: Instant) -> Result<(), SyncError> {
        loop {
            if self.watch.has_news() {
                return Ok(());
            }
            let now = self.start.elapsed();
            let due = self.wake_at.map(|due| due.saturating_sub(now));
            if due == Some(Duration::ZERO) {
                return Ok(());
            }
            let age = self.rhythm.session_age;
            let left = (!age.is_zero()).then(|| age.saturating_sub(session_start.elapsed()));
            if left == Some(Duration::ZERO) {
                return Ok(());
            }
            let pause = [Some(LONGEST_SLEEP), due, left]
                .into_iter()
                .flatten()
                .min()
                .unwrap_or(LONGEST_SLEEP);
            tokio::select! {
                () = self.watch.changed() => {}
                () = self.renewal.arrival() => return Ok(()),
                slept = self.shared.stop.sleep(pause) => slept?,
            }
        }
    }

    /// Goes on with another setup; whether that needs another connection.
    fn renew(&mut self, setup: Setup, session: &mut Session) -> Result<bool, SyncError> {
        session.renewed(Arc::clone(&setup.shared))?;
        let (log, work_file) = logs_of(&setup.shared);
        if log != self.log {
            self.watch = LogWatch::new(&log);
            (self.log, self.work_file) = (log, work_file);
        }
        let leads_elsewhere = self.target.connector != setup.target.connector;
        (self.shared, self.target, self.rhythm) = (setup.shared, setup.target, setup.rhythm);
        Ok(leads_elsewhere)
    }

    async fn end(&self, session: Session) -> Result<(), WorkerError> {
        if let Err(error) = session.peer.exit().await {
            tracing::debug!("at the end of the session: {error}");
        }
        Ok(())
    }

    /// Processes a file as a log, once (`-R -f`).
    ///
    /// # Errors
    /// If no connection is to be had, or the file cannot be read.
    pub async fn file(&mut self, path: &Path) -> Result<bool, WorkerError> {
        let mut session = self.dialer.session(&self.shared).await?;
        let work = WorkFile::open(&self.shared.store.disk, path).map_err(SyncError::from)?;
        let run = self.run_log(&mut session, &work, None).await?;
        self.end(session).await?;
        Ok(matches!(run, Run::Done))
    }

    /// Processes the log as a run with a name, and sums it up. `since` is when the oldest entry
    /// was written.
    async fn run_log(
        &mut self,
        session: &mut Session,
        work: &WorkFile,
        since: Option<SystemTime>,
    ) -> Result<Run, WorkerError> {
        let summary = Summary::begin(&self.shared, session.peer.sent, since);
        let span = tracing::error_span!("run", sync_run_id = %summary.run);
        session.begin_run(&summary.run);
        let run = self.process(session, work).instrument(span.clone()).await;
        let has_ended = matches!(run, Ok(Run::Done));
        self.shared
            .activity
            .run_ended(summary.lag(), self.quarantine.subjects().count());
        span.in_scope(|| summary.tell(&self.shared, session.peer.sent, has_ended));
        session.end_run().await;
        notify::status(&self.shared.status());
        run
    }

    async fn process(
        &mut self,
        session: &mut Session,
        work: &WorkFile,
    ) -> Result<Run, WorkerError> {
        if work.is_left_over() {
            tracing::info!("Reprocessing sync log file {}", work.path().display());
        }
        let mut items = Vec::new();
        for item in work.items() {
            match item.map_err(SyncError::from)? {
                Ok(item) => items.push(item),
                Err(error) => tracing::warn!(
                    message_id = event::SKIPPED,
                    "{}: {error}",
                    work.path().display()
                ),
            }
        }
        let cohorts = merge(items, &Owners(self.shared.store.namespace()));
        for cohort in &cohorts {
            if let Run::Lost = self.process_cohort(session, cohort).await? {
                return Ok(Run::Lost);
            }
        }
        Ok(Run::Done)
    }

    async fn process_cohort(
        &mut self,
        session: &mut Session,
        cohort: &Cohort,
    ) -> Result<Run, WorkerError> {
        let mut tasks: Vec<Task> = cohort.tasks().collect();
        let mut next = 0;
        while let Some(task) = tasks.get(next).cloned() {
            next += 1;
            let Some(task) = self.without_those_on_hold(task)? else {
                continue;
            };
            let error = match self.perform(session, &task).await? {
                Ok(()) => {
                    self.succeeded(&task);
                    if task.is_followed_by_restart() {
                        session.forget_staged().await;
                    }
                    continue;
                }
                Err(error) => error,
            };
            let names = Owners(self.shared.store.namespace());
            match reaction(&task, error.failure(), &names) {
                Reaction::Promote(larger) => {
                    for larger in larger {
                        self.tell("Promoting", &task, Some(&larger), &error);
                        if !tasks.get(next..).is_some_and(|rest| rest.contains(&larger)) {
                            tasks.push(larger);
                        }
                    }
                }
                Reaction::Defer => {
                    self.tell("Deferred", &task, None, &error);
                    let due = self.start.elapsed() + LOCKED_RETRY.max(self.rhythm.delay);
                    for item in task.log_items() {
                        self.locked_until.push((item, due));
                    }
                    self.write_back(&task.log_items(), due)?;
                }
                Reaction::SetAside => {
                    let now = self.start.elapsed();
                    let mut delay = Duration::ZERO;
                    for item in task.log_items() {
                        delay = self.quarantine.failed(&item, now);
                    }
                    self.shared.activity.failed();
                    tracing::error!(
                        message_id = event::SET_ASIDE,
                        sync_user = owner_of(&task, &names).map(tracing::field::display),
                        sync_mailbox = mailbox_of(&task).map(tracing::field::display),
                        sync_verb = verb_of(&task),
                        sync_result = "set aside",
                        "{}: set aside for {} s: {error}",
                        describe(&task),
                        delay.as_secs()
                    );
                    self.tell("Set aside", &task, None, &error);
                    self.write_back(&task.log_items(), now + delay)?;
                }
                Reaction::Ignore => tracing::warn!(
                    message_id = event::FAILED,
                    sync_user = owner_of(&task, &names).map(tracing::field::display),
                    sync_verb = verb_of(&task),
                    sync_result = "ignored",
                    "{}: {error}",
                    describe(&task)
                ),
                Reaction::Stop => {
                    tracing::info!(
                        message_id = event::LOST,
                        "Processing sync log file {} failed: {error}",
                        self.work_file.display()
                    );
                    return Ok(Run::Lost);
                }
            }
        }
        Ok(Run::Done)
    }

    /// Carries out a task. A lost connection is one of its errors; only where it is a matter of
    /// several mailboxes is it tried to find the one to blame.
    async fn perform(
        &mut self,
        session: &mut Session,
        task: &Task,
    ) -> Result<Result<(), SyncError>, WorkerError> {
        Ok(match task {
            Task::Mailboxes(names) => {
                let item = Item::Mailboxes(names.clone());
                replicate(&self.dialer, session, &item).await?
            }
            Task::User(user) => {
                let item = Item::User(user.clone());
                replicate(&self.dialer, session, &item).await?
            }
            Task::Meta(user) => session.meta(user).await,
            Task::Quota(root) => session.quota(root).await,
            Task::Annotation(None) => session.server_annotations().await,
            // Annotations of a mailbox travel with it.
            Task::Annotation(Some(name)) => {
                let item = Item::Mailboxes(vec![name.clone()]);
                replicate(&self.dialer, session, &item).await?
            }
            Task::Seen(user, mailbox) => session.seen_of(user, mailbox).await,
            Task::Subscription(user, mailbox) => session.subscription_of(user, mailbox).await,
            Task::Unmailbox(name) => session.unmailbox(name).await,
            Task::Unuser(user) => session.remove_user(user).await,
        })
    }

    /// Takes out of a task what has been set aside and is not due yet; that goes back to the
    /// log.
    fn without_those_on_hold(&mut self, task: Task) -> Result<Option<Task>, SyncError> {
        let now = self.start.elapsed();
        self.locked_until.retain(|(_, due)| *due > now);
        let is_on_hold = |item: &LogItem| {
            self.quarantine.holds(item, now)
                || self.locked_until.iter().any(|(held, _)| held == item)
        };
        let held: Vec<LogItem> = task.log_items().into_iter().filter(is_on_hold).collect();
        if held.is_empty() {
            return Ok(Some(task));
        }
        let rest = match task {
            Task::Mailboxes(names) => {
                let free = |name: &MailboxName| !held.contains(&LogItem::Mailbox(name.clone()));
                let names: Vec<MailboxName> = names.into_iter().filter(free).collect();
                (!names.is_empty()).then_some(Task::Mailboxes(names))
            }
            _ => None,
        };
        for item in held {
            let locked = self.locked_until.iter().find(|(other, _)| *other == item);
            let due = locked.map(|(_, due)| *due).or(self.quarantine.due(&item));
            self.write_back(&[item], due.unwrap_or(now))?;
        }
        Ok(rest)
    }

    fn succeeded(&mut self, task: &Task) {
        for item in task.log_items() {
            self.quarantine.succeeded(&item);
        }
    }

    /// Puts entries back into the log: whoever processes it next finds them there.
    fn write_back(&mut self, items: &[LogItem], due: Duration) -> Result<(), SyncError> {
        self.wake_at = Some(self.wake_at.map_or(due, |earlier| earlier.min(due)));
        let mut lines = Vec::new();
        items.iter().for_each(|item| item.write(&mut lines));
        self.written_back += lines.len() as u64;
        Ok(synclog::append(&self.shared.store.disk, &self.log, items)?)
    }

    fn tell(&self, what: &str, task: &Task, larger: Option<&Task>, error: &SyncError) {
        let mut text = format!("  {what}: {}", describe(task));
        if let Some(larger) = larger {
            text.push_str(&format!(" -> {}", describe(larger)));
        }
        tracing::info!("{} ({error})", text.trim_start());
        self.shared.reporter.action(&text);
    }
}

/// When a log was begun, if the file system knows.
fn began(log: &Path) -> Option<SystemTime> {
    let metadata = std::fs::metadata(log).ok()?;
    metadata.created().or_else(|_| metadata.modified()).ok()
}

/// The log of the channel, and the file to which it is renamed.
fn logs_of(shared: &Shared) -> (PathBuf, PathBuf) {
    let (layout, channel) = (&shared.store.layout, &shared.settings.channel);
    (layout.sync_log(channel), layout.sync_log_work_file(channel))
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
struct Owners<'a>(&'a Namespace);

impl Ownership for Owners<'_> {
    fn owner_of(&self, name: &MailboxName) -> Option<UserId> {
        self.0.owner_of(name)
    }

    fn owner_of_root(&self, root: &QuotaRoot) -> Option<UserId> {
        self.0.owner_of(&root.mailbox()?)
    }
}
