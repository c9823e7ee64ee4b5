//! Rolling mode: the sync log, again and again (algorithm §9, §10).

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tracing::Instrument;

use crate::client::activity::Sent;
use crate::client::crew::{Crew, SharedRun};
use crate::client::error::SyncError;
use crate::client::jobs::Jobs;
use crate::client::log_run::{LogRun, Owners, Run};
use crate::client::renewal::{Renewal, Setup};
use crate::client::requeue::Requeue;
use crate::client::session::{Session, Shared};
use crate::client::summary::Summary;
use crate::client::watch::LogWatch;
use crate::client::worker::{Dialer, Target, WorkerError};
use crate::plan::log::{Task, merge};
use crate::protocol::run_id::RunId;
use crate::service::watchdog::Watchdog;
use crate::service::{event, notify};
use crate::spool::synclog::WorkFile;

/// How the log is processed.
#[derive(Clone, Debug)]
pub struct Rhythm {
    /// Shortest time from the beginning of one run to that of the next.
    pub delay: Duration,
    /// File whose appearance ends the program.
    pub shutdown_file: Option<PathBuf>,
    /// One run only.
    pub once: bool,
    /// Connections that a run may use at a time.
    pub jobs: Jobs,
}

impl Rhythm {
    /// A run begins so many times later than the one before as that one took: changes that come one
    /// after the other share what a run costs both sides, and one that comes alone need not wait.
    const SHARE: u32 = 10;

    /// For more than the delay that was asked for, nothing waits longer than this.
    const PATIENCE: Duration = Duration::from_millis(500);

    /// Shortest time from the beginning of a run that took so long to that of the next.
    fn interval_after(&self, taken: Duration) -> Duration {
        taken
            .saturating_mul(Self::SHARE)
            .min(Self::PATIENCE)
            .max(self.delay)
    }
}

/// What the last runs took. The shortest of them counts: one that was held up says nothing about
/// how much there is to do.
#[derive(Debug, Default)]
struct LastRuns([Duration; 3]);

impl LastRuns {
    /// Notes what a run took; the time that counts.
    fn note(&mut self, taken: Duration) -> Duration {
        self.0.rotate_left(1);
        if let Some(last) = self.0.last_mut() {
            *last = taken;
        }
        self.0.iter().min().copied().unwrap_or_default()
    }
}

/// Longest sleep between two looks at the log.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// Rolling replication.
#[derive(Debug)]
pub struct Rolling {
    shared: Arc<Shared>,
    dialer: Dialer,
    renewal: Renewal,
    /// Where the present connection leads to.
    target: Target,
    rhythm: Rhythm,
    last_runs: LastRuns,
    log: PathBuf,
    work_file: PathBuf,
    watch: LogWatch,
    /// Where entries wait that could not be replicated.
    requeue: Arc<Mutex<Requeue>>,
    /// Connections beside the first.
    crew: Crew,
}

impl Rolling {
    /// Prepares to process the log of the channel. What comes from `renewal` replaces `setup`;
    /// `watchdog` watches over all connections but the first.
    pub fn new(setup: Setup, dialer: Dialer, renewal: Renewal, watchdog: Watchdog) -> Rolling {
        let Setup {
            shared,
            rhythm,
            target,
        } = setup;
        let (log, work_file) = logs_of(&shared);
        let requeue = Requeue::new(shared.store.disk.clone(), log.clone());
        Rolling {
            watch: LogWatch::new(&log),
            requeue: Arc::new(Mutex::new(requeue)),
            crew: Crew::new(watchdog),
            dialer,
            renewal,
            target,
            rhythm,
            last_runs: LastRuns::default(),
            log,
            work_file,
            shared,
        }
    }

