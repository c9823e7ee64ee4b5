//! Further connections that share a run of the log with the first one. Each has a thread of its
//! own, so that nobody waits for what another one waits for.

use std::collections::VecDeque;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::client::activity::Sent;
use crate::client::jobs::Jobs;
use crate::client::log_run::{LogRun, Run};
use crate::client::requeue::Requeue;
use crate::client::session::{Session, Shared};
use crate::client::worker::{Dialer, LOOK_FOR_WORK, WorkerError};
use crate::plan::log::Task;
use crate::protocol::run_id::RunId;
use crate::service::watchdog::{Heartbeat, Watchdog};

/// From so many cohorts for each connection on it is worth to make one more: logging in takes
/// longer than a cohort or two.
const COHORTS_PER_CONNECTION: usize = 4;

/// How long a connection is kept that no run has use for.
const IDLE: Duration = Duration::from_secs(60);

/// What several connections share in one run. The tasks of a cohort are done by one of them, in
/// their order.
#[derive(Debug)]
pub struct SharedRun {
    /// The name of the run.
    pub run: RunId,
    /// Where entries wait that could not be replicated.
    pub requeue: Arc<Mutex<Requeue>>,
    /// Shortest time from the beginning of one run to that of the next.
    pub delay: Duration,
    cohorts: Mutex<VecDeque<Vec<Task>>>,
    /// Tasks of which something was locked.
    locked: Mutex<Vec<Task>>,
}

impl SharedRun {
    /// A run with these cohorts.
    pub fn new(
        run: RunId,
        requeue: Arc<Mutex<Requeue>>,
        delay: Duration,
        cohorts: Vec<Vec<Task>>,
    ) -> SharedRun {
        SharedRun {
            run,
            requeue,
            delay,
            cohorts: Mutex::new(cohorts.into()),
            locked: Mutex::default(),
        }
    }

    fn next(&self) -> Option<Vec<Task>> {
        let mut cohorts = self.cohorts.lock().unwrap_or_else(PoisonError::into_inner);
        cohorts.pop_front()
    }

    fn left(&self) -> usize {
        let cohorts = self.cohorts.lock().unwrap_or_else(PoisonError::into_inner);
        cohorts.len()
    }

    /// Waits until there is nothing more to begin.
    async fn nothing_left(&self) {
        while self.left() > 0 {
            tokio::time::sleep(LOOK_FOR_WORK).await;
        }
    }

    /// Nobody begins anything more: the work file will be processed again.
    fn give_up(&self) {
        let mut cohorts = self.cohorts.lock().unwrap_or_else(PoisonError::into_inner);
        cohorts.clear();
    }

    /// What was locked so far.
    pub fn take_locked(&self) -> Vec<Task> {
        let mut locked = self.locked.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut locked)
    }

    /// Does one cohort after the other over one connection, until there are no more.
    ///
    /// # Errors
    /// If no connection is to be had any more, or the log cannot be written.
    pub async fn work(&self, session: &mut Session, dialer: &Dialer) -> Result<Run, WorkerError> {
        let mut locked = Vec::new();
        let mut result = Ok(Run::Done);
        while let Some(tasks) = self.next() {
            let mut run = LogRun {
                session: &mut *session,
                dialer,
                requeue: &self.requeue,
                delay: self.delay,
                locked: Some(&mut locked),
            };
            result = run.carry_out(tasks).await;
            if !matches!(result, Ok(Run::Done)) {
                self.give_up();
                break;
            }
        }
        let mut all = self.locked.lock().unwrap_or_else(PoisonError::into_inner);
        all.append(&mut locked);
        result
    }
}

/// The further connections.
#[derive(Debug)]
pub struct Crew {
    hands: Vec<Hand>,
    watchdog: Watchdog,
    used: Instant,
    /// Until when no connection is tried, because the replica did not take another one.
    alone_until: Instant,
}

/// How one connection ended its part of a run, and what it sent.
type Report = (Result<Run, WorkerError>, Sent);

/// A part of a run for one connection, and where to report.
struct Order {
    run: Arc<SharedRun>,
    span: tracing::Span,
    report: oneshot::Sender<Report>,
}

/// One further connection. It ends when this is dropped.
#[derive(Debug)]
struct Hand {
    orders: mpsc::Sender<Order>,
}

impl Crew {
    /// No further connection yet.
    pub fn new(watchdog: Watchdog) -> Crew {
        Crew {
            hands: Vec::new(),
            watchdog,
            used: Instant::now(),
            alone_until: Instant::now(),
        }
    }

