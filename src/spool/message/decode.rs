//! Content-transfer decoding of a leaf part, hashed as it passes (mailbox-format §4.8).

use super::digest::{CountingDigest, HoldBack};
use crate::mail::Guid;

/// How the content of a part is encoded; the number is the one in the SECTION item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// 7BIT, 8BIT, BINARY or not said.
    Identity = 0,
    /// QUOTED-PRINTABLE.
    QuotedPrintable = 1,
    /// BASE64.
    Base64 = 2,
    /// Any other name; such content has no digest.
    Unknown = 255,
}

impl Encoding {
    /// Knows an upper-case Content-Transfer-Encoding.
    pub(super) fn of_name(name: Option<&[u8]>) -> Encoding {
        match name {
            None | Some(b"7BIT" | b"8BIT" | b"BINARY") => Encoding::Identity,
            Some(b"QUOTED-PRINTABLE") => Encoding::QuotedPrintable,
            Some(b"BASE64") => Encoding::Base64,
            Some(_) => Encoding::Unknown,
        }
    }
}

/// Decodes and hashes the content of one part.
pub(super) struct ContentDigest {
    held: HoldBack,
    decoder: Decoder,
    digest: CountingDigest,
}

enum Decoder {
    Identity,
    QuotedPrintable(QuotedPrintable),
    Base64(Base64),
    Unknown,
}

impl ContentDigest {
    pub(super) fn new(encoding: Encoding) -> ContentDigest {
        ContentDigest {
            held: HoldBack::default(),
            decoder: match encoding {
                Encoding::Identity => Decoder::Identity,
                Encoding::QuotedPrintable => Decoder::QuotedPrintable(QuotedPrintable::for_body()),
                Encoding::Base64 => Decoder::Base64(Base64::default()),
                Encoding::Unknown => Decoder::Unknown,
            },
            digest: CountingDigest::new(),
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let (decoder, digest) = (&mut self.decoder, &mut self.digest);
        self.held.push(bytes, |early| decoder.push(early, digest));
    }

    /// Digest and length of the decoded content; `dropped` of the last bytes belong to a boundary.
    pub(super) fn finish(mut self, dropped: usize) -> (Guid, u64) {
        let (decoder, digest) = (&mut self.decoder, &mut self.digest);
        self.held.finish(dropped, |late| decoder.push(late, digest));
        match &mut self.decoder {
            Decoder::Unknown => return (Guid::NULL, 0),
            Decoder::QuotedPrintable(decoder) => {
                let mut out = Vec::new();
                decoder.flush(&mut out);
                self.digest.update(&out);
            }
            Decoder::Identity | Decoder::Base64(_) => {}
        }
        let length = self.digest.length();
        (self.digest.finish(), length)
    }
}

impl Decoder {
    /// Decodes in pieces, so that the memory for the result stays small.
    fn push(&mut self, bytes: &[u8], digest: &mut CountingDigest) {
        const PIECE: usize = 16 << 10;
        match self {
            Decoder::Identity => digest.update(bytes),
            Decoder::Unknown => {}
            Decoder::QuotedPrintable(decoder) => {
                let mut out = Vec::with_capacity(bytes.len().min(PIECE) + PIECE);
                for piece in bytes.chunks(PIECE) {
                    out.clear();
                    decoder.push(piece, &mut out);
                    digest.update(&out);
                }
            }
            Decoder::Base64(decoder) => {
                let mut out = Vec::with_capacity(bytes.len().min(PIECE));
                for piece in bytes.chunks(PIECE) {
                    out.clear();
                    decoder.push(piece, &mut out);
                    digest.update(&out);
                }
            }
        }
    }
}

/// Quoted-printable, one line of at most 998 bytes at a time; the "Q" of RFC 2047 is a variant.
pub(super) struct QuotedPrintable {
    line: Vec<u8>,
    underscore: u8,
}

impl QuotedPrintable {
    /// Lines longer than this are decoded in pieces.
    const LONGEST_LINE: usize = 998;

