//! The system calls that take a name, each in the directory where the name was confined.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{self, AtFlags, OFlag};
use nix::sys::stat::{self, FchmodatFlags, Mode};
use nix::unistd::{self, UnlinkatFlags};

use super::confine::{Confined, not_a_link};
use super::status::Status;

/// What is to be done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It is read.
    Read,
    /// It is read and written.
    Write,
    /// It is made, and must not exist yet; then it is read and written.
    Create,
}

impl Access {
    fn flags(self) -> OFlag {
        match self {
            Access::Read => OFlag::O_RDONLY,
            Access::Write => OFlag::O_RDWR,
            Access::Create => OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL,
        }
    }
}

impl Confined<'_> {
    /// Opens the file, but not by a symbolic link if the directory is a confining one.
    pub fn open(&self, access: Access, mode: u32) -> io::Result<File> {
        let follow = match self.is_confined() {
            true => OFlag::O_NOFOLLOW,
            false => OFlag::empty(),
        };
        let flags = access.flags() | OFlag::O_CLOEXEC | follow;
        loop {
            match fcntl::openat(self.directory(), self.name(), flags, permissions(mode)) {
                Err(Errno::EINTR) => {}
                opened => return opened.map(File::from).map_err(not_a_link),
            }
        }
    }

    /// Opens the directory itself, to be synced.
    pub fn open_directory(&self) -> io::Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let opened = fcntl::openat(self.directory(), self.name(), flags, Mode::empty())?;
        Ok(File::from(opened))
    }

    /// What the system knows of it. Follows symbolic links.
    pub fn status(&self) -> io::Result<Status> {
        let found = stat::fstatat(self.directory(), self.name(), AtFlags::empty())?;
        Ok(found.into())
    }

    /// Gives it another name, taking that from whatever had it.
    pub fn rename(&self, to: &Confined<'_>) -> io::Result<()> {
        let renamed = fcntl::renameat(self.directory(), self.name(), to.directory(), to.name());
        Ok(renamed?)
    }

    /// Gives the file a further name.
    pub fn hard_link(&self, to: &Confined<'_>) -> io::Result<()> {
        let (from, to) = ((self.directory(), self.name()), (to.directory(), to.name()));
        Ok(unistd::linkat(
            from.0,
            from.1,
            to.0,
            to.1,
            AtFlags::empty(),
        )?)
    }

    /// Makes a symbolic link of this name.
    pub fn symbolic_link(&self, target: &Path) -> io::Result<()> {
        Ok(unistd::symlinkat(target, self.directory(), self.name())?)
    }

    /// Where the symbolic link of this name leads.
    pub fn link_target(&self) -> io::Result<OsString> {
        Ok(fcntl::readlinkat(self.directory(), self.name())?)
    }

    /// Removes the name of a file.
    pub fn unlink(&self) -> io::Result<()> {
        let flag = UnlinkatFlags::NoRemoveDir;
        Ok(unistd::unlinkat(self.directory(), self.name(), flag)?)
    }

    /// Removes an empty directory.
    pub fn remove_directory(&self) -> io::Result<()> {
        let flag = UnlinkatFlags::RemoveDir;
        Ok(unistd::unlinkat(self.directory(), self.name(), flag)?)
    }

    /// Makes a directory with these permissions, whatever the umask of the process.
    pub fn make_directory(&self, mode: u32) -> io::Result<()> {
        let (directory, name, mode) = (self.directory(), self.name(), permissions(mode));
        stat::mkdirat(directory, name, mode)?;
        let flag = FchmodatFlags::FollowSymlink;
        Ok(stat::fchmodat(directory, name, mode, flag)?)
    }

    /// The names in the directory, without `.` and `..`.
    pub fn list(&self) -> io::Result<Vec<OsString>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut names = Vec::new();
        for entry in Dir::openat(self.directory(), self.name(), flags, Mode::empty())?.into_iter() {
            let name = entry?.file_name().to_bytes().to_owned();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(&name).to_owned());
            }
        }
        Ok(names)
    }
}

fn permissions(mode: u32) -> Mode {
    Mode::from_bits_truncate(mode)
}
