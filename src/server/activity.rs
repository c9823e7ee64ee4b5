//! What all sessions together are doing, for the status line.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Counters that all sessions of a server share.
#[derive(Debug)]
pub struct Activity {
    sessions: AtomicUsize,
    messages: AtomicU64,
    /// When the status was made last, and how many messages there were.
    before: Mutex<(Instant, u64)>,
}

impl Default for Activity {
    fn default() -> Activity {
        Activity {
            sessions: AtomicUsize::new(0),
            messages: AtomicU64::new(0),
            before: Mutex::new((Instant::now(), 0)),
        }
    }
}

/// A session of an authenticated client; it counts until dropped.
#[derive(Debug)]
pub struct Counted<'a>(&'a Activity);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Activity {
    /// A session has begun.
    pub fn session(&self) -> Counted<'_> {
        self.sessions.fetch_add(1, Ordering::Relaxed);
        Counted(self)
    }

    /// A message was received.
    pub fn received(&self) {
        self.messages.fetch_add(1, Ordering::Relaxed);
    }

    /// The sessions, and the messages per second since the last call.
    pub fn status(&self) -> String {
        let messages = self.messages.load(Ordering::Relaxed);
        let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = before.0.elapsed().as_secs_f64().max(0.001);
        let rate = messages.saturating_sub(before.1) as f64 / seconds;
        *before = (Instant::now(), messages);
        let sessions = self.sessions.load(Ordering::Relaxed);
        let plural = if sessions == 1 { "" } else { "s" };
        format!("{sessions} session{plural}, {rate:.0} msg/s")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn sessions_and_the_rate_since_the_last_time() {
        let activity = Activity::default();
        assert_eq!(activity.status(), "0 sessions, 0 msg/s");
        let _one = activity.session();
        let two = activity.session();
        for _ in 0..100 {
            activity.received();
        }
        std::thread::sleep(Duration::from_millis(50));
        let status = activity.status();
        assert!(status.starts_with("2 sessions, "), "{status}");
        assert!(!status.ends_with(" 0 msg/s"), "{status}");
        drop(two);
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(activity.status(), "1 session, 0 msg/s");
    }
}
