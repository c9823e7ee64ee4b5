//! Encoded words in header text (RFC 2047), decoded to UTF-8 as the SUBJECT and address items hold
//! them (mailbox-format §4.9).

use super::charset::{self, Charset};
use super::decode::{Base64, QuotedPrintable};
use super::text::is_space;

/// What bytes outside encoded words are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlainText {
    /// US-ASCII; 8-bit bytes become U+FFFD.
    Ascii,
    /// UTF-8 (option `rfc2047_utf8`).
    Utf8,
}

/// Decodes the encoded words of an unfolded header value. Like the C string it stands for, the
/// result ends before the first NUL.
pub(super) fn decode(text: &[u8], plain: PlainText) -> Vec<u8> {
    let mut words = Words {
        out: Vec::with_capacity(text.len()),
        plain,
        break_state: BreakState::Text,
        current: None,
    };
    let mut done = 0;
    let mut after_word = false;
    while let Some(word) = EncodedWord::find(text, done) {
        let between = text.get(done..word.start).unwrap_or_default();
        // White space between two encoded words does not count.
        if !(after_word && between.iter().all(|byte| is_space(*byte))) {
            words.plain_text(between);
        }
        words.encoded_word(&word);
        done = word.end;
        after_word = true;
    }
    let tail = text.get(done..).unwrap_or_default();
    if !tail.is_empty() {
        words.plain_text(tail);
    }
    let mut out = words.out;
    if let Some(end) = memchr::memchr(0, &out) {
        out.truncate(end);
    }
    out
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum WordEncoding {
    Base64,
    Quoted,
}

struct EncodedWord<'a> {
    /// Offset of its `=?`.
    start: usize,
    /// Offset behind its `?=`.
    end: usize,
    charset: &'a [u8],
    encoding: WordEncoding,
    text: &'a [u8],
}

impl EncodedWord<'_> {
    /// The first encoded word at or behind `from`.
    fn find(text: &[u8], from: usize) -> Option<EncodedWord<'_>> {
        let mut search = from;
        loop {
            let start = search + memchr::memchr(b'=', text.get(search..)?)?;
            if text.get(start + 1) != Some(&b'?') {
                search = start + 1;
                continue;
            }
            match EncodedWord::read(text, start) {
                Ok(word) => return Some(word),
                Err(at) => search = at,
            }
        }
    }

    /// Reads the word whose `=?` is at `start`, or says where to look on.
    fn read(text: &[u8], start: usize) -> Result<EncodedWord<'_>, usize> {
        let name_start = start + 2;
        let name = text.get(name_start..).unwrap_or_default();
        let length = memchr::memchr2(b'=', b'?', name).unwrap_or(name.len());
        let name = name.get(..length).unwrap_or_default();
        let mark = name_start + length;
        let encoding = match text.get(mark..mark + 3) {
            Some([b'?', b'b' | b'B', b'?']) => WordEncoding::Base64,
            Some([b'?', b'q' | b'Q', b'?']) => WordEncoding::Quoted,
            _ => return Err(mark),
        };
        let body = mark + 3;
        let length = body_length(text.get(body..).unwrap_or_default());
        let end = body + length;
        if text.get(end..end + 2) != Some(b"?=") {
            return Err(end);
        }
        Ok(EncodedWord {
            start,
            end: end + 2,
            charset: name.split(|byte| *byte == b'*').next().unwrap_or_default(),
            encoding,
            text: text.get(body..end).unwrap_or_default(),
        })
    }
}

/// Up to the `?` that ends the text, or to a `=?` that looks like the next word.
fn body_length(body: &[u8]) -> usize {
    let mut at = 0;
    loop {
        match body.get(at) {
            None | Some(b'?') => return at,
            Some(b'=') if body.get(at + 1) == Some(&b'?') && body.get(at + 2) != Some(&b'=') => {
                return at;
            }
            Some(_) => at += 1,
        }
    }
}

/// Where plain text stands in a line break, which is dropped if white space follows.
enum BreakState {
    Text,
    AfterCr,
    AfterCrLf,
}

/// The charset and transfer decoder of the last encoded word, which the next one goes on with if
/// both are the same: characters may be broken over words.
struct Stream {
    canonical: &'static str,
    charset: Charset,
    utf8: Utf8Decoder,
    transfer: Transfer,
}

enum Transfer {
    Quoted(QuotedPrintable),
    Base64(Base64),
}

struct Words {
    out: Vec<u8>,
    plain: PlainText,
    break_state: BreakState,
    current: Option<Stream>,
}

