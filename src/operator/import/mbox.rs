//! mbox files (RFC 4155): messages begin after a line `From SENDER DATE` that stands first or
//! behind an empty line; a line of the message that looks like one has a `>` more (mboxrd).

use std::io::{self, BufRead, Read as _};
use std::path::PathBuf;

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

use super::content::ContentWriter;
use super::{Message, Read};
use crate::mail::{FlagName, SystemFlags, UnixTime};
use crate::operator::OperatorError;

/// Longest part of a line that is looked at as a whole, in octets.
const LONGEST_LINE: u64 = 64 * 1024;
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// The messages of an mbox, as they come.
pub struct Mbox<R> {
    name: String,
    input: R,
    /// Octets read so far.
    offset: u64,
    line: Vec<u8>,
    /// Where the message begins whose separator was read, and the date in it; `None` at the end.
    next: Option<(u64, Option<UnixTime>)>,
}

/// The message that is being read.
struct Unfinished {
    content: ContentWriter,
    flags: SystemFlags,
    keywords: Vec<FlagName>,
    in_header: bool,
    /// An empty line that is not part of the message if a separator or the end follows.
    held_back: Vec<u8>,
}

impl<R: BufRead> Mbox<R> {
    /// Looks at the first line.
    ///
    /// # Errors
    /// If it cannot be read or is not that of an mbox.
    pub fn new(name: &str, input: R) -> Result<Mbox<R>, OperatorError> {
        let mut mbox = Mbox {
            name: name.to_owned(),
            input,
            offset: 0,
            line: Vec::new(),
            next: None,
        };
        if mbox.read_line()? {
            let Some(rest) = mbox.line.strip_prefix(b"From ") else {
                return Err(OperatorError::NoMail {
                    path: PathBuf::from(name),
                    what: "this file is no mbox (its first line does not begin with \"From \")"
                        .to_owned(),
                });
            };
            mbox.next = Some((0, separator(rest).flatten()));
        }
        Ok(mbox)
    }

    /// Reads a line, or as much of it as is looked at; false at the end.
    fn read_line(&mut self) -> Result<bool, OperatorError> {
        self.line.clear();
        let limited = &mut (&mut self.input).take(LONGEST_LINE);
        let read = limited.read_until(b'\n', &mut self.line);
        let read = read.map_err(|source| OperatorError::Source {
            path: PathBuf::from(&self.name),
            source,
        })?;
        self.offset += read as u64;
        Ok(read > 0)
    }

    /// Reads the message up to the next separator.
    fn read(&mut self, start: u64, date: Option<UnixTime>) -> Result<Read, OperatorError> {
        let mut message = Unfinished::new();
        let mut may_end = true;
        let mut at_line_start = true;
        loop {
            let offset = self.offset;
            if !self.read_line()? {
                break;
            }
            let rest = self.line.strip_prefix(b"From ");
            let rest = rest.filter(|_| may_end && at_line_start);
            if let Some(date) = rest.and_then(separator) {
                self.next = Some((offset, date));
                break;
            }
            may_end = at_line_start && matches!(self.line.as_slice(), b"\n" | b"\r\n");
            let kept = match may_end {
                true => message.empty_line(&self.line),
                false => message.line(&self.line, at_line_start),
            };
            kept.map_err(OperatorError::Temporary)?;
            at_line_start = self.line.ends_with(b"\n");
        }
        let content = message.content.finish();
        let message = Message {
            origin: format!("{} at offset {start}", self.name),
            content: content.map_err(OperatorError::Temporary)?,
            flags: message.flags,
            keywords: message.keywords,
            date,
        };
        Ok(message.checked())
    }
}

impl<R: BufRead> Iterator for Mbox<R> {
    type Item = Result<Read, OperatorError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (start, date) = self.next.take()?;
        Some(self.read(start, date))
    }
}

impl Unfinished {
    fn new() -> Unfinished {
        Unfinished {
            content: ContentWriter::new(),
            flags: SystemFlags::empty(),
            keywords: Vec::new(),
            in_header: true,
            held_back: Vec::new(),
        }
    }

