//! Work that goes on over new connections when one is lost, and by several connections at once.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::client::cache::{Memory, SyncCache};
use crate::client::connect::{Backoff, ConnectError, Connected, Connector};
use crate::client::error::SyncError;
use crate::client::local::Local;
use crate::client::session::{Session, Shared};
use crate::mail::{MailboxName, UserId};
use crate::plan::log::Failure;
use crate::service::notify;

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

/// How connections are made and remade.
#[derive(Clone, Debug)]
pub struct Dialer {
    /// Where to.
    pub connector: Connector,
    /// Give up after the first failure (`-o`).
    pub once: bool,
    /// Longest pause between attempts.
    pub longest_pause: Duration,
}

/// Time that one attempt to connect and log in may take before the service manager asks.
const LONGEST_LOGIN: Duration = Duration::from_secs(120);

impl Dialer {
    /// Connects, trying again with growing pauses (algorithm §10.4).
    ///
    /// # Errors
    /// If trying again cannot help or is not wanted.
    pub async fn dial(&self, shared: &Shared) -> Result<Connected, WorkerError> {
        let mut backoff = Backoff::new(self.longest_pause);
        let name = self.connector.name();
        notify::waiting(&format!("connecting to {name}"), LONGEST_LOGIN);
        loop {
            shared.go_on()?;
            let error = match self.connector.connect().await {
                Ok(connected) => {
                    notify::ready();
                    notify::status(&format!("replicating to {name}"));
                    return Ok(connected);
                }
                Err(error) => error,
            };
            tracing::error!("{name}: {error}");
            if !error.can_pass() || self.once {
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
            shared.stop.sleep(pause).await?;
        }
    }

    /// Connects and opens what a session needs.
    ///
    /// # Errors
    /// If that is not possible.
    pub async fn session(&self, shared: &Arc<Shared>) -> Result<Session, WorkerError> {
        let connected = self.dial(shared).await?;
        let local = Local::open(Arc::clone(&shared.store))?;
        let memory = match open_cache(shared)? {
            Some(cache) => Memory::in_file(cache),
            None if shared.settings.rolling => Memory::of_session(),
            None => Memory::default(),
        };
        Ok(Session::new(
            Arc::clone(shared),
            local,
            connected.peer,
            connected.scripts_are_messages,
            memory,
        ))
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

fn open_cache(shared: &Shared) -> Result<Option<SyncCache>, SyncError> {
    let Some(path) = &shared.settings.cache_path else {
        return Ok(None);
    };
    let store = &shared.store;
    let backend = store.backend(store.config.databases.sync_cache);
    SyncCache::open(&store.disk, path, backend)
}

/// How often one item may cost the connection before it is given up.
const LOST_CONNECTIONS: u32 = 4;

/// Replicates an item. If the connection breaks, everything is repeated over a new one, mailbox
/// by mailbox, so that one that kills the replica's process is found out and left aside.
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
    for _ in 0..LOST_CONNECTIONS {
        let result = match item {
            Item::User(user) => session.user(user).await,
            Item::Mailboxes(names) => session.mailboxes(names).await,
            Item::Meta(user) => session.meta(user).await,
        };
        match result {
            Err(SyncError::Interrupted) => return Err(SyncError::Interrupted.into()),
            Err(error) if error.is_disconnection() => {
                tracing::error!("{error}");
                lost = Some(error);
                dialer.redial(session).await?;
                session.be_careful();
            }
            Ok(()) => return Ok(lost.map_or(Ok(()), |error| session.unless_suspects(error))),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Err(lost.unwrap_or(SyncError::Interrupted)))
}

/// Items that several connections share.
#[derive(Debug)]
pub struct Queue {
    items: Mutex<VecDeque<Item>>,
    failed: AtomicBool,
}

impl Queue {
    /// A queue of these.
    pub fn new(items: impl IntoIterator<Item = Item>) -> Queue {
        Queue {
            items: Mutex::new(items.into_iter().collect()),
            failed: AtomicBool::new(false),
        }
    }

    fn next(&self) -> Option<Item> {
        self.items.lock().ok()?.pop_front()
    }

    /// Whether something failed.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }
}

/// Works on a queue over `jobs` connections. `skip_locked` items whose lock is taken are no
/// failures.
///
/// # Errors
/// If no connection could be made at all.
pub fn work(
    dialer: &Dialer,
    shared: &Arc<Shared>,
    queue: &Queue,
    jobs: u8,
    skip_locked: bool,
) -> Result<(), WorkerError> {
    let run = || -> Result<(), WorkerError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| SyncError::Io {
                what: "cannot start the runtime".to_owned(),
                source,
            })?;
        runtime.block_on(work_on(dialer, shared, queue, skip_locked))
    };
    if jobs <= 1 {
        return run();
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs).map(|_| scope.spawn(run)).collect();
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

/// Users about whom the replica is asked before it is their turn.
const ASK_AHEAD: usize = 16;

async fn work_on(
    dialer: &Dialer,
    shared: &Arc<Shared>,
    queue: &Queue,
    skip_locked: bool,
) -> Result<(), WorkerError> {
    let mut session = dialer.session(shared).await?;
    let mut coming = VecDeque::new();
    loop {
        while coming.len() < ASK_AHEAD
            && let Some(item) = queue.next()
        {
            // What is not asked now because the connection breaks is asked when its turn comes.
            if let Item::User(user) = &item
                && let Err(error) = session.ask_ahead(user).await
            {
                tracing::debug!("{user} is asked later: {error}");
            }
            coming.push_back(item);
        }
        let Some(item) = coming.pop_front() else {
            break;
        };
        shared.go_on()?;
        let result = match replicate(dialer, &mut session, &item).await {
            Ok(result) => result,
            Err(error) => {
                queue.fail();
                return Err(error);
            }
        };
        match result {
            Ok(()) => {}
            Err(error) if skip_locked && error.failure() == Failure::Locked => {
                shared
                    .reporter
                    .notice(&format!("Skipping locked {}", describe(&item)));
            }
            Err(error) => {
                queue.fail();
                let text = bail_out(&item);
                tracing::error!("{text} {error}");
                shared.reporter.notice(&format!("{text} {error}"));
            }
        }
        session.forget_staged().await;
    }
    // The work is done; that the farewell is not answered changes nothing.
    if let Err(error) = session.peer.exit().await {
        tracing::debug!("at the end of the session: {error}");
    }
    Ok(())
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
