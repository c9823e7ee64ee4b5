//! The lines of a sync log (algorithm §9.1, databases §17.1).

use std::fmt;

use crate::mail::{MailboxName, NameError, UniqueId, UserId};
use crate::spool::quota::{QuotaRoot, QuotaRootError};

/// One thing that changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LogItem {
    /// Everything of a user may have changed.
    User(UserId),
    /// A user was removed.
    Unuser(UserId),
    /// A user's Sieve scripts changed (or, from other writers, subscriptions or seen state).
    Meta(UserId),
    /// A mailbox changed in any way.
    Mailbox(MailboxName),
    /// Messages were added to a mailbox.
    Append(MailboxName),
    /// A mailbox was removed at once.
    Unmailbox(MailboxName),
    /// Messages went from the first mailbox to the second.
    DoubleMailbox(MailboxName, MailboxName),
    /// A mailbox was renamed, from the first name to the second. Written as three lines, the
    /// others being `MAILBOX` lines of both names; read as one.
    Rename(MailboxName, MailboxName),
    /// The limits of a quota root changed.
    Quota(QuotaRoot),
    /// Annotations of a mailbox, or of the server (`None`), changed.
    Annotation(Option<MailboxName>),
    /// What a user has seen of a mailbox changed.
    Seen(UserId, UniqueId),
    /// A user subscribed or unsubscribed a mailbox.
    Subscription(UserId, MailboxName),
}

/// A line that is no sync log item. The rest of the log can still be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// The first word is not followed by an argument.
    #[error("invalid input {0:?}")]
    InvalidInput(String),
    /// There is more on the line than its type takes, or less.
    #[error("wrong number of arguments, or garbage at the end of the line {0:?}")]
    Arguments(String),
    /// A type nobody knows.
    #[error("unknown action type {0:?}")]
    UnknownType(String),
    /// The file ends within a line: its writer died. It is not acted on.
    #[error("unfinished line {0:?}")]
    Unfinished(String),
    /// An argument that cannot be a name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// An argument that cannot be a quota root.
    #[error(transparent)]
    QuotaRoot(#[from] QuotaRootError),
}

impl LogItem {
    /// Appends the item's line or lines.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            LogItem::User(user) => line(out, "USER", &[user.as_str()]),
            LogItem::Unuser(user) => line(out, "UNUSER", &[user.as_str()]),
            LogItem::Meta(user) => line(out, "META", &[user.as_str()]),
            LogItem::Mailbox(name) => line(out, "MAILBOX", &[name.as_str()]),
            LogItem::Append(name) => line(out, "APPEND", &[name.as_str()]),
            LogItem::Unmailbox(name) => line(out, "UNMAILBOX", &[name.as_str()]),
            LogItem::DoubleMailbox(from, to) => {
                line(out, "DOUBLEMAILBOX", &[from.as_str(), to.as_str()]);
            }
            LogItem::Rename(from, to) => {
                line(out, "RENAME", &[from.as_str(), to.as_str()]);
                line(out, "MAILBOX", &[from.as_str()]);
                line(out, "MAILBOX", &[to.as_str()]);
            }
            LogItem::Quota(root) => line(out, "QUOTA", &[root.as_str()]),
            LogItem::Annotation(name) => {
                let name = name.as_ref().map_or("", MailboxName::as_str);
                line(out, "ANNOTATION", &[name]);
            }
            LogItem::Seen(user, id) => line(out, "SEEN", &[user.as_str(), id.as_str()]),
            LogItem::Subscription(user, name) => {
                line(out, "SUB", &[user.as_str(), name.as_str()]);
            }
        }
    }

    fn from_words(kind: &str, words: &[String]) -> Result<LogItem, LineError> {
        let kind = kind.to_ascii_uppercase();
        let shown = || format!("{kind} {}", words.join(" "));
        let mailbox = |text: &String| MailboxName::parse(text);
        let user = |text: &String| UserId::parse(text);
        Ok(match (kind.as_str(), words) {
            ("USER", [name]) => LogItem::User(user(name)?),
            ("UNUSER", [name]) => LogItem::Unuser(user(name)?),
            ("META" | "SIEVE", [name]) => LogItem::Meta(user(name)?),
            ("MAILBOX", [name]) => LogItem::Mailbox(mailbox(name)?),
            ("APPEND", [name]) => LogItem::Append(mailbox(name)?),
            ("UNMAILBOX", [name]) => LogItem::Unmailbox(mailbox(name)?),
            ("DOUBLEMAILBOX", [from, to]) => LogItem::DoubleMailbox(mailbox(from)?, mailbox(to)?),
            ("RENAME", [from, to]) => LogItem::Rename(mailbox(from)?, mailbox(to)?),
            ("QUOTA", [root]) => LogItem::Quota(QuotaRoot::parse(root)?),
            ("ANNOTATION", [name]) if name.is_empty() => LogItem::Annotation(None),
            ("ANNOTATION", [name]) => LogItem::Annotation(Some(mailbox(name)?)),
            ("SEEN", [name, id]) => LogItem::Seen(user(name)?, UniqueId::parse(id)?),
            ("SUB" | "UNSUB", [name, target]) => {
                LogItem::Subscription(user(name)?, mailbox(target)?)
            }
            (
                "USER" | "UNUSER" | "META" | "SIEVE" | "MAILBOX" | "APPEND" | "UNMAILBOX"
                | "DOUBLEMAILBOX" | "RENAME" | "QUOTA" | "ANNOTATION" | "SEEN" | "SUB" | "UNSUB",
                _,
            ) => return Err(LineError::Arguments(shown())),
            _ => return Err(LineError::UnknownType(kind)),
        })
    }
}

