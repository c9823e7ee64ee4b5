//! The server's end.

use std::io::Read;

use async_compression::Level;

use super::{FileError, LineRead, read_line_value, send_file, skip_line};
use crate::dlist::{FileHeader, Limits, LiteralStyle, ParseError, ParseProblem};
use crate::protocol::command::{
    Answer, DecodeError, FileSink, FlagTable, MailboxItem, MailboxWriter, Record, RecordForm,
    Request, Verb,
};
use crate::protocol::greeting::{Capabilities, RUN_ID};
use crate::protocol::reply::Status;
use crate::protocol::run_id::RunId;
use crate::protocol::sasl::ScramHash;
use crate::protocol::sasl::server::{
    Exchange, Failure, Identity, PasswordLogin, ScramSecret, Step,
};
use crate::protocol::sasl::wire::{self, Response};
use crate::protocol::stream::{Compression, Stream, StreamError};

/// What the client has shown itself to be. It decides which commands are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Not authenticated.
    Anonymous,
    /// An administrator.
    Administrator,
    /// Authenticated, but no administrator.
    Unprivileged,
}

/// A command, as far as the line was consumed, which it is in every case but one.
#[derive(Debug)]
pub enum Command {
    /// NOOP
    Noop,
    /// RESTART
    Restart,
    /// X-RUN-ID: a run begins, or the last one is over.
    Run(Option<RunId>),
    /// EXIT
    Exit,
    /// STARTTLS; see [`ServerConnection::know_tls`].
    StartTls,
    /// COMPRESS with the name of an algorithm; see [`ServerConnection::compress`].
    Compress(String),
    /// AUTHENTICATE; see [`ServerConnection::authenticate`].
    Authenticate {
        /// The mechanism's name.
        mechanism: String,
        /// The initial response.
        initial: Option<Response>,
    },
    /// GET, APPLY or RESTORE.
    Request(Request),
    /// GET, APPLY or RESTORE whose contents cannot be used: answer `error.refusal()`.
    Undecodable {
        /// The verb.
        verb: Verb,
        /// The sub-command in upper case.
        name: String,
        /// What is wrong.
        error: DecodeError,
    },
    /// A line that announces more octets than are waited for. The connection is out of step and
    /// must be closed behind [`Status::TooMuchAnnounced`].
    Endless {
        /// The octets.
        announced: u64,
    },
    /// Anything that needs no more than this status.
    Rejected {
        /// The answer.
        status: Status,
        /// What is wrong with the syntax, for the log.
        error: Option<ParseError>,
    },
}

/// Why no command was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError<E> {
    /// The connection is at its end.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The sink refused a file of MESSAGE. The command was consumed; the connection may go on
    /// with the status for this error.
    #[error("cannot take a message file: {0}")]
    Sink(E),
}

/// Who checks credentials. Both methods may take their time.
pub trait Verifier {
    /// Whether the password is right.
    fn check_password(
        &self,
        login: &PasswordLogin,
    ) -> impl Future<Output = Result<bool, Failure>> + Send;

    /// The secret of a user; `None` if there is no such user.
    fn scram_secret(
        &self,
        user: &str,
        hash: ScramHash,
    ) -> impl Future<Output = Result<Option<ScramSecret>, Failure>> + Send;
}

/// How an authentication ended. The status is still to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The client is who it says.
    Authenticated(Identity),
    /// It is not, or could not show it.
    Failed(Failure),
    /// The client gave up.
    Canceled,
}

impl Verdict {
    /// The status line for this verdict.
    pub fn status(&self, tls: bool) -> Status {
        match self {
            Verdict::Authenticated(_) => Status::Authenticated { tls },
            Verdict::Failed(failure) => Status::AuthenticationFailed(failure.text()),
            Verdict::Canceled => Status::AuthenticationCanceled,
        }
    }
}

/// The server's end of a connection.
#[derive(Debug)]
pub struct ServerConnection {
    stream: Stream,
    limits: Limits,
    knows_tls: bool,
}

/// Longest verb, mechanism or algorithm that is looked at.
const MAX_WORD: usize = 128;

/// A word and whether it was cut at the limit. Its delimiter is not consumed.
struct Word {
    text: Vec<u8>,
    too_long: bool,
}

impl ServerConnection {
    /// A connection over `stream` that takes commands within `limits`.
    pub fn new(stream: Stream, limits: Limits) -> ServerConnection {
        ServerConnection {
            stream,
            limits,
            knows_tls: false,
        }
    }

    /// Makes STARTTLS a known verb, which it is only where TLS is configured.
    pub fn know_tls(&mut self) {
        self.knows_tls = true;
    }

