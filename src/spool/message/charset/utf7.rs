//! UTF-7 (RFC 2152) and the variant of IMAP mailbox names (RFC 3501 §5.1.3).

/// Which UTF-7.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Variant {
    /// Shifts with `+`.
    Mail,
    /// Shifts with `&` and has `,` for `/`.
    ImapMailboxName,
}

/// Converts to text; what cannot be decoded becomes U+FFFD.
pub(super) fn decode(bytes: &[u8], variant: Variant) -> String {
    let shift = match variant {
        Variant::Mail => b'+',
        Variant::ImapMailboxName => b'&',
    };
    let mut text = String::new();
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == shift {
            if let [b'-', after @ ..] = rest {
                text.push(char::from(shift));
                rest = after;
            } else {
                rest = shifted(rest, variant, &mut text);
            }
        } else if is_direct(byte, variant) {
            text.push(char::from(byte));
        } else {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    text
}

/// Whether a byte may stand for itself.
fn is_direct(byte: u8, variant: Variant) -> bool {
    match variant {
        Variant::Mail => matches!(byte, b' '..=b'}' | b'\r' | b'\n' | b'\t') && byte != b'\\',
        Variant::ImapMailboxName => matches!(byte, b' '..=b'~'),
    }
}

/// Decodes base64 of UTF-16 up to the first other character, a `-` included.
fn shifted<'a>(bytes: &'a [u8], variant: Variant, text: &mut String) -> &'a [u8] {
    let mut units = Vec::new();
    let (mut bits, mut count) = (0_u32, 0_u32);
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        let Some(value) = digit(byte, variant) else {
            break;
        };
        rest = after;
        bits = bits << 6 | value;
        count += 6;
        if count >= 16 {
            count -= 16;
            units.push((bits >> count) as u16);
        }
    }
    let decoded = char::decode_utf16(units);
    text.extend(decoded.map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)));
    let shifted_nothing = !rest.is_empty() && rest.len() == bytes.len();
    if shifted_nothing || bits & ((1 << count) - 1) != 0 {
        text.push(char::REPLACEMENT_CHARACTER);
    }
    match rest {
        [b'-', after @ ..] => after,
        _ => rest,
    }
}

fn digit(byte: u8, variant: Variant) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' if variant == Variant::Mail => 63,
        b',' if variant == Variant::ImapMailboxName => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_variants() {
        assert_eq!(decode(b"1 +- 1 +AOQ-+2D3eAA", Variant::Mail), "1 + 1 ä😀");
        assert_eq!(
            decode(b"Entw&APw-rfe&-", Variant::ImapMailboxName),
            "Entwürfe&"
        );
        assert_eq!(decode(b"a+", Variant::Mail), "a");
        assert_eq!(decode(b"\xE4+B+ ", Variant::Mail), "\u{FFFD}\u{FFFD} ");
    }
}
