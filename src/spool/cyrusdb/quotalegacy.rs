//! The quotalegacy format (databases §5): one file per quota root, in hashed directories.
//!
//! There is no lock on the whole: a transaction locks the files of the roots it touches, one by
//! one, and makes each change by itself.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::{Backend, Create, DbError, Engine, Stretch};
use crate::spool::disk::{Disk, DiskFile, LockKind, if_exists};

/// The mode of new files, before the umask.
const MODE: u32 = 0o644;

/// A tree of quota files.
#[derive(Debug)]
pub(super) struct QuotaLegacy {
    disk: Disk,
    /// The directory that contains `quota` and `domain`.
    base: PathBuf,
    full_hash: bool,
    virtual_domains: bool,
    /// The roots, as they were when the running scan began.
    listing: Vec<Vec<u8>>,
    /// When the open transaction stops waiting for further files.
    deadline: Instant,
    touched: BTreeMap<Vec<u8>, Touched>,
}

/// A root that the open transaction has locked.
#[derive(Debug)]
struct Touched {
    file: DiskFile,
    change: Change,
}

#[derive(Debug)]
enum Change {
    None,
    Put(Vec<u8>),
    Delete,
}

impl QuotaLegacy {
    pub fn open(
        disk: &Disk,
        path: &Path,
        full_hash: bool,
        virtual_domains: bool,
        create: Create,
    ) -> Result<Option<QuotaLegacy>, DbError> {
        let base = path.parent().unwrap_or(Path::new("")).to_owned();
        if disk.status(&base)?.is_none() {
            match create {
                Create::Yes => disk.create_dirs(&base)?,
                Create::No => return Ok(None),
            }
        }
        Ok(Some(QuotaLegacy {
            disk: disk.clone(),
            base,
            full_hash,
            virtual_domains,
            listing: Vec::new(),
            deadline: disk.lock_deadline(),
            touched: BTreeMap::new(),
        }))
    }

    /// The file of a root.
    fn path(&self, root: &[u8]) -> Result<PathBuf, DbError> {
        let separator = root.iter().position(|octet| *octet == b'!');
        let (directory, name) = match separator.filter(|_| self.virtual_domains) {
            None => (self.base.join("quota"), root),
            Some(at) => {
                let (domain, name) = (&root[..at], &root[at + 1..]);
                let letter = self.letter(domain);
                let directory = self
                    .base
                    .join("domain")
                    .join(letter)
                    .join(OsStr::from_bytes(domain));
                (directory.join("quota"), name)
            }
        };
        let path = match name {
            b"" => directory.join("root"),
            _ => {
                let dot = name.iter().position(|octet| *octet == b'.');
                let hashed = dot.map_or(name, |at| &name[at + 1..]);
                directory
                    .join(self.letter(hashed))
                    .join(OsStr::from_bytes(name))
            }
        };
        let unusable = root.is_empty() || root.starts_with(b"!") || root.starts_with(b"..");
        match unusable || root.contains(&b'/') || root.contains(&0) || name == b"." {
            true => Err(DbError::Unstorable {
                path,
                why: "its key cannot be the name of a file",
            }),
            false => Ok(path),
        }
    }

    fn letter(&self, text: &[u8]) -> String {
        hash_letter(text, self.full_hash).to_string()
    }

    /// All roots, sorted.
    fn list(&self) -> Result<Vec<Vec<u8>>, DbError> {
        let mut roots = Vec::new();
        self.list_quota(&self.base.join("quota"), b"", &mut roots)?;
        if self.virtual_domains {
            for letter in self.letters_in(&self.base.join("domain"))? {
                for domain in self.disk.read_dir(&letter)?.unwrap_or_default() {
                    let quota = letter.join(&domain).join("quota");
                    let prefix = [domain.as_bytes(), b"!"].concat();
                    if self.disk.status(&quota.join("root"))?.is_some() {
                        roots.push(prefix.clone());
                    }
                    self.list_quota(&quota, &prefix, &mut roots)?;
                }
            }
        }
        roots.sort();
        Ok(roots)
    }

    fn list_quota(
        &self,
        quota: &Path,
        prefix: &[u8],
        roots: &mut Vec<Vec<u8>>,
    ) -> Result<(), DbError> {
        for letter in self.letters_in(quota)? {
            let names = self.disk.read_dir(&letter)?.unwrap_or_default();
            let names: Vec<Vec<u8>> = names.into_iter().map(OsStringExt::into_vec).collect();
            let is_being_replaced_by = |name: &[u8]| {
                let old = name.strip_suffix(b".NEW");
                old.is_some_and(|old| names.iter().any(|other| other == old))
            };
            let complete = names.iter().filter(|name| !is_being_replaced_by(name));
            roots.extend(complete.map(|name| [prefix, name].concat()));
        }
        Ok(())
    }

