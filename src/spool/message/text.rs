//! Reading header text as the original does, and writing strings as the cache holds them.

/// The byte at `at`, or NUL behind the end. Header text itself holds no NUL (mailbox-format §4.3).
pub(super) fn byte_at(text: &[u8], at: usize) -> u8 {
    text.get(at).copied().unwrap_or(0)
}

/// The text from `from` up to `to`, empty where that is not a range of it.
pub(super) fn slice(text: &[u8], from: usize, to: usize) -> &[u8] {
    text.get(from..to.min(text.len())).unwrap_or_default()
}

/// White space of the C locale.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0B | 0x0C | b'\r')
}

/// Bytes that no MIME token may contain besides white space: controls, specials, 8-bit.
pub(super) fn ends_token(byte: u8) -> bool {
    !(b' '..0x80).contains(&byte) || is_special(byte)
}

/// The "tspecials" of MIME (RFC 2045 §5.1).
pub(super) fn is_special(byte: u8) -> bool {
    b"()<>@,;:\\\"/[]?=".contains(&byte)
}

/// Where the field value that begins at `from` ends, and its line with it: the value extends over
/// all continuation lines. A CR before the final LF is not part of it.
///
/// The first byte is taken for part of the value even if it is an LF.
pub(super) fn value_end(text: &[u8], from: usize) -> usize {
    let mut at = from;
    loop {
        let search = text.get(at + 1..).unwrap_or_default();
        let Some(found) = memchr::memchr(b'\n', search) else {
            return text.len().max(from);
        };
        at += 1 + found;
        if !matches!(byte_at(text, at + 1), b' ' | b'\t') {
            break;
        }
    }
    if at > from && byte_at(text, at - 1) == b'\r' {
        at - 1
    } else {
        at
    }
}

/// An uninterpreted field: without leading blanks and the line breaks of its folds.
pub(super) fn unfolded(text: &[u8], mut from: usize) -> Vec<u8> {
    while matches!(byte_at(text, from), b' ' | b'\t') {
        from += 1;
    }
    let raw = slice(text, from, value_end(text, from));
    let mut value: Vec<u8> = Vec::with_capacity(raw.len());
    let mut lines = raw.split(|byte| *byte == b'\n');
    value.extend_from_slice(lines.next().unwrap_or_default());
    for line in lines {
        if value.last() == Some(&b'\r') {
            value.pop();
        }
        value.extend_from_slice(line);
    }
    value
}

/// Skips white space, folds and comments; `None` if the field ends there (mailbox-format §4.3).
pub(super) fn skip_space(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match byte_at(text, at) {
            b'\n' => {
                at += 1;
                if !matches!(byte_at(text, at), b' ' | b'\t') {
                    return None;
                }
            }
            b'(' => at = skip_comment(text, at + 1)?,
            0 => return None,
            byte if is_space(byte) => at += 1,
            _ => return Some(at),
        }
    }
}

fn skip_comment(text: &[u8], mut at: usize) -> Option<usize> {
    let mut level = 1_usize;
    while level > 0 {
        match byte_at(text, at) {
            b'\n' => {
                at += 1;
                if !matches!(byte_at(text, at), b' ' | b'\t') {
                    return None;
                }
            }
            0 => return None,
            b'\\' => at += 1,
            b'(' => level += 1,
            b')' => level -= 1,
            _ => {}
        }
        at += 1;
    }
    Some(at)
}

/// Writes a string as IMAP quoted string or literal, or NIL (mailbox-format §4.4).
pub(super) fn write_nstring(out: &mut Vec<u8>, value: Option<&[u8]>) {
    const SHORTEST_LITERAL: usize = 1024;
    let Some(value) = value else {
        out.extend_from_slice(b"NIL");
        return;
    };
    let plain = value.len() < SHORTEST_LITERAL
        && value.iter().all(|byte| {
            !matches!(byte, 0 | b'\r' | b'\n' | b'"' | b'%' | b'\\') && byte.is_ascii()
        });
    if plain {
        out.push(b'"');
        out.extend_from_slice(value);
        out.push(b'"');
    } else {
        out.extend_from_slice(format!("{{{}}}\r\n", value.len()).as_bytes());
        out.extend_from_slice(value);
    }
}

/// What precedes the first NUL.
pub(super) fn before_nul(line: &[u8]) -> &[u8] {
    let end = memchr::memchr(0, line).unwrap_or(line.len());
    line.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_extend_over_folds() {
        assert_eq!(unfolded(b" \t a\r\n b \r\nnext", 0), b"a b ");
        assert_eq!(unfolded(b"\r\nnext", 0), b"");
        assert_eq!(unfolded(b"a\n\tb", 0), b"a\tb");
        assert_eq!(unfolded(b"", 0), b"");
        assert_eq!(unfolded(b"\nnext: x\r\n", 0), b"next: x");
    }

    #[test]
    fn space_comments_and_folds_are_skipped() {
        assert_eq!(skip_space(b" (a(b)\\)c)\r\n x", 0), Some(13));
        assert_eq!(skip_space(b" \r\nx", 0), None);
        assert_eq!(skip_space(b"(unclosed", 0), None);
        assert_eq!(skip_space(b"", 0), None);
    }

    #[test]
    fn strings() {
        let written = |value: Option<&[u8]>| {
            let mut out = Vec::new();
            write_nstring(&mut out, value);
            String::from_utf8_lossy(&out).into_owned()
        };
        assert_eq!(written(None), "NIL");
        assert_eq!(written(Some(b"")), "\"\"");
        assert_eq!(written(Some(b"a b")), "\"a b\"");
        assert_eq!(written(Some(b"100%")), "{4}\r\n100%");
        assert_eq!(written(Some(&[b'x'; 1023])).len(), 1025);
        assert!(written(Some(&[b'x'; 1024])).starts_with("{1024}\r\n"));
    }
}