impl fmt::Display for LogItem {
    /// The item's first line, without LF.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut octets = Vec::new();
        self.write(&mut octets);
        let text = String::from_utf8_lossy(&octets);
        f.write_str(text.lines().next().unwrap_or_default())
    }
}

fn line(out: &mut Vec<u8>, kind: &str, arguments: &[&str]) {
    out.extend_from_slice(kind.as_bytes());
    for argument in arguments {
        out.push(b' ');
        write_argument(out, argument);
    }
    out.push(b'\n');
}

/// Quotes the argument if it is empty or holds one of the octets that need it.
fn write_argument(out: &mut Vec<u8>, argument: &str) {
    let escaped = |octet| matches!(octet, b'\\' | b'"' | b'{' | b'}');
    let special = |octet| escaped(octet) || matches!(octet, b' ' | b'\t' | b'(' | b')');
    if !argument.is_empty() && !argument.bytes().any(special) {
        out.extend_from_slice(argument.as_bytes());
        return;
    }
    out.push(b'"');
    for octet in argument.bytes() {
        if escaped(octet) {
            out.push(b'\\');
        }
        out.push(octet);
    }
    out.push(b'"');
}

/// What stands at the beginning of a piece of a log.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Nothing but blank lines.
    Nothing,
    /// The piece ends within a line; more of the log is needed.
    Incomplete,
    /// A line, good or bad, and how many octets it and the blank lines before it take.
    Line {
        /// The item, or why there is none.
        item: Result<LogItem, LineError>,
        /// Octets taken.
        length: usize,
    },
}

/// Reads the first line of a piece of a log. Words may be bare, quoted or literals; types are
/// taken in any case; lines may end with CR LF.
pub fn parse_line(piece: &[u8]) -> Parsed {
    let blank = piece
        .iter()
        .take_while(|octet| matches!(octet, b'\r' | b'\n'))
        .count();
    let rest = piece.get(blank..).unwrap_or_default();
    if rest.is_empty() {
        return Parsed::Nothing;
    }
    let mut cursor = Cursor { rest, taken: blank };
    match cursor.line() {
        Ok(item) => Parsed::Line {
            item,
            length: cursor.taken,
        },
        Err(EndOfPiece) => Parsed::Incomplete,
    }
}

struct EndOfPiece;

struct Cursor<'a> {
    rest: &'a [u8],
    taken: usize,
}

impl<'a> Cursor<'a> {
    fn line(&mut self) -> Result<Result<LogItem, LineError>, EndOfPiece> {
        let start = self.rest;
        let kind = self.bare()?;
        if self.next()? != b' ' {
            return self.bad_line(start, LineError::InvalidInput);
        }
        let mut words = Vec::new();
        loop {
            let Some(word) = self.word()? else {
                return self.bad_line(start, LineError::Arguments);
            };
            words.push(word);
            match self.next()? {
                b' ' if words.len() < 2 => {}
                b'\n' => break,
                b'\r' if self.peek()? == b'\n' => {
                    self.next()?;
                    break;
                }
                _ => return self.bad_line(start, LineError::Arguments),
            }
        }
        Ok(LogItem::from_words(&String::from_utf8_lossy(kind), &words))
    }

    /// Skips what is left of a line that makes no sense.
    fn bad_line(
        &mut self,
        start: &'a [u8],
        error: fn(String) -> LineError,
    ) -> Result<Result<LogItem, LineError>, EndOfPiece> {
        // The octet that made no sense may have been the end of the line itself.
        let read = start.len() - self.rest.len();
        let ended = read.checked_sub(1).and_then(|last| start.get(last)) == Some(&b'\n');
        if !ended {
            while self.next()? != b'\n' {}
        }
        let line = start.get(..start.len() - self.rest.len());
        let text = String::from_utf8_lossy(line.unwrap_or_default());
        Ok(Err(error(text.trim_end().to_owned())))
    }

