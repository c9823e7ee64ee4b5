//! Work that goes on over new connections when one is lost, and by several connections at once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::client::connect::{Backoff, ConnectError, Connected, Connector};
use crate::client::error::SyncError;
use crate::client::local::Local;
use crate::client::queue::Queue;
use crate::client::session::{Session, Shared};
use crate::client::user::UserUnderWay;
use crate::mail::{MailboxName, UserId};
use crate::plan::log::Failure;
use crate::protocol::run_id::RunId;
use crate::service::watchdog::Watchdog;
use crate::service::{event, notify};

/// What is to be replicated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A user, completely.
    User(UserId),
    /// Mailboxes.
    Mailboxes(Vec<MailboxName>),
    /// A user's meta data.
    Meta(UserId),
}

/// Why the work cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The replica is not to be reached, and nothing is gained by trying on.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The local store cannot be used.
    #[error(transparent)]
    Sync(#[from] SyncError),
}

/// How connections are made and remade. Clones share where they lead to.
#[derive(Clone, Debug)]
pub struct Dialer {
    target: Arc<Mutex<Target>>,
    /// Wakes up those who wait for the next attempt.
    renewed: Arc<Notify>,
    /// Give up after the first failure (`-o`).
    once: bool,
}

/// Where connections lead to.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The replica, and how to log in.
    pub connector: Connector,
    /// Longest pause between attempts.
    pub longest_pause: Duration,
}

/// Time that one attempt to connect and log in may take before the service manager asks.
const LONGEST_LOGIN: Duration = Duration::from_secs(120);

/// For how long a replica that cannot be reached is nobody's concern.
const WORRY_AFTER: Duration = Duration::from_secs(300);

impl Dialer {
    /// A dialer to `target`; with `once` it gives up after the first failure.
    pub fn new(target: Target, once: bool) -> Dialer {
        Dialer {
            target: Arc::new(Mutex::new(target)),
            renewed: Arc::new(Notify::new()),
            once,
        }
    }

    fn target(&self) -> Target {
        let target = self.target.lock().unwrap_or_else(PoisonError::into_inner);
        target.clone()
    }

    /// Lets further connections lead to `target`; whether that is another one than before. Who
    /// waits for the next attempt makes it at once.
    pub fn renew(&self, target: Target) -> bool {
        let mut now = self.target.lock().unwrap_or_else(PoisonError::into_inner);
        let differs = *now != target;
        *now = target;
        self.renewed.notify_waiters();
        differs
    }

    /// Connects, trying again with growing pauses (algorithm §10.4).
    ///
    /// # Errors
    /// If trying again cannot help or is not wanted.
    pub async fn dial(&self, shared: &Shared) -> Result<Connected, WorkerError> {
        let start = Instant::now();
        let mut backoff = Backoff::new(self.target().longest_pause);
        let mut worried = false;
        loop {
            shared.go_on()?;
            let connector = self.target().connector;
            let name = connector.name();
            notify::waiting(&format!("connecting to {name}"), LONGEST_LOGIN);
            let attempt = tokio::select! {
                attempt = connector.connect() => attempt,
                () = shared.stop.requested() => return Err(SyncError::Interrupted.into()),
            };
            let error = match attempt {
                Ok(connected) => {
                    notify::ready();
                    notify::status(&shared.status());
                    tracing::info!(message_id = event::CONNECTED, "connected to {name}");
                    return Ok(connected);
                }
                Err(error) => error,
            };
            let gives_up = !error.can_pass() || self.once;
            if gives_up || (start.elapsed() >= WORRY_AFTER && !worried) {
                worried = true;
                tracing::error!(message_id = event::UNREACHABLE, "{name}: {error}");
            } else {
                tracing::info!(message_id = event::WAITING, "{name}: {error}");
            }
            if gives_up {
                if self.once {
                    eprintln!("Can not connect to server '{name}'");
                }
                return Err(error.into());
            }
            let pause = backoff.next_pause();
            eprintln!(
                "Can not connect to server '{name}', retrying in {} seconds",
                pause.as_secs()
            );
            let pause = pause + Backoff::jitter(pause);
            notify::waiting(
                &format!(
                    "waiting for {name}, next attempt in {} s: {error}",
                    pause.as_secs()
                ),
                pause + LONGEST_LOGIN,
            );
            tokio::select! {
                slept = shared.stop.sleep(pause) => slept?,
                () = self.renewed.notified() => backoff = Backoff::new(self.target().longest_pause),
            }
        }
    }

