//! An open file.

use std::fs::{File, FileTimes};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

use nix::fcntl::{self, PosixFadviseAdvice};

use super::recorder::FileNumber;
use super::{Disk, DiskError, Identity, Named, Status, Step, status};

/// An open file, read and written at given positions. Dropping it closes it and releases its
/// lock.
#[derive(Debug)]
pub struct DiskFile {
    pub(super) disk: Disk,
    pub(super) file: File,
    pub(super) path: PathBuf,
    /// Which file it is, once somebody asked.
    identity: OnceLock<Identity>,
    /// The recorder's number for the file; 0 without a recorder.
    number: FileNumber,
}

impl DiskFile {
    pub(super) fn new(disk: &Disk, file: File, path: &Path) -> DiskFile {
        let number = match &disk.settings.recorder {
            None => 0,
            Some(recorder) => recorder.number_of(path),
        };
        DiskFile {
            disk: disk.clone(),
            file,
            path: path.to_owned(),
            identity: OnceLock::new(),
            number,
        }
    }

    /// The name under which it was opened; another file may have it by now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the system knows of the file.
    pub fn status(&self) -> Result<Status, DiskError> {
        status::of_file(&self.file).named("look at", &self.path)
    }

    /// Which file it is.
    pub fn identity(&self) -> Result<Identity, DiskError> {
        if let Some(identity) = self.identity.get() {
            return Ok(*identity);
        }
        let identity = self.status()?.identity();
        Ok(*self.identity.get_or_init(|| identity))
    }

    /// Length in bytes.
    pub fn len(&self) -> Result<u64, DiskError> {
        Ok(self.status()?.length())
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> Result<bool, DiskError> {
        Ok(self.len()? == 0)
    }

    /// Up to `limit` bytes from `offset`; fewer only where the file ends.
    pub fn read_at(&self, offset: u64, limit: usize) -> Result<Vec<u8>, DiskError> {
        let mut buffer = vec![0; limit];
        let length = self.read_into(offset, &mut buffer)?;
        buffer.truncate(length);
        Ok(buffer)
    }

    /// Fills `buffer` from `offset`; returns how much there was before the end of the file.
    pub fn read_into(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset + done as u64) {
                Ok(0) => break,
                Ok(length) => done += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).named("read", &self.path),
            }
        }
        self.tell_read(done);
        Ok(done)
    }

    /// Fills `buffer` from `offset`; that the file ends before is an error.
    pub fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        self.file
            .read_exact_at(buffer, offset)
            .named("read", &self.path)?;
        self.tell_read(buffer.len());
        Ok(())
    }

    fn tell_read(&self, octets: usize) {
        if let Some(recorder) = &self.disk.settings.recorder {
            recorder.read(&self.path, octets);
        }
    }

    /// Writes all of `data` at `offset`.
    pub fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        let step = || Step::Write {
            path: self.path.clone(),
            file: self.number,
            offset,
            data: data.to_owned(),
        };
        self.disk
            .step(step, || self.file.write_all_at(data, offset))
            .named("write", &self.path)
    }

    /// Writes all of `data` at the present end; returns where that was. The caller holds the
    /// lock that keeps others from appending.
    pub fn append(&self, data: &[u8]) -> Result<u64, DiskError> {
        let end = self.len()?;
        self.write_at(end, data)?;
        Ok(end)
    }

    /// Cuts the file, or lengthens it with zeros.
    pub fn truncate(&self, length: u64) -> Result<(), DiskError> {
        let step = || Step::Truncate {
            path: self.path.clone(),
            file: self.number,
            length,
        };
        self.disk
            .step(step, || self.file.set_len(length))
            .named("truncate", &self.path)
    }

    /// A further descriptor of the same opening of the file: it shares the lock, which is
    /// released when the last of them is closed.
    pub fn try_clone(&self) -> Result<DiskFile, DiskError> {
        Ok(DiskFile {
            disk: self.disk.clone(),
            file: self.file.try_clone().named("open", &self.path)?,
            path: self.path.clone(),
            identity: self.identity.clone(),
            number: self.number,
        })
    }

    /// Lets the system begin to write what was just written from `offset` on to the disk, so that a
    /// sync has less to wait for. Nothing is promised by that.
    pub fn start_writing(&self, offset: u64) {
        // What is said not to be needed in memory is written at once. Only what is on the disk
        // already is forgotten: nothing before the offset, which others may be reading. A system that
        // does not care for advice writes when it is synced.
        let advice = PosixFadviseAdvice::POSIX_FADV_DONTNEED;
        if let Ok(offset) = i64::try_from(offset) {
            let _ = fcntl::posix_fadvise(&self.file, offset, 0, advice);
        }
    }

    /// Makes content and attributes durable. The name is durable after [`Disk::sync_dir`] only.
    pub fn sync_all(&self) -> Result<(), DiskError> {
        self.disk
            .step(|| self.sync_step(), || self.file.sync_all())
            .named("sync", &self.path)
    }

    /// Makes content and length durable.
    pub fn sync_data(&self) -> Result<(), DiskError> {
        self.disk
            .step(|| self.sync_step(), || self.file.sync_data())
            .named("sync", &self.path)
    }

    /// Sets the times of access and change of the content.
    pub fn set_times(&self, time: SystemTime) -> Result<(), DiskError> {
        let times = FileTimes::new().set_accessed(time).set_modified(time);
        let step = || Step::SetTimes {
            path: self.path.clone(),
        };
        self.disk
            .step(step, || self.file.set_times(times))
            .named("set the times of", &self.path)
    }

    fn sync_step(&self) -> Step {
        Step::Sync {
            path: self.path.clone(),
            file: self.number,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::FILE_MODE;
    use super::*;

    #[test]
    fn reads_end_where_the_file_ends() {
        let dir = tempfile::tempdir().unwrap();
        let file = Disk::default()
            .create_new(&dir.path().join("file"), FILE_MODE)
            .unwrap();
        assert!(file.is_empty().unwrap());
        assert_eq!(file.append(b"0123").unwrap(), 0);
        assert_eq!(file.append(b"4567").unwrap(), 4);
        assert_eq!(file.read_at(6, 10).unwrap(), b"67");
        assert_eq!(file.read_at(60, 10).unwrap(), b"");
        assert!(file.read_exact_at(6, &mut [0; 3]).is_err());
        file.truncate(5).unwrap();
        assert_eq!(file.read_at(0, 10).unwrap(), b"01234");
    }
}
