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
    notices: Option<Arc<Notify>>,
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
            known: None,
        }
    }

    /// Takes what the log holds as no news if it is exactly as long as what we put there ourselves
    /// since it was last taken away.
    pub fn ignore_own(&mut self, octets: u64) {
        self.known = self.look().filter(|(_, length)| *length == octets);
    }

    /// Whether the log holds something that is not known. What comes later is noticed by
    /// [`LogWatch::changed`].
    pub fn has_news(&mut self) -> bool {
        if self.notices.is_none() {
            self.notices = self.watch();
        }
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
        match &self.notices {
            Some(notices) => notices.notified().await,
            None => tokio::time::sleep(LOOK).await,
        }
    }

    /// Starts a thread that passes the system's notices on, for as long as the process lives.
    fn watch(&self) -> Option<Arc<Notify>> {
        let directory = self.log.parent()?;
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC).ok()?;
        let events = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_CLOSE_WRITE;
        inotify.add_watch(directory, events).ok()?;
        let notices = Arc::new(Notify::new());
        let notify = Arc::clone(&notices);
        std::thread::Builder::new()
            .name("log watch".to_owned())
            .spawn(move || {
                while inotify.read_events().is_ok() {
                    notify.notify_one();
                }
            })
            .ok()?;
        Some(notices)
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
        std::fs::write(&log, "USER alice\nUSER bob\n").unwrap();
        assert!(watch.has_news());
    }
}
