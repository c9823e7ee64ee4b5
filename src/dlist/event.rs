//! What the parser tells: the pieces of a line, or why it cannot be used.

use crate::mail::Guid;

/// The announcement of a file literal (wire-protocol §8.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// The receiver's name for the storage area.
    pub partition: String,
    /// SHA-1 that the octets should have.
    pub guid: Guid,
    /// Number of octets.
    pub size: u32,
}

/// A piece of syntax. Slices are only valid during the call.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A key: the sub-command at the beginning of a line, or one of a `%(…)`.
    Key(&'a [u8]),
    /// `NIL`
    Nil,
    /// A string: atom, quoted string or literal.
    Text(&'a [u8]),
    /// An atom that begins with a backslash (which is included).
    Flag(&'a [u8]),
    /// `(`
    ListStart,
    /// `%(`
    KvListStart,
    /// `)` of either list.
    End,
    /// A file literal begins; `size` octets of [`Event::FileData`] follow.
    FileStart(&'a FileHeader),
    /// The next octets of a file literal, at least one.
    FileData(&'a [u8]),
    /// The file literal is complete.
    FileEnd,
}

/// Somebody who is told what a line holds, in order.
pub trait Visitor {
    /// Takes one event.
    ///
    /// # Errors
    /// If the contents break a bound. The rest of the line is then consumed without events.
    fn event(&mut self, event: Event<'_>) -> Result<(), ParseProblem>;
}

/// Why a line cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseProblem {
    /// An octet that the syntax does not allow here.
    #[error("unexpected octet {0:#04x}")]
    Unexpected(u8),
    /// `%` before something other than `(` or `{`.
    #[error("unknown kind of value after %")]
    UnknownPercent,
    /// The buffer ends inside a value.
    #[error("ends inside a value")]
    Truncated,
    /// A malformed `{n}`.
    #[error("malformed literal")]
    BadLiteral,
    /// A malformed `%{…}`: partition, GUID or size.
    #[error("malformed file literal")]
    BadFile,
    /// A key that is not text.
    #[error("a key is not text")]
    BadKey,
    /// A file literal where none is possible.
    #[error("a file literal has no place here")]
    FileNotAllowed,
    /// Something is larger than allowed.
    #[error("{what} is larger than {limit}")]
    TooLarge {
        /// What it is: `line`, `nesting`, `list`, `word`, `quoted string`, `literal`, `file`,
        /// `command`.
        what: &'static str,
        /// The limit in octets, elements or levels.
        limit: u64,
    },
    /// A literal or file is announced that is too large to be waited for: what follows on the
    /// connection is no longer understood.
    #[error("{announced} octets are announced, which are not waited for")]
    Endless {
        /// Its octets.
        announced: u64,
    },
}

/// A line that cannot be used. The octets up to its end have been consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("octet {offset}: {problem}")]
pub struct ParseError {
    /// What is wrong.
    pub problem: ParseProblem,
    /// Where, in octets from the beginning of what the parser was fed; for a value that is bad
    /// as a whole, somewhere in it.
    pub offset: u64,
}
