//! SHA-1 over a stretch of a message whose end becomes known only after more of it has passed.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

use crate::mail::Guid;

/// Bytes that the break before a boundary line takes away from what stands before it.
pub(super) const BREAK: usize = 2;

/// The largest part of a stretch that can be taken back. Only headers with NUL bytes inside nested
/// messages need more than [`BREAK`].
const LONGEST_TAIL: usize = 1 << 20;

/// A running SHA-1 that counts its input.
#[derive(Clone)]
pub(super) struct CountingDigest {
    context: Context,
    length: u64,
}

impl CountingDigest {
    pub(super) fn new() -> CountingDigest {
        CountingDigest {
            context: Context::new(&SHA1_FOR_LEGACY_USE_ONLY),
            length: 0,
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
        self.length += bytes.len() as u64;
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn finish(self) -> Guid {
        let digest = self.context.finish();
        let mut bytes = [0; Guid::LEN];
        for (to, from) in bytes.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        Guid::from_bytes(bytes)
    }
}

/// The last bytes of a stretch, held back from whatever takes in the rest.
#[derive(Clone, Default)]
struct Tail {
    bytes: Vec<u8>,
}

impl Tail {
    /// Takes in `bytes`, keeps the last `keep` and hands everything before them to `sink`.
    fn push(&mut self, bytes: &[u8], keep: usize, mut sink: impl FnMut(&[u8])) {
        if let Some(early) = bytes.len().checked_sub(keep) {
            sink(&self.bytes);
            let (early, late) = bytes.split_at(early);
            sink(early);
            self.bytes.clear();
            self.bytes.extend_from_slice(late);
        } else {
            self.bytes.extend_from_slice(bytes);
            if let Some(excess) = self.bytes.len().checked_sub(keep) {
                sink(self.bytes.get(..excess).unwrap_or_default());
                self.bytes.drain(..excess);
            }
        }
    }
}

/// Delivers a stretch without the break that turns out to belong to a boundary line.
#[derive(Default)]
pub(super) struct HoldBack {
    tail: Tail,
}

impl HoldBack {
    /// Passes on all but the last two bytes so far.
    pub(super) fn push(&mut self, bytes: &[u8], sink: impl FnMut(&[u8])) {
        self.tail.push(bytes, BREAK, sink);
    }

    /// The stretch has ended; `dropped` of its last two bytes do not belong to it.
    pub(super) fn finish(self, dropped: usize, mut sink: impl FnMut(&[u8])) {
        let kept = self.tail.bytes.len().saturating_sub(dropped);
        sink(self.tail.bytes.get(..kept).unwrap_or_default());
    }
}

/// SHA-1 of a nested message, whose length is the sum of the sizes of its parts.
pub(super) struct SpanDigest {
    running: Span,
    at_boundary: Option<Span>,
    keep: usize,
}

#[derive(Clone)]
struct Span {
    digest: CountingDigest,
    tail: Tail,
}

impl SpanDigest {
    pub(super) fn new() -> SpanDigest {
        SpanDigest {
            running: Span {
                digest: CountingDigest::new(),
                tail: Tail::default(),
            },
            at_boundary: None,
            keep: BREAK,
        }
    }

    /// Takes in the next bytes of the message file.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let Span { digest, tail } = &mut self.running;
        tail.push(bytes, self.keep, |early| digest.update(early));
    }

    /// The next `count` bytes will not count towards the length of the nested message.
    pub(super) fn will_lack(&mut self, count: usize) {
        self.keep = self.keep.saturating_add(count).min(LONGEST_TAIL);
    }

    /// What follows is a boundary line, which may end the nested message.
    pub(super) fn mark_boundary(&mut self) {
        self.at_boundary = Some(self.running.clone());
    }

    /// The digest of the first `length` bytes.
    pub(super) fn finish(self, length: u64) -> Guid {
        let covers = |span: &Span| span.digest.length() + span.tail.bytes.len() as u64 >= length;
        let span = self.at_boundary.filter(covers).unwrap_or(self.running);
        let Span { mut digest, tail } = span;
        let missing = length.saturating_sub(digest.length());
        let missing = usize::try_from(missing).unwrap_or(usize::MAX);
        let missing = missing.min(tail.bytes.len());
        digest.update(tail.bytes.get(..missing).unwrap_or_default());
        digest.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha1(bytes: &[u8]) -> Guid {
        let mut digest = CountingDigest::new();
        digest.update(bytes);
        digest.finish()
    }

    #[test]
    fn digest_of_nothing_and_of_abc() {
        assert_eq!(
            sha1(b"").to_string(),
            "da39a3ee5e6b4b0d3255bfef95601890afd80709"
        );
        assert_eq!(
            sha1(b"abc").to_string(),
            "a9993e364706816aba3e25717850c26c9cd0d89d"
        );
    }

    #[test]
    fn the_break_before_a_boundary_is_held_back() {
        for split in 0..=8 {
            let mut got = Vec::new();
            let mut held = HoldBack::default();
            let (head, rest) = b"abcdef\r\n".split_at(split);
            held.push(head, |bytes| got.extend_from_slice(bytes));
            held.push(rest, |bytes| got.extend_from_slice(bytes));
            held.finish(2, |bytes| got.extend_from_slice(bytes));
            assert_eq!(got, b"abcdef");
        }
    }

    #[test]
    fn a_span_may_end_before_what_it_has_seen() {
        let mut span = SpanDigest::new();
        span.push(b"abc");
        span.push(b"\r\n");
        span.mark_boundary();
        span.push(b"--boundary\r\n");
        assert_eq!(span.finish(3), sha1(b"abc"));

        let mut span = SpanDigest::new();
        span.push(b"abc");
        span.will_lack(6);
        span.push(b"123456");
        assert_eq!(span.finish(1), sha1(b"a"));
    }
}
