//! The replica at the other end: typed requests go out, typed answers come in.
//!
//! Requests may be sent ahead of the answers to earlier ones; the replica answers in order, and
//! each answer is fetched with the [`Ticket`] of its request. A replica that cannot get rid of its
//! answers stops reading, so before anything large is sent [`Peer::clear_the_way`] must be called.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::Write;
use std::time::Duration;

use crate::client::activity::Sent;
use crate::dlist::{LiteralStyle, ParseError, Parser};
use crate::protocol::command::{
    Answer, Apply, DecodeError, FileSink, Get, LineDecoder, NoFiles, RecordForm,
};
use crate::protocol::greeting::RUN_ID;
use crate::protocol::reply::{Outcome, Refusal};
use crate::protocol::run_id::RunId;
use crate::protocol::stream::{Stream, StreamError};

/// How requests are dressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// The protocol of sync_server.
    Csync,
    /// Inside IMAP, with tags (wire-protocol §12).
    Imap,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The replica said NO.
    #[error("{command} received NO response: {text}")]
    Refused {
        /// The sub-command.
        command: &'static str,
        /// What it means.
        refusal: Refusal,
        /// The text behind NO.
        text: String,
    },
    /// The replica said BAD: it did not understand.
    #[error("IOERROR: received bad response: command=<{command}> response=<{text}>")]
    NotUnderstood {
        /// The sub-command.
        command: &'static str,
        /// The line.
        text: String,
    },
    /// The replica goes away.
    #[error("received BYE: replica was shut down ({0})")]
    Bye(String),
    /// The replica sent something that is no answer. What follows cannot be made sense of.
    #[error("IOERROR: received bad response: command=<{command}> errmsg=<{what}>")]
    Nonsense {
        /// The sub-command.
        command: &'static str,
        /// What is wrong.
        what: String,
    },
    /// The replica sent a well-formed answer with contents that cannot be used.
    #[error("{command}: unusable answer: {problem}")]
    Unusable {
        /// The sub-command.
        command: &'static str,
        /// What is wrong.
        problem: DecodeError,
    },
    /// The connection is gone.
    #[error("connection lost: {0}")]
    Lost(#[from] StreamError),
}

impl PeerError {
    /// Whether the connection can still be used.
    pub fn leaves_connection_usable(&self) -> bool {
        match self {
            PeerError::Refused { .. }
            | PeerError::NotUnderstood { .. }
            | PeerError::Unusable { .. } => true,
            PeerError::Bye(_) | PeerError::Nonsense { .. } | PeerError::Lost(_) => false,
        }
    }

    /// The replica's refusal, if it is one.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            PeerError::Refused { refusal, .. } => Some(*refusal),
            _ => None,
        }
    }
}

/// Stands for the answer to a request that was sent.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Ticket(u64);

/// A request that was sent and not answered.
#[derive(Debug)]
struct Waiting {
    ticket: u64,
    /// The sub-command.
    command: &'static str,
    /// The answer may be long.
    is_long: bool,
}

/// A session with a replica.
#[derive(Debug)]
pub struct Peer {
    stream: Stream,
    flavour: Flavour,
    limits: crate::dlist::Limits,
    tickets: u64,
    /// Requests without answer, oldest first.
    waiting: VecDeque<Waiting>,
    /// Answers that were read before anybody asked for them.
    ready: HashMap<u64, Result<Vec<Answer>, PeerError>>,
    /// Requests whose answers nobody wants.
    unwanted: HashSet<u64>,
    /// Whether something of a request may still be on this side.
    is_held_back: bool,
    /// Whether the replica lets us say which mailbox a deletion means.
    unmailbox_id: bool,
    trace: bool,
    /// What was sent over this and earlier connections of the session.
    pub sent: Sent,
    /// The replica wants to know under which name we log a run.
    pub takes_run_ids: bool,
    /// The replica tells digests of users' states.
    pub tells_digests: bool,
    /// How the replica wants the records of an update.
    pub record_form: RecordForm,
    /// How long a small request took; zero if that is not known.
    pub answer_time: Duration,
}

