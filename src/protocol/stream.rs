//! One duplex type over every transport, plain or compressed (wire-protocol §1, §5).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use async_compression::Level;
use async_compression::tokio::bufread::{DeflateDecoder, ZstdDecoder};
use async_compression::tokio::write::{DeflateEncoder, ZstdEncoder};
use async_compression::zstd::{CParameter, DParameter};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, ReadBuf, ReadHalf, WriteHalf,
};
use tokio::net::{TcpStream, UnixStream};
use zeroize::Zeroize;

use crate::config::LineSettings;

mod line;

use line::Line;

/// What octets can travel over: TCP, a Unix socket, TLS over either.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// How both directions of a connection are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Raw DEFLATE (RFC 1951), which every peer knows (wire-protocol §5).
    Deflate,
    /// Zstandard (RFC 8878), between two programs of this project.
    Zstd,
}

impl Compression {
    /// The argument of COMPRESS.
    pub fn name(self) -> &'static str {
        match self {
            Compression::Deflate => "DEFLATE",
            Compression::Zstd => "ZSTD",
        }
    }

    /// The command that asks for it.
    pub fn command(self) -> String {
        format!("COMPRESS {}\r\n", self.name())
    }

    /// The algorithm of that name, in any case.
    pub fn named(name: &str) -> Option<Compression> {
        [Compression::Deflate, Compression::Zstd]
            .into_iter()
            .find(|known| known.name().eq_ignore_ascii_case(name))
    }
}

/// Why a connection cannot be used any more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The peer closed the connection.
    #[error("the peer closed the connection")]
    Closed,
    /// The peer neither sent nor took anything for this long.
    #[error("the peer was silent for {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The peer sent a line without end.
    #[error("a line is longer than {0} octets")]
    LineTooLong(usize),
    /// The peer sent more than it may before it has logged in.
    #[error("the peer sent too much before it logged in")]
    TooMuch,
    /// A value was left half written, so nothing may follow.
    #[error("the connection was left inside a value")]
    Unfinished,
    /// The operating system, TLS or the compressed data reported an error.
    #[error(transparent)]
    Io(io::Error),
}

impl From<io::Error> for StreamError {
    fn from(error: io::Error) -> StreamError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::NotConnected => StreamError::Closed,
            _ => StreamError::Io(error),
        }
    }
}

/// Octets that a connection moved, as they were on the transport (under TLS: before encryption).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Octets received.
    pub received: u64,
    /// Octets sent.
    pub sent: u64,
}

/// A buffered duplex stream.
pub struct Stream {
    reader: Reader,
    writer: Writer,
    counters: Arc<Counters>,
    /// Octets received; those before `start` have been consumed.
    input: Box<[u8]>,
    start: usize,
    end: usize,
    /// Octets to be sent.
    output: Vec<u8>,
    /// Some of them are secret, and are wiped once they are sent.
    output_is_secret: bool,
    /// What is queued is to be sent before more is waited for.
    is_held_back: bool,
    timeout: Duration,
    /// Octets that the peer may still send, decompressed, if that is limited.
    allowance: Option<usize>,
    unfinished: bool,
}

/// Octets of the receive buffer, and from which on queued output is sent.
const BUFFER: usize = 64 << 10;

/// Binary logarithm of the octets in which Zstandard looks for repetitions: a peer cannot make
/// us take more memory than that before it has logged in.
const ZSTD_WINDOW: u32 = 19;

/// How long a peer that is parted with may go on sending, and how much.
const LINGER_TIME: Duration = Duration::from_secs(5);
const LINGER_OCTETS: usize = 64 << 20;

enum Reader {
    Plain(ReadHalf<Metered>),
    Compressed(Box<dyn AsyncRead + Send + Unpin>),
    /// Only while the other two are exchanged.
    Gone,
}

enum Writer {
    Plain(WriteHalf<Metered>),
    Compressed(Box<dyn AsyncWrite + Send + Unpin>),
    /// Only while the other two are exchanged.
    Gone,
}

#[derive(Debug, Default)]
struct Counters {
    received: AtomicU64,
    sent: AtomicU64,
    /// The peer has closed its direction.
    ended: AtomicBool,
}

