//! The client's end.

use std::convert::Infallible;
use std::io::Read;
use std::time::Instant;

use async_compression::Level;

use super::{FileError, LineRead, read_line_value, send_file};
use crate::dlist::{FileHeader, Limits, LiteralStyle, ParseError};
use crate::protocol::command::{
    Answer, Apply, DecodeError, FileSink, FlagTable, Get, MailboxItem, MailboxWriter, NoFiles,
    Record, RecordForm, Restore, Scope,
};
use crate::protocol::greeting::Capabilities;
use crate::protocol::reply::{Outcome, Refusal};
use crate::protocol::sasl::client::{ClientError, Exchange, Policy};
use crate::protocol::sasl::{Mechanism, wire};
use crate::protocol::stream::{Compression, Stream, StreamError};

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError<E = Infallible> {
    /// The server refused: `NO`.
    #[error("the server refused: {text}")]
    Refused {
        /// What the text means.
        refusal: Refusal,
        /// The text.
        text: String,
    },
    /// The server goes away: `BYE`.
    #[error("the server goes away: {0}")]
    Bye(String),
    /// The server answered `BAD` or something that is no status line.
    #[error("the server answered {0:?}")]
    Bad(String),
    /// A data line cannot be parsed.
    #[error("unparsable answer {line:?}: {error}")]
    Unparsable {
        /// Its beginning.
        line: String,
        /// What is wrong.
        error: ParseError,
    },
    /// A data line cannot be used. The answer was consumed to its end.
    #[error("unusable answer: {0}")]
    Undecodable(DecodeError),
    /// The sink refused a file. The answer was consumed to its end.
    #[error("cannot take a message file: {0}")]
    Sink(E),
    /// The connection is lost.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

impl<E> ReplyError<E> {
    /// Whether the connection can take another command.
    pub fn is_connection_usable(&self) -> bool {
        matches!(
            self,
            ReplyError::Refused { .. } | ReplyError::Undecodable(_) | ReplyError::Sink(_)
        )
    }

    /// What the original calls this error; everything but NO and BYE is "Bad protocol".
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            ReplyError::Refused { refusal, .. } => Some(*refusal),
            ReplyError::Bye(_) => None,
            _ => Some(Refusal::ProtocolError),
        }
    }
}

/// Why a client is not authenticated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthenticationError {
    /// No mechanism may be used, or the server does not play by the rules.
    #[error(transparent)]
    Exchange(#[from] ClientError),
    /// The server refused.
    #[error("the server refused: {0}")]
    Refused(String),
    /// The connection is lost.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

/// Who logs in, and what goes on at once.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    /// The user.
    pub user: &'a str,
    /// The password; empty if a certificate stands for it.
    pub password: &'a [u8],
    /// Commands for a server that is known to take them before it has told that the login is
    /// over. They go with the last message, if the mechanism has proved by then that the server
    /// accepts it.
    pub ahead: &'a [u8],
}

/// A login that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoggedIn {
    /// How.
    pub mechanism: Mechanism,
    /// When the commands went ahead, if they did; then their answers are due.
    pub sent_ahead: Option<Instant>,
}

/// The client's end of a connection.
#[derive(Debug)]
pub struct ClientConnection {
    stream: Stream,
    limits: Limits,
}

/// Longest status or banner line.
const MAX_LINE: usize = 64 << 10;
/// Lines of a banner.
const MAX_BANNER_LINES: usize = 1000;
/// Octets of an unparsable line that an error shows.
const SHOWN: usize = 120;

const STYLE: LiteralStyle = LiteralStyle::Plus;

impl ClientConnection {
    /// A connection over `stream` that takes answers within `limits`.
    pub fn new(stream: Stream, limits: Limits) -> ClientConnection {
        ClientConnection { stream, limits }
    }

