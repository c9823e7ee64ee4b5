//! One part of a message as the cache describes it, and the writing of BODYSTRUCTURE, BODY and
//! SECTION (mailbox-format §4.7, §4.8).

use super::charset;
use super::decode::Encoding;
use super::header::Header;
use super::mime::{ContentType, Parameter};
use super::text::write_nstring;
use super::{CacheVersion, Limits};
use crate::mail::Guid;

/// Position of a part in [`Parts`].
pub(super) type PartId = usize;

/// How the content of a part is to be read and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Multipart,
    NestedMessage,
    Text,
    Other,
}

/// Sizes in bytes and lines, which are wrapped to 32 bits only when written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extent {
    pub(super) bytes: i64,
    pub(super) lines: i64,
}

impl Extent {
    pub(super) fn add(&mut self, other: Extent) {
        self.bytes = self.bytes.wrapping_add(other.bytes);
        self.lines = self.lines.wrapping_add(other.lines);
    }
}

/// A part.
#[derive(Debug)]
pub(super) struct Part {
    kind: Kind,
    pub(super) header_offset: u64,
    pub(super) header: Extent,
    pub(super) content_offset: u64,
    pub(super) content: Extent,
    /// The boundary line that ended the part, with the break before it.
    pub(super) boundary: Extent,
    /// SHA-1 and length of the decoded content.
    pub(super) digest: (Guid, u64),
    encoding: Encoding,
    /// The charset as the SECTION item names it.
    charset: Option<Vec<u8>>,
    /// Type to encoding, as written; for a multipart its subtype.
    fields: Vec<u8>,
    /// Extension data as written.
    extension: Vec<u8>,
    /// Only of messages.
    envelope: Vec<u8>,
    children: Vec<PartId>,
}

impl Part {
    /// A part that begins at `header_offset` and whose header is still to come.
    pub(super) fn new(header_offset: u64) -> Part {
        Part {
            kind: Kind::Other,
            header_offset,
            header: Extent::default(),
            content_offset: 0,
            content: Extent::default(),
            boundary: Extent::default(),
            digest: (Guid::NULL, 0),
            encoding: Encoding::Identity,
            charset: None,
            fields: Vec::new(),
            extension: Vec::new(),
            envelope: Vec::new(),
            children: Vec::new(),
        }
    }

    /// What stands for the message in a MESSAGE/RFC822 part without content.
    pub(super) fn empty_message() -> Part {
        let mut part = Part::new(0);
        let header = Header::parse(b"", super::header::Role::NestedMessage, &Default::default());
        part.describe(&header, &ContentType::text_plain(), CacheVersion::V11);
        part
    }

