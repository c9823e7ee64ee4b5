//! What signals ask for.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The program is to end: SIGTERM or SIGINT.
    End,
    /// The configuration is to be read again: SIGHUP.
    Reload,
}

/// The signals that arrive from now on. Dropping it does not restore what they did before.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Option<Signal>,
}

impl Signals {
    /// Listens for the wish to end, and with `reloads` for that to reload; otherwise SIGHUP ends
    /// the program as ever.
    ///
    /// # Errors
    /// If the system refuses the handlers.
    pub fn listen(reloads: bool) -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: reloads.then(|| signal(SignalKind::hangup())).transpose()?,
        })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) -> Wish {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => Wish::End,
            _ = self.interrupt.recv() => Wish::End,
            _ = hangup => Wish::Reload,
        }
    }
}

/// The wishes to reload alone, for a program that learns elsewhere that it is to end.
///
/// # Errors
/// If the system refuses the handler.
pub fn reloads() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}
