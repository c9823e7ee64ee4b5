//! The shutdown latch: one way to stop, however the wish arrives.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Set once, never cleared; cheap to clone and to ask.
#[derive(Clone, Debug)]
pub struct Shutdown {
    sender: Arc<watch::Sender<bool>>,
}

impl Default for Shutdown {
    fn default() -> Shutdown {
        Shutdown {
            sender: Arc::new(watch::Sender::new(false)),
        }
    }
}

impl Shutdown {
    /// Asks everything to stop after the command in hand.
    pub fn request(&self) {
        self.sender.send_replace(true);
    }

    /// Whether stopping was asked for.
    pub fn is_requested(&self) -> bool {
        *self.sender.borrow()
    }

    /// Resolves once stopping is asked for.
    pub async fn requested(&self) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self
            .sender
            .subscribe()
            .wait_for(|requested| *requested)
            .await;
    }

    /// Requests shutdown on SIGTERM or SIGINT; runs until then.
    ///
    /// # Errors
    /// If the system refuses the signal handlers.
    pub async fn on_signals(self) -> io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        self.request();
        Ok(())
    }
}
