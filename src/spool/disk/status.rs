//! What the system knows of a file.

use std::fs::File;
use std::io;
use std::time::{Duration, SystemTime};

use nix::sys::stat::{self, FileStat, SFlag};

/// Which file it is, whatever its name: two descriptors are of one file if these are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Number of the device.
    pub device: u64,
    /// Number of the inode on it.
    pub inode: u64,
}

/// What the system knows of a file, as of the moment when it was asked.
#[derive(Clone, Copy, Debug)]
pub struct Status(FileStat);

impl From<FileStat> for Status {
    fn from(status: FileStat) -> Status {
        Status(status)
    }
}

impl Status {
    /// Which file it is.
    pub fn identity(&self) -> Identity {
        Identity {
            device: self.0.st_dev,
            inode: self.0.st_ino,
        }
    }

    /// Length in octets.
    pub fn length(&self) -> u64 {
        u64::try_from(self.0.st_size).unwrap_or(0)
    }

    /// The permissions: the lower twelve bits of the mode.
    pub fn permissions(&self) -> u32 {
        self.0.st_mode & 0o7777
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        SFlag::from_bits_truncate(self.0.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR
    }

    /// When its content was changed last; the epoch if that was before.
    pub fn modified(&self) -> SystemTime {
        let seconds = u64::try_from(self.0.st_mtime).unwrap_or(0);
        let nanoseconds = u32::try_from(self.0.st_mtime_nsec).unwrap_or(0);
        SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds)
    }
}

/// What the system knows of an open file.
pub fn of_file(file: &File) -> io::Result<Status> {
    Ok(stat::fstat(file)?.into())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Disk;

    #[test]
    fn it_tells_what_the_standard_library_tells() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, b"12345").unwrap();
        let disk = Disk::default();
        let status = |path: &Path| disk.status(path).unwrap().unwrap();
        assert!(status(directory.path()).is_directory() && !status(&file).is_directory());
        let expected = std::fs::metadata(&file).unwrap();
        let found = status(&file);
        assert_eq!(found.length(), 5);
        assert_eq!(found.modified(), expected.modified().unwrap());
        let other = disk.open_read(&file).unwrap().status().unwrap();
        assert_eq!(found.identity(), other.identity());
        assert_ne!(found.identity(), status(directory.path()).identity());
    }
}
