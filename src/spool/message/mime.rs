//! The MIME header fields of a part: type, parameters, encoding, disposition, language
//! (mailbox-format §4.3).
//!
//! Each reader takes the whole header text and the offset of a value; a value ends where its field
//! does. All are lenient in exactly the ways of 3.6.1.

use std::collections::{HashMap, VecDeque};

use super::CacheVersion;
use super::mimeword;
use super::text::{byte_at, ends_token, is_space, is_special, skip_space, slice};

/// One parameter of a Content-Type or Content-Disposition, the attribute in upper case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parameter {
    pub(super) attribute: Vec<u8>,
    pub(super) value: Vec<u8>,
}

/// A Content-Type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ContentType {
    pub(super) kind: Vec<u8>,
    pub(super) subtype: Vec<u8>,
    pub(super) parameters: Vec<Parameter>,
}

impl ContentType {
    /// What a part without a Content-Type is.
    pub(super) fn text_plain() -> ContentType {
        ContentType {
            kind: b"TEXT".to_vec(),
            subtype: b"PLAIN".to_vec(),
            parameters: vec![Parameter {
                attribute: b"CHARSET".to_vec(),
                value: b"us-ascii".to_vec(),
            }],
        }
    }

    /// What a part of a multipart/digest without a Content-Type is.
    pub(super) fn message() -> ContentType {
        ContentType {
            kind: b"MESSAGE".to_vec(),
            subtype: b"RFC822".to_vec(),
            parameters: Vec::new(),
        }
    }

    /// Reads a Content-Type; `None` means that the part has its default type.
    pub(super) fn parse(text: &[u8], from: usize, version: CacheVersion) -> Option<ContentType> {
        let at = skip_space(text, from)?;
        let parsed = if slice(text, at, at + 2) == b"=?" {
            parse_encoded_type(text, at)
        } else {
            parse_type(text, at)
        };
        match version {
            CacheVersion::V11 => parsed,
            CacheVersion::V13 => Some(parsed.unwrap_or_else(|| ContentType {
                kind: b"application".to_vec(),
                subtype: b"octet-stream".to_vec(),
                parameters: Vec::new(),
            })),
        }
    }

    pub(super) fn is_multipart(&self) -> bool {
        self.kind == b"MULTIPART"
    }

    pub(super) fn is_text(&self) -> bool {
        self.kind == b"TEXT"
    }

    /// Whether the content is a message with a structure of its own.
    pub(super) fn is_nested_message(&self, version: CacheVersion) -> bool {
        let global = version == CacheVersion::V13 && self.subtype == b"GLOBAL";
        self.kind == b"MESSAGE" && (self.subtype == b"RFC822" || global)
    }
}

fn parse_type(text: &[u8], at: usize) -> Option<ContentType> {
    let (kind, at) = token(text, at, b'/')?;
    let at = skip_space(text, at)?;
    if byte_at(text, at) != b'/' {
        return None;
    }
    let at = skip_space(text, at + 1)?;
    let (subtype, at) = token(text, at, b';')?;
    let parameters = match skip_space(text, at) {
        None => Vec::new(),
        Some(at) if byte_at(text, at) == b';' => parameters(text, at + 1),
        Some(_) => return None,
    };
    Some(ContentType {
        kind: kind.to_ascii_uppercase(),
        subtype: subtype.to_ascii_uppercase(),
        parameters,
    })
}

/// Old versions of macOS Mail wrote the whole value as RFC 2047 encoded words.
fn parse_encoded_type(text: &[u8], at: usize) -> Option<ContentType> {
    let raw = text.get(at..).unwrap_or_default();
    let decoded = mimeword::decode(raw, mimeword::PlainText::Ascii);
    if decoded == raw {
        return parse_type(text, at);
    }
    let mut parsed = parse_type(&decoded, 0)?;
    for parameter in &mut parsed.parameters {
        let extended = parameter.attribute.is_empty() || parameter.attribute.ends_with(b"*");
        if !extended && !parameter.value.is_ascii() {
            parameter.value = mimeword::encode(&parameter.value);
        }
    }
    Some(parsed)
}

/// Bytes up to white space, a comment or `end`; `None` if one of them is not allowed.
fn token(text: &[u8], from: usize, end: u8) -> Option<(&[u8], usize)> {
    let mut at = from;
    loop {
        match byte_at(text, at) {
            0 | b'(' => break,
            byte if byte == end || is_space(byte) => break,
            byte if ends_token(byte) => return None,
            _ => at += 1,
        }
    }
    Some((slice(text, from, at), at))
}

