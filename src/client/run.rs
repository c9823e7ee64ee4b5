//! The program behind the command line.

use std::collections::HashSet;
use std::io::BufRead;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::client::connect::{ConnectError, Connector, Demands};
use crate::client::error::SyncError;
use crate::client::options::{Mode, ModeError, Options};
use crate::client::report::Reporter;
use crate::client::rolling::{Rhythm, Rolling};
use crate::client::session::{Settings, Shared};
use crate::client::stop::Stop;
use crate::client::worker::{Dialer, Item, Queue, WorkerError, work};
use crate::config::{ChannelSettings, Config, ConfigError, Environment};
use crate::mail::{MailboxName, NameError, UserId};
use crate::protocol::command::Scope;
use crate::service::notify;
use crate::service::watchdog::Watchdog;
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
    /// Some users or mailboxes failed; each was reported.
    #[error("not everything was replicated")]
    Incomplete,
}

impl RunError {
    /// The exit status (algorithm §10.5).
    pub fn status(&self) -> u8 {
        match self {
            RunError::Mode(_) | RunError::Name(_) => 64,
            RunError::Config(_) | RunError::NoHost | RunError::Store(_) => 70,
            RunError::Input(..)
            | RunError::Background(_)
            | RunError::Worker(_)
            | RunError::Incomplete => 1,
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

    let config = Config::load(&options.config, &Environment::of_process("sync_client"))?;
    let channel = config.channel(&options.channel)?;
    let address = options.server.clone().or_else(|| channel.host.clone());
    let demands = Demands {
        compression: options.require_compression,
        force: options.no_copy_back && !options.dry_run,
        trace: options.verbose > 1,
    };
    let connector = Connector::new(&config, &channel, address.ok_or(RunError::NoHost)?, demands)?;
    let settings = settings(options, &config, &channel, connector.name());
    let dialer = Dialer {
        connector,
        once: options.connect_once,
        longest_pause: config.replication.reconnect_max_wait,
    };
    let shared = Arc::new(Shared {
        store: Arc::new(Store::open(config)?),
        settings,
        reporter: Reporter::new(
            options.verbose > 0 || options.dry_run,
            options.verbose_logging,
            options.json,
            options.progress,
        ),
        stop: stop.clone(),
    });
    match mode {
        Mode::Rolling { .. } => roll(options, &channel, shared, dialer),
        _ => once(options, mode, &shared, &dialer),
    }
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

fn settings(
    options: &Options,
    config: &Config,
    channel: &ChannelSettings,
    server: String,
) -> Settings {
    Settings {
        channel: options.channel.clone(),
        server,
        scope: if options.local_only {
            Scope::Local
        } else {
            Scope::Everywhere
        },
        force: options.no_copy_back,
        partition: options.partition.clone(),
        skip_locked: options.skip_locked,
        dry_run: options.dry_run,
        batch_size: config.replication.batch_size,
        rolling: options.rolling || options.foreground_rolling,
        cache_path: channel.cache_path.clone(),
    }
}

fn roll(
    options: &Options,
    channel: &ChannelSettings,
    shared: Arc<Shared>,
    dialer: Dialer,
) -> Result<(), RunError> {
    let delay = options.delay.map(Duration::from_secs);
    let shutdown_file = options.shutdown_file.clone();
    let rhythm = Rhythm {
        delay: delay.unwrap_or(channel.repeat_interval),
        session_age: Duration::from_secs(options.session_age),
        shutdown_file: shutdown_file.or_else(|| channel.shutdown_file.clone()),
        once: options.once,
    };
    let runtime = runtime()?;
    let mut rolling = Rolling::new(shared, dialer, rhythm);
    let watchdog = Watchdog::from_environment();
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
    // Both share one thread, so work that hangs on a disk or a lock stops the pings.
    let result = runtime.block_on(async {
        tokio::select! {
            result = work => result,
            () = watchdog.run() => Ok(()),
        }
    });
    notify::stopping();
    result
}

fn runtime() -> Result<tokio::runtime::Runtime, RunError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| {
            RunError::Worker(WorkerError::Sync(SyncError::Io {
                what: "cannot start the runtime".to_owned(),
                source,
            }))
        })
}

fn once(
    options: &Options,
    mode: Mode,
    shared: &Arc<Shared>,
    dialer: &Dialer,
) -> Result<(), RunError> {
    let items = items(options, mode, &shared.store)?;
    shared.reporter.expect(items.len() as u64);
    let jobs = options
        .jobs()
        .min(u8::try_from(items.len()).unwrap_or(u8::MAX));
    let queue = Queue::new(items, jobs);
    let skip_locked = mode == Mode::All;
    let result = work(dialer, shared, &queue, skip_locked);
    shared.reporter.finish();
    match result {
        Err(WorkerError::Connect(error @ ConnectError::NoCompression(_))) => {
            Err(WorkerError::Connect(error).into())
        }
        Err(error) => Err(error.into()),
        Ok(()) if queue.has_failed() => Err(RunError::Incomplete),
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
