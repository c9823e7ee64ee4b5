//! The octets of a twoskip file: header and records (databases §2.1, §2.2).

/// The first 20 octets of every file.
pub(super) const MAGIC: &[u8; 20] = b"\xa1\x02\x8b\x0dtwoskip file\0\0\0\0";
pub(super) const VERSION: u32 = 1;

pub(super) const HEADER_LENGTH: u64 = 64;
/// Where the DUMMY stands.
pub(super) const DUMMY_OFFSET: u64 = HEADER_LENGTH;
/// Length of an empty database.
pub(super) const EMPTY_LENGTH: u64 = 336;
/// The number of skip levels, and the level of the DUMMY.
pub(super) const MAX_LEVEL: usize = 31;

const HEADER_LENGTH_USIZE: usize = HEADER_LENGTH as usize;
const CRC_AT: usize = 60;
const DIRTY: u32 = 1;

/// Fills the gaps that keep record heads within a sector.
pub(super) const BLANK: [u8; 8] = *b" BLANK\x07\xa0";
const SECTOR: u64 = 512;

/// Length of the shortest record: DELETE or COMMIT.
pub(super) const SHORTEST_RECORD: usize = 24;
/// Type, level and lengths in their long form, all pointers, both CRCs.
pub(super) const LONGEST_HEAD: usize = 8 + 16 + 8 * (MAX_LEVEL + 1) + 8;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Raised by every repack.
    pub generation: u64,
    /// Number of live records.
    pub records: u64,
    /// Length of the file after the last repack, without the COMMIT.
    pub repack_size: u64,
    /// End of what is committed.
    pub current_size: u64,
    /// Whether a transaction was begun and not ended.
    pub dirty: bool,
}

impl Header {
    /// The header of an empty database.
    pub fn new(generation: u64) -> Header {
        Header {
            generation,
            records: 0,
            repack_size: EMPTY_LENGTH,
            current_size: EMPTY_LENGTH,
            dirty: false,
        }
    }

    /// Decodes a header; the error says what is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Header, &'static str> {
        let Some(bytes) = bytes.first_chunk::<HEADER_LENGTH_USIZE>() else {
            return Err("the file is too short for a header");
        };
        if !bytes.starts_with(MAGIC) {
            return Err("the file does not begin like a twoskip file");
        }
        let u32_at = |at: usize| be_u32(&bytes[at..]);
        let u64_at = |at: usize| be_u64(&bytes[at..]);
        if u32_at(20) > VERSION {
            return Err("the version of the format is too new");
        }
        if u32_at(CRC_AT) != crc32fast::hash(&bytes[..CRC_AT]) {
            return Err("the checksum of the header is wrong");
        }
        let header = Header {
            generation: u64_at(24),
            records: u64_at(32),
            repack_size: u64_at(40),
            current_size: u64_at(48),
            dirty: u32_at(56) & DIRTY != 0,
        };
        if header.current_size < EMPTY_LENGTH || !header.current_size.is_multiple_of(8) {
            return Err("the header tells an impossible size");
        }
        Ok(header)
    }

    pub fn encode(&self) -> [u8; HEADER_LENGTH_USIZE] {
        let mut bytes = [0; HEADER_LENGTH_USIZE];
        bytes[..20].copy_from_slice(MAGIC);
        bytes[20..24].copy_from_slice(&VERSION.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.generation.to_be_bytes());
        bytes[32..40].copy_from_slice(&self.records.to_be_bytes());
        bytes[40..48].copy_from_slice(&self.repack_size.to_be_bytes());
        bytes[48..56].copy_from_slice(&self.current_size.to_be_bytes());
        let flags = if self.dirty { DIRTY } else { 0 };
        bytes[56..60].copy_from_slice(&flags.to_be_bytes());
        let crc = crc32fast::hash(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_be_bytes());
        bytes
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Dummy,
    Record,
    Delete,
    Commit,
}

/// A record without its key and value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Where it stands.
    pub offset: u64,
    pub kind: Kind,
    /// The number of skip levels it takes part in.
    pub level: usize,
    pub key_length: u64,
    pub value_length: u64,
    /// Two alternatives for skip level 0, then the other skip levels.
    pub pointers: [u64; MAX_LEVEL + 1],
    /// CRC of key, value and padding.
    pub tail_crc: u32,
}

