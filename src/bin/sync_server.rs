//! `sync_server`: the replica's side of the replication of Cyrus IMAP mail stores.

use std::process::ExitCode;

use cyrus_sync::server::options::Options;
use cyrus_sync::server::run;
use cyrus_sync::service::{exit, journal};
use tracing::error;
use tracing::level_filters::LevelFilter;

fn main() -> ExitCode {
    let options: Options = match exit::command_line() {
        Ok(options) => options,
        Err(status) => return status,
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
