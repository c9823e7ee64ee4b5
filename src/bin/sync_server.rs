//! sync_server: the replica's side of the replication of Cyrus IMAP mail stores.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use cyrus_sync::config::{Config, Environment};
use cyrus_sync::server::{Server, ServerSettings};
use cyrus_sync::service::listen::{self, ListenAddress};
use cyrus_sync::service::shutdown::Shutdown;
use cyrus_sync::service::watchdog::Watchdog;
use cyrus_sync::service::{exit, journal, notify, process};
use cyrus_sync::spool::store::Store;
use tracing::level_filters::LevelFilter;
use tracing::{error, info};

/// Keeps a replica of a Cyrus IMAP mail store up to date with what sync_client tells.
///
/// Listening sockets come from systemd (LISTEN_FDS), or from --listen.
#[derive(Debug, Parser)]
#[command(name = "sync_server", version)]
struct Arguments {
    /// Configuration: Cyrus's imapd.conf, or the TOML form if the name ends in .toml
    #[arg(
        short = 'C',
        value_name = "CONFIG-FILE",
        default_value = "/etc/imapd.conf"
    )]
    config: PathBuf,

    /// Strength of a layer that protects the connections already (0 none, 1 integrity, more: privacy)
    #[arg(short = 'p', value_name = "SSF", default_value_t = 0)]
    external_strength: u32,

    /// Listen on ADDRESS:PORT or on a Unix socket, if no socket is inherited; may be repeated
    #[arg(long, value_name = "ADDR")]
    listen: Vec<ListenAddress>,

    /// Listen on ADDRESS:PORT with TLS from the first octet on, if no socket is inherited; may be
    /// repeated
    #[arg(long, value_name = "ADDR")]
    listen_tls: Vec<std::net::SocketAddr>,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let wrong = error.use_stderr();
            // Nothing can be done if even this cannot be printed.
            let _ = error.print();
            return if wrong {
                ExitCode::from(exit::USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    journal::start("sync_server", LevelFilter::INFO);
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop { status, reason }) => {
            error!("{reason}");
            ExitCode::from(status)
        }
    }
}

/// Why the program ends before it serves.
struct Stop {
    status: u8,
    reason: String,
}

/// Makes an error the reason to stop with `status`.
fn stop<E: std::fmt::Display>(status: u8) -> impl Fn(E) -> Stop {
    move |error| Stop {
        status,
        reason: error.to_string(),
    }
}

fn run(arguments: &Arguments) -> Result<(), Stop> {
    let environment = Environment::of_process("sync_server");
    let config = Config::load(&arguments.config, &environment).map_err(stop(exit::CONFIG))?;
    process::become_user(&config.process).map_err(stop(exit::SOFTWARE))?;
    let store = Store::open(config).map_err(stop(exit::SOFTWARE))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(stop(exit::SOFTWARE))?;
    runtime.block_on(serve(arguments, store))
}

async fn serve(arguments: &Arguments, store: Store) -> Result<(), Stop> {
    let over_tls = arguments.listen_tls.iter().copied();
    let addresses: Vec<ListenAddress> = (arguments.listen.iter().cloned())
        .chain(over_tls.map(ListenAddress::Tls))
        .collect();
    let listeners = listen::listeners(&addresses).map_err(stop(exit::USAGE))?;
    let shutdown = Shutdown::default();
    let watchdog = Watchdog::from_environment();
    let settings = ServerSettings {
        external_strength: arguments.external_strength,
    };
    let server = Server::new(store, settings, shutdown.clone(), watchdog.clone())
        .map_err(stop(exit::CONFIG))?;
    let signals = tokio::spawn(shutdown.on_signals());
    let pings = tokio::spawn(async move { watchdog.run().await });
    info!("ready on {} listening sockets", listeners.len());
    notify::ready();
    server.run(listeners).await;
    pings.abort();
    signals.abort();
    Ok(())
}
