//! How name locks are taken.

use std::time::Duration;

/// Which name the lock of a user has; it must be that of the daemons on this host, or they and we
/// do not exclude each other (databases §16.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LockNaming {
    /// The user id, as in Cyrus 3.4 to 3.10.
    #[default]
    UserId,
    /// The name of the user's INBOX, as in Cyrus 3.12 and later.
    Inbox,
}

/// The settings of name locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockSettings {
    /// Names of user locks.
    pub naming: LockNaming,
    /// Whether whoever locks exclusively also holds `$GLOBAL` shared (`global_lock`, 3.12).
    pub global: bool,
    /// Longest wait for a lock.
    pub timeout: Duration,
}

impl Default for LockSettings {
    /// As the daemons of 3.6 expect; waits of at most a minute.
    fn default() -> LockSettings {
        LockSettings {
            naming: LockNaming::UserId,
            global: false,
            timeout: Duration::from_secs(60),
        }
    }
}