impl Words {
    fn plain_text(&mut self, text: &[u8]) {
        self.current = None;
        let mut unfolded = Vec::with_capacity(text.len());
        for &byte in text {
            self.unfold(byte, &mut unfolded);
        }
        match self.plain {
            PlainText::Ascii => decode_ascii(&unfolded, &mut self.out),
            PlainText::Utf8 => Utf8Decoder::default().push(&unfolded, &mut self.out),
        }
    }

    fn unfold(&mut self, byte: u8, unfolded: &mut Vec<u8>) {
        self.break_state = match (&self.break_state, byte) {
            (BreakState::Text, b'\r') => BreakState::AfterCr,
            (BreakState::AfterCr, b'\n') => BreakState::AfterCrLf,
            (BreakState::AfterCr, _) => {
                unfolded.extend_from_slice(&[b'\r', byte]);
                BreakState::Text
            }
            (BreakState::AfterCrLf, byte) if byte != b' ' && byte != b'\t' => {
                unfolded.extend_from_slice(&[b'\r', b'\n', byte]);
                BreakState::Text
            }
            (BreakState::Text | BreakState::AfterCrLf, _) => {
                unfolded.push(byte);
                BreakState::Text
            }
        };
    }

    fn encoded_word(&mut self, word: &EncodedWord) {
        let Some(charset) = charset::lookup(word.charset) else {
            self.current = None;
            self.out.extend_from_slice("\u{FFFD}".as_bytes());
            return;
        };
        let canonical = match &charset {
            Charset::Ascii => "us-ascii",
            Charset::Utf8 => "utf-8",
            Charset::Converter { canonical, .. } => canonical,
        };
        let goes_on = self.current.as_ref().is_some_and(|stream| {
            let same_encoding = matches!(
                (&stream.transfer, word.encoding),
                (Transfer::Quoted(_), WordEncoding::Quoted)
                    | (Transfer::Base64(_), WordEncoding::Base64)
            );
            same_encoding && stream.canonical == canonical
        });
        if !goes_on {
            self.current = Some(Stream {
                canonical,
                charset,
                utf8: Utf8Decoder::default(),
                transfer: match word.encoding {
                    WordEncoding::Quoted => Transfer::Quoted(QuotedPrintable::for_header()),
                    WordEncoding::Base64 => Transfer::Base64(Base64::default()),
                },
            });
        }
        if let Some(stream) = &mut self.current {
            stream.push(word.text, &mut self.out);
        }
    }
}

impl Stream {
    fn push(&mut self, text: &[u8], out: &mut Vec<u8>) {
        let mut bytes = Vec::with_capacity(text.len());
        match &mut self.transfer {
            Transfer::Quoted(decoder) => {
                decoder.push(text, &mut bytes);
                decoder.flush(&mut bytes);
            }
            Transfer::Base64(decoder) => decoder.push(text, &mut bytes),
        }
        match &self.charset {
            Charset::Ascii => decode_ascii(&bytes, out),
            Charset::Utf8 => self.utf8.push(&bytes, out),
            Charset::Converter { .. } => out.extend_from_slice(&self.charset.decode(&bytes)),
        }
    }
}

/// Cyrus's own US-ASCII: NULs vanish, 8-bit bytes are U+FFFD.
fn decode_ascii(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        match byte {
            0 => {}
            0x80.. => out.extend_from_slice("\u{FFFD}".as_bytes()),
            _ => out.push(byte),
        }
    }
}

/// Cyrus's own UTF-8 decoder: an incomplete sequence at the end vanishes, overlong ones pass.
#[derive(Default)]
struct Utf8Decoder {
    missing: u8,
    code: u32,
}

impl Utf8Decoder {
    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for &byte in bytes {
            match byte {
                0..0x80 => {
                    self.give_up(out);
                    out.push(byte);
                }
                0x80..0xC0 if self.missing > 0 => {
                    self.code = self.code << 6 | u32::from(byte & 0x3F);
                    self.missing -= 1;
                    if self.missing == 0 {
                        push_character(self.code, out);
                    }
                }
                0x80..0xC0 => push_character(INVALID, out),
                0xC0..0xF8 => {
                    self.give_up(out);
                    self.begin(byte, out);
                }
                0xF8.. => {
                    self.missing = 0;
                    push_character(INVALID, out);
                }
            }
        }
    }

    fn give_up(&mut self, out: &mut Vec<u8>) {
        if self.missing > 0 {
            self.missing = 0;
            push_character(INVALID, out);
        }
    }

    fn begin(&mut self, byte: u8, out: &mut Vec<u8>) {
        let (missing, bits) = match byte {
            0xC2..0xE0 => (1, 0x1F),
            0xE0..0xF0 => (2, 0x0F),
            0xF0..0xF5 => (3, 0x07),
            _ => {
                push_character(INVALID, out);
                return;
            }
        };
        self.missing = missing;
        self.code = u32::from(byte & bits);
    }
}

