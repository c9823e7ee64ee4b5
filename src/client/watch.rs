//! Waking up when something is written to the sync log.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::sync::Notify;

/// Watches a log. Where the system gives no notice, the log is looked at now and then.
#[derive(Debug)]
pub struct LogWatch {
    log: PathBuf,
    notices: Option<Notices>,
    /// Whether there will be a notice.
    is_watched: bool,
    /// What of the log is known and no news: its file number and length.
    known: Option<(u64, u64)>,
}

/// How often the log is looked at if the system gives no notice.
const LOOK: Duration = Duration::from_millis(100);

impl LogWatch {
    /// Starts to watch `log`, which need not exist.
    pub fn new(log: &Path) -> LogWatch {
        LogWatch {
            log: log.to_owned(),
            notices: None,
            is_watched: false,
            known: None,
        }
    }

    /// Takes what the log holds as no news if it is exactly as long as what we put there ourselves
    /// since it was last taken away.
    pub fn ignore_own(&mut self, octets: u64) {
        self.known = self.look().filter(|(_, length)| *length == octets);
    }

    /// Whether the log holds something that is not known. If not, what comes later is noticed by
    /// [`LogWatch::changed`].
    pub fn has_news(&mut self) -> bool {
        if self.holds_news() {
            return true;
        }
        if self.notices.is_none() {
            self.notices = Notices::new();
        }
        let watched = self.notices.as_ref().zip(self.log.parent());
        self.is_watched = watched.is_some_and(|(notices, directory)| notices.watch(directory));
        // It may have come before the watch.
        self.holds_news()
    }

    fn holds_news(&self) -> bool {
        let found = self.look();
        found.is_some() && found != self.known
    }

    fn look(&self) -> Option<(u64, u64)> {
        use std::os::unix::fs::MetadataExt;
        let metadata = std::fs::metadata(&self.log).ok()?;
        (metadata.len() > 0).then(|| (metadata.ino(), metadata.len()))
    }

    /// Waits until something happens in the directory of the log. It may have nothing to do with
    /// the log.
    pub async fn changed(&self) {
        match self.notices.as_ref().filter(|_| self.is_watched) {
            Some(notices) => notices.arrived.notified().await,
            None => tokio::time::sleep(LOOK).await,
        }
    }
}

/// The system's notices of what happens in a directory. A watch ends with its first notice: while
/// nobody waits, a log to which every daemon writes must wake nobody.
#[derive(Debug)]
struct Notices {
    inotify: Arc<Inotify>,
    arrived: Arc<Notify>,
}

impl Notices {
    /// Starts a thread that passes the system's notices on, for as long as the process lives.
    fn new() -> Option<Notices> {
        let inotify = Arc::new(Inotify::init(InitFlags::IN_CLOEXEC).ok()?);
        let arrived = Arc::new(Notify::new());
        let (source, notify) = (Arc::clone(&inotify), Arc::clone(&arrived));
        std::thread::Builder::new()
            .name("log watch".to_owned())
            .spawn(move || {
                while source.read_events().is_ok() {
                    notify.notify_one();
                }
            })
            .ok()?;
        Some(Notices { inotify, arrived })
    }

    /// Watches for the next thing that happens; false if the system does not.
    fn watch(&self, directory: &Path) -> bool {
        let events = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_ONESHOT;
        self.inotify.add_watch(directory, events).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_in_the_log_wakes_up() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let mut watch = LogWatch::new(&log);
        assert!(!watch.has_news());
        let nothing = tokio::time::timeout(Duration::from_millis(20), watch.changed()).await;
        assert!(nothing.is_err());
        std::fs::write(&log, "USER alice\n").unwrap();
        let woken = tokio::time::timeout(Duration::from_secs(5), watch.changed()).await;
        assert!(woken.is_ok());
        assert!(watch.has_news());
        watch.ignore_own(5);
        assert!(watch.has_news());
        watch.ignore_own(11);
        assert!(!watch.has_news());
        let again = || tokio::time::timeout(Duration::from_millis(20), watch.changed());
        let mut notices = 0;
        while again().await.is_ok() {
            notices += 1;
            assert!(notices < 10, "old news wake up again and again");
        }
        assert!(!watch.has_news());
        std::fs::write(&log, "USER alice\nUSER bob\n").unwrap();
        let woken = tokio::time::timeout(Duration::from_secs(5), watch.changed()).await;
        assert!(woken.is_ok());
        assert!(watch.has_news());
    }
}
