//! The wish to end, and sleeping until it comes.

use std::time::Duration;

use crate::client::error::SyncError;
use crate::service::shutdown::Shutdown;

/// Tells everything that works for this process that it should end. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Stop(Shutdown);

/// How long the transactions under way may take after the wish to end.
const GRACE: Duration = Duration::from_secs(2);

impl Stop {
    /// Asks for the end: the work ceases at the next boundary between two transactions.
    pub fn request(&self) {
        self.0.request();
    }

    /// Whether the end was asked for.
    pub fn is_requested(&self) -> bool {
        self.0.is_requested()
    }

    /// Waits until the end is asked for.
    pub async fn requested(&self) {
        self.0.requested().await;
    }

    /// Waits until the end was asked for so long ago that the connection is given up, whatever is
    /// under way on it.
    pub async fn overdue(&self) {
        self.requested().await;
        tokio::time::sleep(GRACE).await;
    }

    /// The latch itself.
    pub fn latch(&self) -> &Shutdown {
        &self.0
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