    fn requeue(&self) -> MutexGuard<'_, Requeue> {
        self.requeue.lock().unwrap_or_else(PoisonError::into_inner)
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
        loop {
            if self.shared.stop.is_requested() {
                return self.end(session).await;
            }
            if let Some(setup) = self.renewal.take()
                && self.renew(setup, &mut session)?
            {
                self.dialer.redial(&mut session).await?;
            }
            self.dialer.replace_if_old(&mut session).await?;
            let run_start = Instant::now();
            let written_back = self.requeue().begin_run();
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
                        let written = self.requeue().written();
                        self.watch.ignore_own(written);
                    }
                    Run::Lost if self.rhythm.once => return Ok(()),
                    Run::Lost => {
                        self.crew.dismiss();
                        self.dialer.redial(&mut session).await?;
                        continue;
                    }
                }
            }
            if self.rhythm.once {
                return self.end(session).await;
            }
            let taken = run_start.elapsed();
            let usual = self.last_runs.note(taken);
            let rest = self.rhythm.interval_after(usual).saturating_sub(taken);
            self.shared.stop.sleep(rest).await?;
            self.wait_for_news(&session).await?;
        }
    }

    /// Waits until the log has something new, something that was put aside is due, or it is
    /// time to replace the session or the setup.
    async fn wait_for_news(&mut self, session: &Session) -> Result<(), SyncError> {
        loop {
            if self.watch.has_news() {
                return Ok(());
            }
            self.crew.dismiss_idle();
            let due = self.requeue().time_left();
            if due == Some(Duration::ZERO) {
                return Ok(());
            }
            let left = session.time_left();
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
        self.requeue()
            .write_to(setup.shared.store.disk.clone(), self.log.clone());
        self.crew.dismiss();
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
        self.rhythm.once = true;
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
        let result = self
            .process(session, work, summary.run.clone())
            .instrument(span.clone())
            .await;
        let has_ended = matches!(result, Ok((Run::Done, _)));
        let by_others = result.as_ref().map_or(Sent::default(), |(_, sent)| *sent);
        let set_aside = self.requeue().set_aside_count();
        self.shared.activity.run_ended(summary.lag(), set_aside);
        let sent = session.peer.sent.and(by_others);
        span.in_scope(|| summary.tell(&self.shared, sent, has_ended));
        session.end_run().await;
        notify::status(&self.shared.status());
        result.map(|(run, _)| run)
    }

    async fn process(
        &mut self,
        session: &mut Session,
        work: &WorkFile,
        run: RunId,
    ) -> Result<(Run, Sent), WorkerError> {
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
        let cohorts = cohorts.iter().map(|cohort| cohort.tasks().collect());
        let requeue = Arc::clone(&self.requeue);
        let run = Arc::new(SharedRun::new(
            run,
            requeue,
            self.rhythm.delay,
            cohorts.collect(),
        ));
        let (result, sent_by_others) = self
            .crew
            .work(&run, session, &self.dialer, self.rhythm.jobs)
            .await;
        if let Run::Lost = result? {
            return Ok((Run::Lost, sent_by_others));
        }
        let result = self.locked_ones(session, run.take_locked()).await?;
        Ok((result, sent_by_others))
    }

    /// What was locked when it was its turn comes at the end of the run. It is only waited for if
    /// nothing else comes after this run.
    async fn locked_ones(
        &mut self,
        session: &mut Session,
        tasks: Vec<Task>,
    ) -> Result<Run, WorkerError> {
        session.wait_for_locks(self.rhythm.once);
        let mut end = LogRun {
            session: &mut *session,
            dialer: &self.dialer,
            requeue: &self.requeue,
            delay: self.rhythm.delay,
            locked: None,
        };
        let result = end.carry_out(tasks).await;
        session.wait_for_locks(false);
        result
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_follow_each_other_as_fast_as_they_are_short() {
        let interval = |delay, taken| {
            let rhythm = Rhythm {
                delay: Duration::from_millis(delay),
                shutdown_file: None,
                once: false,
                jobs: Jobs::exactly(1),
            };
            rhythm
                .interval_after(Duration::from_millis(taken))
                .as_millis()
        };
        assert_eq!(interval(0, 0), 0);
        assert_eq!(interval(0, 6), 60);
        assert_eq!(interval(0, 80), 500);
        assert_eq!(interval(100, 6), 100);
        assert_eq!(interval(3000, 80), 3000);
    }

    #[test]
    fn a_run_that_was_held_up_does_not_count() {
        let mut runs = LastRuns::default();
        let usual = [6, 6, 6, 90, 8, 40, 50, 60]
            .map(|taken| runs.note(Duration::from_millis(taken)).as_millis());
        assert_eq!(usual, [0, 0, 6, 6, 6, 8, 8, 40]);
    }
}