    /// The stream.
    pub fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Reads the banner.
    ///
    /// # Errors
    /// If the connection is lost or what comes is no banner.
    pub async fn read_banner(&mut self) -> Result<Capabilities, StreamError> {
        let mut capabilities = Capabilities::default();
        for _ in 0..MAX_BANNER_LINES {
            if capabilities.read_line(&self.stream.read_line(MAX_LINE).await?) {
                return Ok(capabilities);
            }
        }
        Err(StreamError::LineTooLong(MAX_BANNER_LINES))
    }

    /// Logs in with the best mechanism that the server offers and the policy allows.
    ///
    /// # Errors
    /// If that is not possible, or the server refuses.
    pub async fn authenticate(
        &mut self,
        offered: &[String],
        policy: &Policy,
        login: Login<'_>,
    ) -> Result<LoggedIn, AuthenticationError> {
        let mechanism = policy.choose(offered)?;
        let (mut exchange, initial) = Exchange::begin(mechanism, login.user, login.password)?;
        let initial = initial.as_ref().map(|message| message.as_slice());
        let mut line = wire::authenticate_line(mechanism.name(), initial);
        let mut sent_ahead = None;
        loop {
            self.stream
                .queue_secret()
                .extend_from_slice(line.as_bytes());
            if exchange.server_is_verified() {
                self.stream.queue().extend_from_slice(login.ahead);
                sent_ahead = Some(Instant::now()).filter(|_| !login.ahead.is_empty());
            }
            self.stream.flush().await?;
            let answer = self.stream.read_line(MAX_LINE).await?;
            if answer.starts_with(b"+") {
                let response = wire::read_challenge(&answer)
                    .ok_or(ClientError::BadChallenge)
                    .and_then(|challenge| exchange.respond(&challenge));
                line = match response {
                    Ok(message) => wire::response_line(&message),
                    Err(error) => {
                        self.send(b"*\r\n").await?;
                        self.stream.read_line(MAX_LINE).await?;
                        return Err(error.into());
                    }
                };
                continue;
            }
            return match Outcome::from_line(&answer) {
                Outcome::Ok => {
                    exchange.succeeded()?;
                    Ok(LoggedIn {
                        mechanism,
                        sent_ahead,
                    })
                }
                Outcome::No(_, text) | Outcome::Bad(text) | Outcome::Bye(text) => {
                    Err(AuthenticationError::Refused(text))
                }
            };
        }
    }

    /// Asks for TLS. If the server agrees, the handshake must follow on
    /// [`ClientConnection::into_stream`]'s transport.
    ///
    /// # Errors
    /// If the server refuses or the connection is lost.
    pub async fn start_tls(&mut self) -> Result<(), ReplyError> {
        self.simple(b"STARTTLS\r\n").await
    }

    /// Gives up the connection for its stream.
    pub fn into_stream(self) -> Stream {
        self.stream
    }

    /// Asks for compression and switches to it.
    ///
    /// # Errors
    /// If the server refuses (the connection then stays as it is) or the connection is lost.
    pub async fn compress(
        &mut self,
        compression: Compression,
        level: Level,
    ) -> Result<(), ReplyError> {
        self.send(compression.command().as_bytes()).await?;
        self.begin_compression(compression, level).await
    }

    /// Switches to compression that was asked for, once the server has agreed.
    ///
    /// # Errors
    /// As [`ClientConnection::compress`].
    pub async fn begin_compression(
        &mut self,
        compression: Compression,
        level: Level,
    ) -> Result<(), ReplyError> {
        success(&self.stream.read_line(MAX_LINE).await?)?;
        Ok(self.stream.compress(compression, level)?)
    }

    /// NOOP: is the server alive?
    ///
    /// # Errors
    /// If it is not.
    pub async fn noop(&mut self) -> Result<(), ReplyError> {
        self.simple(b"NOOP\r\n").await
    }

    /// RESTART: the server forgets all staged files.
    ///
    /// # Errors
    /// If the server refuses or the connection is lost.
    pub async fn restart(&mut self) -> Result<(), ReplyError> {
        self.simple(b"RESTART\r\n").await
    }