impl Peer {
    /// A session over a stream on which the login is over. With `trace` everything but message
    /// files is copied to the standard error.
    pub fn new(stream: Stream, flavour: Flavour, trace: bool) -> Peer {
        Peer {
            stream,
            flavour,
            limits: crate::dlist::Limits::default(),
            tickets: 0,
            waiting: VecDeque::new(),
            ready: HashMap::new(),
            unwanted: HashSet::new(),
            is_held_back: false,
            trace,
            unmailbox_id: false,
            sent: Sent::default(),
            takes_run_ids: false,
            tells_digests: false,
            record_form: RecordForm::Pairs,
            answer_time: Duration::ZERO,
        }
    }

    /// Tells whether the replica has announced UNMAILBOX-ID.
    pub fn set_unmailbox_id(&mut self, announced: bool) {
        self.unmailbox_id = announced;
    }

    /// Whether a deletion may say which mailbox it means.
    pub fn has_unmailbox_id(&self) -> bool {
        self.unmailbox_id
    }

    /// Sends a GET and collects its data lines.
    ///
    /// # Errors
    /// If it fails.
    pub async fn get(&mut self, get: &Get) -> Result<Vec<Answer>, PeerError> {
        let ticket = self.send_get(get).await?;
        self.answer(ticket).await
    }

    /// Sends a GET; its answer is fetched later.
    ///
    /// # Errors
    /// If the connection is lost.
    pub async fn send_get(&mut self, get: &Get) -> Result<Ticket, PeerError> {
        let ticket = self.begin_long(get.name());
        get.write(self.queue(), LiteralStyle::Plus);
        self.finish().await?;
        Ok(ticket)
    }

    /// Sends a GET whose answer holds a message file or records that go to `sink`.
    ///
    /// # Errors
    /// If it fails or the sink does.
    pub async fn get_into(
        &mut self,
        get: &Get,
        sink: &mut impl FileSink<Error = std::io::Error>,
    ) -> Result<Vec<Answer>, PeerError> {
        let ticket = self.send_get(get).await?;
        while self.waiting.len() > 1 {
            self.read_next().await?;
        }
        let command = self
            .waiting
            .pop_front()
            .map_or(get.name(), |oldest| oldest.command);
        debug_assert_eq!(ticket.0 + 1, self.tickets);
        self.read_answer(command, sink).await
    }

    /// Sends an APPLY and waits for its answer.
    ///
    /// # Errors
    /// If it fails.
    pub async fn apply(&mut self, apply: &Apply) -> Result<Vec<Answer>, PeerError> {
        let ticket = self.send(apply).await?;
        self.answer(ticket).await
    }

    /// Sends an APPLY; its answer is fetched later.
    ///
    /// # Errors
    /// If the connection is lost.
    pub async fn send(&mut self, apply: &Apply) -> Result<Ticket, PeerError> {
        let ticket = match apply {
            Apply::Reserve(_) | Apply::Capabilities(_) | Apply::Force => self.begin(apply.name()),
            _ => {
                self.sent.changes += 1;
                self.begin(apply.name())
            }
        };
        apply.write(self.queue(), LiteralStyle::Plus);
        self.finish().await?;
        Ok(ticket)
    }

    /// Sends RESTART, which empties the replica's reserve list, with whatever is sent next. Nobody
    /// waits for its answer.
    pub fn send_restart(&mut self) {
        let ticket = self.begin_restart();
        self.forget(&ticket);
    }

    /// Sends RESTART and waits until the replica has emptied its reserve list.
    ///
    /// # Errors
    /// If the replica refuses or the connection is lost.
    pub async fn restart(&mut self) -> Result<(), PeerError> {
        let ticket = self.begin_restart();
        self.finish().await?;
        self.answer(ticket).await.map(drop)
    }

    fn begin_restart(&mut self) -> Ticket {
        let ticket = self.begin("RESTART");
        self.queue().extend_from_slice(b"RESTART\r\n");
        ticket
    }

    /// Nobody will ask for this answer.
    pub fn forget(&mut self, ticket: &Ticket) {
        if self.ready.remove(&ticket.0).is_none() {
            self.unwanted.insert(ticket.0);
        }
    }