    /// Connects and opens what a session needs.
    ///
    /// # Errors
    /// If that is not possible.
    pub async fn session(&self, shared: &Arc<Shared>) -> Result<Session, WorkerError> {
        let connected = self.dial(shared).await?;
        Ok(open_session(shared, connected)?)
    }

    /// One more session beside others, if the replica takes another connection: servers limit how
    /// many they serve.
    ///
    /// # Errors
    /// If the local store cannot be opened.
    pub async fn another_session(
        &self,
        shared: &Arc<Shared>,
    ) -> Result<Option<Session>, SyncError> {
        let connector = self.target().connector;
        match connector.connect().await {
            Ok(connected) => open_session(shared, connected).map(Some),
            Err(error) => {
                tracing::info!("going on with fewer connections: {error}");
                Ok(None)
            }
        }
    }

    /// Replaces the connection, between two items of work, if it is as old as connections become
    /// that follow the log. What is under way goes on over the next one.
    ///
    /// # Errors
    /// If no other connection is to be had.
    pub async fn replace_if_old(&self, session: &mut Session) -> Result<(), WorkerError> {
        if session.time_left() != Some(Duration::ZERO) {
            return Ok(());
        }
        match session.take_leave().await {
            Ok(()) => tracing::debug!("sync_client RESTART succeeded"),
            Err(error) => tracing::info!("sync_client RESTART failed: {error}"),
        }
        self.redial(session).await
    }

    /// Replaces a lost connection.
    ///
    /// # Errors
    /// If that is not possible.
    pub async fn redial(&self, session: &mut Session) -> Result<(), WorkerError> {
        let shared = Arc::clone(&session.shared);
        let connected = self.dial(&shared).await?;
        session.reconnected(connected.peer, connected.scripts_are_messages);
        Ok(())
    }
}

fn open_session(shared: &Arc<Shared>, connected: Connected) -> Result<Session, SyncError> {
    Ok(Session::new(
        Arc::clone(shared),
        Local::open(&shared.store, &shared.brief_store)?,
        connected.peer,
        connected.scripts_are_messages,
        shared.memory()?,
    ))
}

/// How often a connection that is being made, or has nothing to do, looks whether it is needed.
pub const LOOK_FOR_WORK: Duration = Duration::from_millis(5);

/// Replicates an item. If the connection breaks, everything is repeated over a new one, mailbox
/// by mailbox, so that one that kills the replica's process is found out and left aside; one that
/// only met with a bad line is tried again.
///
/// # Errors
/// Why the item failed; [`WorkerError`] if no connection is to be had any more.
pub async fn replicate(
    dialer: &Dialer,
    session: &mut Session,
    item: &Item,
) -> Result<Result<(), SyncError>, WorkerError> {
    session.begin_item();
    let mut lost = None;
    loop {
        let result = match item {
            Item::User(user) => session.user(user).await,
            Item::Mailboxes(names) => session.mailboxes(names).await,
            Item::Meta(user) => session.meta(user).await,
        };
        match result {
            Err(SyncError::Interrupted) => return Err(SyncError::Interrupted.into()),
            Err(error) if error.is_disconnection() => {
                tracing::info!(message_id = event::LOST, "{error}");
                dialer.redial(session).await?;
                if !session.suspicion.goes_on_after_loss() {
                    return Ok(Err(error));
                }
                lost = Some(error);
            }
            _ if session.suspicion.gives_second_chance() => {}
            Ok(()) if session.suspicion.has_convicted() => return Ok(lost.map_or(Ok(()), Err)),
            result => return Ok(result),
        }
    }
}

