//! Cache records and the message-derived fields of index records, made while a message streams by.
//!
//! [`MessageParser`] takes a message in pieces of any size, in one pass and with memory that does
//! not grow with the message, and gives the record that Cyrus 3.6.1 would have written, byte for
//! byte (mailbox-format §4). [`Limits`] says where it stops following the original.
//!
//! Top-down: [`structure`] cuts the message into parts, [`header`] interprets their headers,
//! [`decode`] hashes their contents, [`part`] writes the result.

mod address;
mod boundary;
mod cached;
mod charset;
mod date;
mod decode;
mod digest;
mod header;
mod mime;
mod mimeword;
mod part;
mod scan;
mod structure;
mod text;

#[cfg(test)]
mod tests;

use jiff::tz::TimeZone;

pub use date::{HeaderDate, MessageDates, server_time_zone};

use crate::mail::{Guid, UnixTime};
use digest::CountingDigest;
use header::TopHeader;
use part::Parts;
use scan::Scanner;

/// The rules by which a cache record is made; the number goes into the index record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum CacheVersion {
    /// Cyrus 3.6 to 3.10.
    #[default]
    V11,
    /// Cyrus 3.12.
    V13,
}

impl CacheVersion {
    /// The number in the low half of the index record's cache_version word.
    pub const fn number(self) -> u16 {
        match self {
            CacheVersion::V11 => 11,
            CacheVersion::V13 => 13,
        }
    }
}

/// The options of imapd.conf that shape a cache record.
#[derive(Clone, Debug)]
pub struct ParserOptions {
    /// The rules to follow.
    pub cache_version: CacheVersion,
    /// `maxheaderlines`: header lines of a part that are looked at; 0 for all.
    pub max_header_lines: u32,
    /// `boundary_limit`: nested multiparts that are looked into; 0 for all.
    pub boundary_limit: usize,
    /// `rfc2046_strict`: a boundary need only begin a line.
    pub rfc2046_strict: bool,
    /// `rfc2047_utf8`: 8-bit header text is UTF-8.
    pub rfc2047_utf8: bool,
    /// Bounds that Cyrus does not have.
    pub limits: Limits,
}

impl Default for ParserOptions {
    fn default() -> ParserOptions {
        ParserOptions {
            cache_version: CacheVersion::V11,
            max_header_lines: 1000,
            boundary_limit: 1000,
            rfc2046_strict: false,
            rfc2047_utf8: false,
            limits: Limits::default(),
        }
    }
}

impl ParserOptions {
    fn plain_text(&self) -> mimeword::PlainText {
        if self.rfc2047_utf8 {
            mimeword::PlainText::Utf8
        } else {
            mimeword::PlainText::Ascii
        }
    }
}

/// Bounds on memory and time that Cyrus does not have. No real message comes near them; beyond
/// them the record is still well-formed, but not what Cyrus would write.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of the header of one part that are looked at.
    pub header: usize,
    /// Parts; what follows belongs to the last one.
    pub parts: usize,
    /// Bytes of body structure and envelopes of all parts; the part that exceeds it is the last.
    pub part_text: usize,
    /// Messages inside each other; deeper ones are taken for application/octet-stream.
    pub nested_messages: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            header: 4 << 20,
            parts: 50_000,
            part_text: 16 << 20,
            nested_messages: 100,
        }
    }
}

/// Takes in a message piece by piece.
pub struct MessageParser {
    guid: CountingDigest,
    scanner: Scanner,
    cache_version: CacheVersion,
}

/// What a message gives to its index record and to the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedMessage {
    /// Bytes of the message.
    pub size: u64,
    /// SHA-1 of the message.
    pub guid: Guid,
    /// Bytes of its header with the empty line.
    pub header_size: u32,
    /// What its Date header says.
    pub date: HeaderDate,
    /// The cache record: ten items, each with its length and padding, as stored.
    pub cache: Vec<u8>,
    /// CRC-32 of the cache record.
    pub cache_crc: u32,
    /// The rules by which it was made.
    pub cache_version: CacheVersion,
}

impl MessageParser {
    /// Begins with an empty message.
    pub fn new(options: &ParserOptions) -> MessageParser {
        MessageParser {
            guid: CountingDigest::new(),
            scanner: Scanner::new(options),
            cache_version: options.cache_version,
        }
    }

    /// Takes in the next bytes of the message.
    pub fn feed(&mut self, bytes: &[u8]) {
        // Small enough for the caches, so that the passes over a piece read memory only once.
        const PIECE: usize = 64 << 10;
        for piece in bytes.chunks(PIECE) {
            self.guid.update(piece);
            self.scanner.feed(piece);
        }
    }

    /// The message has ended.
    pub fn finish(self) -> ParsedMessage {
        let (parts, top) = self.scanner.finish();
        let cache = cache_record(&parts, &top);
        ParsedMessage {
            size: self.guid.length(),
            guid: self.guid.finish(),
            header_size: parts
                .get(0)
                .map_or(0, |message| message.header.bytes as u32),
            date: top.date,
            cache_crc: crc32fast::hash(&cache),
            cache,
            cache_version: self.cache_version,
        }
    }
}

impl ParsedMessage {
    /// The two times of the index record; what the message does not say, or says as 1970-01-01,
    /// comes from the internal date. `zone` must be that of the Cyrus daemons, see
    /// [`server_time_zone`].
    pub fn dates(&self, internal_date: UnixTime, zone: &TimeZone) -> MessageDates {
        self.date.resolve(internal_date, zone)
    }
}

/// The ten items in their order (mailbox-format §4.1).
fn cache_record(parts: &Parts, top: &TopHeader) -> Vec<u8> {
    let mut record = Vec::new();
    let mut item = |write: &dyn Fn(&mut Vec<u8>)| {
        let start = record.len();
        record.extend_from_slice(&[0; 4]);
        write(&mut record);
        let length = record.len() - start - 4;
        if let Some(word) = record.get_mut(start..start + 4) {
            word.copy_from_slice(&(length as u32).to_be_bytes());
        }
        record.resize(record.len().next_multiple_of(4), 0);
    };
    item(&|out| out.extend_from_slice(parts.envelope()));
    item(&|out| parts.write_body(out, true));
    item(&|out| parts.write_body(out, false));
    item(&|out| parts.write_section(out));
    item(&|out| out.extend_from_slice(&top.cached));
    for addresses in &top.search_addresses {
        item(&|out| out.extend_from_slice(addresses));
    }
    item(&|out| out.extend_from_slice(&top.subject));
    record
}
