//! The shutdown latch: one way to stop, however the wish arrives.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// Set once, never cleared; cheap to clone and to ask.
#[derive(Clone, Debug)]
pub struct Shutdown {
    /// Since when stopping is asked for.
    sender: Arc<watch::Sender<Option<Instant>>>,
}

/// How long the command in hand may go on waiting for others.
const PATIENCE: Duration = Duration::from_secs(2);

impl Default for Shutdown {
    fn default() -> Shutdown {
        Shutdown {
            sender: Arc::new(watch::Sender::new(None)),
        }
    }
}

impl Shutdown {
    /// Asks everything to stop after the command in hand.
    pub fn request(&self) {
        self.sender
            .send_modify(|since| *since = since.or_else(|| Some(Instant::now())));
    }

    /// Whether stopping was asked for.
    pub fn is_requested(&self) -> bool {
        self.sender.borrow().is_some()
    }

    /// Whether stopping was asked for so long ago that nobody should wait for a lock any more.
    pub fn is_overdue(&self) -> bool {
        self.sender
            .borrow()
            .is_some_and(|since| since.elapsed() >= PATIENCE)
    }

    /// Resolves once stopping is asked for.
    pub async fn requested(&self) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.sender.subscribe().wait_for(Option::is_some).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everybody_learns_of_the_wish() {
        let shutdown = Shutdown::default();
        let waiting = tokio::time::timeout(Duration::from_millis(20), shutdown.requested());
        assert!(waiting.await.is_err());
        shutdown.clone().request();
        shutdown.requested().await;
        assert!(shutdown.is_requested());
        assert!(!shutdown.is_overdue());
    }
}
