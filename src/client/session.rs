//! One connection's work: a replica, the local store, and what was learnt of both.

use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::activity::Activity;
use crate::client::cache::{Known, Memory, SyncCache};
use crate::client::error::SyncError;
use crate::client::local::Local;
use crate::client::peer::{Peer, PeerError, Ticket};
use crate::client::report::Reporter;
use crate::client::stop::Stop;
use crate::client::suspicion::Suspicion;
use crate::client::upload::{Questions, Staged, Uploader};
use crate::config::ChannelName;
use crate::mail::{Partition, UserId};
use crate::plan::log::Failure;
use crate::protocol::command::{Get, Scope};
use crate::protocol::run_id::RunId;
use crate::protocol::stream::StreamError;
use crate::spool::SpoolError;
use crate::spool::lock::SyncLock;
use crate::spool::store::Store;

/// What holds for all connections of the process.
#[derive(Debug)]
pub struct Settings {
    /// The channel.
    pub channel: ChannelName,
    /// Name of the replica, as it appears in lock names.
    pub server: String,
    /// How far changes of the mailbox list reach (`-L`).
    pub scope: Scope,
    /// Force the master's state upon the replica (`-O`).
    pub force: bool,
    /// The partition for everything (`-p`).
    pub partition: Option<Partition>,
    /// Do not wait for a sync lock (`-N`).
    pub skip_locked: bool,
    /// Age at which a connection that follows the log is replaced (`-t`); zero = never.
    pub session_age: Duration,
    /// Send nothing that changes the replica.
    pub dry_run: bool,
    /// Most messages of one update.
    pub batch_size: u32,
    /// The process follows the sync log, so that it learns of most changes itself.
    pub rolling: bool,
    /// Where the sync cache is, if there is one.
    pub cache_path: Option<PathBuf>,
}

/// What all connections share.
#[derive(Debug)]
pub struct Shared {
    /// The local store.
    pub store: Arc<Store>,
    /// The same, for those who wait only [briefly](Shared::BRIEFLY) for what daemons have locked.
    pub brief_store: Arc<Store>,
    /// The settings.
    pub settings: Settings,
    /// Who is told what happens.
    pub reporter: Arc<Reporter>,
    /// What was done so far.
    pub activity: Arc<Activity>,
    /// What the replica has, as far as connections of a process that goes on have learnt it.
    pub known: Known,
    /// Tells when the program is to end.
    pub stop: Stop,
}

impl Shared {
    /// Longest wait for a lock as long as there is something else to do: what daemons lock for
    /// one change is free again by then.
    pub const BRIEFLY: Duration = Duration::from_millis(50);

    /// Whether the program is to end.
    ///
    /// # Errors
    /// [`SyncError::Interrupted`] if so.
    pub fn go_on(&self) -> Result<(), SyncError> {
        if self.stop.is_requested() {
            Err(SyncError::Interrupted)
        } else {
            Ok(())
        }
    }

    /// The line for the service manager.
    pub fn status(&self) -> String {
        self.activity.status(&self.settings.channel.to_string())
    }

    /// Takes the lock under which one user, or the shared mailboxes, are replicated
    /// (algorithm §11.2), unless a `skipuser` file stands (§11.3). `longest_wait` holds unless
    /// nobody is to be waited for (`-N`).
    ///
    /// # Errors
    /// [`SyncError::Locked`] if it is not to be had.
    pub fn lock(
        &self,
        owner: Option<&UserId>,
        longest_wait: Duration,
    ) -> Result<SyncLock, SyncError> {
        let locked = |why: String| SyncError::Locked {
            owner: owner.cloned(),
            why,
        };
        if let Some(user) = owner {
            let path = self.skip_file(user);
            if self
                .store
                .disk
                .status(&path)
                .map_err(SpoolError::from)?
                .is_some()
            {
                return Err(locked(format!("{} stands", path.display())));
            }
        }
        let wait = match self.settings.skip_locked {
            true => Duration::ZERO,
            false => longest_wait,
        };
        let locks = self.store.locks.with_timeout(wait);
        let taken = locks.sync(&self.settings.server, owner);
        taken.map_err(|error| {
            let error = SpoolError::from(error);
            if error.is_lock_timeout() {
                locked("another process replicates it".to_owned())
            } else {
                SyncError::Spool(error)
            }
        })
    }

