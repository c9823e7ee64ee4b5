//! As much of RFC 5322, 2045 and 2047 as messages of scripts need.

/// The header fields of a message.
pub(super) struct Fields {
    /// Names in lower case and values, unfolded and without blanks at the ends.
    pub list: Vec<(String, String)>,
    /// Octets of the header, the empty line behind it included.
    pub length: usize,
}

/// Takes the header of a message apart. What is no field is passed over.
pub(super) fn fields(message: &[u8]) -> Fields {
    let mut fields = Fields {
        list: Vec::new(),
        length: 0,
    };
    for line in message.split_inclusive(|octet| *octet == b'\n') {
        fields.length += line.len();
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            break;
        }
        if text.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.list.last_mut() {
                value.push_str(text);
            }
        } else if let Some((name, value)) = text.split_once(':') {
            let name = name.trim_end().to_ascii_lowercase();
            fields.list.push((name, value.to_owned()));
        }
    }
    for (_, value) in &mut fields.list {
        *value = value.trim_matches([' ', '\t']).to_owned();
    }
    fields
}

/// A parameter of a structured value, `attachment; filename="x"`.
pub(super) fn parameter(value: &str, wanted: &str) -> Option<String> {
    let mut rest = value.split_once(';')?.1;
    loop {
        let (name, after) = rest.split_once('=')?;
        let (text, after) = parameter_value(after.trim_start())?;
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(text);
        }
        rest = after.trim_start().strip_prefix(';')?;
    }
}

/// A token or quoted string, and what stands behind it.
fn parameter_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ' ', '\t']).unwrap_or(text.len());
        let (token, rest) = text.split_at_checked(end)?;
        return Some((token.to_owned(), rest));
    };
    let mut content = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((content, quoted.get(at + 1..)?)),
            '\\' => content.push(characters.next()?.1),
            _ => content.push(character),
        }
    }
    None
}

/// Longest piece of a line of encoded words, as the original counts it.
const ENCODED_LINE: usize = 72;
/// Longest text that needs neither folding nor encoding, less one.
const PLAIN_LINE: usize = 74;
/// Folded lines are not longer than this, if there are blanks to fold at.
const FOLDED_LINE: usize = 78;

/// A text as the value of an unstructured field: as it is, folded, or in encoded words.
pub(super) fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t');
    let mut last_blank = 0;
    let mut needs_folding = false;
    for (at, byte) in text.bytes().enumerate() {
        if matches!(byte, b' ' | b'\t') {
            last_blank = at;
        }
        if !plain(byte) || (at > PLAIN_LINE && at - last_blank > PLAIN_LINE) {
            return encoded_words(text);
        }
        needs_folding |= at > PLAIN_LINE;
    }
    match needs_folding {
        true => folded(text),
        false => text.to_owned(),
    }
}

/// Encoded words of RFC 2047; no character is divided between two.
fn encoded_words(text: &str) -> String {
    let mut out = "=?UTF-8?Q?".to_owned();
    let mut length = out.len();
    for character in text.chars() {
        let more = match character.len_utf8() {
            1 => 0,
            octets => 3 * (octets - 1),
        };
        if length + more >= ENCODED_LINE {
            out.push_str("?=\r\n =?UTF-8?Q?");
            length = 11;
        }
        let mut buffer = [0; 4];
        for byte in character.encode_utf8(&mut buffer).bytes() {
            if byte == b' ' {
                out.push('_');
                length += 1;
            } else if byte.is_ascii_graphic() && !matches!(byte, b'=' | b'?' | b'_') {
                out.push(char::from(byte));
                length += 1;
            } else {
                out.push_str(&format!("={byte:02X}"));
                length += 3;
            }
        }
    }
    out.push_str("?=");
    out
}

/// The text with line breaks before blanks, where lines would become too long.
fn folded(text: &str) -> String {
    let mut out = String::new();
    let mut line_length = 0;
    // Each piece begins with its blank, but for the first.
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest
            .char_indices()
            .skip(1)
            .find(|(_, character)| matches!(character, ' ' | '\t'))
            .map_or(rest.len(), |(at, _)| at);
        let (piece, after) = rest.split_at(end);
        if line_length > 0 && line_length + piece.len() > FOLDED_LINE {
            out.push_str("\r\n");
            line_length = 0;
        }
        out.push_str(piece);
        line_length += piece.len();
        rest = after;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parameters() {
        for (value, expected) in [
            ("attachment;\tfilename=\"a.sieve\"", Some("a.sieve")),
            ("attachment; x=y; FileName=a.sieve ; z=1", Some("a.sieve")),
            (
                "attachment; x=\"filename=b;\"; filename=\"a\\\"b\"",
                Some("a\"b"),
            ),
            ("attachment", None),
            ("attachment; filename=\"a", None),
            ("attachment; filename", None),
        ] {
            assert_eq!(parameter(value, "filename").as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn the_header_ends_at_the_empty_line() {
        let message = b"A: 1\r\nB:2\r\n\t3\r\nnonsense\r\n\r\nC: 4\r\n";
        let fields = fields(message);
        let expected = [("a", "1"), ("b", "2\t3")];
        let found: Vec<(&str, &str)> = fields
            .list
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(found, expected);
        assert_eq!(&message[fields.length..], b"C: 4\r\n");
    }

    #[test]
    fn long_texts_are_folded_at_blanks() {
        let text = ["word"; 40].join(" ");
        let encoded = encode(&text);
        assert!(encoded.lines().all(|line| line.len() <= FOLDED_LINE));
        assert_eq!(encoded.replace("\r\n", ""), text);
        assert_eq!(encode("a=b?c_d"), "a=b?c_d");
    }

    proptest! {
        #[test]
        fn every_line_is_short_and_whole(text in "\\PC{1,200}") {
            let encoded = encode(&text);
            prop_assert!(encoded.is_ascii());
            prop_assert!(encoded.split("\r\n").all(|line| line.len() <= 90));
            prop_assert!(encoded.split("\r\n").skip(1).all(|line| line.starts_with([' ', '\t'])));
        }

        #[test]
        fn any_octets_are_safe(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            let fields = fields(&octets);
            prop_assert!(fields.length <= octets.len());
            for (_, value) in fields.list {
                let _ = parameter(&value, "filename");
            }
        }
    }
}
