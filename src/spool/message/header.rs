//! What the cache wants to know from the header of a part (mailbox-format §4.3, §4.5, §4.9).

use super::address::{self, Address, MailboxAddress};
use super::cached;
use super::date::HeaderDate;
use super::mime::{self, ContentType, Parameter};
use super::mimeword;
use super::text::{slice, unfolded, value_end, write_nstring};
use super::{CacheVersion, ParserOptions};

/// Which headers a part has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The message itself.
    Message,
    /// A message inside a message.
    NestedMessage,
    /// A part of a multipart, of which only the MIME fields count.
    Part,
}

/// The interpreted header of a part.
pub(super) struct Header {
    /// `None`: the default type of the place.
    pub(super) content_type: Option<ContentType>,
    /// Content-Transfer-Encoding in upper case.
    pub(super) encoding: Option<Vec<u8>>,
    pub(super) id: Option<Vec<u8>>,
    pub(super) description: Option<Vec<u8>>,
    pub(super) md5: Option<Vec<u8>>,
    pub(super) location: Option<Vec<u8>>,
    pub(super) disposition: Option<(Vec<u8>, Vec<Parameter>)>,
    pub(super) languages: Vec<Vec<u8>>,
    /// The ENVELOPE; empty for a part that is no message.
    pub(super) envelope: Vec<u8>,
    /// Only for the message itself.
    pub(super) top: Option<TopHeader>,
}

/// What only the header of the message itself gives.
#[derive(Default)]
pub(super) struct TopHeader {
    pub(super) date: HeaderDate,
    /// The HEADERS item.
    pub(super) cached: Vec<u8>,
    /// The FROM, TO, CC and BCC items.
    pub(super) search_addresses: [Vec<u8>; 4],
    /// The SUBJECT item.
    pub(super) subject: Vec<u8>,
}

/// The fields that are read, by lower-case name.
#[derive(Clone, Copy)]
enum Field {
    Bcc,
    Cc,
    ContentDescription,
    ContentDisposition,
    ContentId,
    ContentLanguage,
    ContentLocation,
    ContentMd5,
    ContentTransferEncoding,
    ContentType,
    Date,
    From,
    InReplyTo,
    MessageId,
    ReplyTo,
    Sender,
    Subject,
    To,
}

const FIELDS: [(&[u8], Field); FIELD_COUNT] = [
    (b"bcc", Field::Bcc),
    (b"cc", Field::Cc),
    (b"content-description", Field::ContentDescription),
    (b"content-disposition", Field::ContentDisposition),
    (b"content-id", Field::ContentId),
    (b"content-language", Field::ContentLanguage),
    (b"content-location", Field::ContentLocation),
    (b"content-md5", Field::ContentMd5),
    (b"content-transfer-encoding", Field::ContentTransferEncoding),
    (b"content-type", Field::ContentType),
    (b"date", Field::Date),
    (b"from", Field::From),
    (b"in-reply-to", Field::InReplyTo),
    (b"message-id", Field::MessageId),
    (b"reply-to", Field::ReplyTo),
    (b"sender", Field::Sender),
    (b"subject", Field::Subject),
    (b"to", Field::To),
];
const FIELD_COUNT: usize = 18;

/// A header text and where the values of its fields begin. Of a field that occurs several times
/// the last one counts.
struct Fields<'a> {
    text: &'a [u8],
    version: CacheVersion,
    values: [Option<usize>; FIELD_COUNT],
}

impl Header {
    /// Interprets the text of a header, which ends before its first NUL.
    pub(super) fn parse(text: &[u8], role: Role, options: &ParserOptions) -> Header {
        let (fields, cached) = Fields::find(text, role, options);
        Header {
            content_type: fields
                .value(Field::ContentType)
                .and_then(|at| ContentType::parse(text, at, options.cache_version)),
            encoding: fields
                .value(Field::ContentTransferEncoding)
                .and_then(|at| mime::parse_encoding(text, at)),
            id: fields.string(Field::ContentId),
            description: fields.string(Field::ContentDescription),
            md5: fields.string(Field::ContentMd5),
            location: fields.string(Field::ContentLocation),
            disposition: fields
                .value(Field::ContentDisposition)
                .and_then(|at| mime::parse_disposition(text, at)),
            languages: fields
                .value(Field::ContentLanguage)
                .map_or_else(Vec::new, |at| mime::parse_languages(text, at)),
            envelope: match role {
                Role::Message | Role::NestedMessage => fields.envelope(),
                Role::Part => Vec::new(),
            },
            top: (role == Role::Message).then(|| TopHeader {
                date: fields
                    .string(Field::Date)
                    .map_or_else(HeaderDate::default, |date| HeaderDate::parse(&date)),
                cached,
                search_addresses: [Field::From, Field::To, Field::Cc, Field::Bcc]
                    .map(|field| fields.search_addresses(field, options)),
                subject: fields.search_subject(options),
            }),
        }
    }
}

