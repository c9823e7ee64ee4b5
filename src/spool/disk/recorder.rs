//! The disk under a test's eyes: every change is logged, the power can be cut after any of them,
//! and what the disk could hold then can be looked at.
//!
//! ```
//! # use cyrus_sync::spool::disk::{Disk, Recorder, Survival};
//! # let dir = tempfile::tempdir()?;
//! # let elsewhere = tempfile::tempdir()?;
//! let recorder = Recorder::new(dir.path())?;
//! let disk = Disk::default().recorded_by(&recorder);
//! let file = disk.create_new(&dir.path().join("file"), 0o666)?;
//! file.write_at(0, b"content")?;
//! file.sync_all()?;
//! disk.sync_dir(dir.path())?;
//! assert_eq!(recorder.len(), 4);
//! recorder.after_cut(3, Survival::OnlySynced, elsewhere.path())?; // the name was not synced
//! assert!(!elsewhere.path().join("file").exists());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The recorder keeps everything written, in memory. Times and modes are not followed.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Number of a file or directory in the recorder; unlike inode numbers never used again.
pub(super) type FileNumber = usize;

/// What power loss tears apart: a sector is written whole or not at all.
const SECTOR: usize = 512;
const ROOT: FileNumber = 1;

/// One change of the disk.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Step {
    Create {
        path: PathBuf,
    },
    CreateDir {
        path: PathBuf,
    },
    /// `file` is the recorder's own number: the path may name another file by now.
    Write {
        path: PathBuf,
        file: usize,
        offset: u64,
        data: Vec<u8>,
    },
    Truncate {
        path: PathBuf,
        file: usize,
        length: u64,
    },
    Sync {
        path: PathBuf,
        file: usize,
    },
    SyncDir {
        path: PathBuf,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    HardLink {
        from: PathBuf,
        to: PathBuf,
    },
    SymbolicLink {
        path: PathBuf,
        target: PathBuf,
    },
    /// Of a file or an empty directory.
    Unlink {
        path: PathBuf,
    },
    SetTimes {
        path: PathBuf,
    },
}

/// Which of the changes that were not synced are on the disk after a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// None: neither content nor names.
    OnlySynced,
    /// All.
    Everything,
    /// Every sector of a file, every file's length and every directory as a whole by the toss of
    /// a coin; equal seeds toss equally.
    Sectors(u64),
}

/// Logs the changes below one directory. Clones share the log.
#[derive(Clone, Debug)]
pub struct Recorder {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    before: Model,
    now: Model,
    steps: Vec<Step>,
    last: usize,
    octets_read: BTreeMap<PathBuf, u64>,
}

impl Recorder {
    /// Starts with what is below `root` now, taken as durable. Changes elsewhere are logged, but
    /// not materialised.
    pub fn new(root: &Path) -> io::Result<Recorder> {
        let model = Model::load(root)?;
        let state = State {
            before: model.clone(),
            now: model,
            steps: Vec::new(),
            last: usize::MAX,
            octets_read: BTreeMap::new(),
        };
        Ok(Recorder {
            state: Arc::new(Mutex::new(state)),
        })
    }

    /// Refuses, with an I/O error, every change after the first `steps`.
    pub fn cut_after(&self, steps: usize) {
        self.lock().last = steps;
    }

