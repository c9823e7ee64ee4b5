//! The structure of a message, found line by line while the message passes (mailbox-format §4.3).

use super::ParserOptions;
use super::boundary::{Boundaries, boundary_of};
use super::decode::ContentDigest;
use super::digest::{BREAK, SpanDigest};
use super::header::{Header, Role, TopHeader};
use super::mime::ContentType;
use super::part::{Extent, Kind, Part, PartId, Parts};
use super::text::before_nul;

/// The parts found so far, and what is being read.
pub(super) struct Structure {
    options: ParserOptions,
    parts: Parts,
    top: TopHeader,
    boundaries: Boundaries,
    /// The parts that are still open around the current one, outermost first.
    open: Vec<Open>,
    nested_messages: usize,
    reading: Reading,
    /// Whether the part limit is reached: what follows belongs to the last part.
    last_part: bool,
    /// Bytes of the message taken in.
    offset: u64,
    at_end: bool,
}

/// A part that other parts belong to.
enum Open {
    Multipart(Multipart),
    Message {
        part: PartId,
        digest: Box<SpanDigest>,
    },
}

struct Multipart {
    part: PartId,
    /// Number of boundaries while one is inside, its own included.
    depth: usize,
    /// Header-less parts are messages.
    is_digest: bool,
    parts: usize,
    /// What stood before the first boundary, and that boundary.
    preamble: Extent,
    preamble_boundary: Extent,
    /// Sum of the parts with their boundaries, but for the boundary of the last one.
    inner: Extent,
    /// The boundary that ended the last part.
    last_boundary: Extent,
}

/// What the bytes at hand belong to.
enum Reading {
    Header(HeaderBlock),
    Content(Content),
    /// A boundary limit has been hit: the rest is not looked at.
    Nothing,
}

/// The header of the part `part`.
pub(super) struct HeaderBlock {
    part: PartId,
    role: Role,
    default: ContentType,
    /// The header so far, as much of it as may count.
    text: Vec<u8>,
    length: u64,
    /// Offset of the first NUL, behind which nothing counts.
    nul: Option<u64>,
    /// LFs before that.
    lines: i64,
    last_two: [u8; 2],
}

struct Content {
    place: Place,
    extent: Extent,
    digest: Option<Box<ContentDigest>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Part(PartId),
    Preamble,
    Epilogue,
}

/// What kind of lines the scanner has to look for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lines {
    /// Every line counts.
    Header,
    /// Boundary lines count.
    Bounded,
    /// None counts.
    Unbounded,
}

/// What the header of a part was ended by.
enum HeaderEnd {
    /// The empty line, or the end of the message.
    Regular,
    /// A boundary line of this length up to its first NUL.
    Boundary(u64),
}

impl Structure {
    pub(super) fn new(options: &ParserOptions) -> Structure {
        let mut parts = Parts::default();
        let part = parts.add(Part::new(0));
        Structure {
            options: options.clone(),
            parts,
            top: TopHeader::default(),
            boundaries: Boundaries::new(options.rfc2046_strict),
            open: Vec::new(),
            nested_messages: 0,
            reading: Reading::Header(HeaderBlock::new(
                part,
                Role::Message,
                ContentType::text_plain(),
            )),
            last_part: false,
            offset: 0,
            at_end: false,
        }
    }

    pub(super) fn lines(&self) -> Lines {
        match &self.reading {
            Reading::Header(_) => Lines::Header,
            Reading::Content(_) if self.watches_boundaries() => Lines::Bounded,
            Reading::Content(_) | Reading::Nothing => Lines::Unbounded,
        }
    }

    fn watches_boundaries(&self) -> bool {
        self.boundaries.depth() > 0 && !self.last_part
    }

    /// So many bytes of a line decide what it is.
    pub(super) fn line_head(&self) -> usize {
        self.boundaries.line_head()
    }

    /// Whether a line that begins like this is a boundary line. If so it has to be delivered by
    /// `pass_boundary` and `end_by_boundary`, else by `content` or `header`.
    pub(super) fn is_boundary(&mut self, head: &[u8]) -> bool {
        if !self.watches_boundaries() {
            return false;
        }
        let head = match self.reading {
            Reading::Header(_) => before_nul(head),
            _ => head,
        };
        let is_boundary = self.boundaries.closes(head);
        if is_boundary {
            for digest in self.open_digests() {
                digest.mark_boundary();
            }
        }
        is_boundary
    }

