//! The error of everything in the store.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::cyrusdb::DbError;
use super::disk::DiskError;
use super::layout::UnknownPartition;
use super::lock::LockError;
use super::mailbox::ChangeError;
use crate::mail::{MailboxName, NameError};

/// What went wrong in the store, and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// The system refused, or the lock of a file could not be had in time.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A database could not be read or changed.
    #[error(transparent)]
    Database(#[from] DbError),
    /// An SQLite database could not be read or changed.
    #[error("{}: {source}", path.display())]
    Sql {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// A name lock could not be had.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A mailbox is on a partition without a directory.
    #[error(transparent)]
    Partition(#[from] UnknownPartition),
    /// A mailbox cannot be changed like that.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// A file holds a name that nobody may use.
    #[error("{}: {source}", path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// What is wrong with the name.
        source: NameError,
    },
    /// A file does not hold what its format requires.
    #[error("{}: {what} at offset {offset}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in it, in octets.
        offset: u64,
        /// What is wrong there.
        what: Cow<'static, str>,
    },
    /// A file is of a version or kind that this program cannot change safely.
    #[error("{}: {what} is not supported", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// The system has no random octets for the id of something new.
    #[error("no random octets for a new id: {0}")]
    Random(#[from] getrandom::Error),
    /// Something failed while a mailbox was being worked on.
    #[error("mailbox {mailbox}: {source}")]
    Mailbox {
        /// The mailbox.
        mailbox: MailboxName,
        /// What failed.
        source: Box<SpoolError>,
    },
}

impl SpoolError {
    /// The content of a file is wrong.
    pub fn corrupt(path: &Path, offset: u64, what: impl Into<Cow<'static, str>>) -> SpoolError {
        SpoolError::Corrupt {
            path: path.to_owned(),
            offset,
            what: what.into(),
        }
    }

    /// Names the mailbox, unless an error below has named one.
    #[must_use]
    pub fn in_mailbox(self, mailbox: &MailboxName) -> SpoolError {
        match self {
            SpoolError::Mailbox { .. } => self,
            source => SpoolError::Mailbox {
                mailbox: mailbox.clone(),
                source: Box::new(source),
            },
        }
    }

    /// Whether the same may succeed later with nothing repaired.
    pub fn is_retryable(&self) -> bool {
        match self {
            SpoolError::Disk(error) => error.is_temporary(),
            SpoolError::Database(error) => error.is_temporary(),
            SpoolError::Sql { source, .. } => is_busy(source),
            SpoolError::Lock(error) => error.is_retryable(),
            SpoolError::Mailbox { source, .. } => source.is_retryable(),
            SpoolError::Partition(_)
            | SpoolError::Change(_)
            | SpoolError::Name { .. }
            | SpoolError::Corrupt { .. }
            | SpoolError::Random(_)
            | SpoolError::Unsupported { .. } => false,
        }
    }

    /// Whether a lock could not be had in time, be it of a name or of a file.
    pub fn is_lock_timeout(&self) -> bool {
        match self {
            SpoolError::Disk(error)
            | SpoolError::Database(DbError::Disk(error))
            | SpoolError::Lock(LockError::Disk(error)) => {
                matches!(error, DiskError::LockTimeout { .. })
            }
            SpoolError::Sql { source, .. } => is_busy(source),
            SpoolError::Mailbox { source, .. } => source.is_lock_timeout(),
            _ => false,
        }
    }
}

/// Whether another process has held an SQLite database for too long.
fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_file_and_mailbox() {
        let mailbox = MailboxName::parse("user.alice").unwrap();
        let other = MailboxName::parse("user.bob").unwrap();
        let error = SpoolError::corrupt(Path::new("/s/cyrus.index"), 96, "header CRC differs")
            .in_mailbox(&mailbox)
            .in_mailbox(&other);
        assert_eq!(
            error.to_string(),
            "mailbox user.alice: /s/cyrus.index: header CRC differs at offset 96"
        );
        assert!(!error.is_retryable() && !error.is_lock_timeout());
    }
}
