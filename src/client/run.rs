//! The program behind the command line.

use std::collections::HashSet;
use std::io::BufRead;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::client::activity::Sent;
use crate::client::error::SyncError;
use crate::client::options::{Mode, ModeError, Options};
use crate::client::queue::Queue;
use crate::client::renewal::{self, Lasting, Renewal, Setup};
use crate::client::report::Reporter;
use crate::client::rolling::Rolling;
use crate::client::session::Shared;
use crate::client::stop::Stop;
use crate::client::summary::Summary;
use crate::client::worker::{Dialer, Item, WorkerError, work};
use crate::config::ConfigError;
use crate::mail::{MailboxName, NameError, UserId};
use crate::service::credentials::CredentialError;
use crate::service::process::ProcessError;
use crate::service::signals::reloads;
use crate::service::watchdog::Watchdog;
use crate::service::{event, notify};
use crate::spool::store::{Store, StoreError};

/// Why the program ends without success. [`RunError::status`] is its exit status.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Not exactly one mode was asked for.
    #[error(transparent)]
    Mode(#[from] ModeError),
    /// A name on the command line or in the input file cannot be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A configuration file.
    #[error("Fatal error: {0}")]
    Config(#[from] ConfigError),
    /// The process cannot run as the Cyrus user.
    #[error("Fatal error: {0}")]
    Process(#[from] ProcessError),
    /// A credential of the unit.
    #[error("Fatal error: {0}")]
    Credential(#[from] CredentialError),
    /// No replica is configured.
    #[error("Fatal error: sync_host not defined")]
    NoHost,
    /// The store.
    #[error("Fatal error: {0}")]
    Store(#[from] StoreError),
    /// The input file.
    #[error("cannot read {0}: {1}")]
    Input(String, std::io::Error),
    /// The program cannot be put into the background.
    #[error("cannot go into the background: {0}")]
    Background(std::io::Error),
    /// No connection, or the log cannot be processed.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The shutdown file cannot be made or removed.
    #[error("shutdown file {}: {}", .0.display(), .1)]
    ShutdownFile(PathBuf, std::io::Error),
    /// Nobody removed the shutdown file.
    #[error("nobody heeds the shutdown file {}", .0.display())]
    NotHeeded(PathBuf),
    /// Some users or mailboxes failed; each was reported.
    #[error("not everything was replicated")]
    Incomplete,
    /// The end was asked for before everything was looked at; nothing had failed.
    #[error("ended as asked, before everything was replicated")]
    Interrupted,
}

impl RunError {
    /// The exit status (algorithm §10.5).
    pub fn status(&self) -> u8 {
        match self {
            RunError::Mode(_) | RunError::Name(_) => 64,
            RunError::Process(_)
            | RunError::Config(_)
            | RunError::Credential(_)
            | RunError::NoHost
            | RunError::Store(_) => 70,
            RunError::Input(..)
            | RunError::Background(_)
            | RunError::Worker(_)
            | RunError::ShutdownFile(..)
            | RunError::NotHeeded(_)
            | RunError::Incomplete => 1,
            // EX_TEMPFAIL; the units count it as success.
            RunError::Interrupted => 75,
        }
    }
}

/// Does what the options say, until it is done or `stop` asks for the end.
///
/// # Errors
/// If it could not be done completely.
pub fn run(options: &Options, stop: &Stop) -> Result<(), RunError> {
    let supervised = std::env::var_os(SUPERVISED).is_some();
    let mode = options.mode(supervised)?;
    if mode == (Mode::Rolling { background: true }) {
        return into_background();
    }
    std::thread::sleep(Duration::from_secs(options.startup_delay));
    if mode == Mode::Stop {
        return end_the_other(options);
    }
    let lasting = Lasting {
        reporter: Arc::new(Reporter::new(
            options.verbose > 0 || options.dry_run,
            options.verbose_logging,
            options.json,
            options.progress,
        )),
        activity: Arc::default(),
        stop: stop.clone(),
    };
    let setup = Setup::load(options, &lasting, Store::open)?;
    let dialer = Dialer::new(setup.target.clone(), options.connect_once);
    let span = tracing::error_span!(
        "channel",
        sync_channel = %setup.shared.settings.channel,
        sync_server = setup.shared.settings.server
    );
    span.in_scope(|| match mode {
        Mode::Rolling { .. } => roll(options, setup, dialer, &lasting),
        _ => once(options, mode, &setup.shared, &dialer),
    })
}

/// Set in the environment of a process that stays where it is (algorithm §1).
const SUPERVISED: &str = "CYRUS_ISDAEMON";

/// Starts the same program once more, detached from the terminal, and ends this one.
fn into_background() -> Result<(), RunError> {
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};
    let program = std::env::current_exe().map_err(RunError::Background)?;
    Command::new(program)
        .args(std::env::args_os().skip(1))
        .env(SUPERVISED, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(RunError::Background)?;
    Ok(())
}

/// How often it is looked for the shutdown file.
const LOOK: Duration = Duration::from_millis(250);

fn roll(
    options: &Options,
    setup: Setup,
    dialer: Dialer,
    lasting: &Lasting,
) -> Result<(), RunError> {
    let runtime = runtime()?;
    let watchdog = Watchdog::from_environment();
    watchdog.run_aside().map_err(no_runtime)?;
    let heartbeat = watchdog.heartbeat();
    let renewal = Renewal::default();
    let shutdown_file = ShutdownFile::new(setup.rhythm.shutdown_file.clone());
    let mut rolling = Rolling::new(setup, dialer.clone(), renewal.clone(), watchdog.clone());
    let work = async {
        match &options.input_file {
            Some(path) => {
                let input = if path.as_os_str() == "-" {
                    Path::new("/dev/stdin")
                } else {
                    path
                };
                match rolling.file(input).await? {
                    true => Ok(()),
                    false => Err(RunError::Incomplete),
                }
            }
            None => Ok(rolling.run().await?),
        }
    };
    let result = heartbeat.work(lasting.stop.latch(), || {
        runtime.block_on(async {
            tokio::select! {
                result = heartbeat.watch(work) => result,
                result = reload_on_signal(options, lasting, &dialer, &renewal, &shutdown_file) => result,
                result = shutdown_file.watch(&lasting.stop) => result,
                () = lasting.stop.overdue() => {
                    tracing::warn!(
                        message_id = event::CUT_OFF,
                        "what was under way did not end in time; it is sent again after the next start"
                    );
                    Ok(())
                }
            }
        })
    });
    notify::stopping();
    if result.is_ok() && lasting.stop.is_requested() {
        tracing::info!(message_id = event::STOPPED, "ended as asked");
    }
    result
}

/// Reads the configuration again at each SIGHUP. What is wrong with it is logged, and the old one
/// holds.
async fn reload_on_signal(
    options: &Options,
    lasting: &Lasting,
    dialer: &Dialer,
    renewal: &Renewal,
    shutdown_file: &ShutdownFile,
) -> Result<(), RunError> {
    let mut signals = reloads().map_err(no_runtime)?;
    while signals.recv().await.is_some() {
        match notify::reloading(|| Setup::load(options, lasting, Store::open_again)) {
            Ok(setup) => {
                tracing::info!(
                    message_id = event::RELOADED,
                    "the configuration was read again; it holds from the next run on"
                );
                dialer.renew(setup.target.clone());
                shutdown_file.change(setup.rhythm.shutdown_file.clone());
                renewal.put(setup);
            }
            Err(error) => tracing::error!(
                message_id = event::RELOAD_FAILED,
                "the configuration stays as it was: {error}"
            ),
        }
    }
    std::future::pending::<()>().await;
    Ok(())
}

/// The file whose appearance asks for the end.
#[derive(Debug)]
struct ShutdownFile(Mutex<Option<PathBuf>>);

impl ShutdownFile {
    fn new(path: Option<PathBuf>) -> ShutdownFile {
        ShutdownFile(Mutex::new(path))
    }

    fn change(&self, path: Option<PathBuf>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = path;
    }

    fn path(&self) -> Option<PathBuf> {
        let path = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        path.clone()
    }

    /// Looks for the file from time to time. When it appears it is removed, and the wish passed on.
    async fn watch(&self, stop: &Stop) -> Result<(), RunError> {
        loop {
            if let Some(file) = self.path() {
                match std::fs::remove_file(&file) {
                    Ok(()) => {
                        tracing::info!("sync_client shutdown file found: {}", file.display());
                        stop.request();
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(source) => {
                        return Err(WorkerError::from(SyncError::Io {
                            what: format!("cannot remove the shutdown file {}", file.display()),
                            source,
                        })
                        .into());
                    }
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Longest wait until another process heeds the shutdown file.
const HEED: Duration = Duration::from_secs(10);

/// Ends the rolling client of the channel by its shutdown file, if it has one (`--stop`). Whether
/// somebody heeds the file is seen by its removal.
fn end_the_other(options: &Options) -> Result<(), RunError> {
    let (_, channel) = renewal::configuration(options)?;
    let Some(file) = channel.shutdown_file else {
        return Ok(());
    };
    let failed = |source| RunError::ShutdownFile(file.clone(), source);
    std::fs::write(&file, b"").map_err(failed)?;
    let start = Instant::now();
    while file.exists() {
        if start.elapsed() > HEED {
            std::fs::remove_file(&file).map_err(failed)?;
            return Err(RunError::NotHeeded(file));
        }
        std::thread::sleep(LOOK / 5);
    }
    Ok(())
}

fn no_runtime(source: std::io::Error) -> RunError {
    RunError::Worker(WorkerError::Sync(SyncError::Io {
        what: "cannot start the runtime".to_owned(),
        source,
    }))
}

fn runtime() -> Result<tokio::runtime::Runtime, RunError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(no_runtime)
}

fn once(
    options: &Options,
    mode: Mode,
    shared: &Arc<Shared>,
    dialer: &Dialer,
) -> Result<(), RunError> {
    let items = items(options, mode, &shared.store)?;
    shared.reporter.expect(items.len() as u64);
    let jobs = options.jobs().limited_to(items.len());
    let all = mode == Mode::All;
    // What is forced upon the replica, or only looked at, is compared in full.
    let queue = match all && !options.no_copy_back && !options.dry_run {
        true => Queue::of_doubtful(items, jobs),
        false => Queue::new(items, jobs),
    };
    let summary = Summary::begin(shared, Sent::default(), None);
    let span = tracing::error_span!("run", sync_run_id = %summary.run);
    let watchdog = Watchdog::from_environment();
    watchdog.run_aside().map_err(no_runtime)?;
    let result = span.in_scope(|| {
        let result = work(dialer, shared, &queue, all, &summary.run, &watchdog);
        summary.tell(shared, shared.activity.sent(), result.is_ok());
        result
    });
    shared.reporter.finish();
    match result {
        Ok(()) | Err(WorkerError::Sync(SyncError::Interrupted)) if queue.has_failed() => {
            Err(RunError::Incomplete)
        }
        Err(WorkerError::Sync(SyncError::Interrupted)) => Err(RunError::Interrupted),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(()),
    }
}

/// What is to be replicated.
fn items(options: &Options, mode: Mode, store: &Store) -> Result<Vec<Item>, RunError> {
    if mode == Mode::All {
        return everything(store, options.names.first().map_or("", String::as_str));
    }
    let names = match &options.input_file {
        Some(path) => [lines(path)?, options.names.clone()].concat(),
        None => options.names.clone(),
    };
    let user = |name: &String| UserId::parse(name);
    match mode {
        Mode::Mailboxes => {
            let names: Result<Vec<MailboxName>, NameError> = names
                .iter()
                .map(|name| store.namespace().from_admin(name))
                .collect();
            let names = names?;
            Ok(if names.is_empty() {
                Vec::new()
            } else {
                vec![Item::Mailboxes(names)]
            })
        }
        Mode::Meta => {
            let users: Result<Vec<_>, _> = names
                .iter()
                .map(|name| user(name).map(Item::Meta))
                .collect();
            Ok(users?)
        }
        _ => {
            let users: Result<Vec<_>, _> = names
                .iter()
                .map(|name| user(name).map(Item::User))
                .collect();
            Ok(users?)
        }
    }
}

/// The lines of an input file, without comments and empty ones.
fn lines(path: &Path) -> Result<Vec<String>, RunError> {
    let failed = |error| RunError::Input(path.display().to_string(), error);
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut names = Vec::new();
    for line in std::io::BufReader::new(file).lines() {
        let line = line.map_err(failed)?;
        let line = line.trim_end();
        if !line.is_empty() && !line.starts_with('#') {
            names.push(line.to_owned());
        }
    }
    Ok(names)
}

/// All users at their first mailbox, and the shared mailboxes one by one (algorithm §8).
fn everything(store: &Store, prefix: &str) -> Result<Vec<Item>, RunError> {
    let mut list = store.mailbox_list().map_err(StoreError::from)?;
    let mut items = Vec::new();
    let mut users = HashSet::new();
    let namespace = store.namespace();
    list.for_each(|entry| {
        if entry.is_tombstone() || !entry.name.as_str().starts_with(prefix) {
            return ControlFlow::<()>::Continue(());
        }
        match namespace.owner_of(&entry.name) {
            Some(user) => {
                if !namespace.is_deleted(&entry.name) && users.insert(user.clone()) {
                    items.push(Item::User(user));
                }
            }
            None => items.push(Item::Mailboxes(vec![entry.name.clone()])),
        }
        ControlFlow::Continue(())
    })
    .map_err(StoreError::from)?;
    Ok(items)
}
