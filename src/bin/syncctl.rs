//! syncctl: the operator's tool for Cyrus IMAP mail stores.

use std::process::ExitCode;

use clap::Parser;
use cyrus_sync::operator::options::Options;
use cyrus_sync::operator::{Verdict, run};
use cyrus_sync::service::exit::USAGE;
use cyrus_sync::service::journal;
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