/// Reads a Content-Transfer-Encoding, in upper case.
pub(super) fn parse_encoding(text: &[u8], from: usize) -> Option<Vec<u8>> {
    let at = skip_space(text, from)?;
    // No byte ends this token besides white space and a comment.
    let (name, at) = token(text, at, b'(')?;
    match skip_space(text, at) {
        None => Some(name.to_ascii_uppercase()),
        Some(_) => None,
    }
}

/// Reads a Content-Disposition: its upper-case name and parameters.
pub(super) fn parse_disposition(text: &[u8], from: usize) -> Option<(Vec<u8>, Vec<Parameter>)> {
    let at = skip_space(text, from)?;
    let (name, at) = token(text, at, b';')?;
    let parameters = match skip_space(text, at) {
        None => Vec::new(),
        Some(at) if byte_at(text, at) == b';' => parameters(text, at + 1),
        Some(_) => return None,
    };
    Some((name.to_ascii_uppercase(), parameters))
}

/// Reads a Content-Language: its upper-case tags up to the first that is none.
pub(super) fn parse_languages(text: &[u8], from: usize) -> Vec<Vec<u8>> {
    let mut languages = Vec::new();
    let mut next = skip_space(text, from);
    while let Some(start) = next {
        let tag = text.get(start..).unwrap_or_default();
        let length = tag
            .iter()
            .take_while(|byte| byte.is_ascii_alphabetic() || **byte == b'-')
            .count();
        let end = start + length;
        let delimiter = byte_at(text, end);
        if !(delimiter == 0 || is_space(delimiter) || matches!(delimiter, b',' | b'(')) {
            break;
        }
        let after = skip_space(text, end);
        if after.is_some_and(|at| byte_at(text, at) != b',') {
            break;
        }
        languages.push(slice(text, start, end).to_ascii_uppercase());
        next = after.and_then(|at| skip_space(text, at + 1));
    }
    languages
}

/// Reads parameters and joins their RFC 2231 continuations.
fn parameters(text: &[u8], from: usize) -> Vec<Parameter> {
    let mut list = Vec::new();
    let mut at = from;
    while let Some(start) = skip_space(text, at) {
        match parameter(text, start) {
            Step::Parameter(parameter, next) => {
                list.push(parameter);
                match next {
                    Some(next) => at = next,
                    None => break,
                }
            }
            Step::Skip(from) => {
                let rest = text.get(from..).unwrap_or_default();
                let length = rest
                    .iter()
                    .take_while(|byte| !matches!(byte, b';' | b'\r' | b'\n'))
                    .count();
                at = from + length;
                if byte_at(text, at) == b';' {
                    at += 1;
                }
            }
            Step::End => break,
        }
    }
    join_continuations(list)
}

/// What one attempt to read a parameter came to.
enum Step {
    /// A parameter, and where the next one may begin unless the field has ended.
    Parameter(Parameter, Option<usize>),
    /// A syntax error at this offset: go on behind the next `;`.
    Skip(usize),
    /// The field has ended.
    End,
}

fn parameter(text: &[u8], start: usize) -> Step {
    let mut at = start;
    loop {
        match byte_at(text, at) {
            0 | b'=' | b'(' => break,
            byte if is_space(byte) => break,
            byte if ends_token(byte) => return Step::Skip(at),
            _ => at += 1,
        }
    }
    let attribute = slice(text, start, at).to_ascii_uppercase();
    let Some(at) = skip_space(text, at) else {
        return Step::End;
    };
    if byte_at(text, at) != b'=' {
        return Step::Skip(at + 1);
    }
    let Some(value_start) = skip_space(text, at + 1) else {
        return Step::End;
    };
    let quoted = byte_at(text, value_start) == b'"';
    let value_end = if quoted {
        quoted_end(text, value_start + 1)
    } else {
        match plain_end(text, value_start) {
            Ok(end) => Some(end),
            Err(at) => return Step::Skip(at),
        }
    };
    let Some(value_end) = value_end else {
        return Step::End;
    };
    let next = match skip_space(text, value_end) {
        None => None,
        Some(at) if byte_at(text, at) == b';' => Some(at + 1),
        Some(at) => return Step::Skip(at + 1),
    };
    let value = if quoted {
        unquoted(text, value_start + 1)
    } else {
        slice(text, value_start, value_end).to_vec()
    };
    Step::Parameter(Parameter { attribute, value }, next)
}

fn is_fold(text: &[u8], at: usize) -> bool {
    byte_at(text, at + 1) == b'\n' && matches!(byte_at(text, at + 2), b' ' | b'\t')
}