impl Fields<'_> {
    /// Finds the fields in the lines that count, and the HEADERS item if the role has one.
    fn find<'a>(text: &'a [u8], role: Role, options: &ParserOptions) -> (Fields<'a>, Vec<u8>) {
        let mut values = [None; FIELD_COUNT];
        let mut cached = Vec::new();
        // The original looks at one line more than its limit says.
        let lines = match options.max_header_lines {
            0 => usize::MAX,
            limit => usize::try_from(limit).map_or(usize::MAX, |limit| limit.saturating_add(1)),
        };
        let mut start = 0;
        for line in text.split_inclusive(|byte| *byte == b'\n').take(lines) {
            let name_end = memchr::memchr3(b':', b'\r', b'\n', line);
            let name = name_end.filter(|end| line.get(*end) == Some(&b':'));
            if let Some(name) = name.and_then(|end| line.get(..end)) {
                let known = |(known, _): &&(&[u8], Field)| name.eq_ignore_ascii_case(known);
                let field = FIELDS.iter().find(known).map(|(_, field)| *field as usize);
                if let Some(value) = field.and_then(|field| values.get_mut(field)) {
                    *value = Some(start + name.len() + 1);
                }
                let folded = matches!(line.first(), Some(b' ' | b'\t'));
                if role == Role::Message && !folded && cached::is_cached(name) {
                    cached.extend_from_slice(slice(text, start, value_end(text, start)));
                    cached.extend_from_slice(b"\r\n");
                }
            }
            start += line.len();
        }
        let fields = Fields {
            text,
            version: options.cache_version,
            values,
        };
        (fields, cached)
    }

    fn value(&self, field: Field) -> Option<usize> {
        self.values.get(field as usize).copied().flatten()
    }

    fn string(&self, field: Field) -> Option<Vec<u8>> {
        self.value(field).map(|at| unfolded(self.text, at))
    }

    fn each_address(&self, field: Field, show: impl FnMut(Address)) {
        if let Some(at) = self.value(field) {
            address::parse_list(self.text, at, self.version, show);
        }
    }

    fn envelope(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let string = |out: &mut Vec<u8>, field| {
            write_nstring(out, self.string(field).as_deref());
        };
        out.push(b'(');
        string(&mut out, Field::Date);
        out.push(b' ');
        string(&mut out, Field::Subject);
        let from = self.envelope_addresses(Field::From);
        let sender = self.envelope_addresses(Field::Sender);
        let reply_to = self.envelope_addresses(Field::ReplyTo);
        let nil = b"NIL".as_slice();
        let from = from.as_deref().unwrap_or(nil);
        for list in [Some(from), sender.as_deref(), reply_to.as_deref()] {
            out.push(b' ');
            out.extend_from_slice(list.unwrap_or(from));
        }
        for field in [Field::To, Field::Cc, Field::Bcc] {
            out.push(b' ');
            out.extend_from_slice(self.envelope_addresses(field).as_deref().unwrap_or(nil));
        }
        out.push(b' ');
        string(&mut out, Field::InReplyTo);
        out.push(b' ');
        string(&mut out, Field::MessageId);
        out.push(b')');
        out
    }

    /// A parenthesized list, or `None` if there is no address.
    fn envelope_addresses(&self, field: Field) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        self.each_address(field, |address| write_envelope_address(&mut out, &address));
        if out.is_empty() {
            return None;
        }
        out.insert(0, b'(');
        out.push(b')');
        Some(out)
    }

    fn search_addresses(&self, field: Field, options: &ParserOptions) -> Vec<u8> {
        let mut list = SearchAddresses {
            out: Vec::new(),
            comma: false,
            options,
        };
        self.each_address(field, |address| list.push(&address));
        list.out
    }

    fn search_subject(&self, options: &ParserOptions) -> Vec<u8> {
        let subject = self
            .string(Field::Subject)
            .map(|subject| mimeword::decode(&subject, options.plain_text()));
        let mut out = Vec::new();
        write_nstring(&mut out, subject.as_deref());
        out
    }
}

