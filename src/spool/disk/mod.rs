//! The one door to the disk: whatever reads or changes the mail store passes here.
//!
//! [`Disk`] works on paths, [`DiskFile`] on an open file. Everything blocks. Every step that
//! changes the disk can be logged by a [`Recorder`], with which a test cuts the power after any
//! step and looks at what a restart would find; without one the step is just the system call.
//!
//! Modes are given in full (0666 for files, 0777 for directories as a rule) and reduced by the
//! umask of the configuration, never by that of the process (databases §16.3).

mod calls;
mod confine;
mod file;
mod lock;
mod recorder;
mod replace;
mod status;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::service::watchdog;

use calls::Access;
use confine::{Confined, Held, Root};
pub use file::DiskFile;
pub use lock::LockKind;
pub use recorder::{Recorder, Step, Survival};
pub use replace::Replacement;
pub use status::{Identity, Status};

/// The mode of new files, before the umask (databases §16.3).
pub const FILE_MODE: u32 = 0o666;
/// The mode of new directories, before the umask.
pub const DIRECTORY_MODE: u32 = 0o777;

/// Octets that are read at once of a file that is read as a whole.
const SMALL_FILE: usize = 4096;

/// What went wrong, on which file.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// A system call failed.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb: "open", "write", "rename" …
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Another process or session kept a lock beyond the deadline.
    #[error("no {kind} lock on {} within {:.1} seconds", path.display(), waited.as_secs_f64())]
    LockTimeout {
        /// The file.
        path: PathBuf,
        /// The lock that was wanted.
        kind: LockKind,
        /// How long it was tried.
        waited: Duration,
    },
}

impl DiskError {
    /// Whether a file or a directory on the way to it does not exist.
    pub fn is_not_found(&self) -> bool {
        self.is_kind(io::ErrorKind::NotFound)
    }

    /// Whether a file was to be new but exists.
    pub fn is_already_exists(&self) -> bool {
        self.is_kind(io::ErrorKind::AlreadyExists)
    }

    /// Whether the same may succeed later with nothing repaired: locks, a full disk, a lack of
    /// descriptors or memory.
    pub fn is_temporary(&self) -> bool {
        use nix::libc::{EAGAIN, EDQUOT, EINTR, EMFILE, ENFILE, ENOMEM, ENOSPC};
        match self {
            DiskError::LockTimeout { .. } => true,
            DiskError::Io { source, .. } => matches!(
                source.raw_os_error(),
                Some(EAGAIN | EDQUOT | EINTR | EMFILE | ENFILE | ENOMEM | ENOSPC)
            ),
        }
    }

    fn is_kind(&self, wanted: io::ErrorKind) -> bool {
        matches!(self, DiskError::Io { source, .. } if source.kind() == wanted)
    }
}

/// Turns "does not exist" into `None`.
pub fn if_exists<T>(result: Result<T, DiskError>) -> Result<Option<T>, DiskError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Names operation and file in the error of a system call.
trait Named<T> {
    fn named(self, operation: &'static str, path: &Path) -> Result<T, DiskError>;
}

impl<T> Named<T> for io::Result<T> {
    fn named(self, operation: &'static str, path: &Path) -> Result<T, DiskError> {
        // Every operation comes by here when it is over, so a hanging disk shows by its silence.
        watchdog::progress();
        self.map_err(|source| DiskError::Io {
            operation,
            path: path.to_owned(),
            source,
        })
    }
}

/// The disk, with the settings that hold for all of it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Disk {
    settings: Arc<Settings>,
}

#[derive(Clone, Debug)]
struct Settings {
    umask: u32,
    lock_timeout: Duration,
    /// Directories that nothing below them may lead out of.
    roots: Arc<[Root]>,
    /// Directories that are looked up no more.
    held: Vec<Arc<Held>>,
    recorder: Option<Recorder>,
}

impl Default for Disk {
    /// Umask 077, locks within 60 seconds.
    fn default() -> Disk {
        Disk::new(0o077, Duration::from_secs(60))
    }
}