/// The offset behind the closing quote; `None` if the field ends before it.
fn quoted_end(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match byte_at(text, at) {
            0 => return None,
            b'"' => return Some(at + 1),
            b'\\' => {
                at += 1;
                if byte_at(text, at) == 0 {
                    return None;
                }
            }
            _ => {}
        }
        if byte_at(text, at) == b'\r' {
            if !is_fold(text, at) {
                return None;
            }
            at += 2;
        }
        at += 1;
    }
}

/// The text up to the closing quote, which is known to be there.
fn unquoted(text: &[u8], mut at: usize) -> Vec<u8> {
    let mut value = Vec::new();
    loop {
        match byte_at(text, at) {
            0 | b'"' => return value,
            b'\\' => at += 1,
            b'\r' => at += 2,
            _ => {}
        }
        value.push(byte_at(text, at));
        at += 1;
    }
}

/// The end of an unquoted value without trailing blanks, or where a control character makes it
/// unusable.
fn plain_end(text: &[u8], start: usize) -> Result<usize, usize> {
    let mut last = start;
    let mut at = start;
    loop {
        match byte_at(text, at) {
            0 | b';' | b'(' => break,
            b'\r' if is_fold(text, at) => at += 2,
            b'\r' => break,
            b' ' | b'\t' => at += 1,
            control if control < b' ' => return Err(at),
            _ => {
                last = at;
                at += 1;
            }
        }
    }
    Ok(last + 1)
}

/// Joins `X*0`, `X*1`, … into `X`, or into `X*` if one of them is extended (RFC 2231).
fn join_continuations(list: Vec<Parameter>) -> Vec<Parameter> {
    if !list
        .iter()
        .any(|parameter| initial_section(&parameter.attribute).is_some())
    {
        return list;
    }
    let mut by_attribute: HashMap<Vec<u8>, VecDeque<usize>> = HashMap::new();
    for (index, parameter) in list.iter().enumerate() {
        let indices = by_attribute.entry(parameter.attribute.clone());
        indices.or_default().push_back(index);
    }
    let mut list: Vec<Option<Parameter>> = list.into_iter().map(Some).collect();
    for index in 0..list.len() {
        let Some(first) = list.get_mut(index).and_then(Option::take) else {
            continue;
        };
        let joined = match initial_section(&first.attribute) {
            None => first,
            Some((name, extended)) => {
                let value = first.value;
                let sections = Sections {
                    list: &mut list,
                    by_attribute: &mut by_attribute,
                    name,
                };
                sections.join(Joined { value, extended })
            }
        };
        if let Some(place) = list.get_mut(index) {
            *place = Some(joined);
        }
    }
    list.into_iter().flatten().collect()
}

/// The later sections of one parameter, among all parameters.
struct Sections<'a> {
    list: &'a mut [Option<Parameter>],
    by_attribute: &'a mut HashMap<Vec<u8>, VecDeque<usize>>,
    name: &'a [u8],
}

impl Sections<'_> {
    /// Sections beyond this number are left alone.
    const LAST: u32 = 99;

    fn join(mut self, mut whole: Joined) -> Parameter {
        for number in 1..=Self::LAST {
            let Some((index, extended)) = self.take(number) else {
                break;
            };
            if let Some(section) = self.list.get_mut(index).and_then(Option::take) {
                whole.append(&section.value, extended);
            }
        }
        let mut attribute = self.name.to_vec();
        if whole.extended {
            attribute.push(b'*');
        }
        Parameter {
            attribute,
            value: whole.value,
        }
    }

    /// Position of the first parameter that is this section, and whether it is extended.
    fn take(&mut self, number: u32) -> Option<(usize, bool)> {
        let mut plain = self.name.to_vec();
        plain.extend_from_slice(format!("*{number}").as_bytes());
        let mut extended = plain.clone();
        extended.push(b'*');
        let first = |key: &[u8]| {
            self.by_attribute
                .get(key)
                .and_then(VecDeque::front)
                .copied()
        };
        let is_extended = match (first(&plain), first(&extended)) {
            (None, None) => return None,
            (Some(plain), Some(extended)) => extended < plain,
            (plain, _) => plain.is_none(),
        };
        let key = if is_extended { extended } else { plain };
        let index = self.by_attribute.get_mut(&key)?.pop_front()?;
        Some((index, is_extended))
    }
}

/// The name and whether the value is extended, if this is `X*0` or `X*0*`.
fn initial_section(attribute: &[u8]) -> Option<(&[u8], bool)> {
    let asterisk = memchr::memchr(b'*', attribute)?;
    let name = attribute.get(..asterisk)?;
    match attribute.get(asterisk..)? {
        b"*0" => Some((name, false)),
        b"*0*" => Some((name, true)),
        _ => None,
    }
}

/// A value being put together from sections.
struct Joined {
    value: Vec<u8>,
    extended: bool,
}

