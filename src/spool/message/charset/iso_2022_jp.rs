//! ISO-2022-JP (RFC 1468) with the error handling of ICU.

use encoding_rs::EUC_JP;

/// What bytes stand for until the next escape sequence.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Set {
    Ascii,
    /// JIS X 0201 Latin.
    Roman,
    /// JIS X 0201 Katakana.
    Katakana,
    /// JIS X 0208, two bytes a character.
    Kanji,
}

/// Escape sequences that switch.
const ESCAPES: [(&[u8], Set); 7] = [
    (b"(B", Set::Ascii),
    (b"(H", Set::Roman),
    (b"(J", Set::Roman),
    (b"(I", Set::Katakana),
    (b"$@", Set::Kanji),
    (b"$B", Set::Kanji),
    (b"&@", Set::Kanji),
];

/// Escape sequences of relatives of this charset, each as what comes before its last byte, and
/// the possible last bytes. They are one error.
const FOREIGN_ESCAPES: [(&[u8], &[u8]); 10] = [
    (b"", b"O"),
    (b"(", b"@ACDEFGKR"),
    (b"$", b"A"),
    (b"$(", b"@ABCDEGHIJKLM"),
    (b"$)", b"ACEG"),
    (b"$*", b"H"),
    (b"$+", b"IJKLM"),
    (b".", b"AF"),
    (b"%", b"B"),
    (b"%/", b"@ACDEF"),
];

const ESCAPE: u8 = 0x1B;
const SHIFT_OUT: u8 = 0x0E;
const SHIFT_IN: u8 = 0x0F;

/// What an escape character begins.
enum Escape {
    /// A sequence of this length that switches.
    Switch(Set, usize),
    /// An error of this length, without the escape character.
    Error(usize),
}

/// Converts a complete piece of text.
pub(super) fn decode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut set = Set::Ascii;
    let mut segment_is_empty = false;
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        if byte == ESCAPE {
            let length = match escape(after) {
                Escape::Switch(next, length) => {
                    set = next;
                    // Two switches in a row are an error, but they switch.
                    if segment_is_empty {
                        text.push(char::REPLACEMENT_CHARACTER);
                    }
                    segment_is_empty = !segment_is_empty;
                    length
                }
                Escape::Error(length) => {
                    text.push(char::REPLACEMENT_CHARACTER);
                    segment_is_empty = false;
                    length
                }
            };
            rest = after.get(length..).unwrap_or_default();
            continue;
        }
        segment_is_empty = false;
        if matches!(byte, b'\r' | b'\n') {
            // Text in two-byte or Katakana characters ends with its line.
            if matches!(set, Set::Kanji | Set::Katakana) {
                set = Set::Ascii;
            }
            text.push(char::from(byte));
            rest = after;
        } else if set == Set::Kanji {
            let (character, length) = kanji(rest);
            text.push(character.unwrap_or(char::REPLACEMENT_CHARACTER));
            rest = rest.get(length..).unwrap_or_default();
        } else {
            text.push(single(byte, set).unwrap_or(char::REPLACEMENT_CHARACTER));
            rest = after;
        }
    }
    text
}

/// Reads what follows an escape character.
fn escape(bytes: &[u8]) -> Escape {
    for (sequence, set) in ESCAPES {
        if bytes.starts_with(sequence) {
            return Escape::Switch(set, sequence.len());
        }
        if sequence.starts_with(bytes) {
            return Escape::Error(bytes.len());
        }
    }
    for (start, last) in FOREIGN_ESCAPES {
        match bytes.strip_prefix(start) {
            Some([byte, ..]) if last.contains(byte) => return Escape::Error(start.len() + 1),
            Some([]) => return Escape::Error(bytes.len()),
            _ => {}
        }
    }
    Escape::Error(0)
}

fn single(byte: u8, set: Set) -> Option<char> {
    match (set, byte) {
        (_, 0x80.. | SHIFT_OUT | SHIFT_IN) => None,
        (Set::Roman, b'\\') => Some('¥'),
        (Set::Roman, b'~') => Some('‾'),
        (Set::Katakana, 0x21..=0x5F) => char::from_u32(0xFF61 + u32::from(byte - 0x21)),
        (Set::Katakana, _) => None,
        _ => Some(char::from(byte)),
    }
}

/// The character at the beginning and how many bytes belong to it, or to what is none.
fn kanji(bytes: &[u8]) -> (Option<char>, usize) {
    let graphic = |byte: &u8| (0x21..=0x7E).contains(byte);
    match bytes {
        [lead, trail, ..] if graphic(lead) && graphic(trail) => {
            let euc = [lead | 0x80, trail | 0x80];
            let (text, _) = EUC_JP.decode_without_bom_handling(&euc);
            let character = text.chars().next();
            (
                character.filter(|found| *found != char::REPLACEMENT_CHARACTER),
                2,
            )
        }
        // A second byte that can begin a character or a switch is not part of the error.
        [_, trail, ..] if graphic(trail) || matches!(*trail, SHIFT_OUT | SHIFT_IN | ESCAPE) => {
            (None, 1)
        }
        [SHIFT_OUT | SHIFT_IN, ..] => (None, 1),
        [_, _, ..] => (None, 2),
        _ => (None, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets() {
        assert_eq!(decode(b"a\x1B$BF|K\\\x1B(Bb"), "a日本b");
        assert_eq!(decode(b"\x1B$@F|\r\nF|"), "日\r\nF|");
        assert_eq!(decode(b"\x1B(J\\~\x1B(I1"), "¥‾ｱ");
    }

    #[test]
    fn errors() {
        assert_eq!(decode(b"\x1B$B)!F|"), "\u{FFFD}日");
        assert_eq!(decode(b"\x1B$BF\xFFF|\x7FF"), "\u{FFFD}日\u{FFFD}\u{FFFD}");
        assert_eq!(decode(b"\x1Bx\x80"), "\u{FFFD}x\u{FFFD}");
        assert_eq!(decode(b"\x1B$AF|"), "\u{FFFD}F|");
        assert_eq!(decode(b"a\x1B$"), "a\u{FFFD}");
        assert_eq!(decode(b"\x1B(B\x1B$BF|"), "\u{FFFD}日");
    }
}
