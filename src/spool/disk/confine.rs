//! Directories that nothing below them leads out of: no symbolic link, and no name.
//!
//! A path below one of them is not followed by the system from `/` on. Its directory is looked up
//! from a handle of the confining directory, beneath which all must stay, and the last name is then
//! taken in that directory and nowhere else.

mod lookup;

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::open;
use nix::sys::stat::Mode;

use lookup::{DIRECTORY, Lookup};

/// A confining directory. Clones share its handle.
#[derive(Clone, Debug)]
pub struct Root {
    path: PathBuf,
    last: Arc<Mutex<Option<Handle>>>,
}

/// The handle of a confining directory that was opened last.
#[derive(Debug)]
struct Handle {
    handle: Arc<OwnedFd>,
    opened: Instant,
}

/// For how long one handle of a confining directory serves: what is mounted or moved there is seen
/// that much later.
const SERVES: Duration = Duration::from_secs(1);

impl Root {
    /// The directory at `path`.
    pub fn new(path: PathBuf) -> Root {
        Root {
            path,
            last: Arc::default(),
        }
    }

    fn open(&self) -> io::Result<Arc<OwnedFd>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = &*last
            && last.opened.elapsed() < SERVES
        {
            return Ok(Arc::clone(&last.handle));
        }
        *last = None;
        let handle = Arc::new(open(&self.path, DIRECTORY, Mode::empty())?);
        *last = Some(Handle {
            handle: Arc::clone(&handle),
            opened: Instant::now(),
        });
        Ok(handle)
    }

    /// A handle of the directory at `path`, which is this one or below it.
    fn directory(&self, path: &Path) -> io::Result<Arc<OwnedFd>> {
        let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        let below = path
            .strip_prefix(&self.path)
            .ok()
            .filter(|below| below.components().all(is_plain))
            .ok_or_else(|| outside(&self.path))?;
        let root = self.open()?;
        if below.as_os_str().is_empty() {
            return Ok(root);
        }
        match Lookup::of_system().directory(root.as_fd(), below) {
            Ok(handle) => Ok(Arc::new(handle)),
            Err(Errno::EXDEV) => Err(outside(&self.path)),
            Err(error) => Err(error.into()),
        }
    }
}

/// A directory in or below a confining one whose handle is kept: it is looked up once for all the
/// names in it.
#[derive(Debug)]
pub struct Held {
    path: PathBuf,
    handle: Arc<OwnedFd>,
}

impl Held {
    /// Looks up the directory at `path`; `None` if none of `roots` confines it.
    ///
    /// # Errors
    /// If it leads out of its confining directory, or does not exist.
    pub fn new(roots: &[Root], path: &Path) -> io::Result<Option<Held>> {
        let Some(root) = root_of(roots, path) else {
            return Ok(None);
        };
        Ok(Some(Held {
            path: path.to_owned(),
            handle: root.directory(path)?,
        }))
    }

    /// A file in this directory; `None` if `path` names something elsewhere.
    pub fn confine(&self, path: &Path) -> Option<Confined> {
        let parent = path.parent()?;
        let name = path.file_name()?;
        (parent.as_os_str() == self.path.as_os_str())
            .then(|| Confined::new(Arc::clone(&self.handle), name))
    }
}

/// A path that names the same file however links change meanwhile.
#[derive(Debug)]
pub struct Confined {
    path: PathBuf,
    /// The directory; the path leads through it while it is open.
    directory: Option<Arc<OwnedFd>>,
}

impl AsRef<Path> for Confined {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

impl Confined {
    fn new(directory: Arc<OwnedFd>, name: &OsStr) -> Confined {
        Confined {
            path: Path::new("/proc/self/fd")
                .join(directory.as_raw_fd().to_string())
                .join(name),
            directory: Some(directory),
        }
    }

    /// Whether it is in a confining directory.
    pub fn is_confined(&self) -> bool {
        self.directory.is_some()
    }
}

/// Confines `path` to the innermost of `roots` that it is below; elsewhere it stays as it is.
///
/// # Errors
/// If it leads out of that directory, or the directory it is in does not exist.
pub fn confine(roots: &[Root], path: &Path) -> io::Result<Confined> {
    let Some(root) = root_of(roots, path).filter(|root| path != root.path) else {
        return Ok(Confined {
            path: path.to_owned(),
            directory: None,
        });
    };
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(outside(&root.path));
    };
    Ok(Confined::new(root.directory(parent)?, name))
}

/// The innermost of `roots` that `path` is in, or is itself.
fn root_of<'a>(roots: &'a [Root], path: &Path) -> Option<&'a Root> {
    roots
        .iter()
        .filter(|root| path.starts_with(&root.path))
        .max_by_key(|root| root.path.as_os_str().len())
}