    /// How many changes there were.
    pub fn len(&self) -> usize {
        self.lock().steps.len()
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The changes in their order.
    pub fn steps(&self) -> Vec<Step> {
        self.lock().steps.clone()
    }

    /// How many octets of the file that was opened under this name were read.
    pub fn octets_read(&self, path: &Path) -> u64 {
        self.lock().octets_read.get(path).copied().unwrap_or(0)
    }

    pub(super) fn read(&self, path: &Path, octets: usize) {
        let mut state = self.lock();
        *state.octets_read.entry(path.to_owned()).or_default() += octets as u64;
    }

    /// Writes into the empty directory `target` what the disk could hold if the power was cut
    /// after the first `steps` changes.
    pub fn after_cut(&self, steps: usize, survival: Survival, target: &Path) -> io::Result<()> {
        let state = self.lock();
        let mut model = state.before.clone();
        for step in state.steps.iter().take(steps) {
            model.apply(step);
        }
        model.write(ROOT, survival, target)
    }

    pub(super) fn record<T>(
        &self,
        step: Step,
        act: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.lock();
        if state.steps.len() >= state.last {
            return Err(io::Error::other("the power is cut"));
        }
        let result = act()?;
        state.now.apply(&step);
        state.steps.push(step);
        Ok(result)
    }

    pub(super) fn number_of(&self, path: &Path) -> FileNumber {
        self.lock().now.find(path).unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file system: nodes by number, each as it is and as it is on the disk for sure.
#[derive(Clone, Debug)]
struct Model {
    root: PathBuf,
    nodes: BTreeMap<FileNumber, Node>,
}

#[derive(Clone, Debug)]
enum Node {
    File { now: Vec<u8>, durable: Vec<u8> },
    Directory { now: Entries, durable: Entries },
    Link { target: PathBuf },
}

type Entries = BTreeMap<OsString, FileNumber>;

impl Model {
    fn load(root: &Path) -> io::Result<Model> {
        let mut model = Model {
            root: root.to_owned(),
            nodes: BTreeMap::new(),
        };
        let number = model.add(Node::empty_directory());
        model.load_directory(root, number)?;
        Ok(model)
    }

    fn load_directory(&mut self, path: &Path, number: FileNumber) -> io::Result<()> {
        let mut entries = Entries::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let child = match kind.is_dir() {
                _ if kind.is_symlink() => self.add(Node::Link {
                    target: fs::read_link(entry.path())?,
                }),
                true => {
                    let child = self.add(Node::empty_directory());
                    self.load_directory(&entry.path(), child)?;
                    child
                }
                false => {
                    let content = fs::read(entry.path())?;
                    self.add(Node::File {
                        now: content.clone(),
                        durable: content,
                    })
                }
            };
            entries.insert(entry.file_name(), child);
        }
        let node = Node::Directory {
            now: entries.clone(),
            durable: entries,
        };
        self.nodes.insert(number, node);
        Ok(())
    }

    fn add(&mut self, node: Node) -> FileNumber {
        let number = self.nodes.len() + ROOT;
        self.nodes.insert(number, node);
        number
    }

    fn find(&self, path: &Path) -> Option<FileNumber> {
        let below = path.strip_prefix(&self.root).ok()?;
        below
            .iter()
            .try_fold(ROOT, |number, name| match self.nodes.get(&number)? {
                Node::Directory { now, .. } => now.get(name).copied(),
                Node::File { .. } | Node::Link { .. } => None,
            })
    }

    /// The directory that holds `path`, and the name in it.
    fn entry<'a>(&mut self, path: &'a Path) -> Option<(&mut Entries, &'a OsStr)> {
        let number = self.find(path.parent()?)?;
        match self.nodes.get_mut(&number)? {
            Node::Directory { now, .. } => Some((now, path.file_name()?)),
            Node::File { .. } | Node::Link { .. } => None,
        }
    }

    fn put(&mut self, path: &Path, number: FileNumber) {
        if let Some((entries, name)) = self.entry(path) {
            entries.insert(name.to_owned(), number);
        }
    }

    fn take(&mut self, path: &Path) -> Option<FileNumber> {
        let (entries, name) = self.entry(path)?;
        entries.remove(name)
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Create { path } => {
                let number = self.add(Node::File {
                    now: Vec::new(),
                    durable: Vec::new(),
                });
                self.put(path, number);
            }
            Step::CreateDir { path } => {
                let number = self.add(Node::empty_directory());
                self.put(path, number);
            }
            Step::Write {
                file, offset, data, ..
            } => {
                if let Some(Node::File { now, .. }) = self.nodes.get_mut(file) {
                    let start = *offset as usize;
                    let end = start + data.len();
                    now.resize(now.len().max(end), 0);
                    now[start..end].copy_from_slice(data);
                }
            }
            Step::Truncate { file, length, .. } => {
                if let Some(Node::File { now, .. }) = self.nodes.get_mut(file) {
                    now.resize(*length as usize, 0);
                }
            }
            Step::Sync { file, .. } => {
                if let Some(Node::File { now, durable }) = self.nodes.get_mut(file) {
                    durable.clone_from(now);
                }
            }
            Step::SyncDir { path } => {
                let number = self.find(path).unwrap_or(0);
                if let Some(Node::Directory { now, durable }) = self.nodes.get_mut(&number) {
                    durable.clone_from(now);
                }
            }
            Step::Rename { from, to } => {
                if let Some(number) = self.take(from) {
                    self.put(to, number);
                }
            }
            Step::HardLink { from, to } => {
                if let Some(number) = self.find(from) {
                    self.put(to, number);
                }
            }
            Step::SymbolicLink { path, target } => {
                let target = target.clone();
                let number = self.add(Node::Link { target });
                self.put(path, number);
            }
            Step::Unlink { path } => {
                self.take(path);
            }
            Step::SetTimes { .. } => {}
        }
    }

    /// Writes the node `number`, as far as it survives, to `target`.
    fn write(&self, number: FileNumber, survival: Survival, target: &Path) -> io::Result<()> {
        match self.nodes.get(&number) {
            Some(Node::Directory { now, durable }) => {
                fs::create_dir_all(target)?;
                let entries = match survival.of(number, usize::MAX) {
                    true => now,
                    false => durable,
                };
                entries
                    .iter()
                    .try_for_each(|(name, child)| self.write(*child, survival, &target.join(name)))
            }
            Some(Node::File { now, durable }) => {
                fs::write(target, survival.mix(number, now, durable))
            }
            Some(Node::Link { target: led_to }) => std::os::unix::fs::symlink(led_to, target),
            None => Ok(()),
        }
    }
}

