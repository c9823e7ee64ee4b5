//! The octets of a skiplist file: header and records (databases §3). There are no checksums.

/// The first 20 octets of every file.
pub(super) const MAGIC: &[u8; 20] = b"\xa1\x02\x8b\x0dskiplist file\0\0\0";
const VERSION: u32 = 1;
const MINOR_VERSION: u32 = 2;

pub(super) const HEADER_LENGTH: u32 = 48;
/// Where the DUMMY stands.
pub(super) const DUMMY_OFFSET: u32 = HEADER_LENGTH;
/// The highest number of levels.
pub(super) const MAX_LEVEL: usize = 20;
/// Ends the pointers of a record.
pub(super) const END_OF_POINTERS: u32 = u32::MAX;

pub(super) const DUMMY: u32 = 257;
pub(super) const INORDER: u32 = 1;
pub(super) const ADD: u32 = 2;
pub(super) const DELETE: u32 = 4;
pub(super) const COMMIT: u32 = 255;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Level of the DUMMY.
    pub max_level: u32,
    /// Highest level in use.
    pub current_level: u32,
    /// Number of live records at the last checkpoint or recovery.
    pub list_size: u32,
    /// Size of the file at the last checkpoint.
    pub log_start: u32,
    /// Unix time.
    pub last_recovery: u32,
}

impl Header {
    /// The header of an empty database.
    pub fn new(now: u32) -> Header {
        Header {
            max_level: MAX_LEVEL as u32,
            current_level: 1,
            list_size: 0,
            log_start: DUMMY_OFFSET + 4 * (3 + MAX_LEVEL as u32 + 1),
            last_recovery: now,
        }
    }

    /// Decodes a header; the error says what is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Header, &'static str> {
        if bytes.len() < HEADER_LENGTH as usize {
            return Err("the file is too short for a header");
        }
        if !bytes.starts_with(MAGIC) {
            return Err("the file does not begin like a skiplist file");
        }
        let field = |at: usize| word(&bytes[at..]);
        if field(20) != VERSION {
            return Err("the version of the format is unknown");
        }
        let header = Header {
            max_level: field(28),
            current_level: field(32),
            list_size: field(36),
            log_start: field(40),
            last_recovery: field(44),
        };
        let levels_fit = (1..=MAX_LEVEL as u32).contains(&header.max_level)
            && header.current_level <= header.max_level;
        match levels_fit {
            true => Ok(header),
            false => Err("the header tells impossible levels"),
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for field in [
            VERSION,
            MINOR_VERSION,
            self.max_level,
            self.current_level,
            self.list_size,
            self.log_start,
            self.last_recovery,
        ] {
            bytes.extend(field.to_be_bytes());
        }
        bytes
    }
}

/// A DUMMY, INORDER or ADD record without its key and value.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Where it stands.
    pub offset: u32,
    pub kind: u32,
    pub key_length: u32,
    pub value_length: u32,
    /// One for each level that it takes part in; 0 is none.
    pub pointers: Vec<u32>,
}

impl Node {
    pub fn level(&self) -> usize {
        self.pointers.len()
    }

    pub fn key_offset(&self) -> u64 {
        u64::from(self.offset) + 8
    }

    pub fn value_offset(&self) -> u64 {
        self.key_offset() + padded(self.key_length) + 4
    }

    pub fn pointer_offset(&self, level: usize) -> u64 {
        self.value_offset() + padded(self.value_length) + 4 * level as u64
    }

    /// Where the next record starts.
    pub fn end(&self) -> u64 {
        self.pointer_offset(self.level()) + 4
    }
}

/// The octets of a record.
pub(super) fn encode_node(kind: u32, key: &[u8], value: &[u8], pointers: &[u32]) -> Vec<u8> {
    let mut bytes = kind.to_be_bytes().to_vec();
    for text in [key, value] {
        bytes.extend((text.len() as u32).to_be_bytes());
        bytes.extend_from_slice(text);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    for pointer in pointers {
        bytes.extend(pointer.to_be_bytes());
    }
    bytes.extend(END_OF_POINTERS.to_be_bytes());
    bytes
}

/// A length rounded up to a multiple of 4.
pub(super) fn padded(length: u32) -> u64 {
    u64::from(length).next_multiple_of(4)
}

/// The number in the first 4 octets; 0 if there are fewer.
pub(super) fn word(bytes: &[u8]) -> u32 {
    bytes
        .first_chunk()
        .map_or(0, |chunk| u32::from_be_bytes(*chunk))
}

/// A key in the form that sorts as the file is sorted: by *signed* octets.
pub(super) fn sorting_form(key: &[u8]) -> Vec<u8> {
    key.iter().map(|octet| octet ^ 0x80).collect()
}
