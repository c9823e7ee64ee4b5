//! Looking up a directory beneath another one.

use std::ffi::OsString;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Component, Path};
use std::sync::LazyLock;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::Mode;

/// How handles of directories are opened.
pub const DIRECTORY: OFlag = OFlag::O_PATH
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC);

/// Symbolic links that are followed in one path, as many as the system follows.
const MAX_LINKS: u32 = 40;

/// Who does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The system, by one call of openat2.
    System,
    /// We, one name after the other, where there is no openat2: on a Linux before 5.6, or in a
    /// sandbox that forbids it.
    Steps,
}

impl Lookup {
    /// What this system allows, found out once.
    pub fn of_system() -> Lookup {
        static FOUND: LazyLock<Lookup> =
            LazyLock::new(|| match openat2(AT_FDCWD, ".", beneath()) {
                Err(Errno::ENOSYS | Errno::EPERM) => Lookup::Steps,
                _ => Lookup::System,
            });
        *FOUND
    }

    /// A handle of the directory at `path` beneath `root`. Symbolic links on the way are followed
    /// as long as they stay beneath it, however directories are moved meanwhile.
    ///
    /// # Errors
    /// EXDEV if the path leads out of `root`, else what the system says of it.
    pub fn directory(self, root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
        match self {
            // The system gives up on a `..` while something is renamed, wherever that is.
            Lookup::System => match openat2(root, path, beneath()) {
                Err(Errno::EAGAIN) => step_by_step(root, path),
                found => found,
            },
            Lookup::Steps => step_by_step(root, path),
        }
    }
}

fn beneath() -> OpenHow {
    OpenHow::new()
        .flags(DIRECTORY)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS)
}

/// What is left of a path.
enum Step {
    Down(OsString),
    Up,
}

