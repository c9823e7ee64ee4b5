//! The incremental parser.

use super::event::{Event, FileHeader, ParseError, ParseProblem, Visitor};
use super::limits::{LONGEST_READ_AWAY, Limits};
use super::{LineSkipper, parse_number};

/// What [`Parser::feed`] did.
#[derive(Debug, PartialEq, Eq)]
pub struct Fed {
    /// Octets of the input that belong to this line.
    pub consumed: usize,
    /// `None` while more input is needed; then all of the input was consumed. Otherwise the
    /// line is over: the input behind `consumed` is another one's.
    pub result: Option<Result<(), ParseError>>,
}

/// Parses one line `key SP value CRLF`, or one bare value, fed in pieces of any size.
#[derive(Debug)]
pub struct Parser {
    limits: Limits,
    state: State,
    stack: Vec<Open>,
    /// Octets of a string or header that is not complete yet.
    scratch: Vec<u8>,
    /// Whose string is being read.
    role: Role,
    /// A bare value without key and line end.
    bare: bool,
    partition: String,
    file: Option<FileHeader>,
    offset: u64,
    syntax_octets: u64,
    error: Option<ParseError>,
}

#[derive(Debug)]
struct Open {
    pairs: bool,
    elements: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Key,
    Value,
    FilePartition,
    FileGuid,
}

#[derive(Debug)]
enum State {
    /// The first octet of a string of the current role; no white space.
    StringStart,
    /// Between a key and its value.
    BeforeValue,
    /// The first octet of a bare value.
    ValueStart,
    /// Inside brackets, before an element or the closing bracket.
    Element,
    Atom,
    Quoted,
    QuotedPair,
    Percent,
    LiteralHeader,
    LiteralLineEnd {
        size: u64,
    },
    LiteralBody {
        left: u64,
    },
    /// The space behind partition or GUID of a file literal.
    FileSpace,
    FileSize,
    FileLineEnd {
        size: u64,
    },
    FileBody {
        left: u64,
    },
    LineEnd {
        carriage_return: bool,
    },
    Skip(LineSkipper),
    Done,
}

/// Longest digits of a literal's or file's size that are looked at.
const MAX_SIZE_DIGITS: usize = 20;

fn is_space(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t'..=b'\r')
}

/// For each octet, whether it ends an atom.
const ENDS_ATOM: [bool; 256] = {
    let mut table = [false; 256];
    let ends = b" \t\n\x0b\x0c\r()\"";
    let mut index = 0;
    while index < ends.len() {
        table[ends[index] as usize] = true;
        index += 1;
    }
    table
};

fn ends_atom(octet: u8) -> bool {
    ENDS_ATOM[usize::from(octet)]
}

impl Parser {
    /// A parser of one `key SP value CRLF`.
    pub fn line(limits: Limits) -> Parser {
        Parser::new(limits, State::StringStart, Role::Key, false)
    }

    /// A parser of one value without key and line end; see [`Parser::finish`].
    pub fn value(limits: Limits) -> Parser {
        Parser::new(limits, State::ValueStart, Role::Value, true)
    }

    fn new(limits: Limits, state: State, role: Role, bare: bool) -> Parser {
        Parser {
            limits,
            state,
            stack: Vec::new(),
            scratch: Vec::new(),
            role,
            bare,
            partition: String::new(),
            file: None,
            offset: 0,
            syntax_octets: 0,
            error: None,
        }
    }

    /// Takes the next octets. After a result was given the parser is used up.
    pub fn feed(&mut self, input: &[u8], visitor: &mut impl Visitor) -> Fed {
        let mut rest = input;
        while !rest.is_empty() && !matches!(self.state, State::Done) {
            let before = rest.len();
            let in_file = matches!(self.state, State::FileBody { .. });
            rest = self.step(rest, visitor);
            let taken = u64::try_from(before - rest.len()).unwrap_or(u64::MAX);
            self.offset = self.offset.saturating_add(taken);
            if !in_file {
                self.syntax_octets = self.syntax_octets.saturating_add(taken);
            }
        }
        if self.syntax_octets > self.limits.line {
            self.mute(ParseProblem::TooLarge {
                what: "line",
                limit: self.limits.line,
            });
        }
        let done = matches!(self.state, State::Done);
        Fed {
            consumed: input.len() - rest.len(),
            result: done.then(|| self.error.map_or(Ok(()), Err)),
        }
    }

    /// The end of the buffer that holds a bare value.
    ///
    /// # Errors
    /// If the value is not complete, or broke a bound.
    pub fn finish(&mut self, visitor: &mut impl Visitor) -> Result<(), ParseError> {
        if matches!(self.state, State::Atom) && self.stack.is_empty() && self.role == Role::Value {
            self.string_ends(&[], visitor);
        }
        if !matches!(self.state, State::Done) {
            self.mute(ParseProblem::Truncated);
        }
        self.error.map_or(Ok(()), Err)
    }

