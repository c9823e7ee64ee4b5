//! Reads the password file of Cyrus SASL (configuration §7.2).
//!
//! It is a Berkeley DB hash file. Looking at every page costs little for files of this kind, and
//! needs nothing of the hash function and its state.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// The property of a user that holds the password.
const PROPERTY: &[u8] = b"userPassword";

const MAGIC: u32 = 0x0006_1561;
/// Octets of a page before the array of item offsets.
const PAGE_HEADER: usize = 26;
/// Page types: hash pages of this and of older versions.
const HASH_PAGES: [u8; 2] = [13, 2];
/// The type of an item that holds its data.
const INLINE: u8 = 1;
/// Larger files are not read: this is room for a million users.
const MAX_SIZE: u64 = 256 << 20;

/// Why the password file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum SasldbError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// It is not what it should be, or is just being written.
    #[error("{}: {what} at offset {offset}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: usize,
        /// What is wrong there.
        what: &'static str,
    },
}

impl SasldbError {
    /// Whether there is no such file.
    pub fn is_absence(&self) -> bool {
        match self {
            SasldbError::Unreadable { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
            SasldbError::Corrupt { .. } => false,
        }
    }
}

/// A password; any octets, wiped when dropped.
pub type Password = Zeroizing<Vec<u8>>;

/// The password of a user in a realm, both spelled exactly as they were stored; `None` if there is
/// no such user.
///
/// # Errors
/// If the file cannot be read or is no Berkeley DB hash file.
pub fn password(path: &Path, user: &str, realm: &str) -> Result<Option<Password>, SasldbError> {
    let unreadable = |source| SasldbError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > MAX_SIZE {
        return Err(unreadable(std::io::ErrorKind::FileTooLarge.into()));
    }
    let content = Zeroizing::new(std::fs::read(path).map_err(unreadable)?);
    find(&content, user, realm).map_err(|(offset, what)| SasldbError::Corrupt {
        path: path.to_owned(),
        offset,
        what,
    })
}

/// Offset and description of what is wrong.
type Wrong = (usize, &'static str);

fn find(content: &[u8], user: &str, realm: &str) -> Result<Option<Password>, Wrong> {
    let file = File::new(content)?;
    let key = [user.as_bytes(), realm.as_bytes(), PROPERTY].join(&0);
    for number in 0..=file.last_page {
        let page = file.page(number)?;
        if let Some(value) = page.value_of(&key)? {
            return Ok(Some(Zeroizing::new(value.to_vec())));
        }
    }
    Ok(None)
}

/// A file, in the byte order of the machine that made it.
#[derive(Clone, Copy)]
struct File<'a> {
    content: &'a [u8],
    big_endian: bool,
    page_size: usize,
    last_page: usize,
}

impl<'a> File<'a> {
    fn new(content: &'a [u8]) -> Result<File<'a>, Wrong> {
        let mut file = File {
            content,
            big_endian: false,
            page_size: 0,
            last_page: 0,
        };
        if file.number(12)? == MAGIC.swap_bytes() {
            file.big_endian = true;
        }
        if file.number(12)? != MAGIC {
            return Err((12, "no Berkeley DB hash file"));
        }
        file.page_size = to_size(file.number(20)?);
        file.last_page = to_size(file.number(32)?);
        let is_legal = file.page_size.is_power_of_two() && (512..=65536).contains(&file.page_size);
        if !is_legal {
            return Err((20, "an impossible page size"));
        }
        if file.last_page >= content.len() / file.page_size {
            return Err((32, "more pages than the file has"));
        }
        Ok(file)
    }

    fn number(&self, offset: usize) -> Result<u32, Wrong> {
        let bytes = self.content.get(offset..).and_then(<[u8]>::first_chunk);
        match bytes {
            Some(bytes) if self.big_endian => Ok(u32::from_be_bytes(*bytes)),
            Some(bytes) => Ok(u32::from_le_bytes(*bytes)),
            None => Err((offset, "the file ends")),
        }
    }

    fn page(self, number: usize) -> Result<Page<'a>, Wrong> {
        let offset = number * self.page_size;
        match self.content.get(offset..offset + self.page_size) {
            Some(content) => Ok(Page {
                content,
                offset,
                big_endian: self.big_endian,
            }),
            None => Err((offset, "the file ends")),
        }
    }
}

struct Page<'a> {
    content: &'a [u8],
    offset: usize,
    big_endian: bool,
}