impl Joined {
    fn append(&mut self, section: &[u8], section_extended: bool) {
        if section_extended && !self.extended {
            let mut value = b"''".to_vec();
            extend_percent_encoded(&mut value, &self.value);
            self.value = value;
            self.extended = true;
        }
        if self.extended && !section_extended {
            extend_percent_encoded(&mut self.value, section);
        } else {
            self.value.extend_from_slice(section);
        }
    }
}

fn extend_percent_encoded(out: &mut Vec<u8>, plain: &[u8]) {
    for &byte in plain {
        let unsafe_byte = byte <= b' ' || byte >= 0x7F || matches!(byte, b'*' | b'\'' | b'%');
        if unsafe_byte || is_special(byte) {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        } else {
            out.push(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content_type(value: &str) -> Option<String> {
        ContentType::parse(value.as_bytes(), 0, CacheVersion::V11).map(|parsed| shown(&parsed))
    }

    fn shown(parsed: &ContentType) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut out = format!("{}/{}", text(&parsed.kind), text(&parsed.subtype));
        for parameter in &parsed.parameters {
            out += &format!("|{}={}", text(&parameter.attribute), text(&parameter.value));
        }
        out
    }

    #[test]
    fn types_and_parameters() {
        let cases = [
            ("text/plain", "TEXT/PLAIN"),
            (
                " Text (c) / (c) Html ; Charset=utf-8\r\n",
                "TEXT/HTML|CHARSET=utf-8",
            ),
            ("a/b; c=\"x\\\"\r\n y\"; d=e f (g); h", "A/B|C=x\" y|D=e f"),
            ("a/b; c=\x01; d=e", "A/B|D=e"),
            ("a/b; c=@:/; d=\u{e9}", "A/B|C=@:/|D=\u{e9}"),
            ("a/b; c d=1; e=2", "A/B|E=2"),
            ("a/b; c=\"open", "A/B"),
            ("a/b; c=;d=e;f=g", "A/B|F=g"),
            ("a/b;\r\n c=d\r\nnext: x", "A/B|C=d"),
        ];
        for (value, expected) in cases {
            assert_eq!(content_type(value).as_deref(), Some(expected), "{value:?}");
        }
        for value in [
            "",
            "text",
            "text/plain charset=x",
            "te\u{e9}t/plain",
            "text@/plain",
            "text/",
        ] {
            assert_eq!(content_type(value), None, "{value:?}");
        }
    }

    #[test]
    fn malformed_types_since_version_13() {
        let parse = |value: &[u8]| ContentType::parse(value, 0, CacheVersion::V13);
        assert_eq!(parse(b" \r\n"), None);
        let parsed = parse(b"text\r\n").unwrap();
        assert_eq!(shown(&parsed), "application/octet-stream");
    }

    #[test]
    fn continuations() {
        let cases = [
            ("a/b; n*0=x; n*1=y; m=z; n*2=w", "A/B|N=xyw|M=z"),
            (
                "a/b; n*0*=utf-8''x%20; n*1=\"y z\"",
                "A/B|N*=utf-8''x%20y%20z",
            ),
            ("a/b; n*0=\"x y\"; n*1*=%41", "A/B|N*=''x%20y%41"),
            ("a/b; n*1=y; n*0=x", "A/B|N=xy"),
            ("a/b; n*1=y", "A/B|N*1=y"),
        ];
        for (value, expected) in cases {
            assert_eq!(content_type(value).as_deref(), Some(expected), "{value:?}");
        }
    }

    #[test]
    fn whole_value_as_an_encoded_word() {
        assert_eq!(
            content_type("=?utf-8?q?image/png;_name=3D=22=C3=A4=22?=").as_deref(),
            Some("IMAGE/PNG|NAME==?UTF-8?Q?=C3=A4?=")
        );
    }

    #[test]
    fn encodings_dispositions_languages() {
        assert_eq!(
            parse_encoding(b" base64 (x)\r\n", 0),
            Some(b"BASE64".to_vec())
        );
        assert_eq!(parse_encoding(b"8bit; x", 0), None);
        assert_eq!(parse_encoding(b"8bit x", 0), None);
        assert_eq!(parse_encoding(b"\r\n", 0), None);
        let (name, parameters) = parse_disposition(b"inline; filename=a", 0).unwrap();
        assert_eq!((name.as_slice(), parameters.len()), (&b"INLINE"[..], 1));
        assert_eq!(parse_disposition(b"inline x", 0), None);
        assert_eq!(
            parse_languages(b"en, de-AT (c)\r\n", 0),
            [&b"EN"[..], b"DE-AT"]
        );
        assert_eq!(parse_languages(b"en, d3, fr", 0), [b"EN"]);
    }
}