    /// The stream.
    pub fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Gives up the connection for its stream.
    pub fn into_stream(self) -> Stream {
        self.stream
    }

    /// Waits until a command begins. Nothing is lost if the wait is given up.
    ///
    /// # Errors
    /// If the connection ends or is silent for too long.
    pub async fn wait_for_command(&mut self) -> Result<(), StreamError> {
        self.stream.wait_for_input().await
    }

    /// Reads a command. The files of MESSAGE go to `sink`.
    ///
    /// # Errors
    /// If the connection ends or is silent for too long, or the sink refused a file.
    pub async fn read_command<S: FileSink>(
        &mut self,
        access: Access,
        sink: &mut S,
    ) -> Result<Command, ReadError<S::Error>> {
        let word = self.word(MAX_WORD).await?;
        if word.text.is_empty() {
            return Ok(self.reject(Status::NullCommand).await?);
        }
        if access == Access::Unprivileged {
            return Ok(self.reject(Status::NotPermitted).await?);
        }
        let verb = if word.too_long {
            String::new()
        } else {
            String::from_utf8_lossy(&word.text).to_ascii_uppercase()
        };
        match verb.as_str() {
            "NOOP" => Ok(self.bare(Command::Noop, "Noop").await?),
            "EXIT" => Ok(self.bare(Command::Exit, "Exit").await?),
            "RESTART" => Ok(self.bare(Command::Restart, "Restart").await?),
            "STARTTLS" if self.knows_tls => Ok(self.bare(Command::StartTls, "Starttls").await?),
            "COMPRESS" => Ok(self.read_compress().await?),
            RUN_ID => Ok(self.read_run().await?),
            "AUTHENTICATE" => Ok(self.read_authenticate(access).await?),
            "GET" => self.read_request(Verb::Get, access, sink).await,
            "APPLY" => self.read_request(Verb::Apply, access, sink).await,
            "RESTORE" => self.read_request(Verb::Restore, access, sink).await,
            // A client that looks for IMAP first waits for a line with its tag.
            "C01" => Ok(self.reject(Status::NotImap).await?),
            _ => Ok(self.reject(Status::Unrecognized).await?),
        }
    }

    async fn read_request<S: FileSink>(
        &mut self,
        verb: Verb,
        access: Access,
        sink: &mut S,
    ) -> Result<Command, ReadError<S::Error>> {
        if access == Access::Anonymous {
            return Ok(self.reject(Status::AuthenticateFirst).await?);
        }
        if self.peek().await? != b' ' {
            return Ok(self.reject(Status::Unparsable(verb.name())).await?);
        }
        self.stream.consume(1);
        match read_line_value(&mut self.stream, &self.limits, sink).await? {
            LineRead::Refused(error) => Err(ReadError::Sink(error)),
            LineRead::Malformed(ParseError {
                problem: ParseProblem::Endless { announced },
                ..
            }) => Ok(Command::Endless { announced }),
            LineRead::Malformed(error) => Ok(Command::Rejected {
                status: Status::Unparsable(verb.name()),
                error: Some(error),
            }),
            LineRead::Decoded(line) => {
                let name = line.name.clone();
                Ok(match Request::decode(verb, line) {
                    Ok(request) => Command::Request(request),
                    Err(error) if error.is_nothing_to_do() => rejected(Status::Success),
                    Err(error) => Command::Undecodable { verb, name, error },
                })
            }
        }
    }

    async fn read_compress(&mut self) -> Result<Command, StreamError> {
        if self.peek().await? != b' ' {
            return self.reject(Status::MissingArgument("Compress")).await;
        }
        self.stream.consume(1);
        let algorithm = self.word(MAX_WORD).await?;
        let name = String::from_utf8_lossy(&algorithm.text).into_owned();
        self.bare(Command::Compress(name), "Compress").await
    }

    async fn read_run(&mut self) -> Result<Command, StreamError> {
        if self.peek().await? != b' ' {
            return self.reject(Status::MissingArgument(RUN_ID)).await;
        }
        self.stream.consume(1);
        let word = self.word(MAX_WORD).await?;
        let run = match word.text.as_slice() {
            b"NIL" => None,
            text => match RunId::parse(text) {
                Some(run) => Some(run),
                None => return self.reject(Status::Unparsable(RUN_ID)).await,
            },
        };
        self.bare(Command::Run(run), RUN_ID).await
    }

