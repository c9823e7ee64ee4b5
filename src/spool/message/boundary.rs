//! The boundaries of the multiparts around the line at hand (mailbox-format §4.3).

use super::charset;
use super::decode::hex;
use super::mime::Parameter;
use super::text::{before_nul, byte_at, is_space};

/// The boundary strings of the enclosing multiparts, outermost first.
#[derive(Default)]
pub(super) struct Boundaries {
    list: Vec<Vec<u8>>,
    longest: usize,
    strict: bool,
}

impl Boundaries {
    /// `strict`: whatever follows the boundary string, it is one (option `rfc2046_strict`).
    pub(super) fn new(strict: bool) -> Boundaries {
        Boundaries {
            list: Vec::new(),
            longest: 0,
            strict,
        }
    }

    pub(super) fn depth(&self) -> usize {
        self.list.len()
    }

    pub(super) fn push(&mut self, boundary: Vec<u8>) {
        self.list.push(boundary);
        self.measure();
    }

    /// Leaves the outermost `depth` boundaries.
    pub(super) fn truncate(&mut self, depth: usize) {
        self.list.truncate(depth);
        self.measure();
    }

    fn measure(&mut self) {
        self.longest = self.list.iter().map(Vec::len).max().unwrap_or(0);
    }

    /// So many bytes of a line decide whether it is a boundary.
    pub(super) fn line_head(&self) -> usize {
        const DASHES: usize = 2;
        const LOOK_AHEAD: usize = 3;
        DASHES + self.longest + LOOK_AHEAD
    }

    /// Whether a line is a boundary; the closing one of a multipart ends that multipart and all
    /// inside it. `head` is the line, or at least [`Boundaries::line_head`] bytes of it.
    pub(super) fn closes(&mut self, head: &[u8]) -> bool {
        let Some(text) = head.strip_prefix(b"--") else {
            return false;
        };
        for (depth, boundary) in self.list.iter().enumerate() {
            let Some(rest) = text.strip_prefix(boundary.as_slice()) else {
                continue;
            };
            if rest.starts_with(b"--") {
                self.truncate(depth);
                return true;
            }
            let next = byte_at(rest, 0);
            let goes_on = rest.len() > 1 && next != 0 && !is_space(next);
            if self.strict || !goes_on {
                return true;
            }
        }
        false
    }
}

/// The boundary string of a multipart.
pub(super) fn boundary_of(parameters: &[Parameter]) -> Option<Vec<u8>> {
    let parameter = parameters
        .iter()
        .find(|parameter| matches!(parameter.attribute.as_slice(), b"BOUNDARY" | b"BOUNDARY*"))?;
    let extended = parameter.attribute.ends_with(b"*");
    let decoded = extended
        .then(|| decode_extended(&parameter.value))
        .flatten();
    Some(decoded.unwrap_or_else(|| parameter.value.clone()))
}

/// Decodes `charset'language'text` of RFC 2231.
fn decode_extended(value: &[u8]) -> Option<Vec<u8>> {
    let mut pieces = value.splitn(3, |byte| *byte == b'\'');
    let charset = charset::lookup(pieces.next()?)?;
    let _language = pieces.next()?;
    let text = pieces.next()?;
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            bytes.push(hex(rest.first())? << 4 | hex(rest.get(1))?);
            rest = rest.get(2..)?;
        } else {
            bytes.push(byte);
        }
    }
    let decoded = charset.decode(&bytes);
    Some(before_nul(&decoded).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundary_lines() {
        let mut boundaries = Boundaries::new(false);
        boundaries.push(b"a".to_vec());
        boundaries.push(b"ab".to_vec());
        for line in ["--a\r\n", "--ab\r\n", "--a \n", "--a", "--a\0x", "--ax"] {
            assert!(boundaries.closes(line.as_bytes()), "{line:?}");
        }
        for line in ["-a\r\n", "--b\r\n", "--axy\r\n", "--aby\r\n", "--", ""] {
            assert!(!boundaries.closes(line.as_bytes()), "{line:?}");
        }
        assert!(boundaries.closes(b"--ab--\r\n"));
        assert_eq!(boundaries.depth(), 1);
        assert!(boundaries.closes(b"--a--x"));
        assert_eq!(boundaries.depth(), 0);
    }

    #[test]
    fn strict_boundaries_match_by_their_beginning() {
        let mut boundaries = Boundaries::new(true);
        boundaries.push(b"a".to_vec());
        assert!(boundaries.closes(b"--axyz\r\n"));
    }
}
