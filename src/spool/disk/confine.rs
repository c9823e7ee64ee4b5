//! Directories that nothing below them leads out of: no symbolic link, and no name.
//!
//! A path below one of them is not followed by the system from `/` on. Its directory is looked up
//! from a handle of the confining directory, beneath which all must stay, and the last name is then
//! taken in that directory and nowhere else.

mod lookup;

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, open};
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
            // Without what makes no difference, so that octets can be compared.
            path: path.components().collect(),
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

    /// A handle of this directory, or of one below it.
    fn directory(&self, below: &Path) -> io::Result<Arc<OwnedFd>> {
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
        let Some((root, below)) = innermost(roots, path)? else {
            return Ok(None);
        };
        Ok(Some(Held {
            path: path.to_owned(),
            handle: root.directory(below)?,
        }))
    }

    /// A file in this directory; `None` if `path` names something elsewhere.
    pub fn confine<'p>(&self, path: &'p Path) -> Option<Confined<'p>> {
        let own = self.path.as_os_str().as_bytes();
        match path.as_os_str().as_bytes().strip_prefix(own)? {
            [b'/', name @ ..] if is_name(name) => Some(self.at(Path::new(OsStr::from_bytes(name)))),
            _ => None,
        }
    }

    /// This directory, to be opened; `None` if `path` names something else.
    pub fn itself<'p>(&self, path: &Path) -> Option<Confined<'p>> {
        (path.as_os_str() == self.path.as_os_str()).then(|| self.at(Path::new(".")))
    }

    fn at<'p>(&self, name: &'p Path) -> Confined<'p> {
        Confined {
            directory: Some(Arc::clone(&self.handle)),
            name,
        }
    }
}

/// A name in a directory that stays the same one however links change meanwhile.
#[derive(Debug)]
pub struct Confined<'p> {
    directory: Option<Arc<OwnedFd>>,
    name: &'p Path,
}

impl Confined<'_> {
    /// Whether it is in a confining directory.
    pub fn is_confined(&self) -> bool {
        self.directory.is_some()
    }

    /// The directory from which the name is looked up.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory
            .as_ref()
            .map_or(AT_FDCWD, |directory| directory.as_fd())
    }

    /// The name; a whole path if no directory confines it.
    pub fn name(&self) -> &Path {
        self.name
    }
}

/// Confines `path` to the innermost of `roots` that it is below; elsewhere it stays as it is.
///
/// # Errors
/// If it leads out of that directory, or the directory it is in does not exist.
pub fn confine<'p>(roots: &[Root], path: &'p Path) -> io::Result<Confined<'p>> {
    let found = innermost(roots, path)?.and_then(|(root, below)| {
        let (directory, name) = (below.parent()?, below.file_name()?);
        Some((root, directory, Path::new(name)))
    });
    Ok(match found {
        Some((root, directory, name)) => Confined {
            directory: Some(root.directory(directory)?),
            name,
        },
        None => Confined {
            directory: None,
            name: path,
        },
    })
}

/// The innermost of `roots` that `path` is in, or is itself, and what is left of the path there:
/// nothing but names.
fn innermost<'r, 'p>(
    roots: &'r [Root],
    path: &'p Path,
) -> io::Result<Option<(&'r Root, &'p Path)>> {
    let octets = path.as_os_str().as_bytes();
    let only_names = octets.split(|octet| *octet == b'/').skip(1).all(is_name);
    let below = |root: &Root| match only_names {
        true => below_octets(root, octets),
        // As slow as it is rare.
        false => path.strip_prefix(&root.path).ok(),
    };
    let of_roots = roots.iter().filter_map(|root| Some((root, below(root)?)));
    let innermost = of_roots.max_by_key(|(root, _)| root.path.as_os_str().len());
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    match innermost {
        Some((root, below)) if !only_names && !below.components().all(is_plain) => {
            Err(outside(&root.path))
        }
        innermost => Ok(innermost),
    }
}

/// What is left of a path below `root`, if nothing in either is other than a name.
fn below_octets<'p>(root: &Root, path: &'p [u8]) -> Option<&'p Path> {
    let root = root.path.as_os_str().as_bytes();
    // All of `/` is below it, too.
    match path.strip_prefix(root.strip_suffix(b"/").unwrap_or(root))? {
        [] => Some(Path::new("")),
        [b'/', below @ ..] => Some(Path::new(OsStr::from_bytes(below))),
        _ => None,
    }
}

/// Whether these octets name something in a directory.
fn is_name(octets: &[u8]) -> bool {
    !matches!(octets, b"" | b"." | b"..") && !octets.contains(&b'/')
}

fn outside(root: &Path) -> io::Error {
    let text = format!("it leads out of {}", root.display());
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// What the system says of a symbolic link that is not to be followed, in words.
pub fn not_a_link(error: Errno) -> io::Error {
    match error {
        Errno::ELOOP => io::Error::new(io::ErrorKind::InvalidInput, "it is a symbolic link"),
        other => other.into(),
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
        assert!(disk.unlink(&file).unwrap() && disk.status(&file).unwrap().is_none());
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
            let odd = |form: &str| scene.path(&form.replace("USER", user));
            for text in [
                refusal(disk.read(&odd("store//user/USER/secret"))),
                refusal(disk.read(&odd("store/./user//USER/secret"))),
                refusal(disk.read(&odd("store/user/anna/../USER/secret"))),
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
                refusal(disk.status(&path)),
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
    fn what_is_below_a_root() {
        for (root, path, below) in [
            ("/var/spool", "/var/spool/user/a", Some("user/a")),
            ("/var/spool/", "/var/spool/user", Some("user")),
            ("/var//./spool", "/var/spool", Some("")),
            ("/var/spool", "/var/spool2/user", None),
            ("/var/spool", "/var", None),
            ("/", "/var/spool", Some("var/spool")),
            ("/", "/", Some("")),
        ] {
            let roots = [Root::new(PathBuf::from(root))];
            let found = innermost(&roots, Path::new(path)).unwrap();
            assert_eq!(
                found.map(|(_, below)| below),
                below.map(Path::new),
                "{root} {path}"
            );
        }
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
