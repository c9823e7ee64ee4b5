//! The octets of a message with line ends as a mail store keeps them.

use std::io::{self, Seek, Write};

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use memchr::memchr;
use tempfile::SpooledTempFile;

use crate::mail::Guid;

/// Octets of a message that are kept in memory.
const IN_MEMORY: usize = 1 << 20;

/// A message's octets, kept aside until they are staged.
#[derive(Debug)]
pub struct Content {
    /// SHA-1 of the octets.
    pub guid: Guid,
    /// How many there are.
    pub octets: u64,
    /// Whether a NUL is among them.
    pub has_nul: bool,
    /// The octets, to be read from the start.
    pub file: SpooledTempFile,
}

/// Takes a message piece by piece; each LF becomes CRLF.
pub struct ContentWriter {
    file: SpooledTempFile,
    digest: Context,
    octets: u64,
    has_nul: bool,
    after_cr: bool,
}

impl ContentWriter {
    /// An empty message.
    pub fn new() -> ContentWriter {
        ContentWriter {
            file: SpooledTempFile::new(IN_MEMORY),
            digest: Context::new(&SHA1_FOR_LEGACY_USE_ONLY),
            octets: 0,
            has_nul: false,
            after_cr: false,
        }
    }

    /// Takes the next octets.
    ///
    /// # Errors
    /// If they cannot be kept.
    pub fn write(&mut self, mut octets: &[u8]) -> io::Result<()> {
        while let Some(end) = memchr(b'\n', octets) {
            let (line, rest) = octets.split_at(end);
            self.keep(line)?;
            self.keep(if self.after_cr { b"\n" } else { b"\r\n" })?;
            octets = rest.get(1..).unwrap_or_default();
        }
        self.keep(octets)
    }

    fn keep(&mut self, octets: &[u8]) -> io::Result<()> {
        let Some(last) = octets.last() else {
            return Ok(());
        };
        self.after_cr = *last == b'\r';
        self.has_nul |= memchr(0, octets).is_some();
        self.octets += octets.len() as u64;
        self.digest.update(octets);
        self.file.write_all(octets)
    }

    /// The whole message.
    ///
    /// # Errors
    /// If the octets cannot be read back.
    pub fn finish(mut self) -> io::Result<Content> {
        self.file.rewind()?;
        let digest = self.digest.finish();
        Ok(Content {
            guid: Guid::from_bytes(digest.as_ref().try_into().unwrap_or_default()),
            octets: self.octets,
            has_nul: self.has_nul,
            file: self.file,
        })
    }
}