    pub(super) fn for_body() -> QuotedPrintable {
        QuotedPrintable {
            line: Vec::new(),
            underscore: b'_',
        }
    }

    /// In encoded words an underscore is a space.
    pub(super) fn for_header() -> QuotedPrintable {
        QuotedPrintable {
            line: Vec::new(),
            underscore: b' ',
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let end = memchr::memchr2(b'\r', b'\n', rest);
            let (text, after) = rest.split_at(end.unwrap_or(rest.len()));
            self.push_text(text, out);
            if after.first() == Some(&b'\n') {
                self.decode_line(true, out);
            }
            rest = after.get(1..).unwrap_or_default();
        }
    }

    fn push_text(&mut self, mut text: &[u8], out: &mut Vec<u8>) {
        while !text.is_empty() {
            let room = Self::LONGEST_LINE + 1 - self.line.len();
            let (fits, after) = text.split_at(room.min(text.len()));
            self.line.extend_from_slice(fits);
            text = after;
            if self.line.len() > Self::LONGEST_LINE {
                self.decode_line(false, out);
            }
        }
    }

    /// Decodes what is left of a last line without an end.
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) {
        self.decode_line(false, out);
    }

    fn decode_line(&mut self, ended: bool, out: &mut Vec<u8>) {
        let mut rest = self.line.trim_ascii_end_blanks();
        let mut soft_break = false;
        while let Some(at) = memchr::memchr(b'=', rest) {
            let (plain, escape) = rest.split_at(at);
            self.put_plain(plain, out);
            soft_break = escape.len() == 1;
            let octet = escape_value(escape);
            match octet {
                Some(octet) => out.push(octet),
                None if soft_break => {}
                None => out.push(b'='),
            }
            let used = if octet.is_some() { 3 } else { 1 };
            rest = escape.get(used..).unwrap_or_default();
        }
        self.put_plain(rest, out);
        if ended && !soft_break {
            out.extend_from_slice(b"\r\n");
        }
        self.line.clear();
    }

    fn put_plain(&self, plain: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(plain);
        if self.underscore != b'_' {
            for byte in out.iter_mut().skip(start).filter(|byte| **byte == b'_') {
                *byte = self.underscore;
            }
        }
    }
}

/// The octet that `=XX` at the beginning stands for.
fn escape_value(escape: &[u8]) -> Option<u8> {
    Some(hex(escape.get(1))? << 4 | hex(escape.get(2))?)
}

trait TrimBlanks {
    fn trim_ascii_end_blanks(&self) -> &[u8];
}

impl TrimBlanks for [u8] {
    /// Without trailing spaces and TABs (and nothing else).
    fn trim_ascii_end_blanks(&self) -> &[u8] {
        let mut rest = self;
        while let [head @ .., b' ' | b'\t'] = rest {
            rest = head;
        }
        rest
    }
}

pub(super) fn hex(digit: Option<&u8>) -> Option<u8> {
    match *digit? {
        byte @ b'0'..=b'9' => Some(byte - b'0'),
        byte @ b'A'..=b'F' => Some(byte - b'A' + 10),
        byte @ b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

/// Base64 that skips foreign characters; `=` discards an unfinished group.
#[derive(Default)]
pub(super) struct Base64 {
    bits: u32,
    digits: u8,
}

/// Values of the 64 digits; `PAD` for `=`, `SKIP` for all else.
const DIGITS: [u8; 256] = digits();
const PAD: u8 = 64;
const SKIP: u8 = 255;

const fn digits() -> [u8; 256] {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut table = [SKIP; 256];
    let mut value = 0;
    while value < alphabet.len() {
        table[alphabet[value] as usize] = value as u8;
        value += 1;
    }
    table[b'=' as usize] = PAD;
    table
}

impl Base64 {
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.digits == 0 {
                rest = decode_groups(rest, out);
            }
            // Up to the next group: the rest of a group, a line end, foreign characters.
            let Some((&byte, after)) = rest.split_first() else {
                return;
            };
            self.push_byte(byte, out);
            rest = after;
        }
    }

    fn push_byte(&mut self, byte: u8, out: &mut Vec<u8>) {
        match DIGITS[usize::from(byte)] {
            SKIP => {}
            PAD => self.digits = 0,
            value => {
                self.bits = self.bits << 6 | u32::from(value);
                let bits = self.bits;
                self.digits = match self.digits {
                    0 => 1,
                    1 => {
                        out.push((bits >> 4) as u8);
                        2
                    }
                    2 => {
                        out.push((bits >> 2) as u8);
                        3
                    }
                    _ => {
                        out.push(bits as u8);
                        0
                    }
                };
            }
        }
    }
}

