//! What a client sends under one name, for the log (docs/protocol-extensions.md).

use std::time::Instant;

use tracing::{Span, debug, error_span, info};

use super::subject::Subject;
use crate::protocol::run_id::RunId;
use crate::service::event;
use crate::service::journal::DONE;

/// What arrived since a run began: the client's, or one of our own if it has told none.
#[derive(Debug)]
pub struct Received {
    /// All events of the run are inside.
    pub span: Span,
    run: RunId,
    start: Instant,
    changes: u64,
    refused: u64,
    messages: u64,
    octets: u64,
}

impl Received {
    /// A run begins.
    pub fn begin(run: Option<RunId>, peer: &str) -> Received {
        let run = run.unwrap_or_default();
        Received {
            span: error_span!("run", sync_run_id = %run, sync_peer = peer),
            run,
            start: Instant::now(),
            changes: 0,
            refused: 0,
            messages: 0,
            octets: 0,
        }
    }

    /// A request was carried out.
    pub fn applied(&mut self, subject: &Subject) {
        self.messages += subject.messages;
        self.octets += subject.octets;
        if !subject.is_change {
            return;
        }
        self.changes += 1;
        debug!(
            target: DONE,
            message_id = event::APPLIED,
            sync_user = subject.user.as_ref().map(tracing::field::display),
            sync_mailbox = subject.mailbox.as_ref().map(tracing::field::display),
            sync_verb = subject.verb,
            sync_result = "ok",
            "applied {subject}"
        );
    }

    /// A request was refused.
    pub fn refused(&mut self) {
        self.refused += 1;
    }

    /// Sums the run up, if anything happened in it.
    pub fn tell(&self) {
        if self.changes + self.refused + self.messages == 0 {
            return;
        }
        let _inside = self.span.enter();
        let result = if self.refused == 0 {
            "ok"
        } else {
            "incomplete"
        };
        info!(
            message_id = event::RECEIVED,
            sync_result = result,
            sync_messages = self.messages,
            sync_bytes = self.octets,
            "received run {}: {result}, {} changes, {} refused, {} messages, {} octets in {:.1} s",
            self.run,
            self.changes,
            self.refused,
            self.messages,
            self.octets,
            self.start.elapsed().as_secs_f64()
        );
    }
}
