//! Replacing a file as a whole: a reader finds the old one or the new one, never a part.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{Disk, DiskError, DiskFile};

/// `NAME.NEW`, which becomes `NAME` by [`Replacement::commit`]; dropping it removes the file.
/// The caller holds the lock that keeps others from replacing the same file.
#[derive(Debug)]
pub struct Replacement {
    file: DiskFile,
    temporary: Temporary,
    target: PathBuf,
}

impl Replacement {
    pub(super) fn new(disk: &Disk, target: &Path, mode: u32) -> Result<Replacement, DiskError> {
        let mut name = OsString::from(target);
        name.push(".NEW");
        let mut temporary = Temporary {
            disk: disk.clone(),
            path: PathBuf::from(name),
            kept: true,
        };
        disk.unlink(&temporary.path)?;
        let file = disk.create_new(&temporary.path, mode)?;
        temporary.kept = false;
        Ok(Replacement {
            file,
            temporary,
            target: target.to_owned(),
        })
    }

    /// The new file, to be filled.
    pub fn file(&self) -> &DiskFile {
        &self.file
    }

    /// Makes the new file durable, gives it the name and makes that durable too. Returns the
    /// file, still open and, if it was locked, still locked.
    ///
    /// After an error the name stands for the old file or the new one, each complete.
    pub fn commit(mut self) -> Result<DiskFile, DiskError> {
        self.file.sync_all()?;
        let disk = &self.temporary.disk;
        disk.rename(&self.temporary.path, &self.target)?;
        self.temporary.kept = true;
        if let Some(directory) = self.target.parent() {
            disk.sync_dir(directory)?;
        }
        self.file.path = self.target;
        Ok(self.file)
    }
}

/// A file that is removed unless it is to be kept.
#[derive(Debug)]
struct Temporary {
    disk: Disk,
    path: PathBuf,
    kept: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.kept {
            // What cannot be removed is overwritten by the next replacement.
            let _ = self.disk.unlink(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::FILE_MODE;
    use super::*;

    #[test]
    fn only_a_commit_changes_the_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let disk = Disk::default();
        std::fs::write(&path, b"old").unwrap();
        std::fs::write(dir.path().join("file.NEW"), b"left by a crash").unwrap();

        let dropped = disk.replace(&path, FILE_MODE).unwrap();
        dropped.file().write_at(0, b"never").unwrap();
        drop(dropped);
        assert_eq!(disk.read(&path).unwrap().unwrap(), b"old");

        let replacement = disk.replace(&path, FILE_MODE).unwrap();
        replacement.file().write_at(0, b"new").unwrap();
        let file = replacement.commit().unwrap();
        assert_eq!(file.path(), path);
        assert_eq!(disk.read(&path).unwrap().unwrap(), b"new");
        assert_eq!(disk.read_dir(dir.path()).unwrap().unwrap(), ["file"]);
    }
}
