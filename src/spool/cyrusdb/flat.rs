//! The flat format (databases §4): a text file, one line per pair, replaced as a whole by every
//! change. For small databases: all of it is kept in memory.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::time::Instant;

use super::{Backend, Create, DbError, Engine, MAGIC_START, Pair, Stretch};
use crate::spool::disk::{Disk, DiskFile, LockKind, if_exists};

/// The mode of new files, before the umask.
const MODE: u32 = 0o666;
const ESCAPE: u8 = 0xFF;

/// An open flat file.
#[derive(Debug)]
pub(super) struct Flat {
    disk: Disk,
    file: DiskFile,
    /// What is in `file`, or what the open transaction made of it; `None` if not read yet.
    content: Option<Content>,
    changed: bool,
}

/// The pairs by the form of their keys that sorts as the file is sorted.
type Content = BTreeMap<Vec<u8>, Pair>;

impl Flat {
    pub fn open(disk: &Disk, path: &Path, create: Create) -> Result<Option<Flat>, DbError> {
        let file = match create {
            Create::Yes => Some(disk.open_or_create(path, MODE)?),
            Create::No => if_exists(disk.open_write(path))?,
        };
        let Some(file) = file else {
            return Ok(None);
        };
        let mut db = Flat {
            disk: disk.clone(),
            file,
            content: None,
            changed: false,
        };
        db.content()?;
        Ok(Some(db))
    }

    fn content(&mut self) -> Result<&mut Content, DbError> {
        let content = match self.content.take() {
            Some(content) => content,
            None => {
                let length = usize::try_from(self.file.len()?).unwrap_or(usize::MAX);
                parse(&self.file.read_at(0, length)?)
                    .map_err(|(offset, what)| DbError::corrupt(self.file.path(), offset, what))?
            }
        };
        Ok(self.content.insert(content))
    }
}

impl Engine for Flat {
    /// Takes no lock: a file is never changed, but replaced (databases §4).
    fn lock_shared(&mut self, _deadline: Instant) -> Result<(), DbError> {
        let path = self.file.path();
        let named = self.disk.status(path)?.map(|status| status.identity());
        if named != Some(self.file.identity()?) {
            self.file = self.disk.open_write(path)?;
            self.content = None;
        }
        Ok(())
    }

    fn lock_exclusive(&mut self, deadline: Instant) -> Result<(), DbError> {
        self.changed = false;
        self.file.lock_current(LockKind::Exclusive, deadline)?;
        self.content = None;
        Ok(())
    }