/// Works on a queue over as many connections as it is for, or as the replica takes; `watchdog` sees
/// that each makes progress. With `skip_locked`, items whose lock is taken are no failures.
///
/// # Errors
/// If no connection could be made at all, or the work was cut off.
pub fn work(
    dialer: &Dialer,
    shared: &Arc<Shared>,
    queue: &Queue,
    skip_locked: bool,
    run: &RunId,
    watchdog: &Watchdog,
) -> Result<(), WorkerError> {
    let span = tracing::Span::current();
    let work = |number: u8| -> Result<(), WorkerError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| SyncError::Io {
                what: "cannot start the runtime".to_owned(),
                source,
            })?;
        let _inside = span.enter();
        let work = async {
            let mut session = if number == 0 {
                let session = dialer.session(shared).await;
                let answer_time = session.as_ref().map(|session| session.peer.answer_time);
                queue.answered_within(answer_time.unwrap_or_default());
                session?
            } else if !queue.wants(number).await {
                return Ok(());
            } else {
                let another = tokio::select! {
                    another = dialer.another_session(shared) => another?,
                    () = queue.nothing_left() => None,
                };
                match another {
                    Some(session) => session,
                    None => return Ok(()),
                }
            };
            session.begin_run(run);
            work_on(dialer, session, queue, skip_locked).await
        };
        let heartbeat = watchdog.heartbeat();
        heartbeat.work(shared.stop.latch(), || {
            runtime.block_on(async {
                tokio::select! {
                    result = heartbeat.watch(work) => result,
                    () = shared.stop.overdue() => Err(SyncError::Interrupted.into()),
                }
            })
        })
    };
    let most = queue.jobs().most();
    if most <= 1 {
        return work(0);
    }
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..most)
            .map(|number| scope.spawn(move || work(number)))
            .collect();
        let mut result = Ok(());
        for thread in threads {
            match thread.join() {
                Ok(outcome) => result = result.and(outcome),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        result
    })
}

/// Users to whom everything was sent and of whom answers are due.
const UNDER_WAY: usize = 8;

async fn work_on(
    dialer: &Dialer,
    session: Session,
    queue: &Queue,
    skip_locked: bool,
) -> Result<(), WorkerError> {
    let mut worker = Worker {
        session,
        dialer,
        queue,
        skip_locked,
        under_way: VecDeque::new(),
    };
    let result = worker.run().await;
    if !matches!(
        result,
        Ok(()) | Err(WorkerError::Sync(SyncError::Interrupted))
    ) {
        queue.fail();
    }
    result?;
    // The work is done; that the farewell is not answered changes nothing.
    if let Err(error) = worker.session.peer.exit().await {
        tracing::debug!("at the end of the session: {error}");
    }
    Ok(())
}

/// One connection at work on a queue.
struct Worker<'a> {
    session: Session,
    dialer: &'a Dialer,
    queue: &'a Queue,
    /// Items that another process has locked are no failures.
    skip_locked: bool,
    /// Users whose answers are due, oldest first.
    under_way: VecDeque<UserUnderWay>,
}