    /// Tells a replica that wants to know it under which name a run is logged, or that the run is
    /// over. This goes with whatever is sent next, and nobody waits for its answer.
    pub fn tell_run(&mut self, run: Option<&RunId>) {
        if !self.takes_run_ids {
            return;
        }
        let ticket = self.begin(RUN_ID);
        self.unwanted.insert(ticket.0);
        let line = match run {
            Some(run) => format!("{RUN_ID} {run}\r\n"),
            None => format!("{RUN_ID} NIL\r\n"),
        };
        self.queue().extend_from_slice(line.as_bytes());
    }

    /// Ends the session.
    ///
    /// # Errors
    /// If the connection is lost; that hardly matters now.
    pub async fn exit(mut self) -> Result<(), PeerError> {
        self.say_goodbye().await?;
        self.stream.shutdown().await?;
        Ok(())
    }

    /// Tells the replica that this is the end of the session: nothing may be sent any more.
    ///
    /// # Errors
    /// If the connection is lost.
    pub async fn say_goodbye(&mut self) -> Result<(), PeerError> {
        let farewell: &[u8] = match self.flavour {
            Flavour::Csync => b"EXIT\r\n",
            Flavour::Imap => b"Q01 LOGOUT\r\n",
        };
        self.stream.queue().extend_from_slice(farewell);
        self.finish().await
    }

    /// Begins a request that is written piece by piece to [`Peer::queue`], from its verb to its
    /// CR LF, with [`Peer::relieve`] from time to time and [`Peer::finish`] at the end.
    pub fn begin(&mut self, command: &'static str) -> Ticket {
        self.begin_with(command, false)
    }

    fn begin_long(&mut self, command: &'static str) -> Ticket {
        self.begin_with(command, true)
    }

    fn begin_with(&mut self, command: &'static str, is_long: bool) -> Ticket {
        let ticket = self.tickets;
        self.tickets += 1;
        self.is_held_back = true;
        self.waiting.push_back(Waiting {
            ticket,
            command,
            is_long,
        });
        if self.flavour == Flavour::Imap {
            // SYNC and the verb become one word.
            let tag = format!("S{ticket} SYNC");
            self.queue().extend_from_slice(tag.as_bytes());
        }
        Ticket(ticket)
    }

    /// Reads the answers that may be long, so that the replica is free to take what comes.
    ///
    /// # Errors
    /// If the connection is lost.
    pub async fn clear_the_way(&mut self) -> Result<(), PeerError> {
        while self.waiting.iter().any(|waiting| waiting.is_long) {
            self.read_next().await?;
        }
        Ok(())
    }

    /// The octets that are to be sent next.
    pub fn queue(&mut self) -> &mut Vec<u8> {
        self.stream.queue()
    }

    /// Sends what is queued if it is much.
    ///
    /// # Errors
    /// If the connection is lost.
    pub async fn relieve(&mut self) -> Result<(), PeerError> {
        Ok(self.stream.relieve().await?)
    }

    /// Sends all that is queued: from here on the replica can act on the requests that are complete.
    /// Before an answer is awaited, this happens by itself.
    ///
    /// # Errors
    /// If the connection is lost.
    pub async fn finish(&mut self) -> Result<(), PeerError> {
        if self.trace {
            trace('>', self.stream.queue());
        }
        self.is_held_back = false;
        Ok(self.stream.flush().await?)
    }

    /// The answer to a request.
    ///
    /// # Errors
    /// If the request failed or the connection is lost.
    pub async fn answer(&mut self, ticket: Ticket) -> Result<Vec<Answer>, PeerError> {
        loop {
            if let Some(answer) = self.ready.remove(&ticket.0) {
                return answer;
            }
            if self.waiting.is_empty() {
                return Err(StreamError::Closed.into());
            }
            self.read_next().await?;
        }
    }

    /// Reads the answer to the oldest request that has none, and keeps it.
    async fn read_next(&mut self) -> Result<(), PeerError> {
        let Some(oldest) = self.waiting.pop_front() else {
            return Ok(());
        };
        if self.is_held_back {
            self.finish().await?;
        }
        let answer = self.read_answer(oldest.command, &mut NoFiles).await;
        let is_unwanted = self.unwanted.remove(&oldest.ticket);
        match answer {
            Err(error) if !error.leaves_connection_usable() => Err(error),
            _ if is_unwanted => Ok(()),
            answer => {
                self.ready.insert(oldest.ticket, answer);
                Ok(())
            }
        }
    }

