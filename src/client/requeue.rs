//! Entries of the log that could not be replicated: they go back into it, and wait until they are
//! due.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::client::error::SyncError;
use crate::mail::MailboxName;
use crate::plan::log::{Quarantine, Task};
use crate::spool::disk::Disk;
use crate::spool::synclog::{self, LogItem};

/// Delay before what was set aside is tried again, first and at most.
const FIRST_RETRY: Duration = Duration::from_secs(5);
const LAST_RETRY: Duration = Duration::from_secs(1800);
/// Delay before what another process has locked is tried again.
const LOCKED_RETRY: Duration = Duration::from_secs(1);

/// What waits, and where it is written. Times are since it was made.
#[derive(Debug)]
pub struct Requeue {
    disk: Disk,
    log: PathBuf,
    start: Instant,
    quarantine: Quarantine<LogItem>,
    /// When what is locked is tried again.
    locked_until: Vec<(LogItem, Duration)>,
    /// Octets put back into the log since it was last taken.
    written: u64,
    /// When the first of what was put back is due.
    due: Option<Duration>,
}

impl Requeue {
    /// Nothing waits yet; what will goes back into `log`.
    pub fn new(disk: Disk, log: PathBuf) -> Requeue {
        Requeue {
            disk,
            log,
            start: Instant::now(),
            quarantine: Quarantine::new(FIRST_RETRY, LAST_RETRY),
            locked_until: Vec::new(),
            written: 0,
            due: None,
        }
    }

    /// From now on what cannot be replicated goes back into this log.
    pub fn write_to(&mut self, disk: Disk, log: PathBuf) {
        (self.disk, self.log) = (disk, log);
    }

    /// The log is about to be taken. Returns how many octets of it were put back.
    pub fn begin_run(&mut self) -> u64 {
        self.due = None;
        std::mem::take(&mut self.written)
    }

    /// Octets put back into the log since it was last taken.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// How long until the first of what was put back is due.
    pub fn time_left(&self) -> Option<Duration> {
        let now = self.start.elapsed();
        self.due.map(|due| due.saturating_sub(now))
    }

    /// How many entries are set aside.
    pub fn set_aside_count(&self) -> usize {
        self.quarantine.subjects().count()
    }

    /// Takes out of a task what waits and is not due yet; that goes back to the log.
    ///
    /// # Errors
    /// If the log cannot be written.
    pub fn without_those_on_hold(&mut self, task: Task) -> Result<Option<Task>, SyncError> {
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

    /// A task was done: its entries do not wait any more.
    pub fn succeeded(&mut self, task: &Task) {
        for item in task.log_items() {
            self.quarantine.succeeded(&item);
        }
    }

    /// Puts a task back of which something is locked, to be tried again in a moment, or when runs
    /// begin so far apart.
    ///
    /// # Errors
    /// If the log cannot be written.
    pub fn defer(&mut self, task: &Task, between_runs: Duration) -> Result<(), SyncError> {
        let due = self.start.elapsed() + LOCKED_RETRY.max(between_runs);
        let items = task.log_items();
        self.locked_until
            .extend(items.iter().map(|item| (item.clone(), due)));
        self.write_back(&items, due)
    }

    /// Puts a task back that failed, to be tried again after a delay that grows. Returns the delay.
    ///
    /// # Errors
    /// If the log cannot be written.
    pub fn set_aside(&mut self, task: &Task) -> Result<Duration, SyncError> {
        let now = self.start.elapsed();
        let mut delay = Duration::ZERO;
        for item in task.log_items() {
            delay = self.quarantine.failed(&item, now);
        }
        self.write_back(&task.log_items(), now + delay)?;
        Ok(delay)
    }

    /// Puts entries back into the log: whoever processes it next finds them there.
    fn write_back(&mut self, items: &[LogItem], due: Duration) -> Result<(), SyncError> {
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
        let mut lines = Vec::new();
        items.iter().for_each(|item| item.write(&mut lines));
        self.written += lines.len() as u64;
        Ok(synclog::append(&self.disk, &self.log, items)?)
    }
}