    /// EXIT, and closes the connection.
    ///
    /// # Errors
    /// If the server does not answer as it should; the connection is closed all the same.
    pub async fn exit(mut self) -> Result<(), ReplyError> {
        self.simple(b"EXIT\r\n").await?;
        Ok(self.stream.shutdown().await?)
    }

    /// GET. `each` is given every data line, `sink` the file of FETCH. What came before an
    /// error must be forgotten.
    ///
    /// # Errors
    /// If the server refuses, its answer is unusable, or the connection is lost.
    pub async fn get<S: FileSink>(
        &mut self,
        get: &Get,
        sink: &mut S,
        each: impl FnMut(Answer),
    ) -> Result<(), ReplyError<S::Error>> {
        get.write(self.stream.queue(), STYLE);
        self.stream.flush().await?;
        self.read_reply(sink, each).await
    }

    /// GET, with all data lines at once and no files.
    ///
    /// # Errors
    /// If the server refuses, its answer is unusable, or the connection is lost.
    pub async fn get_all(&mut self, get: &Get) -> Result<Vec<Answer>, ReplyError> {
        let mut answers = Vec::new();
        self.get(get, &mut NoFiles, |answer| answers.push(answer))
            .await?;
        Ok(answers)
    }

    /// APPLY; returns the data lines. For files see [`ClientConnection::upload`], for a mailbox
    /// with many records [`ClientConnection::apply_mailbox`].
    ///
    /// # Errors
    /// If the server refuses, its answer is unusable, or the connection is lost.
    pub async fn apply(&mut self, apply: &Apply) -> Result<Vec<Answer>, ReplyError> {
        apply.write(self.stream.queue(), STYLE);
        self.stream.flush().await?;
        self.read_all().await
    }

    /// RESTORE.
    ///
    /// # Errors
    /// If the server refuses, its answer is unusable, or the connection is lost.
    pub async fn restore(&mut self, restore: &Restore) -> Result<(), ReplyError> {
        restore.write(self.stream.queue(), STYLE);
        self.stream.flush().await?;
        self.read_all().await.map(drop)
    }

    /// APPLY MAILBOX with records that are taken one at a time. If one cannot be had, the
    /// connection is of no more use: half a list would look like a whole one.
    ///
    /// # Errors
    /// The error of the records, or why the request failed.
    pub async fn apply_mailbox<E: From<ReplyError>>(
        &mut self,
        scope: Scope,
        item: &MailboxItem,
        flags: &FlagTable,
        records: impl IntoIterator<Item = Result<Record, E>>,
    ) -> Result<(), E> {
        Apply::write_mailbox_prefix(self.stream.queue(), scope);
        let mut writer = MailboxWriter::begin(self.stream.queue(), item, RecordForm::Pairs, STYLE);
        for record in records {
            match record {
                Ok(record) => writer.record(self.stream.queue(), &record, flags),
                Err(error) => {
                    self.stream.abandon();
                    return Err(error);
                }
            }
            self.stream.relieve().await.map_err(ReplyError::from)?;
        }
        writer.end(self.stream.queue());
        self.send(b"\r\n").await.map_err(ReplyError::from)?;
        self.read_all().await?;
        Ok(())
    }