    /// Takes over what the header says.
    pub(super) fn describe(
        &mut self,
        header: &Header,
        content_type: &ContentType,
        version: CacheVersion,
    ) {
        self.kind = if content_type.is_multipart() {
            Kind::Multipart
        } else if content_type.is_nested_message(version) {
            Kind::NestedMessage
        } else if content_type.is_text() {
            Kind::Text
        } else {
            Kind::Other
        };
        let is_message = content_type.kind == b"MESSAGE";
        self.encoding = match version {
            CacheVersion::V11 if is_message => Encoding::Identity,
            _ => Encoding::of_name(header.encoding.as_deref()),
        };
        self.charset = match self.kind {
            Kind::Text => Some(charset_of(&content_type.parameters)),
            Kind::Other if is_message => Some(b"us-ascii".to_vec()),
            _ => None,
        };
        self.fields = match self.kind {
            Kind::Multipart => nstring(Some(&content_type.subtype)),
            _ => fields(header, content_type),
        };
        self.extension = extension(header, content_type);
        self.envelope = header.envelope.clone();
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn encoding(&self) -> Encoding {
        self.encoding
    }

    pub(super) fn add_child(&mut self, child: PartId) {
        self.children.push(child);
    }

    /// Bytes that this part keeps in memory besides itself.
    pub(super) fn weight(&self) -> usize {
        self.fields.len() + self.extension.len() + self.envelope.len()
    }

    /// A multipart that turned out to have no parts is shown as an empty text.
    fn is_empty_multipart(&self) -> bool {
        self.kind == Kind::Multipart && self.children.is_empty()
    }
}

/// The last known `charset` parameter as it is spelled, else US-ASCII.
fn charset_of(parameters: &[Parameter]) -> Vec<u8> {
    parameters
        .iter()
        .rev()
        .filter(|parameter| parameter.attribute == b"CHARSET" && !parameter.value.is_empty())
        .find(|parameter| charset::lookup(&parameter.value).is_some())
        .map_or_else(|| b"us-ascii".to_vec(), |parameter| parameter.value.clone())
}

fn nstring(value: Option<&[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    write_nstring(&mut out, value);
    out
}

/// Type, subtype, parameters, id, description and encoding.
fn fields(header: &Header, content_type: &ContentType) -> Vec<u8> {
    let mut out = nstring(Some(&content_type.kind));
    out.push(b' ');
    write_nstring(&mut out, Some(&content_type.subtype));
    out.push(b' ');
    write_parameters(&mut out, &content_type.parameters);
    let encoding = header.encoding.as_deref().unwrap_or(b"7BIT");
    for value in [
        header.id.as_deref(),
        header.description.as_deref(),
        Some(encoding),
    ] {
        out.push(b' ');
        write_nstring(&mut out, value);
    }
    out
}

/// MD5 (for a multipart: parameters), disposition, language and location.
fn extension(header: &Header, content_type: &ContentType) -> Vec<u8> {
    let mut out = Vec::new();
    if content_type.is_multipart() {
        write_parameters(&mut out, &content_type.parameters);
    } else {
        write_nstring(&mut out, header.md5.as_deref());
    }
    out.push(b' ');
    match &header.disposition {
        None => write_nstring(&mut out, None),
        Some((name, parameters)) => {
            out.push(b'(');
            write_nstring(&mut out, Some(name));
            out.push(b' ');
            write_parameters(&mut out, parameters);
            out.push(b')');
        }
    }
    out.push(b' ');
    write_list(&mut out, header.languages.iter());
    out.push(b' ');
    write_nstring(&mut out, header.location.as_deref());
    out
}

fn write_parameters(out: &mut Vec<u8>, parameters: &[Parameter]) {
    let pairs = parameters
        .iter()
        .flat_map(|parameter| [&parameter.attribute, &parameter.value]);
    write_list(out, pairs);
}

/// `NIL` or a parenthesized list of strings.
fn write_list<'a>(out: &mut Vec<u8>, values: impl Iterator<Item = &'a Vec<u8>>) {
    let mut separator = b'(';
    for value in values {
        out.push(separator);
        write_nstring(out, Some(value));
        separator = b' ';
    }
    if separator == b'(' {
        write_nstring(out, None);
    } else {
        out.push(b')');
    }
}

/// All parts of a message, the message itself first.
#[derive(Default)]
pub(super) struct Parts {
    list: Vec<Part>,
    weight: usize,
}

/// What is left to write of a body structure.
enum Pending {
    Body(PartId),
    EndOfMultipart(PartId),
    EndOfMessage(PartId),
}

impl Parts {
    pub(super) fn add(&mut self, part: Part) -> PartId {
        self.weight += part.weight();
        self.list.push(part);
        self.list.len() - 1
    }

    pub(super) fn get(&self, id: PartId) -> Option<&Part> {
        self.list.get(id)
    }

    /// Changes a part; what it keeps in memory is counted.
    pub(super) fn change<R>(
        &mut self,
        id: PartId,
        change: impl FnOnce(&mut Part) -> R,
    ) -> Option<R> {
        let part = self.list.get_mut(id)?;
        let before = part.weight();
        let result = change(part);
        self.weight = self.weight - before + part.weight();
        Some(result)
    }

