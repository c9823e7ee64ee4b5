//! The one entry in the log that tells what a replication run did.

use std::time::{Duration, Instant, SystemTime};

use crate::client::activity::{Sent, milliseconds};
use crate::client::session::Shared;
use crate::protocol::run_id::RunId;
use crate::service::event;

/// A run that is going on.
#[derive(Debug)]
pub struct Summary {
    /// The name of the run.
    pub run: RunId,
    start: Instant,
    before: Sent,
    failures: u64,
    /// When the oldest entry of the log was written.
    since: Option<SystemTime>,
}

impl Summary {
    /// A run begins; `before` is what was sent until now.
    pub fn begin(shared: &Shared, before: Sent, since: Option<SystemTime>) -> Summary {
        Summary {
            run: RunId::new(),
            start: Instant::now(),
            before,
            failures: shared.activity.failures(),
            since,
        }
    }

    /// How long ago the oldest entry was written, or the run began.
    pub fn lag(&self) -> Duration {
        let age = self.since.and_then(|since| since.elapsed().ok());
        age.unwrap_or_else(|| self.start.elapsed())
    }

    /// Sums the run up. `now` is what was sent until now.
    pub fn tell(&self, shared: &Shared, now: Sent, has_ended: bool) {
        let sent = now.since(self.before);
        let failures = shared.activity.failures().saturating_sub(self.failures);
        let result = match (has_ended, failures) {
            (false, _) => "interrupted",
            (true, 0) => "ok",
            (true, _) => "incomplete",
        };
        tracing::info!(
            message_id = event::RUN,
            sync_result = result,
            sync_messages = sent.messages,
            sync_bytes = sent.octets,
            sync_lag_ms = milliseconds(self.lag()),
            "run {}: {result}, {} changes, {} messages, {} octets, {failures} failures in {:.1} s",
            self.run,
            sent.changes,
            sent.messages,
            sent.octets,
            self.start.elapsed().as_secs_f64()
        );
    }
}
