//! Data lines on their way to the client.

use std::io;

use crate::dlist::LiteralStyle;
use crate::protocol::command::Answer;

/// A server writes literals in the form that every generation of clients takes
/// (wire-protocol §8.6).
pub const STYLE: LiteralStyle = LiteralStyle::Plain;

/// Octets that are collected before they are sent.
const BATCH: usize = 64 << 10;

/// Collects data lines and hands them on in large pieces.
pub struct Output<'a> {
    pending: Vec<u8>,
    send: &'a mut dyn FnMut(&[u8]) -> io::Result<()>,
}

impl<'a> Output<'a> {
    /// Output that goes to `send`.
    pub fn new(send: &'a mut dyn FnMut(&[u8]) -> io::Result<()>) -> Output<'a> {
        Output {
            pending: Vec::new(),
            send,
        }
    }

    /// Adds a data line.
    ///
    /// # Errors
    /// If the connection is lost.
    pub fn answer(&mut self, answer: &Answer) -> io::Result<()> {
        self.append(|octets| answer.write(octets, STYLE))
    }

    /// Adds what `write` appends.
    ///
    /// # Errors
    /// If the connection is lost.
    pub fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        write(&mut self.pending);
        if self.pending.len() >= BATCH {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Sends what is pending.
    ///
    /// # Errors
    /// If the connection is lost.
    pub fn flush(&mut self) -> io::Result<()> {
        if !self.pending.is_empty() {
            (self.send)(&self.pending)?;
            self.pending.clear();
        }
        Ok(())
    }
}
