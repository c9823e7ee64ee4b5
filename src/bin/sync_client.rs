//! `sync_client`: replicates mailboxes to a sync_server.

use std::process::ExitCode;

use clap::CommandFactory;
use cyrus_sync::client::options::Options;
use cyrus_sync::client::{RunError, Stop, run};
use cyrus_sync::service::signals::Signals;
use cyrus_sync::service::{exit, journal};
use tracing::level_filters::LevelFilter;

fn main() -> ExitCode {
    let options: Options = match exit::command_line() {
        Ok(options) => options,
        Err(status) => return status,
    };
    let is_rolling = options.rolling || options.foreground_rolling;
    let level = match is_rolling || options.verbose_logging {
        true => LevelFilter::INFO,
        false => LevelFilter::WARN,
    };
    journal::start("sync_client", level);
    let stop = Stop::default();
    watch_signals(stop.clone());
    match run(&options, &stop) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            if let RunError::Mode(_) = error {
                eprintln!("{}", Options::command().render_usage());
            }
            ExitCode::from(error.status())
        }
    }
}

/// A signal ends the program between two transactions.
fn watch_signals(stop: Stop) {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let watched = runtime.and_then(|runtime| {
            runtime.block_on(async {
                Signals::listen(false)?.next().await;
                Ok(())
            })
        });
        match watched {
            Ok(()) => stop.request(),
            Err(error) => tracing::warn!("signals end the program at once: {error}"),
        }
    });
}