impl Disk {
    /// The disk with the umask of the configuration (option `umask`) and the longest wait for a
    /// lock where a caller names no deadline.
    pub fn new(umask: u32, lock_timeout: Duration) -> Disk {
        Disk {
            settings: Arc::new(Settings {
                umask,
                lock_timeout,
                roots: Arc::default(),
                held: Vec::new(),
                recorder: None,
            }),
        }
    }

    /// The same disk, where what is below one of these directories cannot lead out of it, and no
    /// file there is opened by a symbolic link.
    pub fn confined_to(&self, roots: Vec<PathBuf>) -> Disk {
        let settings = Settings {
            roots: roots.into_iter().map(Root::new).collect(),
            held: Vec::new(),
            ..Settings::clone(&self.settings)
        };
        Disk {
            settings: Arc::new(settings),
        }
    }

    /// The same disk for many files in `directory`, which is looked up now and not again. It must
    /// be one that nobody moves meanwhile, because it is locked or our own.
    ///
    /// # Errors
    /// If it leads out of a confining directory, or does not exist.
    pub fn holding(&self, directory: &Path) -> Result<Disk, DiskError> {
        let held = Held::new(&self.settings.roots, directory).named("open", directory)?;
        let mut settings = Settings::clone(&self.settings);
        settings.held.extend(held.map(Arc::new));
        Ok(Disk {
            settings: Arc::new(settings),
        })
    }