/// The system never follows a link or goes up here: of each link it is asked where it leads, and
/// the way up are the handles by which we came down.
fn step_by_step(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let mut above = Vec::new();
    let mut here = openat(root, ".", DIRECTORY, Mode::empty())?;
    let mut ahead = steps(path)?;
    let mut links = 0;
    while let Some(step) = ahead.pop() {
        let name = match step {
            Step::Down(name) => name,
            Step::Up => {
                here = above.pop().ok_or(Errno::EXDEV)?;
                continue;
            }
        };
        let flags = DIRECTORY | OFlag::O_NOFOLLOW;
        match openat(&here, name.as_os_str(), flags, Mode::empty()) {
            Ok(below) => above.push(std::mem::replace(&mut here, below)),
            // A file, or a link.
            Err(Errno::ENOTDIR | Errno::ELOOP) => {
                let target = match readlinkat(&here, name.as_os_str()) {
                    Err(Errno::EINVAL) => return Err(Errno::ENOTDIR),
                    target => target?,
                };
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::ELOOP);
                }
                ahead.extend(steps(Path::new(&target))?);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(here)
}

/// The steps of a path, the first one last.
fn steps(path: &Path) -> Result<Vec<Step>, Errno> {
    let mut steps = Vec::new();
    for part in path.components().rev() {
        match part {
            Component::Normal(name) => steps.push(Step::Down(name.to_owned())),
            Component::ParentDir => steps.push(Step::Up),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return Err(Errno::EXDEV),
        }
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::sync::atomic::{AtomicBool, Ordering};

    use nix::fcntl::open;

    use super::*;

    /// A handle's directory, as device and inode.
    fn found(lookup: Lookup, root: &Path, path: &str) -> Result<(u64, u64), Errno> {
        let root = open(root, DIRECTORY, Mode::empty()).unwrap();
        let handle = lookup.directory(root.as_fd(), Path::new(path))?;
        let metadata = File::from(handle).metadata().unwrap();
        Ok((metadata.dev(), metadata.ino()))
    }

    #[test]
    fn steps_lead_where_the_system_leads() {
        let scene = tempfile::tempdir().unwrap();
        let root = scene.path().join("root");
        for name in ["root/a/b/c", "root/d", "outside/e"] {
            std::fs::create_dir_all(scene.path().join(name)).unwrap();
        }
        std::fs::write(root.join("file"), "").unwrap();
        let links = [
            ("a/up", ".."),
            ("a/side", "../d"),
            ("d/deep", "../a/b/./c"),
            ("d/chain", "../a/side/deep"),
            ("d/over", "../../root/a"),
            ("d/out", "../../outside"),
            ("a/rooted", "/"),
            ("a/same", "self"),
            ("a/self", "same"),
            ("a/nowhere", "../nowhere"),
            ("a/proc", "/proc/self/cwd"),
            ("a/to-file", "../file"),
            ("a/with-end", "../d/"),
        ];
        for (link, target) in links {
            symlink(target, root.join(link)).unwrap();
        }
        symlink(root.join("a"), root.join("d/absolute")).unwrap();
        symlink("a/b", root.join("chain-0")).unwrap();
        for number in 1..45 {
            let target = format!("chain-{}", number - 1);
            symlink(target, root.join(format!("chain-{number}"))).unwrap();
        }
        let paths = [
            "a",
            "a/b/c",
            "a/up",
            "a/up/d",
            "a/side",
            "a/side/deep",
            "d/deep",
            "d/chain",
            "d/over",
            "d/out",
            "d/out/e",
            "a/rooted",
            "a/rooted/etc",
            "a/same",
            "a/nowhere",
            "a/proc",
            "file",
            "file/x",
            "a/to-file",
            "a/with-end/deep",
            "none",
            "none/a",
            "d/absolute",
            "chain-0",
            "chain-10",
            "chain-39",
            "chain-40",
            "chain-44",
            "a/up/a/up/a/up/d/deep",
            "../root/a",
            "a/..",
            "a/../..",
            "a/./b",
            "d/deep/../..",
            "d/deep/../../../a",
            "/",
            "/etc",
        ];
        let mut reached = 0;
        for path in paths {
            let steps = found(Lookup::Steps, &root, path);
            reached += usize::from(steps.is_ok());
            if Lookup::of_system() == Lookup::System {
                assert_eq!(steps, found(Lookup::System, &root, path), "{path}");
            }
        }
        assert_eq!(reached, 17);
        assert_eq!(found(Lookup::Steps, &root, "d/out/e"), Err(Errno::EXDEV));
    }

    #[test]
    fn renames_elsewhere_do_not_matter() {
        let scene = tempfile::tempdir().unwrap();
        let root = scene.path().join("root");
        std::fs::create_dir_all(root.join("a")).unwrap();
        symlink("../a/../a/../a/../a", root.join("a/around")).unwrap();
        let names = [scene.path().join("one"), scene.path().join("other")];
        std::fs::create_dir(&names[0]).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    std::fs::rename(&names[0], &names[1]).unwrap();
                    std::fs::rename(&names[1], &names[0]).unwrap();
                }
            });
            let all = (0..5000).map(|_| found(Lookup::of_system(), &root, "a/around"));
            let failed = all.filter(Result::is_err).count();
            done.store(true, Ordering::Relaxed);
            assert_eq!(failed, 0);
        });
    }

    #[test]
    fn steps_need_the_permission_to_pass() {
        let scene = tempfile::tempdir().unwrap();
        let shut = scene.path().join("shut");
        std::fs::create_dir_all(shut.join("below")).unwrap();
        std::fs::set_permissions(&shut, std::fs::Permissions::from_mode(0o600)).unwrap();
        let expected = match nix::unistd::geteuid().is_root() {
            true => Ok(()),
            false => Err(Errno::EACCES),
        };
        let found = found(Lookup::Steps, scene.path(), "shut/below");
        assert_eq!(found.map(|_| ()), expected);
    }
}