    /// An argument; `None` if none begins here or it is not text.
    fn word(&mut self) -> Result<Option<String>, EndOfPiece> {
        let octets = match self.peek()? {
            b'"' => match self.quoted()? {
                Some(octets) => octets,
                None => return Ok(None),
            },
            b'{' => match self.literal()? {
                Some(octets) => octets,
                None => return Ok(None),
            },
            _ => self.bare()?.to_vec(),
        };
        let text = String::from_utf8(octets).ok();
        Ok(text.filter(|text| !text.bytes().any(|octet| matches!(octet, 0 | b'\r' | b'\n'))))
    }

    /// The octets up to the next white space, bracket or quote.
    fn bare(&mut self) -> Result<&'a [u8], EndOfPiece> {
        let ends =
            |octet: &u8| octet.is_ascii_whitespace() || matches!(octet, 0x0b | b'(' | b')' | b'"');
        let length = self.rest.iter().position(ends).ok_or(EndOfPiece)?;
        self.take(length)
    }

    /// The content of a quoted string; `None` if the line ends within it.
    fn quoted(&mut self) -> Result<Option<Vec<u8>>, EndOfPiece> {
        self.next()?;
        let mut content = Vec::new();
        loop {
            match self.peek()? {
                b'\r' | b'\n' => return Ok(None),
                b'"' => {
                    self.next()?;
                    return Ok(Some(content));
                }
                b'\\' => {
                    self.next()?;
                    if matches!(self.peek()?, b'\r' | b'\n') {
                        return Ok(None);
                    }
                    content.push(self.next()?);
                }
                _ => content.push(self.next()?),
            }
        }
    }

    /// The content of a literal `{n}` or `{n+}`; `None` if its head makes no sense.
    fn literal(&mut self) -> Result<Option<Vec<u8>>, EndOfPiece> {
        let length = self
            .rest
            .iter()
            .position(|octet| *octet == b'\n')
            .ok_or(EndOfPiece)?;
        let head = self.rest.get(..length).unwrap_or_default();
        let head = head.strip_suffix(b"\r").unwrap_or(head);
        let count = std::str::from_utf8(head)
            .ok()
            .and_then(|head| head.strip_prefix('{')?.strip_suffix('}'))
            .map(|count| count.strip_suffix('+').unwrap_or(count))
            .and_then(|count| count.parse::<usize>().ok())
            .filter(|count| *count <= LONGEST_LITERAL);
        let Some(count) = count else {
            return Ok(None);
        };
        self.take(length + 1)?;
        self.take(count).map(|content| Some(content.to_vec()))
    }

    fn peek(&self) -> Result<u8, EndOfPiece> {
        self.rest.first().copied().ok_or(EndOfPiece)
    }

    fn next(&mut self) -> Result<u8, EndOfPiece> {
        let octet = self.peek()?;
        self.take(1)?;
        Ok(octet)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], EndOfPiece> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(EndOfPiece)?;
        self.rest = rest;
        self.taken += length;
        Ok(taken)
    }
}