impl Node {
    fn empty_directory() -> Node {
        Node::Directory {
            now: Entries::new(),
            durable: Entries::new(),
        }
    }
}

impl Survival {
    /// Whether part `part` of what was not synced in file `number` is there.
    fn of(self, number: FileNumber, part: usize) -> bool {
        match self {
            Survival::OnlySynced => false,
            Survival::Everything => true,
            Survival::Sectors(seed) => {
                let mut hasher = DefaultHasher::new();
                (seed, number, part).hash(&mut hasher);
                hasher.finish() & 1 == 0
            }
        }
    }

    fn mix(self, number: FileNumber, now: &[u8], durable: &[u8]) -> Vec<u8> {
        let length = match self.of(number, usize::MAX) {
            true => now.len(),
            false => durable.len(),
        };
        let mut content = vec![0; length];
        for (sector, piece) in content.chunks_mut(SECTOR).enumerate() {
            let source = match self.of(number, sector) {
                true => now,
                false => durable,
            };
            let source = source.get(sector * SECTOR..).unwrap_or_default();
            let common = source.len().min(piece.len());
            piece[..common].copy_from_slice(&source[..common]);
        }
        content
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Disk, FILE_MODE};
    use super::*;

    fn content(recorder: &Recorder, steps: usize, survival: Survival) -> Vec<(String, String)> {
        let target = tempfile::tempdir().unwrap();
        recorder.after_cut(steps, survival, target.path()).unwrap();
        let disk = Disk::default();
        let names = disk.read_dir(target.path()).unwrap().unwrap();
        names
            .into_iter()
            .map(|name| {
                let content = disk.read(&target.path().join(&name)).unwrap().unwrap();
                let text = String::from_utf8(content).unwrap();
                (name.into_string().unwrap(), text)
            })
            .collect()
    }

    fn pair(name: &str, text: &str) -> (String, String) {
        (name.to_owned(), text.to_owned())
    }

    #[test]
    fn a_replacement_is_seen_whole_after_every_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "old").unwrap();
        let recorder = Recorder::new(dir.path()).unwrap();
        let disk = Disk::default().recorded_by(&recorder);
        let replacement = disk.replace(&path, FILE_MODE).unwrap();
        replacement.file().write_at(0, b"new").unwrap();
        replacement.commit().unwrap();
        // create, write, sync, rename, sync of the directory
        assert_eq!(recorder.len(), 5);
        let old = pair("file", "old");
        for steps in 0..5 {
            let found = content(&recorder, steps, Survival::OnlySynced);
            assert_eq!(found, std::slice::from_ref(&old), "{steps}");
        }
        let found = content(&recorder, 2, Survival::Everything);
        assert_eq!(found, [old, pair("file.NEW", "new")]);
        for (steps, survival) in [(4, Survival::Everything), (5, Survival::OnlySynced)] {
            assert_eq!(content(&recorder, steps, survival), [pair("file", "new")]);
        }
    }

    #[test]
    fn content_follows_the_file_not_the_name() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let recorder = Recorder::new(dir.path()).unwrap();
        let disk = Disk::default().recorded_by(&recorder);
        let file = disk.create_new(&a, FILE_MODE).unwrap();
        disk.hard_link(&a, &b).unwrap();
        disk.unlink(&a).unwrap();
        disk.create_new(&a, FILE_MODE).unwrap();
        file.write_at(0, b"linked").unwrap();
        let steps = recorder.len();
        let found = content(&recorder, steps, Survival::Everything);
        assert_eq!(found, [pair("a", ""), pair("b", "linked")]);
    }

    #[test]
    fn nothing_happens_after_the_cut() {
        let dir = tempfile::tempdir().unwrap();
        let recorder = Recorder::new(dir.path()).unwrap();
        recorder.cut_after(1);
        let disk = Disk::default().recorded_by(&recorder);
        let file = disk.create_new(&dir.path().join("a"), FILE_MODE).unwrap();
        let error = file.write_at(0, b"x").unwrap_err();
        assert!(error.to_string().ends_with("a: the power is cut"));
        assert!(file.is_empty().unwrap());
        assert_eq!(recorder.len(), 1);
    }

    #[test]
    fn sectors_survive_one_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "a".repeat(64 * SECTOR)).unwrap();
        let recorder = Recorder::new(dir.path()).unwrap();
        let disk = Disk::default().recorded_by(&recorder);
        let file = disk.open_write(&path).unwrap();
        file.write_at(0, "b".repeat(64 * SECTOR).as_bytes())
            .unwrap();
        let [(_, text)] = content(&recorder, 1, Survival::Sectors(1))
            .try_into()
            .unwrap();
        let sectors_of = |letter: &str| {
            let whole = letter.repeat(SECTOR);
            let sectors = text.as_bytes().chunks(SECTOR);
            sectors.filter(|sector| *sector == whole.as_bytes()).count()
        };
        let (old, new) = (sectors_of("a"), sectors_of("b"));
        assert!(old > 0 && new > 0 && old + new == 64);
    }
}