impl<'a> Page<'a> {
    fn short(&self, place: usize) -> Result<usize, Wrong> {
        let bytes = self.content.get(place..).and_then(<[u8]>::first_chunk);
        match bytes {
            Some(bytes) if self.big_endian => Ok(usize::from(u16::from_be_bytes(*bytes))),
            Some(bytes) => Ok(usize::from(u16::from_le_bytes(*bytes))),
            None => Err((self.offset + place, "the page ends")),
        }
    }

    /// The value that stands behind this key on the page.
    fn value_of(&self, key: &[u8]) -> Result<Option<&'a [u8]>, Wrong> {
        let is_hash_page = self.content.get(25).is_some_and(|t| HASH_PAGES.contains(t));
        if !is_hash_page {
            return Ok(None);
        }
        for entry in 0..self.short(20)? / 2 {
            let (kind, found) = self.item(2 * entry)?;
            if kind == INLINE && found == key {
                return match self.item(2 * entry + 1)? {
                    (INLINE, value) => Ok(Some(value)),
                    _ => Err((self.offset, "a password that is stored elsewhere")),
                };
            }
        }
        Ok(None)
    }

    /// Type and data of an item. Items stand from the end of the page to its beginning.
    fn item(&self, index: usize) -> Result<(u8, &'a [u8]), Wrong> {
        let place = PAGE_HEADER + 2 * index;
        let end = match index {
            0 => self.content.len(),
            _ => self.short(place - 2)?,
        };
        self.content
            .get(self.short(place)?..end)
            .and_then(<[u8]>::split_first)
            .map(|(kind, data)| (*kind, data))
            .ok_or((self.offset + place, "an impossible item"))
    }
}

fn to_size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Made by saslpasswd2 2.1.28, with one user removed and one password changed.
    const FILE: &[u8] = include_bytes!("tests/sasldb2");

    fn text(user: &str, realm: &str) -> Option<String> {
        let found = find(FILE, user, realm).unwrap();
        found.map(|password| String::from_utf8(password.to_vec()).unwrap())
    }

    #[test]
    fn passwords() {
        assert_eq!(text("repl", "lab.test").as_deref(), Some("secret2"));
        assert_eq!(text("cyrus", "lab.test").as_deref(), Some("pass word ü"));
        assert_eq!(text("alice", "example.com").as_deref(), Some("wonderland"));
        assert_eq!(text("long", "lab.test"), Some("x".repeat(200)));
        for (user, realm) in [
            ("gone", "lab.test"),
            ("repl", "LAB.test"),
            ("repl", ""),
            ("", "lab.test"),
            ("repl\0lab.test\0userPassword", ""),
        ] {
            assert_eq!(text(user, realm), None, "{user}");
        }
    }

    #[test]
    fn errors() {
        let wrong = |content: &[u8]| find(content, "u", "r").err().unwrap().1;
        assert_eq!(wrong(b"short"), "the file ends");
        assert_eq!(wrong(&[0; 4096]), "no Berkeley DB hash file");
        assert_eq!(wrong(&FILE[..8192]), "more pages than the file has");
        let missing = password(Path::new("/nonexistent/sasldb2"), "u", "r").unwrap_err();
        assert!(
            missing
                .to_string()
                .starts_with("cannot read /nonexistent/sasldb2: ")
        );
    }

    proptest! {
        #[test]
        fn no_content_panics(at in 0..FILE.len(), bytes in prop::collection::vec(any::<u8>(), 1..40)) {
            let mut content = FILE.to_vec();
            content.splice(at..(at + bytes.len()).min(FILE.len()), bytes);
            let _ = find(&content, "repl", "lab.test");
        }
    }
}
