//! The operator's tool, `syncctl`: makes stores and mailboxes, imports mail, lists what is there,
//! compares two stores, keeps the password file. It works on the files, under the locks of the daemons, so that they may
//! run meanwhile.

mod compare;
mod error;
mod import;
mod init;
mod list;
pub mod options;
mod output;
mod password;

use std::path::Path;

pub use error::OperatorError;
use options::{Action, Options};
use output::Output;

use crate::config::{Config, Environment};
use crate::service::process;
use crate::spool::store::Store;

/// How a command ended that did what it was to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Well.
    Done,
    /// The two stores are not equal.
    Different,
}

/// Does what the options say and prints the results to the standard output.
///
/// # Errors
/// If it could not be done.
pub fn run(options: &Options) -> Result<Verdict, OperatorError> {
    let mut output = Output::new(options.json);
    let verdict = match &options.action {
        Action::Init(action) => init::run(action, &mut output).map(|()| Verdict::Done),
        Action::Import(action) => import::run(action, &mut output).map(|()| Verdict::Done),
        Action::Ls(action) => list::run(action, &mut output).map(|()| Verdict::Done),
        Action::Compare(action) => compare::run(action, &mut output),
        Action::Passwd(action) => password::run(action, &mut output).map(|()| Verdict::Done),
    };
    output.flush()?;
    verdict
}

fn load(path: &Path) -> Result<Config, OperatorError> {
    Ok(Config::load(path, &Environment::of_process("syncctl"))?)
}

/// Opens a store that exists, as its user.
fn open(path: &Path) -> Result<Store, OperatorError> {
    let config = load(path)?;
    process::become_user(&config.process)?;
    open_existing(config)
}

fn open_existing(config: Config) -> Result<Store, OperatorError> {
    let list = &config.places.mailboxes_db;
    if !list.exists() {
        return Err(OperatorError::NoStore(list.clone()));
    }
    Ok(Store::open(config)?.changed_locally())
}