/// Counts what a transport moves.
struct Metered {
    transport: Box<dyn Transport>,
    counters: Arc<Counters>,
}

impl Stream {
    /// A stream over `transport`. The timeout is the longest silence of the peer.
    pub fn new(transport: Box<dyn Transport>, timeout: Duration) -> Stream {
        let counters = Arc::new(Counters::default());
        let (reader, writer) = tokio::io::split(Metered {
            transport,
            counters: Arc::clone(&counters),
        });
        Stream {
            reader: Reader::Plain(reader),
            writer: Writer::Plain(writer),
            counters,
            input: vec![0; BUFFER].into(),
            start: 0,
            end: 0,
            output: Vec::new(),
            output_is_secret: false,
            is_held_back: false,
            timeout,
            allowance: None,
            unfinished: false,
        }
    }

    /// A stream over TCP, without Nagle's delay, that fails when the line is cut.
    ///
    /// # Errors
    /// If the socket refuses an option.
    pub fn tcp(
        socket: TcpStream,
        timeout: Duration,
        line: LineSettings,
    ) -> Result<Stream, StreamError> {
        Ok(Stream::new(Box::new(Line::new(socket, line)?), timeout))
    }

    /// A stream over a Unix socket.
    pub fn unix(socket: UnixStream, timeout: Duration) -> Stream {
        Stream::new(Box::new(socket), timeout)
    }

    /// Changes the longest silence that is tolerated.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Limits how many octets the peer may send from now on; `None` lifts the limit.
    pub fn set_allowance(&mut self, octets: Option<usize>) {
        self.allowance = octets;
    }

    /// What is left of the allowance, if there is one.
    pub fn allowance(&self) -> Option<usize> {
        self.allowance
    }

    /// What has been moved so far.
    pub fn traffic(&self) -> Traffic {
        Traffic {
            received: self.counters.received.load(Ordering::Relaxed),
            sent: self.counters.sent.load(Ordering::Relaxed),
        }
    }

    /// Whether compression is active.
    pub fn is_compressed(&self) -> bool {
        matches!(self.writer, Writer::Compressed(_))
    }

    /// Octets received and not consumed yet.
    pub fn buffered(&self) -> &[u8] {
        self.input.get(self.start..self.end).unwrap_or_default()
    }

