//! Why a command could not be done.

use std::io;
use std::path::PathBuf;

use crate::auth::AuthError;
use crate::auth::passwords::PasswordFileError;
use crate::config::ConfigError;
use crate::mail::{NameError, UserId};
use crate::service::exit;
use crate::service::process::ProcessError;
use crate::spool::SpoolError;
use crate::spool::store::StoreError;

/// Why a command could not be done. [`OperatorError::status`] is the exit status.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// A configuration file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The process cannot become the user who owns the store.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The store as a whole.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something in the store.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// A name on the command line cannot be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The configuration names several partitions and none for new mailboxes.
    #[error("defaultpartition is not set: it is not known where a new mailbox belongs")]
    NoDefaultPartition,
    /// There is no store.
    #[error("there is no mail store: {} does not exist (syncctl init makes one)", .0.display())]
    NoStore(PathBuf),
    /// A user does not exist.
    #[error("there is no user {0} (syncctl init --user {0} makes one)")]
    NoUser(UserId),
    /// Neither a user nor a mailbox of that name exists.
    #[error("there is no user and no mailbox {0}")]
    NotFound(String),
    /// Mail to be imported cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Source {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file or directory is not what mail is imported from.
    #[error("{}: {what}", path.display())]
    NoMail {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A message cannot be kept aside while it is read.
    #[error("cannot write a temporary file: {0}")]
    Temporary(io::Error),
    /// Messages cannot be stored; each was named.
    #[error("{0} messages were not imported (see above)")]
    Refused(u64),
    /// The mailbox has no UIDs left.
    #[error("{0}: there are no UIDs left")]
    NoUids(String),
    /// A directory of a new store cannot be given to its user.
    #[error("cannot give {} to the user who owns the store: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A login name cannot be one.
    #[error(transparent)]
    Login(#[from] AuthError),
    /// The configuration names no password file.
    #[error("cyrus_sync_password_file is not set: there is no file to keep passwords in")]
    NoPasswordFile,
    /// The password file cannot be used.
    #[error(transparent)]
    Passwords(#[from] PasswordFileError),
    /// A password that is not there cannot be removed.
    #[error("{} has no password of {user}", path.display())]
    NoPassword {
        /// The password file.
        path: PathBuf,
        /// The user.
        user: UserId,
    },
    /// No password can be read.
    #[error("cannot read the password: {0}")]
    PasswordInput(io::Error),
    /// The results cannot be printed.
    #[error("cannot write the results: {0}")]
    Output(io::Error),
}

impl OperatorError {
    /// The exit status (sysexits).
    pub fn status(&self) -> u8 {
        match self {
            OperatorError::Name(_) | OperatorError::Login(_) => exit::USAGE,
            OperatorError::NoMail { .. }
            | OperatorError::Refused(_)
            | OperatorError::PasswordInput(_) => exit::DATA,
            OperatorError::NoStore(_) | OperatorError::Source { .. } => exit::NO_INPUT,
            OperatorError::NoUser(_)
            | OperatorError::NotFound(_)
            | OperatorError::NoPassword { .. } => exit::NO_USER,
            OperatorError::Directory { .. } => exit::CANNOT_CREATE,
            OperatorError::Output(_) | OperatorError::Temporary(_) => exit::INPUT_OUTPUT,
            OperatorError::Config(_)
            | OperatorError::NoDefaultPartition
            | OperatorError::NoPasswordFile => exit::CONFIG,
            OperatorError::Spool(error) | OperatorError::Store(StoreError::Spool(error))
                if error.is_retryable() =>
            {
                exit::TEMPORARY
            }
            OperatorError::Process(_)
            | OperatorError::Store(_)
            | OperatorError::Spool(_)
            | OperatorError::Passwords(_)
            | OperatorError::NoUids(_) => exit::SOFTWARE,
        }
    }
}
