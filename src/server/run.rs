//! The program behind the command line.

use std::time::Duration;

use tracing::{error, info};

use super::listener::{Foundation, Server, ServerSettings};
use super::options::Options;
use super::write_paths::write_paths;
use crate::config::{Config, ConfigError, Environment};
use crate::protocol::tls::TlsError;
use crate::service::listen::{self, ListenAddress, ListenError};
use crate::service::process::{self, ProcessError};
use crate::service::shutdown::Shutdown;
use crate::service::signals::{Signals, Wish};
use crate::service::watchdog::Watchdog;
use crate::service::{credentials, event, exit, notify};
use crate::spool::store::{Store, StoreError};

/// Why the program ends before it serves. [`RunError::status`] is its exit status.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file that TLS needs.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The user to become.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The sockets.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Who ends when idle must be started again by somebody.
    #[error("--idle-exit needs a socket from systemd (LISTEN_FDS), which starts the program again")]
    NobodyStartsAgain,
    /// The system refuses threads, signals or the output.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
}

impl RunError {
    /// The exit status.
    pub fn status(&self) -> u8 {
        match self {
            RunError::Config(_) | RunError::Tls(_) => exit::CONFIG,
            RunError::Listen(_) | RunError::NobodyStartsAgain => exit::USAGE,
            RunError::Process(_) | RunError::Store(_) | RunError::System(_) => exit::SOFTWARE,
        }
    }
}

/// Longest time that the threads of sessions get when the server has ended.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Does what the options say, until a signal asks for the end.
///
/// # Errors
/// If it cannot serve.
pub fn run(options: &Options) -> Result<(), RunError> {
    let config = load(options)?;
    if options.print_write_paths {
        print!("{}", write_paths(&config.places));
        return Ok(());
    }
    process::become_user(&config.process)?;
    let foundation = Foundation::new(Store::open(config)?)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(serve(options, foundation));
    // What hangs in a session must not keep the program from ending.
    runtime.shutdown_timeout(LAST_WAIT);
    result
}

fn load(options: &Options) -> Result<Config, ConfigError> {
    let mut config = Config::load(&options.config, &Environment::of_process("sync_server"))?;
    credentials::server_certificate(&mut config.tls);
    Ok(config)
}

async fn serve(options: &Options, foundation: Foundation) -> Result<(), RunError> {
    let over_tls = options.listen_tls.iter().copied();
    let addresses: Vec<ListenAddress> = (options.listen.iter().cloned())
        .chain(over_tls.map(ListenAddress::Tls))
        .collect();
    let sockets = listen::listeners(&addresses)?;
    if options.idle_exit.is_some() && !sockets.are_inherited {
        return Err(RunError::NobodyStartsAgain);
    }
    let shutdown = Shutdown::default();
    let watchdog = Watchdog::from_environment();
    let settings = ServerSettings {
        external_strength: options.external_strength,
        idle_exit: options.idle_exit.map(Duration::from_secs),
    };
    let server = Server::new(foundation, settings, shutdown.clone(), watchdog.clone());
    let mut signals = Signals::listen(true)?;
    let pings = tokio::spawn(async move { watchdog.run().await });
    info!(
        message_id = event::STARTED,
        "ready on {} listening sockets",
        sockets.listeners.len()
    );
    notify::ready();
    let (renewals, renewed) = tokio::sync::mpsc::channel(1);
    let options = options.clone();
    let wishes = tokio::spawn(async move {
        loop {
            match signals.next().await {
                Wish::End => shutdown.request(),
                Wish::Reload => {
                    let again = || notify::reloading(|| reload(&options));
                    if let Some(foundation) = tokio::task::block_in_place(again)
                        && renewals.send(foundation).await.is_err()
                    {
                        return;
                    }
                }
            }
        }
    });
    server.run(sockets.listeners, renewed).await;
    pings.abort();
    wishes.abort();
    Ok(())
}

/// Reads everything again; `None` if something is wrong, so that what holds now goes on.
fn reload(options: &Options) -> Option<Foundation> {
    let foundation = load(options)
        .map_err(RunError::from)
        .and_then(|config| Ok(Foundation::new(Store::open_again(config)?)?));
    match foundation {
        Ok(foundation) => {
            info!(
                message_id = event::RELOADED,
                "configuration and certificates were read again; they hold for new connections"
            );
            Some(foundation)
        }
        Err(error) => {
            error!(
                message_id = event::RELOAD_FAILED,
                "the configuration stays as it was: {error}"
            );
            None
        }
    }
}