    /// The name by which the system is asked for `path`, and where.
    fn at<'p>(&self, path: &'p Path) -> io::Result<Confined<'p>> {
        let held = self.settings.held.iter();
        match held.filter_map(|held| held.confine(path)).next_back() {
            Some(confined) => Ok(confined),
            None => confine::confine(&self.settings.roots, path),
        }
    }

    /// The same for a directory, which may be one that is held.
    fn directory_at<'p>(&self, path: &'p Path) -> io::Result<Confined<'p>> {
        let held = self.settings.held.iter();
        match held.filter_map(|held| held.itself(path)).next_back() {
            Some(confined) => Ok(confined),
            None => self.at(path),
        }
    }

    fn open(&self, access: Access, path: &Path) -> Result<DiskFile, DiskError> {
        let open = || self.at(path)?.open(access, 0);
        Ok(DiskFile::new(self, open().named("open", path)?, path))
    }

    /// The same disk with every change logged by `recorder`.
    pub fn recorded_by(&self, recorder: &Recorder) -> Disk {
        let mut settings = Settings::clone(&self.settings);
        settings.recorder = Some(recorder.clone());
        Disk {
            settings: Arc::new(settings),
        }
    }

    /// The deadline of a lock wanted at this moment.
    pub fn lock_deadline(&self) -> Instant {
        Instant::now() + self.settings.lock_timeout
    }

    /// Opens an existing file for reading.
    pub fn open_read(&self, path: &Path) -> Result<DiskFile, DiskError> {
        self.open(Access::Read, path)
    }

    /// Opens an existing file for reading and writing.
    pub fn open_write(&self, path: &Path) -> Result<DiskFile, DiskError> {
        self.open(Access::Write, path)
    }

    /// Opens a file for reading and writing; creates it, and missing directories above it, if it
    /// does not exist.
    pub fn open_or_create(&self, path: &Path, mode: u32) -> Result<DiskFile, DiskError> {
        let mut tries = 0;
        loop {
            if let Some(file) = if_exists(self.open_write(path))? {
                return Ok(file);
            }
            if let Some(parent) = path.parent() {
                self.create_dirs(parent)?;
            }
            match self.create_new(path, mode) {
                // Somebody came between, or it is a symbolic link that leads nowhere.
                Err(error) if tries < 10 && (error.is_already_exists() || error.is_not_found()) => {
                    tries += 1;
                }
                result => return result,
            }
        }
    }

    /// Creates a file that must not exist yet, open for reading and writing.
    pub fn create_new(&self, path: &Path, mode: u32) -> Result<DiskFile, DiskError> {
        let mode = mode & !self.settings.umask;
        let create = || {
            let file = self.at(path)?.open(Access::Create, mode)?;
            // The umask of the process may be another one.
            if status::of_file(&file)?.permissions() != mode {
                file.set_permissions(fs::Permissions::from_mode(mode))?;
            }
            Ok(file)
        };
        let file = self
            .step(|| Step::Create { path: path.into() }, create)
            .named("create", path)?;
        Ok(DiskFile::new(self, file, path))
    }

    /// Starts to write a successor of `path`, whether or not there is a file now.
    pub fn replace(&self, path: &Path, mode: u32) -> Result<Replacement, DiskError> {
        Replacement::new(self, path, mode)
    }

    /// Renames a file, over another one if need be. Durable after [`Disk::sync_dir`].
    pub fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        let step = || Step::Rename {
            from: from.into(),
            to: to.into(),
        };
        self.step(step, || self.at(from)?.rename(&self.at(to)?))
            .named("rename", from)
    }

    /// Gives a file a further name, which must not exist. Durable after [`Disk::sync_dir`].
    pub fn hard_link(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        let step = || Step::HardLink {
            from: from.into(),
            to: to.into(),
        };
        self.step(step, || self.at(from)?.hard_link(&self.at(to)?))
            .named("make the link", to)
    }

    /// Makes a symbolic link, under a name that must not exist. Durable after [`Disk::sync_dir`].
    pub fn symbolic_link(&self, target: &Path, path: &Path) -> Result<(), DiskError> {
        let step = || Step::SymbolicLink {
            path: path.into(),
            target: target.into(),
        };
        self.step(step, || self.at(path)?.symbolic_link(target))
            .named("make the symbolic link", path)
    }

    /// Where a symbolic link leads; `None` if there is nothing.
    pub fn link_target(&self, path: &Path) -> Result<Option<PathBuf>, DiskError> {
        let read = || self.at(path)?.link_target();
        let target = if_exists(read().named("read the symbolic link", path))?;
        Ok(target.map(PathBuf::from))
    }

    /// Removes a name of a file; false if there is none. Durable after [`Disk::sync_dir`].
    pub fn unlink(&self, path: &Path) -> Result<bool, DiskError> {
        let step = || Step::Unlink { path: path.into() };
        let result = self
            .step(step, || self.at(path)?.unlink())
            .named("remove", path);
        Ok(if_exists(result)?.is_some())
    }

    /// Creates a directory and those above it that are missing, each durably.
    pub fn create_dirs(&self, path: &Path) -> Result<(), DiskError> {
        if path.as_os_str().is_empty() || path.is_dir() {
            return Ok(());
        }
        let parent = path.parent().unwrap_or(Path::new("/"));
        self.create_dirs(parent)?;
        let mode = DIRECTORY_MODE & !self.settings.umask;
        let create = || self.at(path)?.make_directory(mode);
        let step = || Step::CreateDir { path: path.into() };
        match self.step(step, create).named("create the directory", path) {
            Err(error) if error.is_already_exists() && path.is_dir() => Ok(()),
            Err(error) => Err(error),
            Ok(()) => self.sync_dir(parent),
        }
    }

    /// Removes an empty directory; false if there is none.
    pub fn remove_dir(&self, path: &Path) -> Result<bool, DiskError> {
        let step = || Step::Unlink { path: path.into() };
        let result = self
            .step(step, || self.at(path)?.remove_directory())
            .named("remove the directory", path);
        Ok(if_exists(result)?.is_some())
    }

    /// Makes the names in a directory durable: creations, renames, links, removals.
    pub fn sync_dir(&self, path: &Path) -> Result<(), DiskError> {
        let path = match path.as_os_str().is_empty() {
            true => Path::new("."),
            false => path,
        };
        let step = || Step::SyncDir { path: path.into() };
        self.step(step, || {
            self.directory_at(path)?.open_directory()?.sync_all()
        })
        .named("sync the directory", path)
    }

    /// Sets the times of access and change of the content.
    pub fn set_times(&self, path: &Path, time: SystemTime) -> Result<(), DiskError> {
        self.open_read(path)?.set_times(time)
    }

    /// What the system knows of a file; `None` if there is none. Follows symbolic links.
    pub fn status(&self, path: &Path) -> Result<Option<Status>, DiskError> {
        let look = || self.at(path)?.status();
        if_exists(look().named("look at", path))
    }

    /// The names in a directory, sorted, without `.` and `..`; `None` if there is no directory.
    pub fn read_dir(&self, path: &Path) -> Result<Option<Vec<OsString>>, DiskError> {
        let list = || self.directory_at(path)?.list();
        let names = if_exists(list().named("list", path))?;
        Ok(names.map(|mut names| {
            names.sort();
            names
        }))
    }

    /// A whole file; `None` if there is none. For small files only.
    pub fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, DiskError> {
        let read = || read_all(&self.at(path)?.open(Access::Read, 0)?);
        if_exists(read().named("read", path))
    }

    /// Copies the content of a file to a new one, durably, in pieces of bounded size.
    pub fn copy(&self, from: &Path, to: &Path, mode: u32) -> Result<(), DiskError> {
        let source = self.open_read(from)?;
        let target = self.create_new(to, mode)?;
        let mut offset = 0;
        loop {
            let piece = source.read_at(offset, 128 * 1024)?;
            if piece.is_empty() {
                return target.sync_all();
            }
            target.write_at(offset, &piece)?;
            offset += piece.len() as u64;
        }
    }

    /// Does one step that changes the disk, under the eyes of the recorder if there is one.
    fn step<T>(
        &self,
        step: impl FnOnce() -> Step,
        act: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        match &self.settings.recorder {
            None => act(),
            Some(recorder) => recorder.record(step(), act),
        }
    }
}