    /// The directories below `path` that are named by hash letters.
    fn letters_in(&self, path: &Path) -> Result<Vec<PathBuf>, DbError> {
        let is_letter = |name: &OsStr| match name.as_bytes() {
            [letter] if self.full_hash => letter.is_ascii_uppercase(),
            [letter] => letter.is_ascii_lowercase(),
            _ => false,
        };
        let names = self.disk.read_dir(path)?.unwrap_or_default();
        let letters = names.iter().filter(|name| is_letter(name));
        Ok(letters.map(|letter| path.join(letter)).collect())
    }

    /// Locks a root for this transaction; `None` if it does not exist and is not to be created.
    fn touch(&mut self, root: &[u8], create: Create) -> Result<Option<&mut Touched>, DbError> {
        if !self.touched.contains_key(root) {
            let path = self.path(root)?;
            if create == Create::No && self.disk.status(&path)?.is_none() {
                return Ok(None);
            }
            let file = self
                .disk
                .open_locked(&path, MODE, LockKind::Exclusive, self.deadline)?;
            let change = Change::None;
            self.touched
                .insert(root.to_owned(), Touched { file, change });
        }
        Ok(self.touched.get_mut(root))
    }

    /// The value of a root as this transaction left it.
    fn value(&mut self, root: &[u8]) -> Result<Option<Vec<u8>>, DbError> {
        match self.touched.get(root) {
            Some(Touched {
                change: Change::Put(value),
                ..
            }) => Ok(Some(value.clone())),
            Some(Touched {
                change: Change::Delete,
                ..
            }) => Ok(None),
            Some(Touched { file, .. }) => read_value(file),
            None => {
                let path = self.path(root)?;
                match if_exists(self.disk.open_read(&path))? {
                    Some(file) => read_value(&file),
                    None => Ok(None),
                }
            }
        }
    }

    /// Leaves nothing behind of a file that was created only to be locked.
    fn remove_if_empty(&self, file: &DiskFile) -> Result<(), DbError> {
        if file.is_empty()? {
            self.disk.unlink(file.path())?;
        }
        Ok(())
    }

    fn make(&self, touched: &Touched) -> Result<(), DbError> {
        let path = touched.file.path();
        match &touched.change {
            Change::None => self.remove_if_empty(&touched.file),
            Change::Delete => {
                self.disk.unlink(path)?;
                let directory = path.parent().unwrap_or(Path::new(""));
                Ok(self.disk.sync_dir(directory)?)
            }
            Change::Put(value) => {
                let replacement = self.disk.replace(path, MODE)?;
                let new = replacement.file();
                new.lock(LockKind::Exclusive, self.deadline)?;
                new.write_at(0, &encode(value))?;
                replacement.commit()?;
                Ok(())
            }
        }
    }
}

impl Engine for QuotaLegacy {
    /// Takes no lock: a file is never changed, but replaced.
    fn lock_shared(&mut self, _deadline: Instant) -> Result<(), DbError> {
        Ok(())
    }

    /// Files are locked when they are touched.
    fn lock_exclusive(&mut self, deadline: Instant) -> Result<(), DbError> {
        self.deadline = deadline;
        Ok(())
    }