    async fn read_answer<S>(
        &mut self,
        command: &'static str,
        sink: &mut S,
    ) -> Result<Vec<Answer>, PeerError>
    where
        S: FileSink,
        S::Error: std::fmt::Display,
    {
        let mut answers = Vec::new();
        let mut unusable = None;
        loop {
            let start = self.line_start().await?;
            if start == b"* " {
                match self.data_line(command, sink).await? {
                    Ok(answer) => answers.push(answer),
                    Err(problem) => unusable = unusable.or(Some(problem)),
                }
                continue;
            }
            let mut line = start;
            if !line.ends_with(b"\n") {
                line.extend(self.stream.read_line(LONGEST_STATUS).await?);
            }
            if self.trace {
                trace('<', &line);
            }
            return match (self.status(&line), unusable) {
                (Outcome::Ok, None) => Ok(answers),
                (Outcome::Ok, Some(problem)) => Err(PeerError::Unusable { command, problem }),
                (Outcome::No(refusal, text), _) => Err(PeerError::Refused {
                    command,
                    refusal,
                    text,
                }),
                (Outcome::Bye(text), _) => Err(PeerError::Bye(text)),
                (Outcome::Bad(text), _) if text.starts_with("BAD ") => {
                    Err(PeerError::NotUnderstood { command, text })
                }
                (Outcome::Bad(what), _) => Err(PeerError::Nonsense { command, what }),
            };
        }
    }

    fn status(&self, line: &[u8]) -> Outcome {
        let line = match self.flavour {
            Flavour::Csync => line,
            Flavour::Imap => match line.iter().position(|octet| *octet == b' ') {
                Some(end) => line.get(end + 1..).unwrap_or_default(),
                None => line,
            },
        };
        Outcome::from_line(line)
    }

    /// The first two octets of a line, or fewer if it ends before.
    async fn line_start(&mut self) -> Result<Vec<u8>, PeerError> {
        let mut start = Vec::with_capacity(2);
        while start.len() < 2 && !start.ends_with(b"\n") {
            self.stream.wait_for_input().await?;
            if let Some(octet) = self.stream.buffered().first() {
                start.push(*octet);
                self.stream.consume(1);
            }
        }
        Ok(start)
    }

    /// Reads a data line behind `* `. The outer error ends the session, the inner one concerns
    /// this line only.
    async fn data_line<S>(
        &mut self,
        command: &'static str,
        sink: &mut S,
    ) -> Result<Result<Answer, DecodeError>, PeerError>
    where
        S: FileSink,
        S::Error: std::fmt::Display,
    {
        let nonsense = |what: String| PeerError::Nonsense { command, what };
        let mut parser = Parser::line(self.limits.clone());
        let mut decoder = LineDecoder::new(&self.limits, sink);
        loop {
            self.stream.wait_for_input().await?;
            let fed = parser.feed(self.stream.buffered(), &mut decoder);
            if self.trace && !command.ends_with("FETCH") {
                trace(
                    '<',
                    self.stream
                        .buffered()
                        .get(..fed.consumed)
                        .unwrap_or_default(),
                );
            }
            self.stream.consume(fed.consumed);
            match fed.result {
                None => {}
                Some(Ok(())) => break,
                Some(Err(error)) => return Err(nonsense(text_of(&error))),
            }
        }
        let line = decoder
            .finish()
            .map_err(|error| nonsense(error.to_string()))?;
        Ok(Answer::decode(line))
    }
}

/// Longest status line that is accepted, in octets.
const LONGEST_STATUS: usize = 8192;

fn text_of(error: &ParseError) -> String {
    format!("malformed data line: {error}")
}

/// Copies octets of the session to the standard error.
fn trace(direction: char, octets: &[u8]) {
    let mut error = std::io::stderr().lock();
    let text = String::from_utf8_lossy(octets);
    for line in text.lines() {
        // A trace that cannot be written must not end the replication.
        if writeln!(error, "{direction} {line}").is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