fn write_envelope_address(out: &mut Vec<u8>, address: &Address) {
    let set = |value: &'_ [u8]| !value.is_empty();
    let (name, route, mailbox, domain) = match address {
        Address::GroupStart(name) => (None, None, Some(name.as_slice()), None),
        Address::GroupEnd => (None, None, None, None),
        Address::Mailbox(MailboxAddress {
            name,
            route,
            mailbox,
            domain,
        }) => (
            Some(name.as_slice()).filter(|name| set(name)),
            Some(route.as_slice()).filter(|route| set(route)),
            Some(mailbox.as_slice()),
            Some(domain.as_slice()),
        ),
    };
    out.push(b'(');
    write_nstring(out, name);
    for value in [route, mailbox, domain] {
        out.push(b' ');
        write_nstring(out, value);
    }
    out.push(b')');
}

/// One of the items FROM, TO, CC and BCC.
struct SearchAddresses<'a> {
    out: Vec<u8>,
    comma: bool,
    options: &'a ParserOptions,
}

impl SearchAddresses<'_> {
    fn push(&mut self, address: &Address) {
        if self.comma && !matches!(address, Address::GroupEnd) {
            self.out.push(b',');
        }
        match address {
            Address::GroupStart(name) => {
                let name = mimeword::decode(name, self.options.plain_text());
                self.out.extend_from_slice(&name);
                self.out.push(b':');
            }
            Address::GroupEnd => self.out.push(b';'),
            Address::Mailbox(address) => self.push_mailbox(address),
        }
        self.comma = !matches!(address, Address::GroupStart(_));
    }

    fn push_mailbox(&mut self, address: &MailboxAddress) {
        if !address.name.is_empty() {
            self.push_name(&address.name);
            self.out.push(b' ');
        }
        self.out.push(b'<');
        if !address.route.is_empty() {
            self.out.extend(address.route.to_ascii_lowercase());
            self.out.push(b':');
        }
        self.out.extend(address.mailbox.to_ascii_lowercase());
        self.out.push(b'@');
        self.out.extend(address.domain.to_ascii_lowercase());
        self.out.push(b'>');
    }

    fn push_name(&mut self, name: &[u8]) {
        let name = mimeword::decode(name, self.options.plain_text());
        let needs_no_quotes = |byte: &u8| {
            byte.is_ascii_alphanumeric()
                || super::text::is_space(*byte)
                || b"!#$%&'*+-/=?^_`{|}~".contains(byte)
        };
        if name.iter().all(needs_no_quotes) {
            self.out.extend_from_slice(&name);
            return;
        }
        self.out.push(b'"');
        for byte in name {
            if matches!(byte, b'\\' | b'"') {
                self.out.push(b'\\');
            }
            self.out.push(byte);
        }
        self.out.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Header {
        Header::parse(text.as_bytes(), Role::Message, &ParserOptions::default())
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    #[test]
    fn envelope_falls_back_to_from() {
        let header = parse("From: Ann <a@B>\r\nTo: g: x@y;\r\nSubject:\r\n");
        let from = "((\"Ann\" NIL \"a\" \"B\"))";
        assert_eq!(
            text(&header.envelope),
            format!(
                "(NIL \"\" {from} {from} {from} \
                 ((NIL NIL \"g\" NIL)(NIL NIL \"x\" \"y\")(NIL NIL NIL NIL)) NIL NIL NIL NIL)"
            )
        );
    }

    #[test]
    fn the_last_field_counts() {
        let header =
            parse("Subject: a\r\nContent-Type: text/html\r\nsubject: b\r\nContent-Type: x\r\n");
        assert!(text(&header.envelope).starts_with("(NIL \"b\" "));
        assert_eq!(header.content_type, None);
    }

    #[test]
    fn lines_beyond_the_limit_do_not_count() {
        let options = ParserOptions {
            max_header_lines: 2,
            ..ParserOptions::default()
        };
        let header = b"A: 1\r\nB: 2\r\nC: 3\r\n d\r\nD: 4\r\n";
        let top = Header::parse(header, Role::Message, &options).top.unwrap();
        assert_eq!(text(&top.cached), "A: 1\r\nB: 2\r\nC: 3\r\n d\r\n");
    }

    #[test]
    fn search_items() {
        let top = parse(
            "From: \"A, B\" <A@B>, =?utf-8?q?=C3=A4?= <c@d>\r\n\
             To: u: a@b, c@d; e@f\r\nCc: X <@R:m@N>\r\nSubject: =?utf-8?q?=C3=A4?=\r\n",
        )
        .top
        .unwrap();
        let [from, to, cc, bcc] = top.search_addresses;
        assert_eq!(text(&from), "\"A, B\" <a@b>,\"ä\" <c@d>");
        assert_eq!(text(&to), "u:<a@b>,<c@d>;,<e@f>");
        assert_eq!(text(&cc), "X <@r:m@n>");
        assert_eq!(text(&bcc), "");
        assert_eq!(text(&top.subject), "{2}\r\nä");
    }
}