    fn unlock(&mut self) -> Result<(), DbError> {
        self.touched.clear();
        Ok(())
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, DbError> {
        self.value(key)
    }

    fn stretch(&mut self, prefix: &[u8], after: Option<&[u8]>) -> Result<Stretch, DbError> {
        let start = match after {
            None => {
                self.listing = self.list()?;
                let created = self.touched.keys().cloned();
                self.listing.extend(created);
                self.listing.sort();
                self.listing.dedup();
                self.listing
                    .partition_point(|root| root.as_slice() < prefix)
            }
            Some(after) => self
                .listing
                .partition_point(|root| root.as_slice() <= after),
        };
        let mut stretch = Stretch::default();
        let rest = self.listing.get(start..).unwrap_or_default().to_vec();
        for root in rest {
            if stretch.is_full() || !root.starts_with(prefix) {
                break;
            }
            if let Some(value) = self.value(&root)? {
                stretch.push((root, value));
            }
        }
        Ok(stretch)
    }

    fn check(&mut self) -> Result<(), DbError> {
        for root in self.list()? {
            self.value(&root)?;
        }
        Ok(())
    }

    fn forget(&mut self) -> bool {
        false
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), DbError> {
        if value.contains(&b'\n') && !value.starts_with(b"%") {
            return Err(DbError::Unstorable {
                path: self.path(key)?,
                why: "its value is of the old form and contains a line feed",
            });
        }
        if let Some(touched) = self.touch(key, Create::Yes)? {
            touched.change = Change::Put(value.to_owned());
        }
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<bool, DbError> {
        if self.touch(key, Create::No)?.is_none() || self.value(key)?.is_none() {
            return Ok(false);
        }
        if let Some(touched) = self.touched.get_mut(key) {
            touched.change = Change::Delete;
        }
        Ok(true)
    }

    fn commit(&mut self) -> Result<(), DbError> {
        self.touched
            .values()
            .try_for_each(|touched| self.make(touched))
    }

    fn abort(&mut self) -> Result<(), DbError> {
        let mut touched = self.touched.values();
        touched.try_for_each(|touched| self.remove_if_empty(&touched.file))
    }

    fn is_repack_due(&self) -> bool {
        false
    }

    /// There is never any garbage.
    fn repack(&mut self) -> Result<(), DbError> {
        Ok(())
    }

    fn backend(&self) -> Backend {
        Backend::QuotaLegacy {
            full_hash: self.full_hash,
            virtual_domains: self.virtual_domains,
        }
    }
}

/// The hash letter of a directory level (databases §8.1).
fn hash_letter(text: &[u8], full: bool) -> char {
    if full {
        let before_dot = text.iter().take_while(|octet| **octet != b'.');
        let n = before_dot.fold(0u32, |n, octet| (n << 3) ^ (n >> 5) ^ u32::from(*octet));
        return char::from(b'A' + (n % 23) as u8);
    }
    match text.first().map(u8::to_ascii_lowercase) {
        Some(letter @ b'a'..=b'z') => char::from(letter),
        _ => 'q',
    }
}

/// The value in a file; `None` in an empty one.
fn read_value(file: &DiskFile) -> Result<Option<Vec<u8>>, DbError> {
    let length = usize::try_from(file.len()?).unwrap_or(usize::MAX);
    let mut content = file.read_at(0, length)?;
    match content.pop() {
        None => return Ok(None),
        Some(b'\n') => {}
        Some(_) => {
            let offset = content.len() as u64;
            return Err(DbError::corrupt(
                file.path(),
                offset,
                "there is no LF at the end",
            ));
        }
    }
    if !content.starts_with(b"%")
        && let Some(separator) = content.iter_mut().find(|octet| **octet == b'\n')
    {
        *separator = b' ';
    }
    Ok(Some(content))
}

fn encode(value: &[u8]) -> Vec<u8> {
    let mut content = value.to_owned();
    if !content.starts_with(b"%")
        && let Some(separator) = content.iter_mut().find(|octet| **octet == b' ')
    {
        *separator = b'\n';
    }
    content.push(b'\n');
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &Path, full_hash: bool, virtual_domains: bool) -> QuotaLegacy {
        let path = dir.join("quotas.db");
        let opened = QuotaLegacy::open(
            &Disk::default(),
            &path,
            full_hash,
            virtual_domains,
            Create::No,
        );
        opened.unwrap().unwrap()
    }

    #[test]
    fn paths_of_roots() {
        let dir = tempfile::tempdir().unwrap();
        let path = |db: &QuotaLegacy, root: &str| {
            let path = db.path(root.as_bytes()).unwrap();
            path.strip_prefix(dir.path())
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        };
        let plain = open(dir.path(), false, true);
        assert_eq!(path(&plain, "user.john^doe"), "quota/j/user.john^doe");
        assert_eq!(path(&plain, "shared"), "quota/s/shared");
        assert_eq!(path(&plain, "user.1"), "quota/q/user.1");
        assert_eq!(
            path(&plain, "x.org!user.a"),
            "domain/x/x.org/quota/a/user.a"
        );
        assert_eq!(path(&plain, "x.org!"), "domain/x/x.org/quota/root");
        let full = open(dir.path(), true, false);
        assert_eq!(path(&full, "user.john^doe"), "quota/B/user.john^doe");
        assert_eq!(
            path(&full, "x!y"),
            format!("quota/{}/x!y", hash_letter(b"x!y", true))
        );
        for (text, letter) in [("alice", 'L'), ("bo.b", 'S'), ("example.com", 'O')] {
            assert_eq!(hash_letter(text.as_bytes(), true), letter);
        }
        assert!(plain.path(b"user.../../etc").is_err());
    }

    #[test]
    fn the_separator_of_old_values_is_a_line_feed_on_disk() {
        assert_eq!(encode(b"17 100 M 1 2"), b"17\n100 M 1 2\n");
        assert_eq!(encode(b"%(S (1 2))"), b"%(S (1 2))\n");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("user.a");
        let read = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            read_value(&Disk::default().open_read(&path).unwrap())
        };
        assert_eq!(read(b"17\n100 M 1 2\n").unwrap().unwrap(), b"17 100 M 1 2");
        assert_eq!(read(b"%(S (1 2))\n").unwrap().unwrap(), b"%(S (1 2))");
        assert_eq!(read(b"").unwrap(), None);
        assert!(read(b"17\n100").unwrap_err().is_corrupt());
    }

    #[test]
    fn files_locked_in_vain_leave_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut db = open(dir.path(), false, false);
        db.put(b"user.a", b"%()").unwrap();
        db.abort().unwrap();
        db.unlock().unwrap();
        assert!(db.list().unwrap().is_empty());
    }
}
