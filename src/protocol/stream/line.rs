//! TCP that notices when the line is cut: a peer's host that has gone silent is not waited for.
//!
//! TCP alone repeats what was not acknowledged ever more seldom, for a quarter of an hour, so that after a cut
//! of some minutes some more pass before it tries again. The kernel's own limit, `TCP_USER_TIMEOUT`, will
//! not do: it also counts the time in which the peer takes nothing because it is busy (tcp(7); in Linux
//! since 5.11), and a peer may be busy for as long as `sync_timeout` with a single command. Its host
//! acknowledges what arrives all the same, so acknowledgements are what is looked at here.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use nix::libc;
use nix::sys::socket::sockopt::{GetStruct, KeepAlive, TcpKeepCount, TcpKeepIdle, TcpKeepInterval};
use nix::sys::socket::{GetSockOpt, SetSockOpt, setsockopt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use crate::config::{Keepalive, LineSettings};

/// A TCP connection whose reads and writes fail with [`io::ErrorKind::TimedOut`] once the peer's host
/// has left something unacknowledged for too long. Both directions must be used by one task.
pub struct Line {
    socket: TcpStream,
    watch: Option<Watch>,
}

impl Line {
    /// Watches over `socket`, without Nagle's delay. While nothing is on its way, keepalive probes are.
    ///
    /// # Errors
    /// If the socket refuses an option.
    pub fn new(socket: TcpStream, settings: LineSettings) -> io::Result<Line> {
        socket.set_nodelay(true)?;
        if let Some(keepalive) = settings.keepalive {
            keep_alive(&socket, keepalive)?;
        }
        Ok(Line {
            socket,
            watch: settings.timeout.map(Watch::new),
        })
    }

    /// What became of an attempt to read or write; if it has to wait, the line may have been cut.
    fn outcome<T>(
        &mut self,
        attempt: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        let Some(watch) = &mut self.watch else {
            return attempt;
        };
        if attempt.is_ready() {
            watch.unanswered_since = None;
            return attempt;
        }
        watch.poll_loss(&self.socket, context).map(Err)
    }
}

/// Sets keepalive; zero leaves the system's value.
fn keep_alive(socket: &TcpStream, keepalive: Keepalive) -> io::Result<()> {
    setsockopt(socket, KeepAlive, &true)?;
    let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    set_unless_zero(socket, TcpKeepIdle, seconds(keepalive.idle))?;
    set_unless_zero(socket, TcpKeepInterval, seconds(keepalive.interval))?;
    set_unless_zero(socket, TcpKeepCount, keepalive.probes)
}

fn set_unless_zero(
    socket: &TcpStream,
    option: impl SetSockOpt<Val = u32>,
    value: u32,
) -> io::Result<()> {
    if value > 0 {
        setsockopt(socket, option, &value)?;
    }
    Ok(())
}

/// Looks now and then, while there is something to wait for, whether the peer's host still answers.
struct Watch {
    limit: Duration,
    look: Interval,
    /// Since when something has been on its way without any acknowledgement, as far as was seen.
    unanswered_since: Option<Instant>,
}

/// How often is looked within the limit, so that it is overstepped by a tenth at most.
const LOOKS: u32 = 10;

impl Watch {
    fn new(limit: Duration) -> Watch {
        let mut look = interval((limit / LOOKS).max(Duration::from_millis(1)));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Watch {
            limit,
            look,
            unanswered_since: None,
        }
    }

    /// Ready when the line counts as cut.
    fn poll_loss(&mut self, socket: &TcpStream, context: &mut Context<'_>) -> Poll<io::Error> {
        while self.look.poll_tick(context).is_ready() {
            let silence = match TcpInfo.get(socket) {
                Ok(answers) => self.silence(answers, Instant::now()),
                Err(error) => return Poll::Ready(error.into()),
            };
            if silence >= self.limit {
                return Poll::Ready(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!(
                        "the peer's host has acknowledged nothing for {} s",
                        silence.as_secs()
                    ),
                ));
            }
        }
        Poll::Pending
    }

    /// For how long something has been on its way and nothing was acknowledged. How long ago the last
    /// acknowledgement came says nothing by itself: before what is on its way now there may have been
    /// nothing to acknowledge for hours.
    fn silence(&mut self, answers: Answers, now: Instant) -> Duration {
        let since = match answers.unacknowledged {
            0 => None,
            _ => {
                let last = Duration::from_millis(answers.last_acknowledgement.into());
                let seen = self.unanswered_since.unwrap_or(now);
                Some(now.checked_sub(last).map_or(seen, |last| seen.max(last)))
            }
        };
        self.unanswered_since = since;
        since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

/// The beginning of Linux's `struct tcp_info`, which all versions have in common (linux/tcp.h).
#[repr(C)]
struct Answers {
    /// State, options and numbers of retransmissions, of one octet each.
    state: [u8; 8],
    /// Timeouts and sizes of segments.
    timing: [u32; 4],
    /// Segments that were sent and not acknowledged.
    unacknowledged: u32,
    /// Of these, how many were acknowledged selectively, lost, and so on; times since something was sent
    /// or received.
    counters: [u32; 7],
    /// Milliseconds since the last acknowledgement was received.
    last_acknowledgement: u32,
}

/// What the kernel knows about a connection.
#[derive(Clone, Copy)]
struct TcpInfo;

// The kernel fills as much of a structure as was asked for, and every value of its numbers is valid.
nix::getsockopt_impl!(
    TcpInfo,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    Answers,
    GetStruct<Answers>
);

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let attempt = Pin::new(&mut self.socket).poll_read(context, buffer);
        self.outcome(attempt, context)
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let attempt = Pin::new(&mut self.socket).poll_write(context, octets);
        self.outcome(attempt, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