    fn open_digests(&mut self) -> impl Iterator<Item = &mut SpanDigest> {
        self.open.iter_mut().filter_map(|open| match open {
            Open::Message { digest, .. } => Some(digest.as_mut()),
            Open::Multipart(_) => None,
        })
    }

    /// Takes in bytes that nested messages may contain.
    fn advance(&mut self, bytes: &[u8]) {
        self.offset += bytes.len() as u64;
        if self.nested_messages > 0 {
            for digest in self.open_digests() {
                digest.push(bytes);
            }
        }
    }

    /// A piece of a content.
    pub(super) fn content(&mut self, bytes: &[u8]) {
        if let Reading::Content(content) = &mut self.reading {
            content.extent.bytes += bytes.len() as i64;
            content.extent.lines += memchr::memchr_iter(b'\n', bytes).count() as i64;
            if let Some(digest) = &mut content.digest {
                digest.push(bytes);
            }
        }
        self.advance(bytes);
    }

    /// A piece of a header line that is not a boundary.
    pub(super) fn header(&mut self, bytes: &[u8]) {
        let room = self.options.limits.header;
        let Reading::Header(block) = &mut self.reading else {
            return;
        };
        let lacking = block.push(bytes, room);
        if lacking > 0 {
            for digest in self.open_digests() {
                digest.will_lack(lacking);
            }
        }
        self.advance(bytes);
    }

    /// The header has ended with the empty line.
    pub(super) fn end_of_header(&mut self) {
        self.end_header(HeaderEnd::Regular);
    }

    /// A piece of a boundary line.
    pub(super) fn pass_boundary(&mut self, bytes: &[u8]) {
        self.advance(bytes);
    }

    /// The boundary line has passed: its length, and the same up to its first NUL.
    pub(super) fn end_by_boundary(&mut self, length: u64, before_nul: u64) {
        match &self.reading {
            Reading::Header(_) => self.end_header(HeaderEnd::Boundary(before_nul)),
            Reading::Content(_) => self.end_content(Some(length)),
            Reading::Nothing => {}
        }
    }

    /// The message has ended; returns what it consists of.
    pub(super) fn finish(mut self) -> (Parts, TopHeader) {
        self.at_end = true;
        loop {
            match &self.reading {
                Reading::Header(_) => self.end_header(HeaderEnd::Regular),
                Reading::Content(_) => self.end_content(None),
                Reading::Nothing => return (self.parts, self.top),
            }
        }
    }

    fn end_header(&mut self, end: HeaderEnd) {
        let Reading::Header(block) = std::mem::replace(&mut self.reading, Reading::Nothing) else {
            return;
        };
        let (part, role) = (block.part, block.role);
        let cut = !matches!(end, HeaderEnd::Regular);
        let (extent, boundary, text) = block.finish(end);
        let mut header = Header::parse(text, role, &self.options);
        if let Some(top) = header.top.take() {
            self.top = top;
        }
        let mut content_type = header.content_type.take().unwrap_or(block.default);
        let version = self.options.cache_version;
        if self.nested_messages >= self.options.limits.nested_messages
            && content_type.is_nested_message(version)
        {
            content_type = opaque();
        }
        let content_offset = self.offset;
        let kind = self.parts.change(part, |part| {
            part.header = extent;
            part.boundary = boundary;
            part.content_offset = content_offset;
            part.describe(&header, &content_type, version);
            part.kind()
        });
        match kind {
            Some(Kind::NestedMessage) if cut => {
                let nested = self.parts.add(Part::empty_message());
                self.parts.change(part, |part| part.add_child(nested));
                self.end_part(part);
            }
            _ if cut => self.end_part(part),
            Some(Kind::NestedMessage) => self.begin_message(part),
            Some(Kind::Multipart) => match boundary_of(&content_type.parameters) {
                Some(boundary) => self.begin_multipart(part, &content_type, boundary),
                None => self.begin_content(part),
            },
            _ => self.begin_content(part),
        }
    }

    fn begin_part(&mut self, parent: PartId, role: Role, default: ContentType) {
        let part = self.parts.add(Part::new(self.offset));
        self.parts.change(parent, |parent| parent.add_child(part));
        self.last_part |= self.parts.are_enough(&self.options.limits);
        self.reading = Reading::Header(HeaderBlock::new(part, role, default));
    }

