//! Writing values as the original writes them (wire-protocol §8.1).

use super::FileHeader;
use crate::mail::Guid;

/// The two ways to announce a literal. A client writes [`Plus`](LiteralStyle::Plus), a server
/// and the store's files [`Plain`](LiteralStyle::Plain); both are read by every reader here
/// (wire-protocol §8.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiteralStyle {
    /// `{n+}`
    Plus,
    /// `{n}`
    Plain,
}

/// Strings of this length or more are always literals.
const LITERAL_FROM: usize = 1024;

/// Appends a string as atom, quoted string or literal, whichever the original would take.
pub fn write_text(out: &mut Vec<u8>, text: &[u8], style: LiteralStyle) {
    if text.is_empty() {
        out.extend_from_slice(b"\"\"");
    } else if text.len() >= LITERAL_FROM {
        write_literal(out, text, style);
    } else if text.iter().all(|byte| is_safe_in_atom(*byte)) && text != b"NIL" {
        out.extend_from_slice(text);
    } else if text.iter().all(|byte| is_safe_in_quotes(*byte)) {
        out.push(b'"');
        out.extend_from_slice(text);
        out.push(b'"');
    } else {
        write_literal(out, text, style);
    }
}

/// Appends a string as literal whatever it holds.
pub fn write_literal(out: &mut Vec<u8>, text: &[u8], style: LiteralStyle) {
    out.push(b'{');
    write_number(out, u64::try_from(text.len()).unwrap_or(u64::MAX));
    if style == LiteralStyle::Plus {
        out.push(b'+');
    }
    out.extend_from_slice(b"}\r\n");
    out.extend_from_slice(text);
}

/// Appends a flag as it is: flags are atoms, with or without a backslash, and never quoted.
pub fn write_flag(out: &mut Vec<u8>, flag: &[u8]) {
    out.extend_from_slice(flag);
}

/// Appends a number in decimal.
pub fn write_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0_u8; 20];
    let mut rest = number;
    let mut start = digits.len();
    for place in digits.iter_mut().rev() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
        start -= 1;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
}

/// Appends a GUID as 40 lower-case hexadecimal digits.
pub fn write_guid(out: &mut Vec<u8>, guid: &Guid) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [0; 2 * Guid::LEN];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(guid.as_bytes()) {
        pair.copy_from_slice(&[
            DIGITS[usize::from(byte >> 4)],
            DIGITS[usize::from(byte & 15)],
        ]);
    }
    out.extend_from_slice(&digits);
}

/// Appends the announcement of a file literal. Exactly `file.size` octets must follow, and
/// right after them the syntax goes on (wire-protocol §8.4).
pub fn write_file_header(out: &mut Vec<u8>, file: &FileHeader) {
    out.extend_from_slice(b"%{");
    write_text(out, file.partition.as_bytes(), LiteralStyle::Plus);
    out.push(b' ');
    write_guid(out, &file.guid);
    out.push(b' ');
    write_number(out, u64::from(file.size));
    out.extend_from_slice(b"}\r\n");
}

fn is_safe_in_atom(byte: u8) -> bool {
    (byte == 0x1f || byte.is_ascii_graphic())
        && !matches!(byte, b'{' | b'(' | b')' | b'"' | b'%' | b'*' | b'\\')
}

fn is_safe_in_quotes(byte: u8) -> bool {
    byte.is_ascii() && !matches!(byte, 0 | b'\r' | b'\n' | b'"' | b'%' | b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_text(&mut out, text, LiteralStyle::Plus);
        out
    }

    /// The examples of wire-protocol §8.1.
    #[test]
    fn the_form_follows_the_contents() {
        assert_eq!(text(b""), b"\"\"");
        assert_eq!(text(b"NIL"), b"\"NIL\"");
        assert_eq!(
            text(b"alice\tlrswipkxtecdan\t"),
            b"\"alice\tlrswipkxtecdan\t\""
        );
        assert_eq!(text(b"user.carol.a b"), b"\"user.carol.a b\"");
        assert_eq!(text(b"user.carol.x]y"), b"user.carol.x]y");
        assert_eq!(text(b"user.carol.st*ar"), b"\"user.carol.st*ar\"");
        assert_eq!(text(b"\\Sent"), b"{5+}\r\n\\Sent");
        assert_eq!(
            text(b"shared 100% \"quote\""),
            b"{19+}\r\nshared 100% \"quote\""
        );
        assert_eq!(text(b"user\x1fa"), b"user\x1fa");
        assert_eq!(text(b"a\0b"), b"{3+}\r\na\0b");
        assert_eq!(text("ä".as_bytes()), b"{2+}\r\n\xc3\xa4");
        assert_eq!(text(&[b'x'; 1023]), [b'x'; 1023]);
        assert!(text(&[b'x'; 1024]).starts_with(b"{1024+}\r\nxx"));
    }

    #[test]
    fn literals_of_a_server_have_no_plus() {
        let mut out = Vec::new();
        write_text(&mut out, b"\\Sent", LiteralStyle::Plain);
        assert_eq!(out, b"{5}\r\n\\Sent");
    }

    #[test]
    fn numbers() {
        for number in [0, 7, 10, 4_294_967_295, u64::MAX] {
            let mut out = Vec::new();
            write_number(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }
}
