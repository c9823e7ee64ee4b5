//! `sync_server`: the replica's side of the replication of Cyrus IMAP mail stores.

use std::process::ExitCode;

use clap::Parser;
use cyrus_sync::server::options::Options;
use cyrus_sync::server::run;
use cyrus_sync::service::exit::USAGE;
use cyrus_sync::service::journal;
use tracing::error;
use tracing::level_filters::LevelFilter;

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(answer) => {
            // Nobody is left to tell if that fails.
            let _ = answer.print();
            return match answer.use_stderr() {
                true => ExitCode::from(USAGE),
                false => ExitCode::SUCCESS,
            };
        }
    };
    journal::start("sync_server", LevelFilter::INFO);
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error}");
            ExitCode::from(error.status())
        }
    }
}