/// No character.
const INVALID: u32 = u32::MAX;

fn push_character(code: u32, out: &mut Vec<u8>) {
    let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

/// "Q"-encodes UTF-8 text that holds 8-bit bytes, folded as Cyrus does. (Cyrus leaves e-mail
/// addresses in the text unencoded; in the parameters of a Content-Type that was one encoded word
/// as a whole, the only use, they are encoded here.)
pub(super) fn encode(text: &[u8]) -> Vec<u8> {
    const START: &[u8] = b"=?UTF-8?Q?";
    const FOLD: &[u8] = b"?=\r\n =?UTF-8?Q?";
    const LONGEST_LINE: usize = 72;
    let mut out = START.to_vec();
    let mut column = START.len();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let character = match byte {
            0xC0..0xE0 => 3,
            0xE0..0xF0 => 6,
            0xF0..0xF8 => 9,
            _ => 0,
        };
        if column + character >= LONGEST_LINE {
            out.extend_from_slice(FOLD);
            column = 11;
        }
        match (byte, text.get(at + 1), text.get(at + 2)) {
            (b' ', _, _) => {
                out.push(b'_');
                column += 1;
            }
            (b'!'..=b'~', _, _) if !matches!(byte, b'=' | b'?' | b'_') => {
                out.push(byte);
                column += 1;
            }
            (b'\r', Some(b'\n'), next) => {
                if let Some(next) = next {
                    if matches!(next, b' ' | b'\t') {
                        at += 1;
                    }
                    out.extend_from_slice(FOLD);
                    column = 12;
                }
                at += 1;
            }
            _ => {
                out.extend_from_slice(format!("={byte:02X}").as_bytes());
                column += 3;
            }
        }
        at += 1;
    }
    out.extend_from_slice(b"?=");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> String {
        String::from_utf8(decode(text.as_bytes(), PlainText::Ascii)).unwrap()
    }

    #[test]
    fn plain_text() {
        assert_eq!(decoded("hi =?there"), "hi =?there");
        assert_eq!(decoded("ä"), "\u{FFFD}\u{FFFD}");
        assert_eq!(
            decode("ä\u{E9}".as_bytes(), PlainText::Utf8),
            "ä\u{E9}".as_bytes()
        );
        assert_eq!(decoded("a\r\n b\rc\r"), "a b\rc");
    }

    #[test]
    fn encoded_words() {
        assert_eq!(decoded("=?iso-8859-1?Q?a=E4_b?= c"), "aä b c");
        assert_eq!(decoded("=?utf-8*de?b?w6Q=?="), "ä");
        assert_eq!(decoded("a=?utf-8?q?=C3?= =?utf-8?q?=A4?="), "aä");
        assert_eq!(decoded("=?utf-8?q?a?= b =?utf-8?q?c?="), "a b c");
        assert_eq!(decoded("=?utf-8?q?a?=  =?utf-8?b?Yg==?="), "ab");
        assert_eq!(decoded("=?klingon?q?a?= b"), "\u{FFFD} b");
        assert_eq!(decoded("=?utf-8?x?a?="), "=?utf-8?x?a?=");
        assert_eq!(decoded("=?utf-8?q?a=?utf-8?q?b?="), "=?utf-8?q?ab");
        assert_eq!(decoded("=?utf-8?q?a=00b?="), "a");
        assert_eq!(decoded("=?us-ascii?q?a=00=80?="), "a\u{FFFD}");
    }

    #[test]
    fn invalid_utf8() {
        assert_eq!(
            decoded("=?utf-8?q?=C3A=F8=80=C0?="),
            "\u{FFFD}A\u{FFFD}\u{FFFD}\u{FFFD}"
        );
        assert_eq!(decoded("=?utf-8?q?a=E2=82?="), "a");
    }

    #[test]
    fn encoding() {
        assert_eq!(encode("ä ?".as_bytes()), b"=?UTF-8?Q?=C3=A4_=3F?=");
    }
}