    /// APPLY MESSAGE: begins to send files.
    pub fn upload(&mut self) -> Upload<'_> {
        self.stream.queue().extend_from_slice(b"APPLY MESSAGE (");
        Upload {
            connection: self,
            first: true,
            complete: false,
        }
    }

    async fn read_all(&mut self) -> Result<Vec<Answer>, ReplyError> {
        let mut answers = Vec::new();
        self.read_reply(&mut NoFiles, |answer| answers.push(answer))
            .await?;
        Ok(answers)
    }

    async fn simple(&mut self, line: &[u8]) -> Result<(), ReplyError> {
        self.send(line).await?;
        let status = self.stream.read_line(MAX_LINE).await?;
        success(&status)
    }

    async fn send(&mut self, octets: &[u8]) -> Result<(), StreamError> {
        self.stream.queue().extend_from_slice(octets);
        self.stream.flush().await
    }

    /// Reads an answer: data lines, then the status line. `each` is given every data line; what
    /// came before an error must be forgotten.
    ///
    /// # Errors
    /// If the server refuses, its answer is unusable, or the connection is lost.
    pub async fn read_reply<S: FileSink>(
        &mut self,
        sink: &mut S,
        mut each: impl FnMut(Answer),
    ) -> Result<(), ReplyError<S::Error>> {
        let mut failed = None;
        while self.data_line_follows().await? {
            let shown = self.shown();
            match read_line_value(&mut self.stream, &self.limits, sink).await? {
                LineRead::Malformed(error) => {
                    return Err(ReplyError::Unparsable { line: shown, error });
                }
                LineRead::Refused(error) => {
                    failed.get_or_insert(ReplyError::Sink(error));
                }
                LineRead::Decoded(line) => match Answer::decode(line) {
                    Ok(answer) if failed.is_none() => each(answer),
                    Ok(_) => {}
                    Err(error) => {
                        failed.get_or_insert(ReplyError::Undecodable(error));
                    }
                },
            }
        }
        let status = self.stream.read_line(MAX_LINE).await?;
        success(&status)?;
        failed.map_or(Ok(()), Err)
    }

    /// Whether the next line begins with `* `, which is then consumed.
    async fn data_line_follows(&mut self) -> Result<bool, StreamError> {
        self.stream.wait_for_input().await?;
        if self.stream.buffered().first() != Some(&b'*') {
            return Ok(false);
        }
        self.stream.consume(1);
        self.stream.wait_for_input().await?;
        let follows = self.stream.buffered().first() == Some(&b' ');
        if follows {
            self.stream.consume(1);
            self.stream.wait_for_input().await?;
        }
        Ok(follows)
    }

    fn shown(&self) -> String {
        let buffered = self.stream.buffered();
        let line = buffered
            .split(|octet| *octet == b'\n')
            .next()
            .unwrap_or_default();
        let shown = line.get(..SHOWN).unwrap_or(line);
        String::from_utf8_lossy(shown).trim_end().to_owned()
    }
}

/// Reads a status line.
fn success<E>(line: &[u8]) -> Result<(), ReplyError<E>> {
    match Outcome::from_line(line) {
        Outcome::Ok => Ok(()),
        Outcome::No(refusal, text) => Err(ReplyError::Refused { refusal, text }),
        Outcome::Bye(text) => Err(ReplyError::Bye(text)),
        Outcome::Bad(text) => Err(ReplyError::Bad(text)),
    }
}

/// An APPLY MESSAGE that is being sent. If it is dropped before [`Upload::finish`], the
/// connection is of no more use.
#[derive(Debug)]
pub struct Upload<'c> {
    connection: &'c mut ClientConnection,
    first: bool,
    complete: bool,
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        if !self.complete {
            self.connection.stream.abandon();
        }
    }
}

impl Upload<'_> {
    /// Sends a file: exactly `file.size` octets of `content`, which must have the GUID that is
    /// announced. If they cannot be had, the connection is of no more use.
    ///
    /// # Errors
    /// If the content is shorter or cannot be read, or the connection is lost.
    pub async fn file(
        &mut self,
        file: &FileHeader,
        content: &mut (impl Read + ?Sized),
    ) -> Result<(), FileError> {
        if !std::mem::take(&mut self.first) {
            self.connection.stream.queue().push(b' ');
        }
        send_file(&mut self.connection.stream, file, content).await
    }

    /// Ends the command and reads its answer.
    ///
    /// # Errors
    /// If the server refuses or the connection is lost.
    pub async fn finish(mut self) -> Result<(), ReplyError> {
        self.complete = true;
        self.connection.send(b")\r\n").await?;
        self.connection.read_all().await.map(drop)
    }
}