impl Record {
    /// A record that is to be appended; without pointers.
    pub fn new(kind: Kind, level: usize, key: &[u8], value: &[u8]) -> Record {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(key);
        hasher.update(value);
        let length = key.len() as u64 + value.len() as u64;
        hasher.update(padding(length));
        Record {
            offset: 0,
            kind,
            level,
            key_length: key.len() as u64,
            value_length: value.len() as u64,
            pointers: [0; MAX_LEVEL + 1],
            tail_crc: hasher.finalize(),
        }
    }

    /// Decodes the head of the record at `offset`; `bytes` begin there and go on for
    /// [`LONGEST_HEAD`] octets or to `end`, before which the record has to end. The error says
    /// what is wrong.
    pub fn decode(offset: u64, bytes: &[u8], end: u64) -> Result<Record, &'static str> {
        const PAST_END: &str = "a record goes beyond the end";
        let start = bytes.first_chunk::<8>().ok_or(PAST_END)?;
        let kind = match start[0] {
            b'=' => Kind::Dummy,
            b'+' => Kind::Record,
            b'-' => Kind::Delete,
            b'$' => Kind::Commit,
            _ => return Err("there is no record"),
        };
        let level = usize::from(start[1]);
        let level_fits = match kind {
            Kind::Dummy => level == MAX_LEVEL,
            Kind::Record => (1..=MAX_LEVEL).contains(&level),
            Kind::Delete | Kind::Commit => level == 0,
        };
        if !level_fits {
            return Err("the level of a record is impossible");
        }
        let mut at = 8;
        let mut next_u64 = || {
            let value = bytes.get(at..at + 8).map(be_u64).ok_or(PAST_END)?;
            at += 8;
            Ok::<u64, &'static str>(value)
        };
        let mut key_length = u64::from(u16::from_be_bytes([start[2], start[3]]));
        if key_length == u64::from(u16::MAX) {
            key_length = next_u64()?;
        }
        let mut value_length = u64::from(be_u32(&start[4..]));
        if value_length == u64::from(u32::MAX) {
            value_length = next_u64()?;
        }
        let mut pointers = [0; MAX_LEVEL + 1];
        for pointer in &mut pointers[..=level] {
            *pointer = next_u64()?;
        }
        let crcs = next_u64()?;
        let head = at - 8;
        if (crcs >> 32) as u32 != crc32fast::hash(&bytes[..head]) {
            return Err("the checksum of a record's head is wrong");
        }
        let record = Record {
            offset,
            kind,
            level,
            key_length,
            value_length,
            pointers,
            tail_crc: crcs as u32,
        };
        let tail = key_length
            .checked_add(value_length)
            .and_then(|length| length.checked_next_multiple_of(8))
            .and_then(|length| length.checked_add(offset + at as u64));
        match tail {
            Some(record_end) if record_end <= end => Ok(record),
            _ => Err(PAST_END),
        }
    }

    /// Everything before the key.
    pub fn encode_head(&self) -> Vec<u8> {
        let mut head = Vec::with_capacity(LONGEST_HEAD);
        head.push(match self.kind {
            Kind::Dummy => b'=',
            Kind::Record => b'+',
            Kind::Delete => b'-',
            Kind::Commit => b'$',
        });
        head.push(self.level as u8);
        let short_key = short_key_length(self.key_length);
        let short_value = short_value_length(self.value_length);
        head.extend(short_key.unwrap_or(u16::MAX).to_be_bytes());
        head.extend(short_value.unwrap_or(u32::MAX).to_be_bytes());
        if short_key.is_none() {
            head.extend(self.key_length.to_be_bytes());
        }
        if short_value.is_none() {
            head.extend(self.value_length.to_be_bytes());
        }
        for pointer in &self.pointers[..=self.level] {
            head.extend(pointer.to_be_bytes());
        }
        let crc = crc32fast::hash(&head);
        head.extend(crc.to_be_bytes());
        head.extend(self.tail_crc.to_be_bytes());
        head
    }

    pub fn head_length(&self) -> u64 {
        let long_lengths = u64::from(short_key_length(self.key_length).is_none())
            + u64::from(short_value_length(self.value_length).is_none());
        8 + 8 * long_lengths + 8 * (self.level as u64 + 1) + 8
    }

    pub fn key_offset(&self) -> u64 {
        self.offset + self.head_length()
    }

    /// Length of key, value and padding.
    pub fn tail_length(&self) -> u64 {
        (self.key_length + self.value_length).next_multiple_of(8)
    }

    /// Where the next record may start.
    pub fn end(&self) -> u64 {
        self.key_offset() + self.tail_length()
    }

    /// The successor on skip level `level`, for a reader who may see what is before `end`
    /// (databases §2.3). On level 0 it may be a DELETE; 0 is none.
    pub fn successor(&self, level: usize, end: u64) -> u64 {
        let [a, b, ..] = self.pointers;
        match level {
            0 if a >= end => b,
            0 if b >= end => a,
            0 => a.max(b),
            _ => self.pointers.get(level + 1).copied().unwrap_or(0),
        }
    }

    /// Sets the successor on skip level `level` so that what was true before `committed` can
    /// still be read (databases §2.4).
    pub fn set_successor(&mut self, level: usize, target: u64, committed: u64) {
        let [a, b, ..] = self.pointers;
        let index = match level {
            0 if a >= committed => 0,
            0 if b >= committed => 1,
            0 if b > a => 0,
            0 => 1,
            _ => level + 1,
        };
        if let Some(pointer) = self.pointers.get_mut(index) {
            *pointer = target;
        }
    }
}

