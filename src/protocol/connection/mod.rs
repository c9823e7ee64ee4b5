//! Connections: commands and answers over a [`Stream`](super::stream::Stream).

mod client;
mod server;

pub use client::{AuthenticationError, ClientConnection, LoggedIn, Login, ReplyError, Upload};
pub use server::{Access, Command, ReadError, ServerConnection, Verdict, Verifier};

use std::io::Read;

use super::command::{DecodedLine, FileSink, LineDecoder};
use super::stream::{Stream, StreamError};
use crate::dlist::{FileHeader, Limits, LineSkipper, ParseError, Parser, write_file_header};

/// What a dlist line turned out to be. The line has been consumed, but for what it announces
/// where the problem of a malformed one does not keep step.
enum LineRead<E> {
    Decoded(DecodedLine),
    /// The sink refused a file.
    Refused(E),
    Malformed(ParseError),
}

/// Reads one `key SP value CRLF`.
async fn read_line_value<S: FileSink>(
    stream: &mut Stream,
    limits: &Limits,
    sink: &mut S,
) -> Result<LineRead<S::Error>, StreamError> {
    let mut parser = Parser::line(limits.clone());
    let mut decoder = LineDecoder::new(limits, sink);
    loop {
        stream.wait_for_input().await?;
        let fed = parser.feed(stream.buffered(), &mut decoder);
        stream.consume(fed.consumed);
        match fed.result {
            None => {}
            Some(Err(error)) => return Ok(LineRead::Malformed(error)),
            Some(Ok(())) => {
                return Ok(match decoder.finish() {
                    Ok(line) => LineRead::Decoded(line),
                    Err(error) => LineRead::Refused(error),
                });
            }
        }
    }
}

/// Consumes the rest of a line and of what it announces, unless that is too much to be waited for:
/// then the octets announced are returned.
async fn skip_line(stream: &mut Stream) -> Result<Option<u64>, StreamError> {
    let mut skipper = LineSkipper::default();
    loop {
        stream.wait_for_input().await?;
        let (consumed, over) = skipper.feed(stream.buffered());
        stream.consume(consumed);
        if over {
            return Ok(skipper.endless());
        }
    }
}

/// Why a message file was not sent. Nothing more can be sent on the connection.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file could not be read, or was shorter than announced.
    #[error("cannot read the message file: {0}")]
    Read(std::io::Error),
    /// The connection is lost.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

/// Sends a file literal.
async fn send_file(
    stream: &mut Stream,
    file: &FileHeader,
    content: &mut (impl Read + ?Sized),
) -> Result<(), FileError> {
    write_file_header(stream.queue(), file);
    let mut left = u64::from(file.size);
    while left > 0 {
        let length = usize::try_from(left.min(CHUNK)).unwrap_or_default();
        let queue = stream.queue();
        let start = queue.len();
        queue.resize(start + length, 0);
        let read = content.read_exact(queue.get_mut(start..).unwrap_or_default());
        if let Err(error) = read {
            // The peer would take whatever follows for the missing octets.
            stream.abandon();
            return Err(FileError::Read(error));
        }
        left -= length as u64;
        stream.relieve().await?;
    }
    Ok(())
}

/// Octets of a file that are read at a time.
const CHUNK: u64 = 64 << 10;

#[cfg(test)]
mod tests;