    /// Whether there are as many parts, or as much text in them, as one message may have.
    pub(super) fn are_enough(&self, limits: &Limits) -> bool {
        self.list.len() >= limits.parts || self.weight >= limits.part_text
    }

    /// Writes the BODYSTRUCTURE item, or BODY, which has no extension data.
    pub(super) fn write_body(&self, out: &mut Vec<u8>, with_extension: bool) {
        let mut pending = vec![Pending::Body(0)];
        while let Some(next) = pending.pop() {
            match next {
                Pending::Body(id) => self.begin_body(out, id, with_extension, &mut pending),
                Pending::EndOfMultipart(id) => {
                    let Some(part) = self.get(id) else { continue };
                    out.push(b' ');
                    out.extend_from_slice(&part.fields);
                    end_body(out, part, with_extension);
                }
                Pending::EndOfMessage(id) => {
                    let Some(part) = self.get(id) else { continue };
                    out.push(b' ');
                    write_number(out, part.content.lines);
                    end_body(out, part, with_extension);
                }
            }
        }
    }

    fn begin_body(
        &self,
        out: &mut Vec<u8>,
        id: PartId,
        with_extension: bool,
        pending: &mut Vec<Pending>,
    ) {
        let Some(part) = self.get(id) else { return };
        if part.is_empty_multipart() {
            out.extend_from_slice(
                b"(\"TEXT\" \"PLAIN\" (\"CHARSET\" \"us-ascii\") NIL NIL \"7BIT\" 0 0",
            );
            if with_extension {
                out.extend_from_slice(b" NIL NIL NIL NIL");
            }
            out.push(b')');
            return;
        }
        out.push(b'(');
        if part.kind == Kind::Multipart {
            pending.push(Pending::EndOfMultipart(id));
            pending.extend(
                part.children
                    .iter()
                    .rev()
                    .map(|child| Pending::Body(*child)),
            );
            return;
        }
        out.extend_from_slice(&part.fields);
        out.push(b' ');
        write_number(out, part.content.bytes);
        let nested = part.children.first().copied();
        match (part.kind, nested) {
            (Kind::NestedMessage, Some(nested)) => {
                out.push(b' ');
                if let Some(message) = self.get(nested) {
                    out.extend_from_slice(&message.envelope);
                }
                out.push(b' ');
                pending.push(Pending::EndOfMessage(id));
                pending.push(Pending::Body(nested));
            }
            (Kind::Text, _) => {
                out.push(b' ');
                write_number(out, part.content.lines);
                end_body(out, part, with_extension);
            }
            _ => end_body(out, part, with_extension),
        }
    }

    /// The ENVELOPE item.
    pub(super) fn envelope(&self) -> &[u8] {
        self.get(0).map_or(b"", |part| &part.envelope)
    }

    /// Writes the SECTION item.
    pub(super) fn write_section(&self, out: &mut Vec<u8>) {
        // The message itself stands in a wrapper like a nested one.
        self.write_message_section(out, 0);
        let mut pending: Vec<PartId> = Vec::new();
        self.sections_of_message(0, &mut pending);
        while let Some(id) = pending.pop() {
            let Some(part) = self.get(id) else { continue };
            let nested = part.children.first().copied();
            match (part.kind, nested) {
                (Kind::NestedMessage, Some(nested)) => {
                    self.write_message_section(out, nested);
                    self.sections_of_message(nested, &mut pending);
                }
                (_, Some(_)) => {
                    write_count(out, part.children.len() + 1);
                    for word in [0, u32::MAX, 0, u32::MAX] {
                        write_u32(out, word);
                    }
                    write_without_charset(out, None);
                    self.write_children(out, part, InMultipart::Inner);
                    pending.extend(part.children.iter().rev());
                }
                (_, None) => write_u32(out, 0),
            }
        }
    }