    async fn read_authenticate(&mut self, access: Access) -> Result<Command, StreamError> {
        const VERB: &str = "Authenticate";
        if self.peek().await? != b' ' {
            return self.reject(Status::MissingArgument(VERB)).await;
        }
        self.stream.consume(1);
        let mechanism = self.word(MAX_WORD).await?;
        let is_atom = |octet: &u8| octet.is_ascii_graphic() && !b"(){%*\"\\".contains(octet);
        if mechanism.text.is_empty() || mechanism.too_long || !mechanism.text.iter().all(is_atom) {
            return self.reject(Status::InvalidMechanism).await;
        }
        let mut initial = None;
        if self.peek().await? == b' ' {
            self.stream.consume(1);
            let word = zeroize::Zeroizing::new(self.word(wire::MAX_LINE).await?.text);
            initial = Some(wire::read_initial(&word));
        }
        if !self.line_ends().await? {
            return self.reject(Status::ExtraArguments(VERB)).await;
        }
        if access != Access::Anonymous {
            return Ok(rejected(Status::AlreadyAuthenticated));
        }
        Ok(Command::Authenticate {
            mechanism: String::from_utf8_lossy(&mechanism.text).into_owned(),
            initial,
        })
    }

    /// A command without further arguments.
    async fn bare(&mut self, command: Command, verb: &'static str) -> Result<Command, StreamError> {
        if self.line_ends().await? {
            Ok(command)
        } else {
            self.reject(Status::ExtraArguments(verb)).await
        }
    }

    async fn reject(&mut self, status: Status) -> Result<Command, StreamError> {
        Ok(match skip_line(&mut self.stream).await? {
            None => rejected(status),
            Some(announced) => Command::Endless { announced },
        })
    }

    async fn peek(&mut self) -> Result<u8, StreamError> {
        self.stream.wait_for_input().await?;
        self.stream
            .buffered()
            .first()
            .copied()
            .ok_or(StreamError::Closed)
    }

    /// Reads up to a space, line end, bracket or quotation mark, which is left. The octets are
    /// wiped from the buffer: they may be a secret.
    async fn word(&mut self, limit: usize) -> Result<Word, StreamError> {
        let delimits = |octet: &u8| octet.is_ascii_whitespace() || b"()\"\x0b".contains(octet);
        let mut text = Vec::new();
        loop {
            self.stream.wait_for_input().await?;
            let buffered = self.stream.buffered();
            let end = buffered.iter().position(delimits);
            let part = buffered
                .get(..end.unwrap_or(buffered.len()))
                .unwrap_or_default();
            let taken = part.len().min(limit.saturating_sub(text.len()));
            let too_long = taken < part.len();
            text.extend_from_slice(part.get(..taken).unwrap_or_default());
            self.stream.consume_secret(taken);
            if too_long || end.is_some() {
                return Ok(Word { text, too_long });
            }
        }
    }

    /// Consumes a line end, if there is one.
    async fn line_ends(&mut self) -> Result<bool, StreamError> {
        if self.peek().await? == b'\r' {
            self.stream.consume(1);
        }
        let ends = self.peek().await? == b'\n';
        if ends {
            self.stream.consume(1);
        }
        Ok(ends)
    }

    /// Sends the banner.
    ///
    /// # Errors
    /// If the connection is lost.
    pub async fn send_banner(
        &mut self,
        capabilities: &Capabilities,
        server_name: &str,
        version: &str,
    ) -> Result<(), StreamError> {
        capabilities.write_banner(self.stream.queue(), server_name, version);
        self.stream.flush().await
    }

    /// Sends the status line that ends an answer.
    ///
    /// # Errors
    /// If the connection is lost.
    pub async fn send_status(&mut self, status: &Status) -> Result<(), StreamError> {
        let line = format!("{status}\r\n");
        self.stream.queue().extend_from_slice(line.as_bytes());
        self.stream.flush().await
    }

    /// Sends the status line that ends an answer, together with those to the commands that are here
    /// already.
    ///
    /// # Errors
    /// If the connection is lost.
    pub async fn send_status_soon(&mut self, status: &Status) -> Result<(), StreamError> {
        let line = format!("{status}\r\n");
        self.stream.queue().extend_from_slice(line.as_bytes());
        self.stream.flush_before_waiting().await
    }

    /// Sends the last status line to a client that is still sending, see [`Stream::linger`]. The
    /// connection is then to be dropped.
    ///
    /// # Errors
    /// If the connection is lost.
    pub async fn part(&mut self, status: &Status) -> Result<(), StreamError> {
        self.send_status(status).await?;
        self.stream.linger().await
    }

