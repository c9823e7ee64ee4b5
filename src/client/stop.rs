//! The wish to end, and sleeping until it comes.

use std::time::Duration;

use tokio::sync::watch;

use crate::client::error::SyncError;

/// Tells everything that works for this process that it should end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stop(watch::Sender<bool>);

impl Default for Stop {
    fn default() -> Stop {
        Stop(watch::Sender::new(false))
    }
}

impl Stop {
    /// Asks for the end: within one mailbox the work ceases.
    pub fn request(&self) {
        self.0.send_replace(true);
    }

    /// Whether the end was asked for.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the end is asked for.
    pub async fn requested(&self) {
        let mut receiver = self.0.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = receiver.wait_for(|requested| *requested).await;
    }

    /// Sleeps.
    ///
    /// # Errors
    /// [`SyncError::Interrupted`] as soon as the end is asked for.
    pub async fn sleep(&self, pause: Duration) -> Result<(), SyncError> {
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            () = self.requested() => Err(SyncError::Interrupted),
        }
    }
}