    /// What one connection remembers of the replica: in the file of the sync cache if there is one,
    /// else, if the process goes on, what all its connections know.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn memory(&self) -> Result<Memory, SyncError> {
        let Some(path) = &self.settings.cache_path else {
            return Ok(match self.settings.rolling {
                true => Memory::Process(self.known.clone()),
                false => Memory::None,
            });
        };
        let backend = self.store.backend(self.store.config.databases.sync_cache);
        let cache = SyncCache::open(&self.store.disk, path, backend)?;
        Ok(cache.map_or(Memory::None, Memory::File))
    }

    /// `<configdirectory>/sync/[<channel>/]skipuser-<userid>`
    fn skip_file(&self, user: &UserId) -> PathBuf {
        let log = self.store.layout.sync_log(&self.settings.channel);
        log.with_file_name(format!("skipuser-{user}"))
    }
}

/// A user about whom the replica was asked already.
#[derive(Debug)]
pub(super) struct Ahead {
    pub user: UserId,
    pub lock: SyncLock,
    pub ticket: Ticket,
}

/// A connection at work.
#[derive(Debug)]
pub struct Session {
    /// What it shares with others.
    pub shared: Arc<Shared>,
    /// The master.
    pub local: Local,
    /// The replica.
    pub peer: Peer,
    /// Sieve scripts travel as messages.
    pub scripts_are_messages: bool,
    /// What is remembered of the replica.
    pub memory: Memory,
    pub(super) staged: Staged,
    questions: Questions,
    /// Users whose state the replica was asked for before their turn.
    ahead: VecDeque<Ahead>,
    /// Partitions in which the replica has a mailbox.
    pub(super) proven_partitions: HashSet<Partition>,
    /// What was learnt from lost connections.
    pub(super) suspicion: Suspicion,
    /// Whether what is locked is waited for.
    patient: bool,
    /// The run that is going on.
    run: Option<RunId>,
    /// When the connection was made.
    connected_at: Instant,
}

/// Longest wait for a replica that is told good-bye.
const FAREWELL: Duration = Duration::from_secs(10);

impl Session {
    /// A session over a connection that is ready for requests.
    pub fn new(
        shared: Arc<Shared>,
        local: Local,
        peer: Peer,
        scripts_are_messages: bool,
        memory: Memory,
    ) -> Session {
        Session {
            shared,
            local,
            peer,
            scripts_are_messages,
            memory,
            ahead: VecDeque::new(),
            staged: Staged::default(),
            questions: Questions::default(),
            proven_partitions: HashSet::new(),
            suspicion: Suspicion::default(),
            patient: false,
            run: None,
            connected_at: Instant::now(),
        }
    }

    /// How long it takes until the connection is to be replaced, if ever.
    pub fn time_left(&self) -> Option<Duration> {
        let longest = self.shared.settings.session_age;
        (!longest.is_zero()).then(|| longest.saturating_sub(self.connected_at.elapsed()))
    }

    /// Goes on over another connection, after the first was lost.
    pub fn reconnected(&mut self, peer: Peer, scripts_are_messages: bool) {
        let sent = self.peer.sent;
        self.peer = peer;
        self.peer.sent = sent;
        if let Some(run) = &self.run {
            self.peer.tell_run(Some(run));
        }
        self.scripts_are_messages = scripts_are_messages;
        self.staged.clear();
        self.questions = Questions::default();
        self.proven_partitions.clear();
        self.ahead.clear();
        self.memory.reconnected();
        self.connected_at = Instant::now();
    }

    /// Begins a run.
    pub fn begin_run(&mut self, run: &RunId) {
        self.peer.tell_run(Some(run));
        self.run = Some(run.clone());
    }

    /// Ends the run, and says so to the replica. If the connection is lost, it sees that too.
    pub async fn end_run(&mut self) {
        if self.run.take().is_some() {
            self.peer.tell_run(None);
            if let Err(error) = self.peer.finish().await {
                tracing::debug!("at the end of the run: {error}");
            }
        }
    }

