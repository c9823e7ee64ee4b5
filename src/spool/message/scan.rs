//! Cuts the stream into the lines that matter: header lines and boundary lines. Everything else
//! passes in pieces as large as they come.

use memchr::memmem;

use super::ParserOptions;
use super::header::TopHeader;
use super::part::Parts;
use super::structure::{Lines, Structure};

/// Feeds a [`Structure`].
pub(super) struct Scanner {
    structure: Structure,
    state: State,
    boundary_finder: memmem::Finder<'static>,
}

/// Where the stream stands.
enum State {
    /// At the beginning of a line.
    LineStart,
    /// In a line whose beginning, kept here, does not yet tell what it is.
    Undecided(Vec<u8>),
    /// In a line that is nothing special.
    InLine,
    /// In a boundary line.
    InBoundary(BoundaryLine),
}

/// What is counted of a boundary line.
struct BoundaryLine {
    length: u64,
    before_nul: u64,
    saw_nul: bool,
}

impl Scanner {
    pub(super) fn new(options: &ParserOptions) -> Scanner {
        Scanner {
            structure: Structure::new(options),
            state: State::LineStart,
            boundary_finder: memmem::Finder::new(b"\n--"),
        }
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = match std::mem::replace(&mut self.state, State::InLine) {
                State::LineStart => self.line_start(rest),
                State::Undecided(head) => self.undecided(head, rest),
                State::InLine => self.in_line(rest),
                State::InBoundary(line) => self.in_boundary(line, rest),
            };
        }
    }

    pub(super) fn finish(mut self) -> (Parts, TopHeader) {
        match std::mem::replace(&mut self.state, State::LineStart) {
            State::Undecided(head) => {
                self.decide(&head);
                if let State::InBoundary(line) = self.state {
                    self.structure.end_by_boundary(line.length, line.before_nul);
                }
            }
            State::InBoundary(line) => {
                self.structure.end_by_boundary(line.length, line.before_nul);
            }
            State::LineStart | State::InLine => {}
        }
        self.structure.finish()
    }

    fn line_start<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let lines = self.structure.lines();
        let plain = match lines {
            Lines::Unbounded => true,
            Lines::Bounded => !could_be(bytes, b"--"),
            Lines::Header => !could_be(bytes, b"--") && !could_be(bytes, b"\r\n"),
        };
        if plain {
            self.state = State::InLine;
            return bytes;
        }
        self.undecided(Vec::new(), bytes)
    }

    /// Collects the beginning of a line until it is known what the line is.
    fn undecided<'a>(&mut self, mut head: Vec<u8>, bytes: &'a [u8]) -> &'a [u8] {
        let line_end = memchr::memchr(b'\n', bytes).map(|at| at + 1);
        let wanted = self.structure.line_head().saturating_sub(head.len());
        let taken = line_end.unwrap_or(bytes.len()).min(wanted);
        let (piece, rest) = bytes.split_at(taken);
        head.extend_from_slice(piece);
        if head.last() == Some(&b'\n') || piece.len() == wanted {
            self.decide(&head);
        } else {
            self.state = State::Undecided(head);
        }
        rest
    }

    /// Delivers the beginning of a line; the state says what the rest of it is.
    fn decide(&mut self, head: &[u8]) {
        let ended = head.last() == Some(&b'\n');
        if self.structure.is_boundary(head) {
            let mut line = BoundaryLine {
                length: 0,
                before_nul: 0,
                saw_nul: false,
            };
            line.count(head);
            self.structure.pass_boundary(head);
            if ended {
                self.structure.end_by_boundary(line.length, line.before_nul);
                self.state = State::LineStart;
            } else {
                self.state = State::InBoundary(line);
            }
            return;
        }
        self.state = if ended {
            State::LineStart
        } else {
            State::InLine
        };
        if self.structure.lines() == Lines::Header {
            self.structure.header(head);
            if head == b"\r\n" {
                self.structure.end_of_header();
            }
        } else {
            self.structure.content(head);
        }
    }

    fn in_line<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        match self.structure.lines() {
            Lines::Unbounded => {
                self.structure.content(bytes);
                &[]
            }
            Lines::Header => {
                let end = memchr::memchr(b'\n', bytes).map(|at| at + 1);
                let (line, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
                self.structure.header(line);
                if end.is_some() {
                    self.state = State::LineStart;
                }
                rest
            }
            Lines::Bounded => {
                let end = match self.boundary_finder.find(bytes) {
                    Some(at) => Some(at + 1),
                    None => line_start_at_end(bytes),
                };
                let (content, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
                self.structure.content(content);
                if end.is_some() {
                    self.state = State::LineStart;
                }
                rest
            }
        }
    }

    fn in_boundary<'a>(&mut self, mut line: BoundaryLine, bytes: &'a [u8]) -> &'a [u8] {
        let end = memchr::memchr(b'\n', bytes).map(|at| at + 1);
        let (piece, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        line.count(piece);
        self.structure.pass_boundary(piece);
        if end.is_some() {
            self.structure.end_by_boundary(line.length, line.before_nul);
            self.state = State::LineStart;
        } else {
            self.state = State::InBoundary(line);
        }
        rest
    }
}

/// Whether the line that begins with `bytes`, of which more may come, can begin with `start`.
fn could_be(bytes: &[u8], start: &[u8]) -> bool {
    bytes.starts_with(start) || start.starts_with(bytes)
}

/// Where a line begins at the very end of `bytes` that may be a boundary.
fn line_start_at_end(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [.., b'\n'] => Some(bytes.len()),
        [.., b'\n', b'-'] => Some(bytes.len() - 1),
        _ => None,
    }
}

impl BoundaryLine {
    fn count(&mut self, piece: &[u8]) {
        self.length += piece.len() as u64;
        if !self.saw_nul {
            let nul = memchr::memchr(0, piece);
            self.before_nul += nul.unwrap_or(piece.len()) as u64;
            self.saw_nul = nul.is_some();
        }
    }
}