    /// Sends a data line. For files see [`ServerConnection::send_file`].
    ///
    /// # Errors
    /// If the connection is lost.
    pub async fn send_answer(&mut self, answer: &Answer) -> Result<(), StreamError> {
        answer.write(self.stream.queue(), LiteralStyle::Plain);
        self.stream.relieve().await
    }

    /// Sends a MAILBOX line with records, which are taken one at a time. If one cannot be had,
    /// the connection is of no more use: half a list would look like a whole one.
    ///
    /// # Errors
    /// The error of the records, or of the connection.
    pub async fn send_mailbox<E: From<StreamError>>(
        &mut self,
        item: &MailboxItem,
        flags: &FlagTable,
        records: impl IntoIterator<Item = Result<Record, E>>,
    ) -> Result<(), E> {
        let style = LiteralStyle::Plain;
        Answer::write_mailbox_prefix(self.stream.queue());
        let mut writer = MailboxWriter::begin(self.stream.queue(), item, RecordForm::Pairs, style);
        for record in records {
            match record {
                Ok(record) => writer.record(self.stream.queue(), &record, flags),
                Err(error) => {
                    self.stream.abandon();
                    return Err(error);
                }
            }
            self.stream.relieve().await?;
        }
        writer.end(self.stream.queue());
        self.stream.queue().extend_from_slice(b"\r\n");
        Ok(())
    }

    /// Sends a `* MESSAGE` line with exactly `file.size` octets of `content`.
    ///
    /// # Errors
    /// If the content is shorter or cannot be read, or the connection is lost.
    pub async fn send_file(
        &mut self,
        file: &FileHeader,
        content: &mut (impl Read + ?Sized),
    ) -> Result<(), FileError> {
        self.stream.queue().extend_from_slice(b"* MESSAGE ");
        send_file(&mut self.stream, file, content).await?;
        self.stream.queue().extend_from_slice(b"\r\n");
        Ok(())
    }

    /// Carries out COMPRESS and sends its status.
    ///
    /// # Errors
    /// If the connection is lost.
    pub async fn compress(&mut self, algorithm: &str, level: Level) -> Result<(), StreamError> {
        if self.stream.is_compressed() {
            return self.send_status(&Status::CompressionAlreadyActive).await;
        }
        let Some(compression) = Compression::named(algorithm) else {
            let status = Status::UnknownCompression(algorithm.to_owned());
            return self.send_status(&status).await;
        };
        self.send_status(&Status::CompressionActive(compression))
            .await?;
        self.stream.compress(compression, level)
    }

    /// Carries out AUTHENTICATE up to its verdict, whose status is still to be sent.
    ///
    /// # Errors
    /// If the connection is lost.
    pub async fn authenticate(
        &mut self,
        mut exchange: Exchange,
        initial: Option<Response>,
        verifier: &impl Verifier,
    ) -> Result<Verdict, StreamError> {
        let mut step = match initial {
            None => exchange.start(None),
            Some(Response::Message(message)) => exchange.start(Some(&message)),
            Some(Response::Canceled) => return Ok(Verdict::Canceled),
            Some(Response::Malformed) => return Ok(Verdict::Failed(Failure::Malformed)),
        };
        loop {
            step = match step {
                Err(failure) => return Ok(Verdict::Failed(failure)),
                Ok(Step::Done(identity)) => return Ok(Verdict::Authenticated(identity)),
                Ok(Step::CheckPassword(login)) => {
                    return Ok(match verifier.check_password(&login).await {
                        Ok(true) => Verdict::Authenticated(login.identity),
                        Ok(false) => Verdict::Failed(Failure::WrongPassword),
                        Err(failure) => Verdict::Failed(failure),
                    });
                }
                Ok(Step::NeedSecret { user, hash }) => {
                    match verifier.scram_secret(&user, hash).await {
                        Ok(secret) => exchange.secret(secret),
                        Err(failure) => Err(failure),
                    }
                }
                Ok(Step::Challenge(challenge)) => match self.ask(&challenge).await? {
                    Response::Message(message) => exchange.respond(&message),
                    Response::Canceled => return Ok(Verdict::Canceled),
                    Response::Malformed => Err(Failure::Malformed),
                },
            };
        }
    }

    async fn ask(&mut self, challenge: &[u8]) -> Result<Response, StreamError> {
        let line = wire::challenge_line(challenge);
        self.stream.queue().extend_from_slice(line.as_bytes());
        self.stream.flush().await?;
        let line = zeroize::Zeroizing::new(self.stream.read_line(wire::MAX_LINE).await?);
        Ok(wire::read_response(&line))
    }
}

fn rejected(status: Status) -> Command {
    Command::Rejected {
        status,
        error: None,
    }
}