/// Decodes whole groups of four digits as long as nothing else comes between.
fn decode_groups<'a>(bytes: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let mut rest = bytes;
    while let Some((block, after)) = rest.split_first_chunk::<16>() {
        let values = block.map(|byte| DIGITS[usize::from(byte)]);
        if values.iter().fold(0, |all, value| all | value) >= PAD {
            break;
        }
        let mut octets = [0; 12];
        let groups = values.as_chunks::<4>().0;
        for (to, group) in octets.as_chunks_mut::<3>().0.iter_mut().zip(groups) {
            *to = joined(*group);
        }
        out.extend_from_slice(&octets);
        rest = after;
    }
    while let Some((group, after)) = rest.split_first_chunk::<4>() {
        let values = group.map(|byte| DIGITS[usize::from(byte)]);
        if values.iter().fold(0, |all, value| all | value) >= PAD {
            break;
        }
        out.extend_from_slice(&joined(values));
        rest = after;
    }
    rest
}

fn joined([a, b, c, d]: [u8; 4]) -> [u8; 3] {
    [a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted_printable(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut decoder = QuotedPrintable::for_body();
        decoder.push(text, &mut out);
        decoder.flush(&mut out);
        out
    }

    fn base64(pieces: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut decoder = Base64::default();
        for piece in pieces {
            decoder.push(piece, &mut out);
        }
        out
    }

    #[test]
    fn quoted_printable_rules() {
        assert_eq!(quoted_printable(b"<p>=C3=a4</p>"), "<p>ä</p>".as_bytes());
        assert_eq!(quoted_printable(b"a=\r\nb \t\r\n"), b"ab\r\n");
        assert_eq!(quoted_printable(b"a= \r\nb=4"), b"ab=4");
        assert_eq!(quoted_printable(b"=G1=\r=_ =\n"), b"=G1==_ ");
        assert_eq!(quoted_printable(&[b' '; 998]), b"");
        let mut long = vec![b'x'; 998];
        long.extend_from_slice(b"=41");
        let mut decoded = vec![b'x'; 998];
        decoded.extend_from_slice(b"41");
        assert_eq!(quoted_printable(&long), decoded);
    }

    #[test]
    fn base64_rules() {
        assert_eq!(base64(&[b"aGVsbG8="]), b"hello");
        assert_eq!(base64(&[b"aG", b"V\r\ns bG8=", b"aGVsbG8="]), b"hellohello");
        assert_eq!(base64(&[b"a!G-V_sb*G8"]), b"hello");
        assert_eq!(base64(&[b"aGVsbG=aGVs"]), b"hellhel");
    }

    #[test]
    fn content_digest_counts_decoded_bytes() {
        let mut content = ContentDigest::new(Encoding::Base64);
        content.push(b"aGVsbG8=\r\n");
        let (guid, length) = content.finish(2);
        assert_eq!(length, 5);
        assert_eq!(guid.to_string(), "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d");
        let mut content = ContentDigest::new(Encoding::Unknown);
        content.push(b"anything");
        assert_eq!(content.finish(0), (Guid::NULL, 0));
    }
}
