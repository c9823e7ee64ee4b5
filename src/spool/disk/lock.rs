//! Whole-file locks that conflict with those of the Cyrus daemons (mailbox-format §6.1).
//!
//! They belong to the open file description: two sessions of this process exclude each other like
//! two processes, and closing another descriptor of the same file releases nothing.

use std::fmt;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::{Disk, DiskError, DiskFile, Named, Status};
use crate::service::watchdog;

const FIRST_PAUSE: Duration = Duration::from_micros(100);
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// What a lock admits beside itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// Other shared locks.
    Shared,
    /// Nothing.
    Exclusive,
}

impl fmt::Display for LockKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LockKind::Shared => "shared",
            LockKind::Exclusive => "exclusive",
        })
    }
}

impl DiskFile {
    /// Locks the whole file, trying again until `deadline`; a lock already held is converted
    /// (which may wait for others, so release first unless the deadline is near). An exclusive
    /// lock needs a file open for writing. A deadline in the past means: try once.
    /// Work that should have ended waits for nothing either. Each attempt is progress for the
    /// watchdog.
    pub fn lock(&self, kind: LockKind, deadline: Instant) -> Result<(), DiskError> {
        let wanted = match kind {
            LockKind::Shared => libc::F_RDLCK,
            LockKind::Exclusive => libc::F_WRLCK,
        };
        let start = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            match self.set_lock(wanted) {
                Ok(()) => return Ok(()),
                Err(Errno::EAGAIN | Errno::EACCES | Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()).named("lock", &self.path),
            }
            watchdog::progress();
            let now = Instant::now();
            if now >= deadline || watchdog::is_overdue() {
                return Err(DiskError::LockTimeout {
                    path: self.path.clone(),
                    kind,
                    waited: now - start,
                });
            }
            std::thread::sleep(pause.min(deadline - now));
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Releases the lock, if one is held.
    pub fn unlock(&self) -> Result<(), DiskError> {
        match self.set_lock(libc::F_UNLCK) {
            Ok(()) => Ok(()),
            Err(errno) => Err(errno.into()).named("unlock", &self.path),
        }
    }

    /// Locks the file that the path names *now*: if it was replaced since this one was opened,
    /// opens that one instead (for reading and writing). No lock may be held before. Returns what
    /// the system knows of the file locked. That the name has gone is an error
    /// ([`DiskError::is_not_found`]).
    pub fn lock_current(&mut self, kind: LockKind, deadline: Instant) -> Result<Status, DiskError> {
        loop {
            self.lock(kind, deadline)?;
            match self.status_if_current() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) => {
                    self.unlock()?;
                    *self = self.disk.open_write(&self.path)?;
                }
                Err(error) => {
                    self.unlock()?;
                    return Err(error);
                }
            }
        }
    }

    /// What the system knows of this file, if the path still names it.
    fn status_if_current(&self) -> Result<Option<Status>, DiskError> {
        let own = self.identity()?;
        let named = self.disk.status(&self.path)?;
        Ok(named.filter(|named| named.identity() == own))
    }

    fn set_lock(&self, kind: libc::c_int) -> Result<(), Errno> {
        let whole_file = libc::flock {
            l_type: kind as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        fcntl(&self.file, FcntlArg::F_OFD_SETLK(&whole_file)).map(drop)
    }
}

impl Disk {
    /// Opens a file, creating it if it does not exist, and locks it, making sure that the path
    /// still names what was locked. Dropping the file releases the lock.
    pub fn open_locked(
        &self,
        path: &std::path::Path,
        mode: u32,
        kind: LockKind,
        deadline: Instant,
    ) -> Result<DiskFile, DiskError> {
        loop {
            let mut file = self.open_or_create(path, mode)?;
            match file.lock_current(kind, deadline) {
                Ok(_) => return Ok(file),
                Err(error) if error.is_not_found() && Instant::now() < deadline => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::FILE_MODE;
    use super::*;
    use crate::service::shutdown::Shutdown;
    use crate::service::watchdog::Watchdog;

    #[test]
    fn locks_of_two_descriptors_conflict_until_the_deadline() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let disk = Disk::default();
        let soon = || Instant::now() + Duration::from_millis(30);
        let first = disk
            .open_locked(&path, FILE_MODE, LockKind::Shared, soon())
            .unwrap();
        let second = disk.open_write(&path).unwrap();
        second.lock(LockKind::Shared, Instant::now()).unwrap();
        second.unlock().unwrap();
        let error = second.lock(LockKind::Exclusive, soon()).unwrap_err();
        assert!(error.is_temporary());
        let text = error.to_string();
        let expected = format!("no exclusive lock on {} within ", path.display());
        // How long it really waited is up to the machine.
        assert!(text.starts_with(&expected), "{text}");
        assert!(text.ends_with(" seconds"), "{text}");
        // A third descriptor coming and going does not disturb the first one's lock.
        drop(disk.open_read(&path).unwrap());
        assert!(second.lock(LockKind::Exclusive, Instant::now()).is_err());
        drop(first);
        second.lock(LockKind::Exclusive, Instant::now()).unwrap();
    }

    #[test]
    fn work_that_should_have_ended_waits_for_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let disk = Disk::default();
        let open = || disk.open_locked(&path, FILE_MODE, LockKind::Exclusive, disk.lock_deadline());
        let _held = open().unwrap();
        let shutdown = Shutdown::default();
        let heartbeat = Watchdog::from_environment().heartbeat();
        let start = Instant::now();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| heartbeat.work(&shutdown, || open().map(drop)));
            std::thread::sleep(Duration::from_millis(50));
            assert!(!waiter.is_finished());
            shutdown.request();
            assert!(waiter.join().unwrap().unwrap_err().is_temporary());
        });
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_replaced_file_is_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let disk = Disk::default();
        let mut file = disk.create_new(&path, FILE_MODE).unwrap();
        let replacement = disk.replace(&path, FILE_MODE).unwrap();
        replacement.file().write_at(0, b"new").unwrap();
        replacement.commit().unwrap();
        let status = file
            .lock_current(LockKind::Exclusive, disk.lock_deadline())
            .unwrap();
        assert_eq!(status.length(), 3);
        assert_eq!(file.read_at(0, 9).unwrap(), b"new");
        file.unlock().unwrap();
        disk.unlink(&path).unwrap();
        assert!(
            file.lock_current(LockKind::Shared, Instant::now())
                .unwrap_err()
                .is_not_found()
        );
    }

    #[test]
    fn a_waiter_gets_the_lock_when_it_is_released() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let disk = Disk::default();
        let open = || disk.open_locked(&path, FILE_MODE, LockKind::Exclusive, disk.lock_deadline());
        let held = open().unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| open().map(drop));
            std::thread::sleep(Duration::from_millis(20));
            drop(held);
            waiter.join().unwrap().unwrap();
        });
    }
}
