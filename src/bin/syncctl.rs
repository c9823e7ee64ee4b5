//! syncctl: the operator's tool for Cyrus IMAP mail stores.

use std::process::ExitCode;

use cyrus_sync::operator::options::Options;
use cyrus_sync::operator::{Verdict, run};
use cyrus_sync::service::{exit, journal};
use tracing::level_filters::LevelFilter;

fn main() -> ExitCode {
    let options: Options = match exit::command_line() {
        Ok(options) => options,
        Err(status) => return status,
    };
    journal::start("syncctl", LevelFilter::WARN);
    match run(&options) {
        Ok(Verdict::Done) => ExitCode::SUCCESS,
        Ok(Verdict::Different) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("syncctl: {error}");
            ExitCode::from(error.status())
        }
    }
}