/// A small file as it is, without asking for its length before.
fn read_all(file: &File) -> io::Result<Vec<u8>> {
    let mut octets = vec![0; SMALL_FILE];
    let mut length = 0;
    loop {
        match file.read_at(&mut octets[length..], length as u64) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if length == octets.len() {
            octets.resize(2 * length, 0);
        }
    }
    octets.truncate(length);
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn modes_follow_the_configured_umask() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        for (umask, file, directory) in [(0o077, 0o600, 0o700), (0o002, 0o664, 0o775)] {
            let disk = Disk::new(umask, Duration::ZERO);
            let below = dir.path().join(format!("{umask}"));
            let path = below.join("a/file");
            disk.open_or_create(&path, FILE_MODE).unwrap();
            assert_eq!((mode(&path), mode(&below)), (file, directory));
        }
    }

    #[test]
    fn errors_name_the_file() {
        let error = Disk::default()
            .open_read(Path::new("/nonexistent/file"))
            .unwrap_err();
        assert!(error.is_not_found() && !error.is_temporary());
        assert!(
            error
                .to_string()
                .starts_with("cannot open /nonexistent/file: ")
        );
    }

    #[test]
    fn removing_what_is_not_there_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::default();
        assert!(!disk.unlink(&dir.path().join("none")).unwrap());
        assert!(!disk.remove_dir(&dir.path().join("none")).unwrap());
        assert!(disk.read_dir(&dir.path().join("none")).unwrap().is_none());
    }

    #[test]
    fn a_link_that_leads_nowhere_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("link");
        std::os::unix::fs::symlink("/nonexistent/file", &path).unwrap();
        let created = Disk::default().open_or_create(&path, FILE_MODE);
        assert!(created.unwrap_err().is_already_exists());
    }

    #[test]
    fn copies_are_complete() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let content: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
        fs::write(&from, &content).unwrap();
        let disk = Disk::default();
        disk.copy(&from, &to, FILE_MODE).unwrap();
        assert_eq!(disk.read(&to).unwrap().unwrap(), content);
        assert!(
            disk.copy(&from, &to, FILE_MODE)
                .unwrap_err()
                .is_already_exists()
        );
    }
}