fn outside(root: &Path) -> io::Error {
    let text = format!("it leads out of {}", root.display());
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// What the system says of a symbolic link that is not to be followed, in words.
pub fn not_a_link(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) if code == Errno::ELOOP as i32 => {
            io::Error::new(io::ErrorKind::InvalidInput, "it is a symbolic link")
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use super::super::{Disk, DiskError, FILE_MODE};
    use super::*;

    struct Scene {
        directory: tempfile::TempDir,
        disk: Disk,
    }

    impl Scene {
        /// A store with a mailbox, and something outside.
        fn new() -> Scene {
            let directory = tempfile::tempdir().unwrap();
            for name in ["store/user/anna", "store/user/bert", "outside"] {
                std::fs::create_dir_all(directory.path().join(name)).unwrap();
            }
            std::fs::write(directory.path().join("outside/secret"), "secret").unwrap();
            std::fs::write(directory.path().join("store/user/anna/1."), "mail").unwrap();
            let disk = Disk::new(0o077, Duration::ZERO);
            Scene {
                disk: disk.confined_to(vec![directory.path().join("store")]),
                directory,
            }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }
    }

    fn refusal<T>(result: Result<T, DiskError>) -> String {
        match result {
            Ok(_) => panic!("not refused"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_is_inside_is_reached() {
        let scene = Scene::new();
        let (disk, file) = (&scene.disk, scene.path("store/user/anna/1."));
        assert_eq!(disk.read(&file).unwrap().unwrap(), b"mail");
        let moved = scene.path("store/user/bert/2.");
        disk.hard_link(&file, &moved).unwrap();
        disk.rename(&moved, &scene.path("store/user/bert/3."))
            .unwrap();
        disk.create_dirs(&scene.path("store/new/a/b")).unwrap();
        disk.open_or_create(&scene.path("store/new/c/d"), FILE_MODE)
            .unwrap();
        assert!(disk.unlink(&file).unwrap() && disk.metadata(&file).unwrap().is_none());
        let names = disk.read_dir(&scene.path("store/user/bert")).unwrap();
        assert_eq!(names.unwrap(), ["3."]);
        // A link that stays inside leads where it says.
        symlink("bert", scene.path("store/user/carl")).unwrap();
        assert!(
            disk.read(&scene.path("store/user/carl/3."))
                .unwrap()
                .is_some()
        );
    }

    #[test]
    fn nodirectory_leads_outside() {
        let scene = Scene::new();
        let disk = &scene.disk;
        symlink(scene.path("outside"), scene.path("store/user/eve")).unwrap();
        symlink("../../outside", scene.path("store/user/mallory")).unwrap();
        for user in ["eve", "mallory"] {
            let path = scene.path(&format!("store/user/{user}/secret"));
            let inside = scene.path("store/user/anna/1.");
            let other = scene.path(&format!("store/user/{user}/new"));
            for text in [
                refusal(disk.open_read(&path)),
                refusal(disk.open_write(&path)),
                refusal(disk.read(&path)),
                refusal(disk.create_new(&other, FILE_MODE)),
                refusal(disk.open_or_create(&other, FILE_MODE)),
                refusal(disk.unlink(&path)),
                refusal(disk.rename(&inside, &other)),
                refusal(disk.hard_link(&inside, &other)),
                refusal(disk.create_dirs(&other)),
                refusal(disk.replace(&path, FILE_MODE)),
                refusal(disk.metadata(&path)),
                refusal(disk.read_dir(&scene.path(&format!("store/user/{user}/x")))),
            ] {
                assert!(text.contains("it leads out of"), "{text}");
            }
        }
        let text = refusal(disk.read(&scene.path("store/user/../../outside/secret")));
        assert!(text.contains("it leads out of"), "{text}");
        assert_eq!(
            std::fs::read(scene.path("outside/secret")).unwrap(),
            b"secret"
        );
        assert_eq!(std::fs::read_dir(scene.path("outside")).unwrap().count(), 1);
    }

    #[test]
    fn a_held_directory_is_looked_up_once() {
        let scene = Scene::new();
        let (anna, bert) = (scene.path("store/user/anna"), scene.path("store/user/bert"));
        let disk = scene.disk.holding(&anna).unwrap();
        let both = disk.holding(&bert).unwrap();
        // Whoever moves it all the same does not lead us elsewhere.
        std::fs::rename(&anna, scene.path("store/user/carl")).unwrap();
        symlink(scene.path("outside"), &anna).unwrap();
        both.hard_link(&anna.join("1."), &bert.join("2.")).unwrap();
        assert_eq!(disk.read(&bert.join("2.")).unwrap().unwrap(), b"mail");
        assert!(disk.read(&anna.join("secret")).unwrap().is_none());
        assert!(disk.unlink(&anna.join("1.")).unwrap());
        let below = refusal(disk.read(&anna.join("x/../secret")));
        assert!(below.contains("it leads out of"), "{below}");
        let text = refusal(scene.disk.holding(&anna));
        assert!(text.contains("it leads out of"), "{text}");
        assert!(
            scene
                .disk
                .holding(&scene.path("store/none"))
                .unwrap_err()
                .is_not_found()
        );
    }

    #[test]
    fn no_file_is_a_link() {
        let scene = Scene::new();
        let link = scene.path("store/user/anna/2.");
        symlink(scene.path("outside/secret"), &link).unwrap();
        for text in [
            refusal(scene.disk.open_read(&link)),
            refusal(scene.disk.open_write(&link)),
            refusal(scene.disk.read(&link)),
            refusal(scene.disk.open_or_create(&link, FILE_MODE)),
        ] {
            assert!(text.contains("it is a symbolic link"), "{text}");
        }
        // Removing one removes the link.
        assert!(scene.disk.unlink(&link).unwrap());
        assert!(scene.path("outside/secret").exists());
    }
}