    fn begin_message(&mut self, part: PartId) {
        let digest = Box::new(SpanDigest::new());
        self.open.push(Open::Message { part, digest });
        self.nested_messages += 1;
        self.begin_part(part, Role::NestedMessage, ContentType::text_plain());
    }

    fn begin_multipart(&mut self, part: PartId, content_type: &ContentType, boundary: Vec<u8>) {
        self.boundaries.push(boundary);
        self.open.push(Open::Multipart(Multipart {
            part,
            depth: self.boundaries.depth(),
            is_digest: content_type.subtype == b"DIGEST",
            parts: 0,
            preamble: Extent::default(),
            preamble_boundary: Extent::default(),
            inner: Extent::default(),
            last_boundary: Extent::default(),
        }));
        self.reading = Reading::Content(Content::undigested(Place::Preamble));
    }

    fn begin_content(&mut self, part: PartId) {
        let encoding = self.parts.get(part).map(Part::encoding);
        self.reading = Reading::Content(Content {
            place: Place::Part(part),
            extent: Extent::default(),
            digest: encoding.map(|encoding| Box::new(ContentDigest::new(encoding))),
        });
    }

    /// A content has ended with the message, or by a boundary line of this length.
    fn end_content(&mut self, boundary_length: Option<u64>) {
        let Reading::Content(content) = std::mem::replace(&mut self.reading, Reading::Nothing)
        else {
            return;
        };
        let (extent, boundary, dropped) = content.measure(boundary_length);
        match content.place {
            Place::Part(part) => {
                self.parts.change(part, |part| {
                    part.content = extent;
                    part.boundary = boundary;
                    if let Some(digest) = content.digest {
                        part.digest = digest.finish(dropped);
                    }
                });
                self.end_part(part);
            }
            Place::Preamble => {
                if let Some(Open::Multipart(multipart)) = self.open.last_mut() {
                    multipart.preamble = extent;
                    multipart.preamble_boundary = boundary;
                }
                self.next_in_multipart();
            }
            Place::Epilogue => self.end_multipart(extent, boundary),
        }
    }

    /// A part has ended: goes on with what it belongs to.
    fn end_part(&mut self, ended: PartId) {
        match self.open.last_mut() {
            None => self.reading = Reading::Nothing,
            Some(Open::Message { .. }) => self.end_message(ended),
            Some(Open::Multipart(multipart)) => {
                let Some(part) = self.parts.get(ended) else {
                    return;
                };
                multipart.inner.add(multipart.last_boundary);
                multipart.inner.add(part.header);
                multipart.inner.add(part.content);
                multipart.last_boundary = part.boundary;
                multipart.parts += 1;
                if self.at_end && part.boundary.bytes == 0 {
                    // The end of the message ends all multiparts.
                    self.boundaries.truncate(0);
                }
                self.next_in_multipart();
            }
        }
    }

    fn end_message(&mut self, nested: PartId) {
        let Some(Open::Message { part, digest }) = self.open.pop() else {
            return;
        };
        self.nested_messages -= 1;
        if let Some(inner) = self.parts.get(nested) {
            let mut content = inner.header;
            content.add(inner.content);
            let boundary = inner.boundary;
            let length = u64::from(content.bytes as u32);
            self.parts.change(part, |part| {
                part.content = content;
                part.boundary = boundary;
                part.digest = (digest.finish(length), length);
            });
        }
        self.end_part(part);
    }

    /// After the preamble or a part: the next part, the epilogue, or the end of the multipart.
    fn next_in_multipart(&mut self) {
        let Some(Open::Multipart(multipart)) = self.open.last() else {
            return;
        };
        let depth = self.boundaries.depth();
        let limit = self.options.boundary_limit;
        if depth == multipart.depth && (limit == 0 || depth < limit) {
            let default = if multipart.is_digest {
                ContentType::message()
            } else {
                ContentType::text_plain()
            };
            self.begin_part(multipart.part, Role::Part, default);
        } else if depth + 1 == multipart.depth {
            self.reading = Reading::Content(Content::undigested(Place::Epilogue));
        } else {
            self.end_multipart_by_outer_boundary();
        }
    }

    /// A boundary line of an enclosing multipart has ended this one as well.
    fn end_multipart_by_outer_boundary(&mut self) {
        let Some(Open::Multipart(multipart)) = self.open.last_mut() else {
            return;
        };
        let last = if multipart.parts > 0 {
            &mut multipart.last_boundary
        } else {
            &mut multipart.preamble_boundary
        };
        let boundary = std::mem::take(last);
        self.end_multipart(Extent::default(), boundary);
    }

