//! Exit statuses (sysexits), as the original's users and scripts know them.

use std::process::ExitCode;

use clap::Parser;

/// The command line is wrong, or no socket was given.
pub const USAGE: u8 = 64;
/// What was given to be read is not of the right form.
pub const DATA: u8 = 65;
/// What was to be read does not exist or cannot be read.
pub const NO_INPUT: u8 = 66;
/// A user or mailbox does not exist.
pub const NO_USER: u8 = 67;
/// Something that should work does not, such as a store that cannot be opened.
pub const SOFTWARE: u8 = 70;
/// A file or directory cannot be made.
pub const CANNOT_CREATE: u8 = 73;
/// Reading or writing failed.
pub const INPUT_OUTPUT: u8 = 74;
/// Trying again later may help.
pub const TEMPORARY: u8 = 75;
/// The configuration is wrong.
pub const CONFIG: u8 = 78;

/// Reads the command line, for a program's `main`.
///
/// # Errors
/// The status to end with: [`USAGE`] for a wrong command line, success after `--help` and the
/// like. What there is to say has been printed.
pub fn command_line<Options: Parser>() -> Result<Options, ExitCode> {
    Options::try_parse().map_err(|answer| {
        // Nobody is left to tell if that fails.
        let _ = answer.print();
        match answer.use_stderr() {
            true => ExitCode::from(USAGE),
            false => ExitCode::SUCCESS,
        }
    })
}