    /// Ends all connections: they led elsewhere, or are too old.
    pub fn dismiss(&mut self) {
        self.hands.clear();
    }

    /// Ends the connections if no run had use for them for long.
    pub fn dismiss_idle(&mut self) {
        if self.used.elapsed() > IDLE {
            self.dismiss();
        }
    }

    /// Does a run over `session` and as many of the `jobs` connections as it is worth. Returns
    /// how it ended, and what the others sent.
    ///
    /// # Errors
    /// If no connection is to be had any more, or the log cannot be written.
    pub async fn work(
        &mut self,
        run: &Arc<SharedRun>,
        session: &mut Session,
        dialer: &Dialer,
        jobs: Jobs,
    ) -> (Result<Run, WorkerError>, Sent) {
        let others = usize::from(jobs.towards(session.peer.answer_time) - 1);
        let worth = match Instant::now() < self.alone_until {
            true => 0,
            false => (run.left() / COHORTS_PER_CONNECTION).min(others),
        };
        while self.hands.len() < worth {
            match Hand::new(
                Arc::clone(&session.shared),
                dialer.clone(),
                self.watchdog.heartbeat(),
            ) {
                Ok(hand) => self.hands.push(hand),
                Err(error) => {
                    tracing::warn!("going on with fewer connections: {error}");
                    break;
                }
            }
        }
        let mut reports = Vec::new();
        for hand in self.hands.iter().take(run.left().saturating_sub(1)) {
            self.used = Instant::now();
            reports.push(hand.order(run));
        }
        let mut result = run.work(session, dialer).await;
        let mut sent = Sent::default();
        let mut all_there = true;
        for report in reports {
            match report.await {
                Ok((ended, its)) => {
                    sent = sent.and(its);
                    result = match result {
                        Ok(Run::Done) => ended,
                        result => result,
                    };
                }
                // It could not connect, and has left its part to the others.
                Err(_) => all_there = false,
            }
        }
        if !all_there {
            self.hands.clear();
            self.alone_until = Instant::now() + IDLE;
        }
        (result, sent)
    }
}

impl Hand {
    /// Starts the thread, which connects when it has something to do.
    fn new(shared: Arc<Shared>, dialer: Dialer, heartbeat: Heartbeat) -> std::io::Result<Hand> {
        let (orders, inbox) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || {
                let latch = shared.stop.latch().clone();
                let mut session = None;
                while let Ok(Order { run, span, report }) = inbox.recv() {
                    let ended = heartbeat.work(&latch, || {
                        let work = its_part(&run, &mut session, &shared, &dialer);
                        span.in_scope(|| runtime.block_on(heartbeat.watch(work)))
                    });
                    let Some(ended) = ended else { return };
                    if report.send(ended).is_err() {
                        tracing::debug!("nobody waits for the end of the run");
                    }
                }
                if let Some(session) = session
                    && let Err(error) = runtime.block_on(session.peer.exit())
                {
                    tracing::debug!("at the end of the session: {error}");
                }
            })?;
        Ok(Hand { orders })
    }

    /// Lets it take part in a run. If it has gone, so has the other end of what is returned.
    fn order(&self, run: &Arc<SharedRun>) -> oneshot::Receiver<Report> {
        let (report, receiver) = oneshot::channel();
        let order = Order {
            run: Arc::clone(run),
            span: tracing::Span::current(),
            report,
        };
        if self.orders.send(order).is_err() {
            tracing::debug!("a connection has gone");
        }
        receiver
    }
}

/// One connection's part of a run; `None` if the replica does not take another connection.
async fn its_part(
    run: &SharedRun,
    session: &mut Option<Session>,
    shared: &Arc<Shared>,
    dialer: &Dialer,
) -> Option<Report> {
    if session.is_none() {
        let connected = tokio::select! {
            connected = dialer.another_session(shared) => connected,
            () = run.nothing_left() => return Some((Ok(Run::Done), Sent::default())),
        };
        match connected {
            Ok(connected) => *session = Some(connected?),
            Err(error) => return Some((Err(error.into()), Sent::default())),
        }
    }
    let session = session.as_mut()?;
    let before = session.peer.sent;
    session.begin_run(&run.run);
    let ended = run.work(session, dialer).await;
    session.end_run().await;
    Some((ended, session.peer.sent.since(before)))
}