/// The zeros that follow `length` octets of key and value.
pub(super) fn padding(length: u64) -> &'static [u8] {
    let missing = length.next_multiple_of(8) - length;
    &[0; 8][..missing as usize]
}

/// How many BLANKs stand between `end` and a record with a head of `head` octets, so that what is
/// rewritten of the head stays within one sector (databases §2.2).
pub(super) fn blanks_before(mut end: u64, head: u64) -> usize {
    let mut count = 0;
    if head <= SECTOR - 8 {
        while (end + 8) % SECTOR > (end - 8 + head) % SECTOR {
            end += 8;
            count += 1;
        }
    }
    count
}

fn short_key_length(length: u64) -> Option<u16> {
    u16::try_from(length)
        .ok()
        .filter(|length| *length != u16::MAX)
}

fn short_value_length(length: u64) -> Option<u32> {
    u32::try_from(length)
        .ok()
        .filter(|length| *length != u32::MAX)
}

/// The number in the first 4 octets; 0 if there are fewer.
fn be_u32(bytes: &[u8]) -> u32 {
    bytes
        .first_chunk()
        .map_or(0, |chunk| u32::from_be_bytes(*chunk))
}

/// The number in the first 8 octets; 0 if there are fewer.
fn be_u64(bytes: &[u8]) -> u64 {
    bytes
        .first_chunk()
        .map_or(0, |chunk| u64::from_be_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lengths_have_fields_of_their_own() {
        for (key_length, value_length, head) in [
            (1, 1, 32),
            (0xFFFE, 0xFFFF_FFFE, 32),
            (0xFFFF, 1, 40),
            (1, 0xFFFF_FFFF, 40),
            (0x1_0000, 0x1_0000_0000, 48),
        ] {
            let mut record = Record::new(Kind::Record, 1, b"", b"");
            record.key_length = key_length;
            record.value_length = value_length;
            record.pointers[1] = 0x150;
            let bytes = record.encode_head();
            assert_eq!(bytes.len(), head);
            assert_eq!(record.head_length(), head as u64);
            assert_eq!(Record::decode(0, &bytes, u64::MAX), Ok(record.clone()));
            let too_near = record.end() - 1;
            assert!(Record::decode(0, &bytes, too_near).is_err());
        }
    }

    #[test]
    fn lengths_that_overflow_are_refused() {
        let mut record = Record::new(Kind::Record, 1, b"", b"");
        record.key_length = u64::MAX;
        record.value_length = u64::MAX;
        let bytes = record.encode_head();
        assert!(Record::decode(64, &bytes, u64::MAX).is_err());
    }

    #[test]
    fn heads_stay_within_a_sector() {
        for end in (64..4096).step_by(8) {
            for head in (24..=288).step_by(8) {
                let start = end + 8 * blanks_before(end, head) as u64;
                let first_rewritten = start + 8;
                let last_rewritten = start + head - 1;
                assert_eq!(first_rewritten / 512, last_rewritten / 512, "{end} {head}");
            }
        }
    }
}
