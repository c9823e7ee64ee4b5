//! As whom the process runs.

use std::ffi::CString;
use std::io;

use nix::sys::stat::{Mode, umask};
use nix::unistd::{Group, Uid, User, initgroups, setgid, setuid};

use crate::config::ProcessSettings;

/// Why the process may not run as it does.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The configured user does not exist.
    #[error("started as root, but the user {0:?} to become does not exist")]
    UnknownUser(String),
    /// The configured group does not exist.
    #[error("started as root, but the group {0:?} to become does not exist")]
    UnknownGroup(String),
    /// The system refuses the change.
    #[error("cannot become user {user:?}: {source}")]
    Refused {
        /// The user.
        user: String,
        /// What the system says.
        source: io::Error,
    },
    /// The Cyrus user is root.
    #[error("must run as the Cyrus user, not as root")]
    Root,
}

/// Started as root, becomes the Cyrus user for good, as the original does; started as anybody
/// else, stays so. New files are made with the configured umask.
///
/// # Errors
/// If the user or group is unknown, the system refuses, or the process would stay root.
pub fn become_user(settings: &ProcessSettings) -> Result<(), ProcessError> {
    umask(Mode::from_bits_truncate(settings.umask));
    if !Uid::effective().is_root() {
        return Ok(());
    }
    let user = User::from_name(&settings.user).ok().flatten();
    let user = user.ok_or_else(|| ProcessError::UnknownUser(settings.user.clone()))?;
    let group = Group::from_name(&settings.group).ok().flatten();
    let group = group.ok_or_else(|| ProcessError::UnknownGroup(settings.group.clone()))?;
    if user.uid.is_root() {
        return Err(ProcessError::Root);
    }
    let refused = |error: nix::Error| ProcessError::Refused {
        user: settings.user.clone(),
        source: error.into(),
    };
    let name = CString::new(settings.user.as_bytes())
        .map_err(|_| ProcessError::UnknownUser(settings.user.clone()))?;
    initgroups(&name, group.gid).map_err(refused)?;
    setgid(group.gid).map_err(refused)?;
    setuid(user.uid).map_err(refused)?;
    Ok(())
}