    /// Consumes a prefix of `rest`, which is not empty, and returns what is left.
    fn step<'a>(&mut self, rest: &'a [u8], visitor: &mut impl Visitor) -> &'a [u8] {
        let Some((&octet, behind)) = rest.split_first() else {
            return rest;
        };
        match &mut self.state {
            State::StringStart => self.string_start(octet, rest, behind),
            State::BeforeValue if is_space(octet) => skip_spaces(rest),
            State::BeforeValue | State::ValueStart => {
                self.value_start(octet, rest, behind, visitor)
            }
            State::Element if is_space(octet) => skip_spaces(rest),
            State::Element => self.element(octet, rest, behind, visitor),
            State::Atom => self.atom(rest, visitor),
            State::Quoted => self.quoted(rest, visitor),
            State::QuotedPair => {
                self.collect(&[octet]);
                self.state = State::Quoted;
                behind
            }
            State::Percent => self.percent(octet, rest, behind, visitor),
            State::LiteralHeader => self.literal_header(octet, rest, behind),
            State::LiteralLineEnd { size } => {
                let size = *size;
                match octet {
                    b'\r' => {}
                    b'\n' => self.literal_starts(size, visitor),
                    _ => return self.fail(rest, ParseProblem::BadLiteral),
                }
                behind
            }
            State::LiteralBody { left } => {
                let (body, behind) = split_at_most(rest, *left);
                *left -= body.len() as u64;
                let complete = *left == 0;
                self.literal_body(body, complete, visitor);
                behind
            }
            State::FileSpace if octet == b' ' => {
                self.state = if self.role == Role::FileGuid {
                    State::FileSize
                } else {
                    self.role = Role::FileGuid;
                    State::StringStart
                };
                behind
            }
            State::FileSpace => self.fail(rest, ParseProblem::BadFile),
            State::FileSize => self.file_size(octet, rest, behind),
            State::FileLineEnd { size } => {
                let size = *size;
                match octet {
                    b'\r' => {}
                    b'\n' => self.file_starts(size, visitor),
                    _ => return self.fail(rest, ParseProblem::BadFile),
                }
                behind
            }
            State::FileBody { left } => {
                let (body, behind) = split_at_most(rest, *left);
                *left -= body.len() as u64;
                let complete = *left == 0;
                self.deliver(Event::FileData(body), visitor);
                if complete {
                    self.deliver(Event::FileEnd, visitor);
                    self.value_ends();
                }
                behind
            }
            State::LineEnd { carriage_return } => match octet {
                b'\r' if !*carriage_return => {
                    *carriage_return = true;
                    behind
                }
                b'\n' => {
                    self.state = State::Done;
                    behind
                }
                _ => self.fail(rest, ParseProblem::Unexpected(octet)),
            },
            State::Skip(skipper) => {
                let (consumed, over) = skipper.feed(rest);
                let endless = skipper.endless();
                if let Some(announced) = endless {
                    self.end_at_once(announced);
                } else if over {
                    self.state = State::Done;
                }
                rest.get(consumed..).unwrap_or_default()
            }
            State::Done => rest,
        }
    }

    /// Keeps the first error and stops the events; the line is parsed on.
    fn mute(&mut self, problem: ParseProblem) {
        if self.error.is_none() {
            self.error = Some(ParseError {
                problem,
                offset: self.offset,
            });
        }
    }

    /// Ends the line before the octets that it announces.
    fn end_at_once(&mut self, announced: u64) {
        self.error = Some(ParseError {
            problem: ParseProblem::Endless { announced },
            offset: self.offset,
        });
        self.state = State::Done;
    }

    /// Gives up on the syntax of this line: `rest` and what follows is skipped.
    fn fail<'a>(&mut self, rest: &'a [u8], problem: ParseProblem) -> &'a [u8] {
        let skipper = match (&self.state, self.role) {
            (State::FileSize, _) if self.scratch.len() >= MAX_SIZE_DIGITS => LineSkipper::default(),
            (State::FileSize, _) => LineSkipper::in_file_header(parse_number(&self.scratch)),
            (_, Role::FilePartition | Role::FileGuid) => LineSkipper::in_file_header(None),
            _ => LineSkipper::default(),
        };
        self.mute(problem);
        self.state = if self.bare {
            State::Done
        } else {
            State::Skip(skipper)
        };
        rest
    }

    fn deliver(&mut self, event: Event<'_>, visitor: &mut impl Visitor) {
        if self.error.is_none()
            && let Err(problem) = visitor.event(event)
        {
            self.mute(problem);
        }
    }

    fn string_start<'a>(&mut self, octet: u8, rest: &'a [u8], behind: &'a [u8]) -> &'a [u8] {
        match octet {
            b'"' => {
                self.state = State::Quoted;
                behind
            }
            b'{' => {
                self.state = State::LiteralHeader;
                behind
            }
            _ if ends_atom(octet) => self.fail(rest, ParseProblem::Unexpected(octet)),
            _ => {
                self.state = State::Atom;
                rest
            }
        }
    }

    fn value_start<'a>(
        &mut self,
        octet: u8,
        rest: &'a [u8],
        behind: &'a [u8],
        visitor: &mut impl Visitor,
    ) -> &'a [u8] {
        self.role = Role::Value;
        match octet {
            b'(' => {
                self.open(false, visitor);
                behind
            }
            b'%' => {
                self.state = State::Percent;
                behind
            }
            _ => self.string_start(octet, rest, behind),
        }
    }

    fn element<'a>(
        &mut self,
        octet: u8,
        rest: &'a [u8],
        behind: &'a [u8],
        visitor: &mut impl Visitor,
    ) -> &'a [u8] {
        if octet == b')' {
            self.stack.pop();
            self.deliver(Event::End, visitor);
            self.value_ends();
            return behind;
        }
        let limit = self.limits.list;
        let Some(list) = self.stack.last_mut() else {
            return self.fail(rest, ParseProblem::Unexpected(octet));
        };
        list.elements += 1;
        let pairs = list.pairs;
        if list.elements > limit {
            self.mute(ParseProblem::TooLarge {
                what: "list",
                limit,
            });
        }
        if pairs {
            self.role = Role::Key;
            self.string_start(octet, rest, behind)
        } else {
            self.value_start(octet, rest, behind, visitor)
        }
    }

    fn percent<'a>(
        &mut self,
        octet: u8,
        rest: &'a [u8],
        behind: &'a [u8],
        visitor: &mut impl Visitor,
    ) -> &'a [u8] {
        match octet {
            b'(' => {
                self.open(true, visitor);
                behind
            }
            b'{' => {
                self.role = Role::FilePartition;
                self.state = State::StringStart;
                behind
            }
            _ => self.fail(rest, ParseProblem::UnknownPercent),
        }
    }

    fn open(&mut self, pairs: bool, visitor: &mut impl Visitor) {
        if self.stack.len() >= self.limits.nesting {
            self.fail(
                &[],
                ParseProblem::TooLarge {
                    what: "nesting",
                    limit: self.limits.nesting as u64,
                },
            );
            return;
        }
        self.stack.push(Open { pairs, elements: 0 });
        self.state = State::Element;
        let event = if pairs {
            Event::KvListStart
        } else {
            Event::ListStart
        };
        self.deliver(event, visitor);
    }

    fn atom<'a>(&mut self, rest: &'a [u8], visitor: &mut impl Visitor) -> &'a [u8] {
        let length = rest.iter().position(|octet| ends_atom(*octet));
        let (word, behind) = rest.split_at(length.unwrap_or(rest.len()));
        if self.scratch.len().saturating_add(word.len()) > self.limits.word {
            self.mute(ParseProblem::TooLarge {
                what: "word",
                limit: self.limits.word as u64,
            });
        }
        if length.is_some() {
            self.string_ends(word, visitor);
        } else {
            self.collect(word);
        }
        behind
    }

    fn quoted<'a>(&mut self, rest: &'a [u8], visitor: &mut impl Visitor) -> &'a [u8] {
        let special = rest
            .iter()
            .position(|octet| matches!(octet, b'"' | b'\\' | b'\r' | b'\n'));
        let (text, behind) = rest.split_at(special.unwrap_or(rest.len()));
        if self.scratch.len().saturating_add(text.len()) > self.limits.quoted {
            self.mute(ParseProblem::TooLarge {
                what: "quoted string",
                limit: self.limits.quoted as u64,
            });
        }
        let Some((&octet, after)) = behind.split_first() else {
            self.collect(text);
            return behind;
        };
        match octet {
            b'"' => {
                self.string_ends(text, visitor);
                after
            }
            b'\\' => {
                self.collect(text);
                self.state = State::QuotedPair;
                after
            }
            _ if text.is_empty() => self.fail(behind, ParseProblem::Unexpected(octet)),
            _ => {
                self.collect(text);
                behind
            }
        }
    }

    /// Keeps octets of a string that goes on.
    fn collect(&mut self, octets: &[u8]) {
        if self.error.is_none() {
            self.scratch.extend_from_slice(octets);
        }
    }

    /// A string of the current role is complete: what was collected and `tail`.
    fn string_ends(&mut self, tail: &[u8], visitor: &mut impl Visitor) {
        let atom = matches!(self.state, State::Atom);
        let mut collected = std::mem::take(&mut self.scratch);
        let text = if collected.is_empty() {
            tail
        } else {
            collected.extend_from_slice(tail);
            &collected
        };
        match self.role {
            Role::Key => {
                self.deliver(Event::Key(text), visitor);
                self.state = State::BeforeValue;
            }
            Role::Value => {
                let event = match text {
                    b"NIL" if atom => Event::Nil,
                    [b'\\', ..] if atom => Event::Flag(text),
                    _ => Event::Text(text),
                };
                self.deliver(event, visitor);
                self.value_ends();
            }
            Role::FilePartition => {
                match std::str::from_utf8(text) {
                    Ok(partition) => self.partition = partition.to_owned(),
                    Err(_) => self.mute(ParseProblem::BadFile),
                }
                self.state = State::FileSpace;
            }
            Role::FileGuid => {
                let guid = std::str::from_utf8(text)
                    .ok()
                    .and_then(|text| text.parse().ok());
                match guid {
                    Some(guid) => {
                        self.file = Some(FileHeader {
                            partition: std::mem::take(&mut self.partition),
                            guid,
                            size: 0,
                        });
                    }
                    None => self.mute(ParseProblem::BadFile),
                }
                self.state = State::FileSpace;
            }
        }
        if self.error.is_none() {
            collected.clear();
            self.scratch = collected;
        }
    }

    /// A value is complete; what is expected next?
    fn value_ends(&mut self) {
        self.role = Role::Value;
        self.state = if !self.stack.is_empty() {
            State::Element
        } else if self.bare {
            State::Done
        } else {
            State::LineEnd {
                carriage_return: false,
            }
        };
    }

    fn literal_header<'a>(&mut self, octet: u8, rest: &'a [u8], behind: &'a [u8]) -> &'a [u8] {
        match octet {
            b'0'..=b'9' if self.scratch.len() < MAX_SIZE_DIGITS => {
                self.scratch.push(octet);
                behind
            }
            b'+' if !self.scratch.is_empty() && !self.scratch.ends_with(b"+") => {
                self.scratch.push(octet);
                behind
            }
            b'}' => {
                let digits = self.scratch.strip_suffix(b"+").unwrap_or(&self.scratch);
                match parse_number(digits) {
                    Some(size) => {
                        self.scratch.clear();
                        self.state = State::LiteralLineEnd { size };
                        behind
                    }
                    None => self.fail(rest, ParseProblem::BadLiteral),
                }
            }
            _ => self.fail(rest, ParseProblem::BadLiteral),
        }
    }

    fn literal_starts(&mut self, size: u64, visitor: &mut impl Visitor) {
        let limit = self.limits.literal as u64;
        if size > limit.max(LONGEST_READ_AWAY) {
            return self.end_at_once(size);
        }
        if size > limit {
            self.mute(ParseProblem::TooLarge {
                what: "literal",
                limit,
            });
        }
        self.state = State::LiteralBody { left: size };
        if size == 0 {
            self.string_ends(&[], visitor);
        }
    }

    fn literal_body(&mut self, body: &[u8], complete: bool, visitor: &mut impl Visitor) {
        if complete {
            self.string_ends(body, visitor);
        } else {
            self.collect(body);
        }
    }

    fn file_size<'a>(&mut self, octet: u8, rest: &'a [u8], behind: &'a [u8]) -> &'a [u8] {
        match octet {
            b'0'..=b'9' if self.scratch.len() < MAX_SIZE_DIGITS => {
                self.scratch.push(octet);
                behind
            }
            b'}' => match parse_number(&self.scratch) {
                Some(size) => {
                    self.scratch.clear();
                    self.state = State::FileLineEnd { size };
                    behind
                }
                None => self.fail(rest, ParseProblem::BadFile),
            },
            _ => self.fail(rest, ParseProblem::BadFile),
        }
    }

    fn file_starts(&mut self, size: u64, visitor: &mut impl Visitor) {
        let limit = u64::from(self.limits.file);
        if size > limit.max(LONGEST_READ_AWAY) {
            return self.end_at_once(size);
        }
        match (self.file.take(), u32::try_from(size)) {
            (Some(file), Ok(octets)) if size <= limit => {
                let file = FileHeader {
                    size: octets,
                    ..file
                };
                self.deliver(Event::FileStart(&file), visitor);
            }
            (Some(_), _) => self.mute(ParseProblem::TooLarge {
                what: "file",
                limit,
            }),
            (None, _) => self.mute(ParseProblem::BadFile),
        }
        self.state = State::FileBody { left: size };
        if size == 0 {
            self.deliver(Event::FileEnd, visitor);
            self.value_ends();
        }
    }
}

fn skip_spaces(rest: &[u8]) -> &[u8] {
    let length = rest.iter().position(|octet| !is_space(*octet));
    rest.get(length.unwrap_or(rest.len())..).unwrap_or_default()
}

fn split_at_most(rest: &[u8], left: u64) -> (&[u8], &[u8]) {
    let length = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
    rest.split_at(length)
}