    fn end_multipart(&mut self, epilogue: Extent, boundary: Extent) {
        let Some(Open::Multipart(multipart)) = self.open.pop() else {
            return;
        };
        let mut content = multipart.preamble;
        content.add(multipart.preamble_boundary);
        content.add(multipart.inner);
        content.add(multipart.last_boundary);
        content.add(epilogue);
        self.parts.change(multipart.part, |part| {
            part.content = content;
            part.boundary = boundary;
        });
        self.end_part(multipart.part);
    }
}

/// What a nested message is taken for beyond the limit.
fn opaque() -> ContentType {
    ContentType {
        kind: b"APPLICATION".to_vec(),
        subtype: b"OCTET-STREAM".to_vec(),
        parameters: Vec::new(),
    }
}

impl Content {
    fn undigested(place: Place) -> Content {
        Content {
            place,
            extent: Extent::default(),
            digest: None,
        }
    }

    /// Sizes of the content and of the boundary after it, to which the break before it belongs,
    /// and how many bytes that takes from the content.
    fn measure(&self, boundary_length: Option<u64>) -> (Extent, Extent, usize) {
        let mut extent = self.extent;
        let Some(length) = boundary_length else {
            return (extent, Extent::default(), 0);
        };
        let mut boundary = Extent {
            bytes: length as i64,
            lines: 1,
        };
        if extent.lines > 0 {
            extent.lines -= 1;
            boundary.lines += 1;
        }
        let mut dropped = 0;
        if extent.bytes > 1 {
            extent.bytes -= BREAK as i64;
            boundary.bytes += BREAK as i64;
            dropped = BREAK;
        }
        (extent, boundary, dropped)
    }
}

impl HeaderBlock {
    fn new(part: PartId, role: Role, default: ContentType) -> HeaderBlock {
        HeaderBlock {
            part,
            role,
            default,
            text: Vec::new(),
            length: 0,
            nul: None,
            lines: 0,
            last_two: [0; 2],
        }
    }

    /// Takes in a piece; returns how many bytes of it stand behind a NUL.
    fn push(&mut self, bytes: &[u8], room: usize) -> usize {
        if self.nul.is_none() {
            let counted = before_nul(bytes);
            self.lines += memchr::memchr_iter(b'\n', counted).count() as i64;
            let kept = counted.len().min(room.saturating_sub(self.text.len()));
            self.text
                .extend_from_slice(counted.get(..kept).unwrap_or_default());
            if counted.len() < bytes.len() {
                self.nul = Some(self.length + counted.len() as u64);
            }
        }
        for &byte in bytes
            .get(bytes.len().saturating_sub(2)..)
            .unwrap_or_default()
        {
            self.last_two = [self.last_two[1], byte];
        }
        self.length += bytes.len() as u64;
        match self.nul {
            None => 0,
            Some(nul) => usize::try_from(self.length - nul)
                .unwrap_or(usize::MAX)
                .min(bytes.len()),
        }
    }

    /// Sizes of the header and of a boundary that ended it, and the text that counts.
    fn finish(&self, end: HeaderEnd) -> (Extent, Extent, &[u8]) {
        let whole = Extent {
            bytes: self.nul.unwrap_or(self.length) as i64,
            lines: self.lines,
        };
        let HeaderEnd::Boundary(boundary_length) = end else {
            return (whole, Extent::default(), &self.text);
        };
        let mut boundary = Extent {
            bytes: boundary_length as i64,
            lines: 1,
        };
        if self.length == 0 {
            return (whole, boundary, &self.text);
        }
        boundary.bytes += BREAK as i64;
        boundary.lines += 1;
        let Some(cut) = self.length.checked_sub(BREAK as u64) else {
            // A lone LF: the original cuts before its buffer and counts the boundary as header.
            let header = Extent {
                bytes: 1 + boundary_length as i64,
                lines: -1,
            };
            return (header, boundary, b"");
        };
        if self.nul.is_some_and(|nul| nul <= cut) {
            return (whole, boundary, &self.text);
        }
        let lines_cut = self.last_two.iter().filter(|byte| **byte == b'\n').count();
        let header = Extent {
            bytes: cut as i64,
            lines: self.lines - lines_cut as i64,
        };
        let kept = usize::try_from(cut).unwrap_or(usize::MAX);
        let text = self.text.get(..kept).unwrap_or(&self.text);
        (header, boundary, text)
    }
}