    fn empty_line(&mut self, line: &[u8]) -> io::Result<()> {
        if self.in_header {
            self.in_header = false;
            return self.content.write(line);
        }
        self.content.write(&self.held_back)?;
        self.held_back.clear();
        self.held_back.extend_from_slice(line);
        Ok(())
    }

    fn line(&mut self, line: &[u8], from_its_start: bool) -> io::Result<()> {
        self.content.write(&self.held_back)?;
        self.held_back.clear();
        if self.in_header && from_its_start {
            self.take_status(line);
        }
        let quoted = from_its_start && {
            let unquoted = line.iter().skip_while(|octet| **octet == b'>');
            line.starts_with(b">") && unquoted.take(5).eq(b"From ")
        };
        self.content
            .write(line.get(usize::from(quoted)..).unwrap_or_default())
    }

    /// What mail readers note in the header: `Status: RO`, `X-Status: AFDT`, `X-Keywords: a b`.
    fn take_status(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let Some((name, value)) = line.split_once(':') else {
            return;
        };
        let status = name.eq_ignore_ascii_case("Status");
        if status || name.eq_ignore_ascii_case("X-Status") {
            for letter in value.bytes() {
                self.flags |= match letter {
                    b'R' if status => SystemFlags::SEEN,
                    b'A' => SystemFlags::ANSWERED,
                    b'F' => SystemFlags::FLAGGED,
                    b'D' => SystemFlags::DELETED,
                    b'T' => SystemFlags::DRAFT,
                    _ => SystemFlags::empty(),
                };
            }
        } else if name.eq_ignore_ascii_case("X-Keywords") {
            let words = value.split_ascii_whitespace();
            self.keywords
                .extend(words.filter_map(|word| FlagName::parse(word).ok()));
        }
    }
}

/// Reads what follows `From ` in a separator: `SENDER Fri Jul 14 09:05:00 2023`, with a zone or
/// without (then UTC). `None` if it is no separator; a date that does not exist is none.
fn separator(rest: &[u8]) -> Option<Option<UnixTime>> {
    let text = String::from_utf8_lossy(rest);
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let start = words.windows(4).position(|words| match words {
        [day, month, _, time] => DAYS.contains(day) && MONTHS.contains(month) && time.contains(':'),
        _ => false,
    })?;
    Some(date(words.get(start + 1..).unwrap_or_default()))
}

/// Reads `Jul 14 09:05:00 2023`, with a zone before or behind the year.
fn date(words: &[&str]) -> Option<UnixTime> {
    let (month, rest) = words.split_first()?;
    let month = MONTHS.iter().position(|known| known == month)? + 1;
    let (day, rest) = rest.split_first()?;
    let (time, rest) = rest.split_first()?;
    let mut clock = time.split(':').map(|part| part.parse::<i8>().ok());
    let (hour, minute) = (clock.next()??, clock.next()??);
    let second = clock.next().unwrap_or(Some(0))?;
    let is_year = |word: &&&str| word.len() == 4 && word.bytes().all(|b| b.is_ascii_digit());
    let year = rest.iter().take(2).find(is_year)?.parse().ok()?;
    let offset = rest.iter().take(2).find_map(|word| zone(word));
    let civil = DateTime::new(
        year,
        i8::try_from(month).ok()?,
        day.parse().ok()?,
        hour,
        minute,
        second,
        0,
    );
    let zone = TimeZone::fixed(offset.unwrap_or(Offset::UTC));
    let zoned = civil.ok()?.to_zoned(zone).ok()?;
    let seconds = u32::try_from(zoned.timestamp().as_second()).ok()?;
    Some(UnixTime(seconds))
}

/// A zone like `+0200`.
fn zone(word: &str) -> Option<Offset> {
    let sign = match word.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits = word.get(1..).filter(|digits| digits.len() == 4)?;
    let number: i32 = digits.parse().ok()?;
    Offset::from_seconds(sign * (number / 100 * 3600 + number % 100 * 60)).ok()
}