/// No name is longer; what claims to be is garbage.
const LONGEST_LITERAL: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mailbox(name: &str) -> MailboxName {
        MailboxName::parse(name).unwrap()
    }

    fn user(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    fn written(item: &LogItem) -> String {
        let mut octets = Vec::new();
        item.write(&mut octets);
        String::from_utf8(octets).unwrap()
    }

    fn read(line: &str) -> Result<LogItem, LineError> {
        match parse_line(line.as_bytes()) {
            Parsed::Line { item, length } => {
                assert_eq!(length, line.len(), "{line:?}");
                item
            }
            other => panic!("{line:?} gave {other:?}"),
        }
    }

    /// The lines of algorithm §9.1 and databases §17.1.
    #[test]
    fn lines_of_the_original() {
        for (item, line) in [
            (
                LogItem::Mailbox(mailbox("user.carol.a b")),
                "MAILBOX \"user.carol.a b\"\n",
            ),
            (
                LogItem::Mailbox(mailbox("user.carol.paren(x)")),
                "MAILBOX \"user.carol.paren(x)\"\n",
            ),
            (
                LogItem::Mailbox(mailbox("user.carol.st*ar")),
                "MAILBOX user.carol.st*ar\n",
            ),
            (LogItem::Annotation(None), "ANNOTATION \"\"\n"),
            (LogItem::User(user("john.doe")), "USER john.doe\n"),
            (LogItem::Unuser(user("a b")), "UNUSER \"a b\"\n"),
            (LogItem::Meta(user("alice")), "META alice\n"),
            (LogItem::Append(mailbox("user.a")), "APPEND user.a\n"),
            (
                LogItem::Unmailbox(mailbox("user.a.x")),
                "UNMAILBOX user.a.x\n",
            ),
            (
                LogItem::DoubleMailbox(mailbox("user.a"), mailbox("user.a.b")),
                "DOUBLEMAILBOX user.a user.a.b\n",
            ),
            (
                LogItem::Quota(QuotaRoot::parse("example.com!").unwrap()),
                "QUOTA example.com!\n",
            ),
            (
                LogItem::Seen(
                    user("bob"),
                    UniqueId::parse("54lxoc7sbxiyqaap5r8c1wsm").unwrap(),
                ),
                "SEEN bob 54lxoc7sbxiyqaap5r8c1wsm\n",
            ),
            (
                LogItem::Subscription(user("bob"), mailbox("user.a.{x}\\\"")),
                "SUB bob \"user.a.\\{x\\}\\\\\\\"\"\n",
            ),
        ] {
            assert_eq!(written(&item), line);
            assert_eq!(read(line).unwrap(), item);
        }
    }

    #[test]
    fn a_rename_is_three_lines() {
        let rename = LogItem::Rename(mailbox("user.a.x"), mailbox("user.a.y"));
        assert_eq!(
            written(&rename),
            "RENAME user.a.x user.a.y\nMAILBOX user.a.x\nMAILBOX user.a.y\n"
        );
        assert_eq!(rename.to_string(), "RENAME user.a.x user.a.y");
        assert_eq!(read("RENAME user.a.x user.a.y\n").unwrap(), rename);
    }

    #[test]
    fn other_spellings_are_accepted() {
        let item = LogItem::Mailbox(mailbox("user.a"));
        for line in [
            "mailbox user.a\r\n",
            "\r\n\nMailBox \"user\\.a\"\n",
            "MAILBOX {6}\r\nuser.a\n",
            "MAILBOX {6+}\nuser.a\r\n",
        ] {
            assert_eq!(read(line).unwrap(), item, "{line:?}");
        }
        assert_eq!(read("SIEVE bob\n").unwrap(), LogItem::Meta(user("bob")));
        assert_eq!(
            read("UNSUB bob user.a\n").unwrap(),
            LogItem::Subscription(user("bob"), mailbox("user.a"))
        );
    }

    #[test]
    fn bad_lines_are_told_and_skipped() {
        for (line, expected) in [
            ("FROB x\n", "unknown action type"),
            ("MAILBOX\n", "invalid input"),
            ("MAILBOX(a) x\n", "invalid input"),
            ("MAILBOX a b\n", "wrong number"),
            ("RENAME a\n", "wrong number"),
            ("MAILBOX a b c\n", "wrong number"),
            ("MAILBOX \"a\nMAILBOX b\n", "wrong number"),
            ("MAILBOX a(b\n", "wrong number"),
            ("MAILBOX {99999999999}\n", "wrong number"),
            ("MAILBOX \n", "mailbox name"),
            ("MAILBOX user.a/b\n", "holds a slash"),
            ("USER ../x\n", "user id"),
            ("ANNOTATION a..b\n", "empty level"),
        ] {
            let Parsed::Line { item, length } = parse_line(line.as_bytes()) else {
                panic!("{line:?}");
            };
            let message = item.unwrap_err().to_string();
            assert!(message.contains(expected), "{line:?}: {message}");
            assert_eq!(length, line.find('\n').unwrap() + 1, "{line:?}");
        }
    }

    #[test]
    fn pieces_without_a_whole_line() {
        assert_eq!(parse_line(b""), Parsed::Nothing);
        assert_eq!(parse_line(b"\r\n\n"), Parsed::Nothing);
        let line = b"MAILBOX {6}\r\nuser.a\r\n";
        for end in 1..line.len() {
            assert_eq!(parse_line(&line[..end]), Parsed::Incomplete, "{end}");
        }
        assert_eq!(parse_line(b"UNUSER alic"), Parsed::Incomplete);
    }

    proptest! {
        #[test]
        fn items_survive(name in "[ -.0-~]{1,40}", id in "[a-z0-9]{24}") {
            prop_assume!(MailboxName::parse(&name).is_ok() && UserId::parse(&name).is_ok());
            for item in [
                LogItem::Mailbox(mailbox(&name)),
                LogItem::Seen(user(&name), UniqueId::parse(&id).unwrap()),
                LogItem::DoubleMailbox(mailbox(&name), mailbox("user.a")),
                LogItem::Annotation(Some(mailbox(&name))),
            ] {
                prop_assert_eq!(read(&written(&item)).unwrap(), item);
            }
        }

        #[test]
        fn any_octets_are_safe(octets in proptest::collection::vec(any::<u8>(), 0..60)) {
            match parse_line(&octets) {
                Parsed::Line { length, .. } => prop_assert!((1..=octets.len()).contains(&length)),
                Parsed::Nothing => prop_assert!(octets.iter().all(|o| b"\r\n".contains(o))),
                Parsed::Incomplete => {}
            }
        }
    }
}
