//! What the user is told: actions in the words of the original, results, progress.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Where actions and results go. Shared by all connections.
#[derive(Debug)]
pub struct Reporter {
    print: bool,
    log: bool,
    json: bool,
    progress: Option<Progress>,
}

/// What kind of thing a result is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A user.
    User,
    /// Mailboxes.
    Mailbox,
    /// The meta data of a user.
    Meta,
}

impl Subject {
    fn name(self) -> &'static str {
        match self {
            Subject::User => "user",
            Subject::Mailbox => "mailbox",
            Subject::Meta => "meta",
        }
    }
}

#[derive(Debug)]
struct Progress {
    start: Instant,
    subjects: AtomicU64,
    done: AtomicU64,
    messages: AtomicU64,
    octets: AtomicU64,
    drawn: Mutex<Duration>,
}

/// Shortest time between two drawings of the progress bar.
const REDRAW: Duration = Duration::from_millis(200);

impl Reporter {
    /// Prints actions if `print`, logs them if `log` (algorithm §1: `-v`, `-l`), results as JSON
    /// if `json`, and a bar if `progress` and the standard error is a terminal.
    pub fn new(print: bool, log: bool, json: bool, progress: bool) -> Reporter {
        let progress = (progress && std::io::stderr().is_terminal()).then(|| Progress {
            start: Instant::now(),
            subjects: AtomicU64::new(0),
            done: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            octets: AtomicU64::new(0),
            drawn: Mutex::new(Duration::ZERO),
        });
        Reporter {
            print,
            log,
            json,
            progress,
        }
    }

    /// An action, as `MAILBOX user.alice`.
    pub fn action(&self, action: &str) {
        if self.print {
            line(&mut std::io::stdout().lock(), action);
        }
        if self.log {
            tracing::info!("{action}");
        }
    }

    /// Something that is not as it should be but does not end the work; for a person who watches.
    pub fn notice(&self, notice: &str) {
        if self.print {
            line(&mut std::io::stderr().lock(), notice);
        }
    }

    /// The result for a user or mailbox.
    pub fn result(&self, subject: Subject, name: &str, error: Option<&str>, took: Duration) {
        if self.json {
            let result = match error {
                None => "ok",
                Some(_) => "failed",
            };
            let mut object = serde_json::json!({
                subject.name(): name,
                "result": result,
                "seconds": took.as_secs_f64(),
            });
            if let (Some(error), Some(object)) = (error, object.as_object_mut()) {
                object.insert("error".to_owned(), error.into());
            }
            line(&mut std::io::stdout().lock(), &object.to_string());
        }
        if let Some(progress) = &self.progress {
            progress.done.fetch_add(1, Ordering::Relaxed);
            progress.draw(false);
        }
    }

    /// There are so many users or mailboxes to replicate.
    pub fn expect(&self, subjects: u64) {
        if let Some(progress) = &self.progress {
            progress.subjects.fetch_add(subjects, Ordering::Relaxed);
        }
    }

    /// A message of this many octets was sent.
    pub fn uploaded(&self, octets: u64) {
        if let Some(progress) = &self.progress {
            progress.messages.fetch_add(1, Ordering::Relaxed);
            progress.octets.fetch_add(octets, Ordering::Relaxed);
            progress.draw(false);
        }
    }

    /// Nothing more comes.
    pub fn finish(&self) {
        if let Some(progress) = &self.progress {
            progress.draw(true);
            line(&mut std::io::stderr().lock(), "");
        }
    }
}

impl Progress {
    fn draw(&self, even_if_recent: bool) {
        let elapsed = self.start.elapsed();
        let Ok(mut drawn) = self.drawn.lock() else {
            return;
        };
        if !even_if_recent && elapsed < *drawn + REDRAW {
            return;
        }
        *drawn = elapsed;
        let text = self.text(elapsed);
        // A bar that cannot be drawn must not end the replication.
        write!(std::io::stderr().lock(), "\r{text}\x1b[K").unwrap_or_default();
    }

    fn text(&self, elapsed: Duration) -> String {
        let [done, subjects, messages, octets] =
            [&self.done, &self.subjects, &self.messages, &self.octets]
                .map(|counter| counter.load(Ordering::Relaxed));
        let seconds = elapsed.as_secs_f64().max(0.001);
        let mebibytes = octets as f64 / f64::from(1 << 20);
        let left = match (done, subjects.checked_sub(done)) {
            (0, _) | (_, None) => "?".to_owned(),
            (_, Some(rest)) => format!("{:.0} s", seconds * rest as f64 / done as f64),
        };
        let width = 20;
        let filled = usize::try_from(done * width as u64 / subjects.max(1)).unwrap_or(width);
        let bar: String = (0..width)
            .map(|place| if place < filled { '#' } else { '.' })
            .collect();
        format!(
            "[{bar}] {done}/{subjects}  {messages} messages, {mebibytes:.1} MiB, {:.1} MiB/s, {left} left",
            mebibytes / seconds
        )
    }
}

fn line(out: &mut impl Write, text: &str) {
    // Nobody listening is no reason to stop replicating.
    writeln!(out, "{text}").unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_shows_what_is_done_and_left() {
        let progress = Progress {
            start: Instant::now(),
            subjects: AtomicU64::new(8),
            done: AtomicU64::new(2),
            messages: AtomicU64::new(5),
            octets: AtomicU64::new(3 << 20),
            drawn: Mutex::new(Duration::ZERO),
        };
        assert_eq!(
            progress.text(Duration::from_secs(3)),
            "[#####...............] 2/8  5 messages, 3.0 MiB, 1.0 MiB/s, 9 s left"
        );
    }

    #[test]
    fn an_empty_bar_has_no_estimate() {
        let progress = Progress {
            start: Instant::now(),
            subjects: AtomicU64::new(0),
            done: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            octets: AtomicU64::new(0),
            drawn: Mutex::new(Duration::ZERO),
        };
        assert!(progress.text(Duration::ZERO).ends_with("? left"));
    }
}
