//! Bounds on what is parsed.

/// Bounds on what a peer may send, checked before memory is taken.
///
/// A line that breaks one of these is consumed to its end and then reported; the connection
/// stays in step. Only where a literal or file is announced that is too large to be read away
/// (more than 1 MiB) the line is reported at once, and the connection must be closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets of syntax in one line, literals included, file literals not.
    pub line: u64,
    /// Brackets open at the same time.
    pub nesting: usize,
    /// Elements of one list.
    pub list: u64,
    /// Octets of an atom.
    pub word: usize,
    /// Octets of a quoted string.
    pub quoted: usize,
    /// Octets of a literal.
    pub literal: usize,
    /// Octets of a file literal.
    pub file: u32,
    /// Octets of memory for the values of one line, without what goes to a record list or file.
    pub tree: usize,
}

/// Octets of a literal or file beyond the limits that are waited for, so that the connection
/// stays in step.
pub(super) const LONGEST_READ_AWAY: u64 = 1 << 20;

/// Octets of a literal or file in a line that cannot be used anyhow that are waited for: as many
/// as a message can have.
pub(super) const LONGEST_SKIPPED: u64 = 4 << 30;

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            line: 4 << 30,
            nesting: 16,
            list: 16 << 20,
            word: 128 << 10,
            quoted: 128 << 10,
            literal: 16 << 20,
            file: u32::MAX,
            tree: 256 << 20,
        }
    }
}