    /// Goes on with other settings, between two items of work, over the same connection.
    ///
    /// # Errors
    /// If the store that they name cannot be opened.
    pub fn renewed(&mut self, shared: Arc<Shared>) -> Result<(), SyncError> {
        self.local = Local::open(&shared.store, &shared.brief_store)?;
        self.memory = shared.memory()?;
        self.shared = shared;
        self.wait_for_locks(self.patient);
        Ok(())
    }

    /// Whether what is locked is waited for from now on, because there is nothing else to do. At
    /// first it is not: the work that finds it locked comes again later.
    pub fn wait_for_locks(&mut self, patient: bool) {
        self.patient = patient;
        let shared = &self.shared;
        let store = if patient {
            &shared.store
        } else {
            &shared.brief_store
        };
        self.local.read_in(Arc::clone(store));
    }

    /// Whether work that fails because something is locked is not given up yet.
    pub fn comes_again(&self, failure: Failure) -> bool {
        failure == Failure::Locked && !self.patient && !self.shared.settings.skip_locked
    }

    /// Takes the lock under which one user, or the shared mailboxes, are replicated.
    ///
    /// # Errors
    /// [`SyncError::Locked`] if it is not to be had.
    pub(super) fn lock(&self, owner: Option<&UserId>) -> Result<SyncLock, SyncError> {
        let longest_wait = match self.patient {
            true => self.shared.store.config.locks.timeout,
            false => Shared::BRIEFLY,
        };
        self.shared.lock(owner, longest_wait)
    }

    /// Asks the replica about a user whose turn comes soon, so that the answer is here by then.
    /// If the user is locked, nothing is asked.
    ///
    /// # Errors
    /// If the connection is lost.
    pub async fn ask_ahead(&mut self, user: &UserId) -> Result<(), SyncError> {
        if let Ok(lock) = self.shared.lock(Some(user), Duration::ZERO) {
            let ticket = self.peer.send_get(&Get::User(Some(user.clone()))).await?;
            self.ahead.push_back(Ahead {
                user: user.clone(),
                lock,
                ticket,
            });
        }
        Ok(())
    }

    /// What was asked about a user.
    pub(super) fn asked_ahead(&mut self, user: &UserId) -> Option<Ahead> {
        let place = self.ahead.iter().position(|ahead| ahead.user == *user)?;
        self.ahead.remove(place)
    }

    /// Whether the replica was asked about the user, so that the lock is held.
    pub fn has_asked(&self, user: &UserId) -> bool {
        self.ahead.iter().any(|ahead| ahead.user == *user)
    }

    /// Gives up what was asked about users, and their locks: whoever waits for a lock must not
    /// hold others for which somebody else waits.
    pub fn forget_asked(&mut self) {
        for ahead in std::mem::take(&mut self.ahead) {
            self.peer.forget(&ahead.ticket);
        }
    }

    /// Begins something new: what was learnt from lost connections does not count.
    pub(super) fn begin_item(&mut self) {
        self.suspicion = Suspicion::default();
    }

    /// Lets the replica forget its staged files, if there are any.
    pub(super) fn forget_staged(&mut self) {
        if !self.staged.is_empty() {
            self.peer.send_restart();
            self.staged.clear();
        }
    }

    /// Who is told what happens.
    pub fn reporter(&self) -> &Reporter {
        &self.shared.reporter
    }

    pub(super) fn uploader(&mut self) -> Uploader<'_> {
        Uploader {
            peer: &mut self.peer,
            staged: &mut self.staged,
            questions: &mut self.questions,
            disk: self.shared.store.disk.clone(),
            reporter: &self.shared.reporter,
            stop: &self.shared.stop,
        }
    }

    /// Gives the connection up in good order, between two items of work: the replica has forgotten
    /// its staged files and knows that this is the end.
    ///
    /// # Errors
    /// If the replica refuses, is silent for too long, or the connection is lost.
    pub async fn take_leave(&mut self) -> Result<(), SyncError> {
        let farewell = async {
            self.peer.restart().await?;
            self.peer.say_goodbye().await
        };
        match tokio::time::timeout(FAREWELL, farewell).await {
            Ok(farewell) => Ok(farewell?),
            Err(_) => Err(PeerError::from(StreamError::TimedOut(FAREWELL)).into()),
        }
    }
}