    /// The table of a message, given its body.
    fn write_message_section(&self, out: &mut Vec<u8>, body: PartId) {
        let Some(part) = self.get(body) else { return };
        if part.kind == Kind::Multipart && !part.children.is_empty() {
            write_count(out, part.children.len() + 1);
            write_location(out, part, part.content.bytes);
            write_without_charset(out, Some(part));
            self.write_children(out, part, InMultipart::OfMessage);
            return;
        }
        write_u32(out, 2);
        write_location(out, part, part.content.bytes);
        write_without_charset(out, Some(part));
        if part.is_empty_multipart() {
            write_location(out, part, 0);
            write_without_charset(out, None);
        } else {
            write_location(out, part, part.content.bytes);
            write_charset(out, part);
        }
    }

    /// The tables that follow that of a message.
    fn sections_of_message(&self, body: PartId, pending: &mut Vec<PartId>) {
        match self.get(body) {
            Some(part) if part.kind == Kind::Multipart && !part.children.is_empty() => {
                pending.extend(part.children.iter().rev());
            }
            Some(_) => pending.push(body),
            None => {}
        }
    }

    fn write_children(&self, out: &mut Vec<u8>, parent: &Part, place: InMultipart) {
        for child in parent.children.iter().filter_map(|id| self.get(*id)) {
            let empty = child.is_empty_multipart();
            write_location(out, child, if empty { 0 } else { child.content.bytes });
            if empty && place == InMultipart::Inner {
                write_without_charset(out, Some(child));
            } else {
                write_charset(out, child);
            }
        }
    }
}

/// Which multipart a part is in; an empty multipart is shown differently.
#[derive(Clone, Copy, PartialEq, Eq)]
enum InMultipart {
    /// The one that is the body of a message.
    OfMessage,
    /// One inside another multipart.
    Inner,
}

fn end_body(out: &mut Vec<u8>, part: &Part, with_extension: bool) {
    if with_extension {
        out.push(b' ');
        out.extend_from_slice(&part.extension);
    }
    out.push(b')');
}

/// The low 32 bits, as the original's counters hold them.
fn low_bits(value: i64) -> u32 {
    (value & i64::from(u32::MAX)) as u32
}

fn write_number(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(low_bits(value).to_string().as_bytes());
}

fn write_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn write_count(out: &mut Vec<u8>, count: usize) {
    write_u32(out, u32::try_from(count).unwrap_or(u32::MAX));
}

fn write_location(out: &mut Vec<u8>, part: &Part, content_size: i64) {
    write_u32(out, part.header_offset as u32);
    write_u32(out, low_bits(part.header.bytes));
    write_u32(out, part.content_offset as u32);
    write_u32(out, low_bits(content_size));
}

fn write_without_charset(out: &mut Vec<u8>, part: Option<&Part>) {
    write_u32(out, 0xFFFF);
    match part {
        Some(part) => write_digest(out, part),
        None => out.extend_from_slice(&[0; Guid::LEN + 8]),
    }
}

fn write_charset(out: &mut Vec<u8>, part: &Part) {
    let name = part.charset.as_deref();
    // With at least one NUL, to a multiple of four; names that do not fit are left out.
    let padded = name.map_or(0, |name| (name.len() / 4 + 1) * 4);
    let padded = u16::try_from(padded).unwrap_or(0);
    write_u32(
        out,
        u32::from(padded) << 16 | u32::from(part.encoding as u8),
    );
    if padded > 0 {
        let end = out.len() + usize::from(padded);
        out.extend_from_slice(name.unwrap_or_default());
        out.resize(end, 0);
    }
    write_digest(out, part);
}

fn write_digest(out: &mut Vec<u8>, part: &Part) {
    let (guid, length) = part.digest;
    out.extend_from_slice(guid.as_bytes());
    write_u32(out, length as u32);
    write_u32(out, low_bits(part.content.lines));
}
