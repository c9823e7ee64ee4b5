//! Address fields, as lenient as 3.6.1 reads them (mailbox-format §4.6).

use super::CacheVersion;
use super::text::{byte_at, is_space, slice, value_end};

/// One element of an address list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// `name:` opens a group.
    GroupStart(Vec<u8>),
    /// `;` closes it.
    GroupEnd,
    /// An address.
    Mailbox(MailboxAddress),
}

/// An address as the ENVELOPE shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MailboxAddress {
    /// Display name or comment; empty for none.
    pub(super) name: Vec<u8>,
    /// Source route; empty for none.
    pub(super) route: Vec<u8>,
    /// Part before the `@`; may be empty.
    pub(super) mailbox: Vec<u8>,
    /// Part behind the `@`.
    pub(super) domain: Vec<u8>,
}

/// What stands for a domain that an address does not have.
const UNSPECIFIED_DOMAIN: &[u8] = b"unspecified-domain";

/// Reads the address field whose value begins at `from` and shows its elements one by one.
pub(super) fn parse_list(
    text: &[u8],
    from: usize,
    version: CacheVersion,
    mut show: impl FnMut(Address),
) {
    let mut scanner = Scanner {
        text: slice(text, from, value_end(text, from)),
        at: 0,
        eight_bit_domains: version >= CacheVersion::V13,
    };
    let mut in_group = false;
    loop {
        let (phrase, mut end) = scanner.phrase(if in_group { b",@<;" } else { b",@<:" });
        match end {
            b',' | 0 | b';' => {
                if !phrase.is_empty() {
                    show(mailbox(Vec::new(), Vec::new(), phrase, Vec::new()));
                }
            }
            b':' => {
                show(Address::GroupStart(phrase));
                in_group = true;
            }
            b'@' => {
                let (domain, comment, after) = scanner.domain(true);
                show(mailbox(comment, Vec::new(), phrase, domain));
                end = after;
            }
            _ => end = angle_address(&mut scanner, phrase, &mut show),
        }
        match end {
            0 => break,
            b';' => {
                show(Address::GroupEnd);
                in_group = false;
            }
            _ => {}
        }
    }
    if in_group {
        show(Address::GroupEnd);
    }
}

/// Reads what stands between `<` and `>`; returns the character that ended it.
fn angle_address(scanner: &mut Scanner, name: Vec<u8>, show: &mut impl FnMut(Address)) -> u8 {
    let (mut local, mut end) = scanner.phrase(b"@>");
    let mut route = Vec::new();
    if end != b'@' {
        show(mailbox(name, route, local, Vec::new()));
        return end;
    }
    if local.is_empty() {
        scanner.at = scanner.at.saturating_sub(1);
        (route, end) = scanner.route();
        if end != b':' {
            show(mailbox(name, route, Vec::new(), Vec::new()));
            return scanner.skip_to_close(end);
        }
        (local, end) = scanner.phrase(b"@>");
        if end != b'@' {
            show(mailbox(name, route, local, Vec::new()));
            return end;
        }
    }
    let (domain, _, end) = scanner.domain(false);
    show(mailbox(name, route, local, domain));
    scanner.skip_to_close(end)
}

fn mailbox(name: Vec<u8>, route: Vec<u8>, mailbox: Vec<u8>, domain: Vec<u8>) -> Address {
    let domain = if domain.is_empty() {
        UNSPECIFIED_DOMAIN.to_vec()
    } else {
        domain
    };
    Address::Mailbox(MailboxAddress {
        name,
        route,
        mailbox,
        domain,
    })
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    eight_bit_domains: bool,
}

