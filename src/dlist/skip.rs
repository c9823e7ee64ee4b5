//! Getting back into step after a line that cannot be understood (wire-protocol §7).

use super::limits::LONGEST_SKIPPED;

/// Consumes octets up to the end of a command line, and with it the octets of every literal and
/// file literal that the line announces: an announcement is `{n}` or `{n+}`, or a `%{… n}`
/// whatever stands between, at the end of a line.
#[derive(Clone, Debug, Default)]
pub struct LineSkipper {
    open: Bracket,
    /// The digits since the last opening bracket or space.
    number: Option<u64>,
    /// The bracket is closed behind a number: at a line end this announces octets.
    closed: bool,
    /// Last octet seen.
    last: u8,
    /// Octets of an announced literal that are still to come.
    body: u64,
    endless: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Bracket {
    #[default]
    None,
    Literal,
    /// After the `+` of a literal: only the closing bracket may follow.
    LiteralPlus,
    File,
    /// Inside a word of a file literal that is no number.
    FileWord,
}

impl LineSkipper {
    /// A skipper that starts inside the announcement of a file literal, after `number` (the
    /// digits of its size that were seen).
    pub fn in_file_header(number: Option<u64>) -> LineSkipper {
        LineSkipper {
            open: Bracket::File,
            number,
            ..LineSkipper::default()
        }
    }

    /// The octets that a literal announces, if they are too many to be waited for: the line is
    /// then over, but the connection out of step.
    pub fn endless(&self) -> Option<u64> {
        self.endless
    }

    /// Consumes a prefix of `input`; tells how long it was and whether the line is over.
    pub fn feed(&mut self, input: &[u8]) -> (usize, bool) {
        let mut position = 0;
        while let Some(&octet) = input.get(position) {
            if self.body > 0 {
                let here = u64::try_from(input.len() - position).unwrap_or(u64::MAX);
                let taken = self.body.min(here);
                self.body -= taken;
                position += usize::try_from(taken).unwrap_or(usize::MAX);
                continue;
            }
            position += 1;
            if self.octet(octet) {
                return (position, true);
            }
        }
        (position, false)
    }

    /// Takes one octet of syntax; true if it ends the line.
    fn octet(&mut self, octet: u8) -> bool {
        match octet {
            b'\n' => {
                let announced = self.number.filter(|_| self.closed);
                self.endless = announced.filter(|octets| *octets > LONGEST_SKIPPED);
                if self.endless.is_some() {
                    return true;
                }
                *self = LineSkipper {
                    body: announced.unwrap_or(0),
                    ..LineSkipper::default()
                };
                return announced.is_none();
            }
            b'\r' => {}
            b'{' => {
                let file = self.last == b'%';
                *self = LineSkipper::default();
                self.open = if file {
                    Bracket::File
                } else {
                    Bracket::Literal
                };
            }
            b'}' if !self.closed && self.number.is_some() && self.open != Bracket::FileWord => {
                self.closed = true;
            }
            b'0'..=b'9' if !self.closed => self.digit(octet - b'0'),
            b'+' if !self.closed && self.open == Bracket::Literal && self.number.is_some() => {
                self.open = Bracket::LiteralPlus;
            }
            b' ' if matches!(self.open, Bracket::File | Bracket::FileWord) && !self.closed => {
                self.open = Bracket::File;
                self.number = None;
            }
            _ if matches!(self.open, Bracket::File | Bracket::FileWord) && !self.closed => {
                self.open = Bracket::FileWord;
            }
            _ => *self = LineSkipper::default(),
        }
        self.last = octet;
        false
    }

    fn digit(&mut self, digit: u8) {
        match self.open {
            Bracket::Literal | Bracket::File => {
                let number = self.number.unwrap_or(0);
                self.number = number
                    .checked_mul(10)
                    .and_then(|number| number.checked_add(u64::from(digit)));
                if self.number.is_none() {
                    self.open = Bracket::None;
                }
            }
            Bracket::LiteralPlus => *self = LineSkipper::default(),
            Bracket::FileWord | Bracket::None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Octets consumed up to the end of the line, fed whole and octet by octet.
    fn skipped(input: &[u8]) -> Option<usize> {
        let (whole, done) = LineSkipper::default().feed(input);
        let mut skipper = LineSkipper::default();
        let single = input
            .iter()
            .position(|octet| skipper.feed(std::slice::from_ref(octet)).1);
        assert_eq!(done.then_some(whole), single.map(|last| last + 1));
        done.then_some(whole)
    }

    #[test]
    fn literals_belong_to_the_line() {
        assert_eq!(skipped(b"foo bar\r\nNOOP\r\n"), Some(9));
        assert_eq!(skipped(b"x {5+}\r\na\nb\nc y\r\nNOOP\r\n"), Some(17));
        assert_eq!(skipped(b"x {3}\nabc\r\nNOOP\r\n"), Some(11));
        assert_eq!(skipped(b"x {0+}\r\n\r\nNOOP\r\n"), Some(10));
        assert_eq!(skipped(b"{1+}\r\n\n{1+}\r\n\n\nNOOP"), Some(15));
    }

    #[test]
    fn file_literals_belong_to_the_line_whatever_their_guid() {
        assert_eq!(skipped(b"(%{default zz 4}\r\n\n\n\n\n)\r\nNOOP"), Some(25));
        assert_eq!(skipped(b"%{p 0123 3}\nabc\nNOOP"), Some(16));
        let mut skipper = LineSkipper::in_file_header(Some(1));
        assert_eq!(skipper.feed(b"2}\r\n123456789\n12)\r\n"), (19, true));
    }

    #[test]
    fn other_brackets_announce_nothing() {
        for line in [
            "{5+} x\r\n",
            "{a5+}\r\n",
            "{5a}\r\n",
            "{}\r\n",
            "{+}\r\n",
            "{5++}\r\n",
            "{99999999999999999999}\r\n",
            "%{default 0123}x\r\n",
            "%{default 12x}\r\n",
            "}\r\n",
            "5}\r\n",
        ] {
            assert_eq!(skipped(line.as_bytes()), Some(line.len()), "{line:?}");
        }
    }
}