    fn unlock(&mut self) -> Result<(), DbError> {
        Ok(self.file.unlock()?)
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, DbError> {
        let found = self.content()?.get(&sorting_form(key));
        Ok(found.map(|(_, value)| value.clone()))
    }

    fn stretch(&mut self, prefix: &[u8], after: Option<&[u8]>) -> Result<Stretch, DbError> {
        let start = match after {
            None => Bound::Included(sorting_form(prefix)),
            Some(key) => Bound::Excluded(sorting_form(key)),
        };
        let mut stretch = Stretch::default();
        for (_, pair) in self.content()?.range((start, Bound::Unbounded)) {
            if stretch.is_full() || !pair.0.starts_with(prefix) {
                break;
            }
            stretch.push(pair.clone());
        }
        Ok(stretch)
    }

    fn check(&mut self) -> Result<(), DbError> {
        self.content = None;
        self.content().map(drop)
    }

    fn forget(&mut self) -> bool {
        self.content.take().is_some()
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), DbError> {
        let pair = (key.to_owned(), value.to_owned());
        let old = self.content()?.insert(sorting_form(key), pair);
        self.changed |= old.is_none_or(|(_, old)| old != value);
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<bool, DbError> {
        let was_there = self.content()?.remove(&sorting_form(key)).is_some();
        self.changed |= was_there;
        Ok(was_there)
    }

    fn commit(&mut self) -> Result<(), DbError> {
        if !self.changed {
            return Ok(());
        }
        let mut text = Vec::new();
        for (key, value) in self.content()?.values() {
            text.extend(escaped(key));
            text.push(b'\t');
            text.extend(escaped(value));
            text.push(b'\n');
        }
        let replacement = self.disk.replace(self.file.path(), MODE)?;
        replacement.file().write_at(0, &text)?;
        self.file = replacement.commit()?;
        Ok(())
    }

    fn abort(&mut self) -> Result<(), DbError> {
        self.content = None;
        Ok(())
    }

    fn is_repack_due(&self) -> bool {
        false
    }

    /// There is never any garbage.
    fn repack(&mut self) -> Result<(), DbError> {
        Ok(())
    }

    fn backend(&self) -> Backend {
        Backend::Flat
    }
}

/// Reads all lines, in whatever order; the error is an offset and what is wrong there.
fn parse(text: &[u8]) -> Result<Content, (u64, &'static str)> {
    if text.starts_with(MAGIC_START) {
        return Err((0, "this is no flat file"));
    }
    let mut content = Content::new();
    let mut offset = 0;
    for line in text.split_inclusive(|octet| *octet == b'\n') {
        let at = |what| (offset as u64, what);
        let line_without_end = line
            .strip_suffix(b"\n")
            .ok_or(at("the last line has no end"))?;
        let tab = line_without_end.iter().position(|octet| *octet == b'\t');
        let tab = tab.ok_or(at("a line has no TAB"))?;
        let key = unescaped(&line_without_end[..tab]);
        let value = unescaped(&line_without_end[tab + 1..]);
        content.entry(sorting_form(&key)).or_insert((key, value));
        offset += line.len();
    }
    Ok(content)
}

fn escaped(text: &[u8]) -> impl Iterator<Item = u8> {
    text.iter().flat_map(|octet| {
        let (first, second) = match octet {
            0 | b'\t' | b'\n' | b'\r' => (ESCAPE, Some(octet | 0x80)),
            &ESCAPE => (ESCAPE, Some(ESCAPE)),
            _ => (*octet, None),
        };
        std::iter::once(first).chain(second)
    })
}

fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut octets = text.iter().copied();
    while let Some(octet) = octets.next() {
        match octet {
            ESCAPE => plain.extend(octets.next().map(|escaped| match escaped {
                ESCAPE => ESCAPE,
                _ => escaped & 0x7F,
            })),
            _ => plain.push(octet),
        }
    }
    plain
}

/// The lines are sorted by these octets of their keys (databases §4): as written, but with the
/// hierarchy separator `.` before nearly everything else.
fn sorting_form(key: &[u8]) -> Vec<u8> {
    escaped(key)
        .map(|octet| match octet {
            b'.' => 2,
            1..=7 => octet + 2,
            8 => 0x0A,
            _ => octet,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_after(pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sub");
        let disk = Disk::default();
        let mut db = Flat::open(&disk, &path, Create::Yes).unwrap().unwrap();
        db.lock_exclusive(disk.lock_deadline()).unwrap();
        for (key, value) in pairs {
            db.put(key, value).unwrap();
        }
        db.commit().unwrap();
        std::fs::read(path).unwrap()
    }

    #[test]
    fn lines_are_escaped_and_sorted() {
        let pairs: [(&[u8], &[u8]); 5] = [
            (b"user.b", b""),
            (b"user b", b"\t\n\r\0\xff"),
            (b"user", b"x"),
            (b"user\x05", b""),
            (b"\xff", b""),
        ];
        let expected = b"user\tx\nuser.b\t\nuser\x05\t\nuser b\t\xff\x89\xff\x8a\xff\x8d\xff\x80\xff\xff\n\xff\xff\t\n";
        assert_eq!(text_after(&pairs), expected);
        assert_eq!(parse(expected).unwrap().len(), 5);
    }

    #[test]
    fn broken_lines_are_refused() {
        assert_eq!(parse(b"a\tb\nno tab\n").unwrap_err().0, 4);
        assert_eq!(parse(b"a\tb\nc\td").unwrap_err().0, 4);
        assert_eq!(parse(b"\xa1\x02\x8b\x0dtwoskip file").unwrap_err().0, 0);
    }

    #[test]
    fn an_escape_without_a_partner_is_nothing() {
        assert_eq!(unescaped(b"a\xff"), b"a");
        assert_eq!(unescaped(b"\xff\x89"), b"\t");
    }
}