impl Scanner<'_> {
    fn next(&mut self) -> u8 {
        let byte = byte_at(self.text, self.at);
        self.at += 1;
        byte
    }

    fn peek(&self) -> u8 {
        byte_at(self.text, self.at)
    }

    /// White space and comments; here they may extend over line ends.
    fn skip_space(&mut self) {
        loop {
            match self.peek() {
                b'(' => {
                    self.at += 1;
                    self.skip_comment();
                }
                byte if is_space(byte) => self.at += 1,
                _ => return,
            }
        }
    }

    fn skip_comment(&mut self) {
        let mut level = 1_usize;
        while level > 0 && self.peek() != 0 {
            match self.next() {
                b'\\' if self.peek() != 0 => self.at += 1,
                b'(' => level += 1,
                b')' => level -= 1,
                _ => {}
            }
        }
    }

    /// Words and quoted strings up to one of `specials`, which is returned with them, or 0 for the
    /// end. An unclosed quote counts as the end.
    fn phrase(&mut self, specials: &[u8]) -> (Vec<u8>, u8) {
        self.skip_space();
        let mut phrase = Vec::new();
        loop {
            match self.next() {
                b'"' => {
                    if !self.quoted(&mut phrase) {
                        return (Vec::new(), 0);
                    }
                }
                byte if is_space(byte) || byte == b'(' => {
                    self.at -= 1;
                    self.skip_space();
                    phrase.push(b' ');
                }
                byte if byte == 0 || specials.contains(&byte) => {
                    if phrase.last() == Some(&b' ') {
                        phrase.pop();
                    }
                    return (phrase, byte);
                }
                byte => phrase.push(byte),
            }
        }
    }

    /// The rest of a quoted string; `false` if it is not closed.
    fn quoted(&mut self, phrase: &mut Vec<u8>) -> bool {
        loop {
            let mut byte = self.next();
            if byte == b'\\' && self.peek() == b'\r' && byte_at(self.text, self.at + 1) == b'\n' {
                // A backslash right before a line end is ignored.
                byte = self.next();
            }
            if byte == b'\r' && self.peek() == b'\n' {
                self.at += 1;
                if matches!(self.peek(), b' ' | b'\t') {
                    continue;
                }
                return false;
            }
            match byte {
                0 => return false,
                b'"' => return true,
                b'\\' => match self.next() {
                    0 => return false,
                    escaped => phrase.push(escaped),
                },
                b'\r' | b'\n' => phrase.push(b' '),
                b'\t' => phrase.push(b'\t'),
                control if control.is_ascii_control() => {}
                _ => phrase.push(byte),
            }
        }
    }

    /// A domain, a comment right behind it if `comments` are wanted, and the character that ended
    /// it.
    fn domain(&mut self, comments: bool) -> (Vec<u8>, Vec<u8>, u8) {
        self.skip_space();
        let mut domain = Vec::new();
        let mut comment = Vec::new();
        loop {
            match self.next() {
                b'.' => {
                    if domain.last().is_some_and(|last| *last != b'.') {
                        domain.push(b'.');
                    }
                    comment.clear();
                }
                byte if self.belongs_to_domain(byte) => {
                    domain.push(byte);
                    comment.clear();
                }
                b'(' if comments => comment = self.comment(),
                b'(' => {
                    self.at -= 1;
                    self.skip_space();
                }
                byte if is_space(byte) => {}
                end => {
                    if domain.last() == Some(&b'.') {
                        domain.pop();
                    }
                    return (domain, comment, end);
                }
            }
        }
    }

    fn belongs_to_domain(&self, byte: u8) -> bool {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'[' | b']' | b':' | b'@')
            || (self.eight_bit_domains && byte >= 0x80)
    }

    /// The text of a comment whose parenthesis has been read.
    fn comment(&mut self) -> Vec<u8> {
        let mut comment = Vec::new();
        let mut level = 1_usize;
        while self.peek() != 0 {
            let mut byte = self.next();
            match byte {
                b'(' => level += 1,
                b')' => level -= 1,
                b'\\' => {
                    byte = self.peek();
                    if byte != 0 {
                        self.at += 1;
                    }
                }
                _ => {}
            }
            if level == 0 {
                break;
            }
            if byte != 0 {
                comment.push(byte);
            }
        }
        comment
    }

    /// A source route and the character that ended it.
    fn route(&mut self) -> (Vec<u8>, u8) {
        self.skip_space();
        let mut route = Vec::new();
        loop {
            match self.next() {
                b'.' => {
                    if route.last().is_some_and(|last| *last != b'.') {
                        route.push(b'.');
                    }
                }
                byte if byte.is_ascii_alphanumeric() || b"-[],@".contains(&byte) => {
                    route.push(byte);
                }
                byte if is_space(byte) || byte == b'(' => {
                    self.at -= 1;
                    self.skip_space();
                }
                end => {
                    while matches!(route.last(), Some(b'.' | b',' | b'@')) {
                        route.pop();
                    }
                    return (route, end);
                }
            }
        }
    }

    /// Skips to behind the next `>`, unless `end` is one; returns it, or 0 for the end.
    fn skip_to_close(&mut self, mut end: u8) -> u8 {
        while end != 0 && end != b'>' {
            end = self.next();
        }
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: &str) -> Vec<String> {
        shown_as(value.as_bytes(), CacheVersion::V11)
    }

    fn shown_as(value: &[u8], version: CacheVersion) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut list = Vec::new();
        parse_list(value, 0, version, |address| {
            list.push(match address {
                Address::GroupStart(name) => format!("{}:", text(&name)),
                Address::GroupEnd => ";".to_owned(),
                Address::Mailbox(address) => format!(
                    "{}|{}|{}|{}",
                    text(&address.name),
                    text(&address.route),
                    text(&address.mailbox),
                    text(&address.domain)
                ),
            });
        });
        list
    }

    #[test]
    fn ordinary_lists() {
        assert_eq!(
            shown(" Ann Bee <ann@Example.ORG>, bob@example.com (Bob)\r\nnext: x"),
            ["Ann Bee||ann|Example.ORG", "Bob||bob|example.com"]
        );
        assert_eq!(
            shown("\"Last, First\" <a.b@c>,\r\n  <d@e>"),
            ["Last, First||a.b|c", "||d|e"]
        );
        assert_eq!(shown(""), [""; 0]);
        assert_eq!(shown(" , ,\r\n"), [""; 0]);
    }

    #[test]
    fn groups() {
        assert_eq!(
            shown("friends: a@b, c@d; e@f"),
            ["friends:", "||a|b", "||c|d", ";", "||e|f"]
        );
        assert_eq!(shown("undisclosed:;"), ["undisclosed:", ";"]);
        assert_eq!(shown("open: a@b"), ["open:", "||a|b", ";"]);
    }

    #[test]
    fn incomplete_addresses() {
        assert_eq!(shown("root"), ["||root|unspecified-domain"]);
        assert_eq!(shown("Ann <root>"), ["Ann||root|unspecified-domain"]);
        assert_eq!(shown("Ann <>, x@y"), ["Ann|||unspecified-domain", "||x|y"]);
        assert_eq!(shown("a@b.., \"open <c@d>"), ["||a|b"]);
        assert_eq!(shown("x <@r1,@r2:a@b>"), ["x|@r1,@r2|a|b"]);
        assert_eq!(shown("x <@r1>"), ["x|@r1||unspecified-domain"]);
    }

    #[test]
    fn eight_bit_domains_end_before_version_13() {
        let value = "a@b\u{e9}c <d@e>".as_bytes();
        assert_eq!(shown_as(value, CacheVersion::V11).first().unwrap(), "||a|b");
        let newer = shown_as(value, CacheVersion::V13);
        assert_eq!(newer.first().unwrap(), "||a|b\u{e9}c");
    }
}