    /// Marks the first `count` buffered octets as done with.
    pub fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
    }

    /// Like [`Stream::consume`], and wipes the octets.
    pub fn consume_secret(&mut self, count: usize) {
        let end = self.start.saturating_add(count).min(self.end);
        if let Some(secret) = self.input.get_mut(self.start..end) {
            secret.zeroize();
        }
        self.start = end;
    }

    /// Waits until octets are buffered. Nothing is lost if the wait is given up.
    ///
    /// # Errors
    /// If the connection ends or is silent for too long.
    pub async fn wait_for_input(&mut self) -> Result<(), StreamError> {
        if self.start == self.end {
            self.fill().await?;
        }
        Ok(())
    }

    /// Receives more octets. What is buffered must have been consumed.
    async fn fill(&mut self) -> Result<(), StreamError> {
        if self.is_held_back {
            self.flush().await?;
        }
        self.start = 0;
        self.end = 0;
        let input = &mut self.input;
        let read = async {
            match &mut self.reader {
                Reader::Plain(reader) => reader.read(input).await,
                Reader::Compressed(reader) => reader.read(input).await,
                Reader::Gone => Ok(0),
            }
        };
        match limited(self.timeout, read).await {
            Ok(0) => Err(StreamError::Closed),
            Ok(count) => {
                if let Some(left) = &mut self.allowance {
                    *left = left.checked_sub(count).ok_or(StreamError::TooMuch)?;
                }
                self.end = count;
                Ok(())
            }
            // Peers close without ending their compressed stream.
            Err(StreamError::Io(_)) if self.counters.ended.load(Ordering::Relaxed) => {
                Err(StreamError::Closed)
            }
            Err(error) => Err(error),
        }
    }

    /// Receives a line and removes its LF or CR LF.
    ///
    /// # Errors
    /// If the connection ends, is silent, or the line is longer than `limit` octets.
    pub async fn read_line(&mut self, limit: usize) -> Result<Vec<u8>, StreamError> {
        let mut line = Vec::new();
        loop {
            self.wait_for_input().await?;
            let buffered = self.buffered();
            let end = buffered.iter().position(|octet| *octet == b'\n');
            let part = buffered
                .get(..end.unwrap_or(buffered.len()))
                .unwrap_or_default();
            if line.len() + part.len() > limit {
                line.zeroize();
                return Err(StreamError::LineTooLong(limit));
            }
            line.extend_from_slice(part);
            let count = part.len() + usize::from(end.is_some());
            self.consume_secret(count);
            if end.is_some() {
                if line.ends_with(b"\r") {
                    line.pop();
                }
                return Ok(line);
            }
        }
    }

    /// The queue of octets to be sent. After each larger piece call [`Stream::relieve`].
    pub fn queue(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Like [`Stream::queue`], for what is to be wiped from memory once it is sent.
    pub fn queue_secret(&mut self) -> &mut Vec<u8> {
        self.output_is_secret = true;
        &mut self.output
    }

    /// Sends what is queued if it is much, without flushing.
    ///
    /// # Errors
    /// If the connection is lost or the peer takes nothing for too long.
    pub async fn relieve(&mut self) -> Result<(), StreamError> {
        if self.output.len() >= BUFFER {
            self.send_queue().await?;
        }
        Ok(())
    }

    /// Sends what is queued as soon as more must be waited for: what is received already is to be
    /// looked at before.
    ///
    /// # Errors
    /// If the connection is lost or the peer takes nothing for too long.
    pub async fn flush_before_waiting(&mut self) -> Result<(), StreamError> {
        if self.start == self.end {
            return self.flush().await;
        }
        self.is_held_back = true;
        self.relieve().await
    }

    /// Sends all that is queued, and everything the layers below hold back.
    ///
    /// # Errors
    /// If the connection is lost or the peer takes nothing for too long.
    pub async fn flush(&mut self) -> Result<(), StreamError> {
        self.is_held_back = false;
        self.send_queue().await?;
        let flush = async {
            match &mut self.writer {
                Writer::Plain(writer) => writer.flush().await,
                Writer::Compressed(writer) => writer.flush().await,
                Writer::Gone => Ok(()),
            }
        };
        limited(self.timeout, flush).await
    }

    async fn send_queue(&mut self) -> Result<(), StreamError> {
        if self.unfinished {
            return Err(StreamError::Unfinished);
        }
        let mut sent = 0;
        while let Some(rest) = self.output.get(sent..).filter(|rest| !rest.is_empty()) {
            let write = async {
                match &mut self.writer {
                    Writer::Plain(writer) => writer.write(rest).await,
                    Writer::Compressed(writer) => writer.write(rest).await,
                    Writer::Gone => Ok(0),
                }
            };
            let count = limited(self.timeout, write).await?;
            if count == 0 {
                return Err(StreamError::Closed);
            }
            sent += count;
        }
        if std::mem::take(&mut self.output_is_secret) {
            self.output.zeroize();
        }
        self.output.clear();
        self.output.shrink_to(2 * BUFFER);
        Ok(())
    }

    /// Declares that what was queued last cannot be completed. Nothing more is sent on this
    /// connection.
    pub fn abandon(&mut self) {
        self.unfinished = true;
    }

    /// Compresses both directions. What the peer sent behind its last line is compressed
    /// already and taken as such; all output must have been flushed.
    ///
    /// # Errors
    /// If output is still queued or compression is active already.
    pub fn compress(&mut self, compression: Compression, level: Level) -> Result<(), StreamError> {
        if !self.output.is_empty() {
            return Err(StreamError::Unfinished);
        }
        let (reader, writer) = self.take_plain()?;
        let behind = io::Cursor::new(self.buffered().to_vec());
        self.start = 0;
        self.end = 0;
        let received = BufReader::with_capacity(BUFFER, behind.chain(reader));
        (self.reader, self.writer) = match compression {
            Compression::Deflate => (
                Reader::Compressed(Box::new(DeflateDecoder::new(received))),
                Writer::Compressed(Box::new(DeflateEncoder::with_quality(writer, level))),
            ),
            Compression::Zstd => {
                let most = [DParameter::window_log_max(ZSTD_WINDOW)];
                let window = [CParameter::window_log(ZSTD_WINDOW)];
                let writer = ZstdEncoder::with_quality_and_params(writer, level, &window);
                (
                    Reader::Compressed(Box::new(ZstdDecoder::with_params(received, &most))),
                    Writer::Compressed(Box::new(writer)),
                )
            }
        };
        Ok(())
    }

    /// Gives up the stream for its transport, to put TLS upon it, and tells how many octets of
    /// plain text the peer had sent behind its last line. They are discarded: nobody knows who
    /// sent them.
    ///
    /// # Errors
    /// If output is still queued or compression is active.
    pub fn into_transport(mut self) -> Result<(Box<dyn Transport>, usize), StreamError> {
        if !self.output.is_empty() {
            return Err(StreamError::Unfinished);
        }
        let (reader, writer) = self.take_plain()?;
        Ok((reader.unsplit(writer).transport, self.end - self.start))
    }

    fn take_plain(&mut self) -> Result<(ReadHalf<Metered>, WriteHalf<Metered>), StreamError> {
        let reader = std::mem::replace(&mut self.reader, Reader::Gone);
        let writer = std::mem::replace(&mut self.writer, Writer::Gone);
        match (reader, writer) {
            (Reader::Plain(reader), Writer::Plain(writer)) => Ok((reader, writer)),
            (reader, writer) => {
                self.reader = reader;
                self.writer = writer;
                Err(StreamError::Unfinished)
            }
        }
    }

    /// Sends what is queued and closes the sending direction.
    ///
    /// # Errors
    /// If the connection is lost or the peer takes nothing for too long.
    pub async fn shutdown(mut self) -> Result<(), StreamError> {
        self.close_sending().await
    }

    /// Parts with a peer that is still sending: sends what is queued, closes the sending direction
    /// and discards what comes until the peer closes as well, within [`LINGER_TIME`] and
    /// [`LINGER_OCTETS`]. A connection that is closed with octets unread is reset, and the peer may
    /// never see what was sent to it last.
    ///
    /// # Errors
    /// If the last octets could not be sent.
    pub async fn linger(&mut self) -> Result<(), StreamError> {
        self.close_sending().await?;
        let discard = async {
            let mut discarded = 0;
            while discarded < LINGER_OCTETS && self.fill().await.is_ok() {
                discarded += self.end;
            }
        };
        // However it ends, the connection is to be closed now.
        let _ended = tokio::time::timeout(LINGER_TIME, discard).await;
        Ok(())
    }

    async fn close_sending(&mut self) -> Result<(), StreamError> {
        self.flush().await?;
        let shutdown = async {
            match &mut self.writer {
                Writer::Plain(writer) => writer.shutdown().await,
                Writer::Compressed(writer) => writer.shutdown().await,
                Writer::Gone => Ok(()),
            }
        };
        limited(self.timeout, shutdown).await
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream")
            .field("compressed", &self.is_compressed())
            .field("traffic", &self.traffic())
            .finish_non_exhaustive()
    }
}

async fn limited<T>(
    timeout: Duration,
    work: impl Future<Output = io::Result<T>>,
) -> Result<T, StreamError> {
    match tokio::time::timeout(timeout, work).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(StreamError::TimedOut(timeout)),
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.transport).poll_read(context, buffer);
        let count = buffer.filled().len().saturating_sub(before);
        self.counters
            .received
            .fetch_add(count as u64, Ordering::Relaxed);
        if count == 0 && buffer.remaining() > 0 && matches!(poll, Poll::Ready(Ok(()))) {
            self.counters.ended.store(true, Ordering::Relaxed);
        }
        poll
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.transport).poll_write(context, octets);
        if let Poll::Ready(Ok(count)) = poll {
            self.counters
                .sent
                .fetch_add(count as u64, Ordering::Relaxed);
        }
        poll
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