impl Worker<'_> {
    async fn run(&mut self) -> Result<(), WorkerError> {
        self.leave_out_unchanged().await;
        let mut coming = VecDeque::new();
        loop {
            if coming.is_empty() {
                notify::status(&self.session.shared.status());
                self.ask_ahead(&mut coming).await;
            }
            let Some(item) = coming.pop_front() else {
                self.end_all().await?;
                if self.queue.is_exhausted() {
                    return self.wait_for_what_is_locked().await;
                }
                // Another connection may still find users with whom it wants help.
                tokio::time::sleep(LOOK_FOR_WORK).await;
                continue;
            };
            self.session.shared.go_on()?;
            match &item {
                Item::User(user) if self.session.has_asked(user) => self.begin(user).await?,
                _ => self.one(&item).await?,
            }
            self.session.forget_staged();
            if self.under_way.len() > UNDER_WAY {
                self.end_oldest().await?;
            }
        }
    }

    /// Finds out which users need not be replicated. Trouble with that only makes the rest longer.
    async fn leave_out_unchanged(&mut self) {
        while let Some(mut share) = self.queue.share() {
            if let Err(error) = self.session.leave_out_unchanged(&mut share.users).await {
                tracing::debug!("not all digests were compared: {error}");
            }
        }
    }

    /// What was locked when it was its turn comes at the end, and is waited for.
    async fn wait_for_what_is_locked(&mut self) -> Result<(), WorkerError> {
        self.session.wait_for_locks(true);
        while let Some(item) = self.queue.put_off_item() {
            self.session.shared.go_on()?;
            self.alone(&item).await?;
            self.session.forget_staged();
        }
        Ok(())
    }

    /// Takes the next items from the queue, and asks the replica about the users among them all at
    /// once: their answers need not be awaited one by one when something large is to be sent.
    async fn ask_ahead(&mut self, coming: &mut VecDeque<Item>) {
        for item in self.queue.some() {
            // What is not asked now because the connection breaks is asked when its turn comes.
            if let Item::User(user) = &item
                && let Err(error) = self.session.ask_ahead(user).await
            {
                tracing::debug!("{user} is asked later: {error}");
            }
            coming.push_back(item);
        }
    }

    /// Sends what differs of a user, without waiting for the answers.
    async fn begin(&mut self, user: &UserId) -> Result<(), WorkerError> {
        self.session.begin_item();
        match self.session.begin_user(user).await {
            Ok(Some(under_way)) => {
                self.under_way.push_back(under_way);
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error) if error.is_disconnection() => self.again(user.clone(), &error).await,
            Err(error) => {
                self.failed(&Item::User(user.clone()), &error);
                Ok(())
            }
        }
    }

    async fn end_oldest(&mut self) -> Result<(), WorkerError> {
        let Some(oldest) = self.under_way.pop_front() else {
            return Ok(());
        };
        let user = oldest.user().clone();
        match self.session.end_user(oldest).await {
            Ok(()) => Ok(()),
            Err(error) if error.is_disconnection() => self.again(user, &error).await,
            Err(error) => {
                self.failed(&Item::User(user), &error);
                Ok(())
            }
        }
    }

    async fn end_all(&mut self) -> Result<(), WorkerError> {
        while !self.under_way.is_empty() {
            self.end_oldest().await?;
        }
        Ok(())
    }

    /// After the connection was lost: everybody whose answers were due is begun anew, one by one,
    /// so that one who kills the replica's process is found out.
    async fn again(&mut self, user: UserId, error: &SyncError) -> Result<(), WorkerError> {
        self.session.shared.go_on()?;
        tracing::info!(message_id = event::LOST, "{error}");
        let lost = std::mem::take(&mut self.under_way);
        let users: Vec<UserId> = lost.iter().map(|lost| lost.user().clone()).collect();
        drop(lost);
        self.dialer.redial(&mut self.session).await?;
        for user in users.into_iter().chain([user]) {
            self.alone(&Item::User(user)).await?;
        }
        Ok(())
    }

    /// Replicates an item while nothing else is under way.
    async fn one(&mut self, item: &Item) -> Result<(), WorkerError> {
        self.end_all().await?;
        self.session.forget_asked();
        self.alone(item).await
    }

    async fn alone(&mut self, item: &Item) -> Result<(), WorkerError> {
        if let Err(error) = replicate(self.dialer, &mut self.session, item).await? {
            self.failed(item, &error);
        }
        Ok(())
    }

    fn failed(&self, item: &Item, error: &SyncError) {
        if self.session.comes_again(error.failure()) {
            self.queue.put_off(item.clone());
            return;
        }
        let reporter = &self.session.shared.reporter;
        if self.skip_locked && error.failure() == Failure::Locked {
            reporter.notice(&format!("Skipping locked {}", describe(item)));
            return;
        }
        self.queue.fail();
        let text = bail_out(item);
        tracing::error!(
            message_id = event::FAILED,
            sync_result = "failed",
            "{text} {error}"
        );
        reporter.notice(&format!("{text} {error}"));
    }
}

fn describe(item: &Item) -> String {
    match item {
        Item::User(user) | Item::Meta(user) => format!("user {user}"),
        Item::Mailboxes(names) => match names.first() {
            Some(name) => format!("mailbox {name}"),
            None => "mailboxes".to_owned(),
        },
    }
}

/// The words of the original (algorithm §10.5).
fn bail_out(item: &Item) -> String {
    match item {
        Item::User(user) => format!("Error from sync_do_user({user}): bailing out!"),
        Item::Meta(user) => format!("Error from sync_do_meta({user}): bailing out!"),
        Item::Mailboxes(_) => "Error from sync_do_mailboxes(): bailing out!".to_owned(),
    }
}
