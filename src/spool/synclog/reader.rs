//! Taking a sync log over and reading it (databases §17.2).

use std::path::{Path, PathBuf};

use super::{LineError, LogItem, Parsed, parse_line};
use crate::spool::SpoolError;
use crate::spool::disk::{Disk, DiskFile, LockKind, if_exists};

/// Octets read at a time.
const PIECE: usize = 64 * 1024;

/// A sync log that no writer will write to any more. It stays on disk until [`WorkFile::remove`];
/// dropping the value leaves it, and the next [`WorkFile::take`] finds it again.
#[derive(Debug)]
pub struct WorkFile {
    disk: Disk,
    file: DiskFile,
    path: PathBuf,
    left_over: bool,
}

impl WorkFile {
    /// Takes the work file that an earlier run left, or makes one of the log by renaming it and
    /// waiting until no writer is inside. `None` if there is neither. The rename is on disk when
    /// this returns.
    ///
    /// # Errors
    /// If the log cannot be renamed or opened, or a writer does not finish in time; the work file
    /// then stays for the next call.
    pub fn take(disk: &Disk, log: &Path, work_file: &Path) -> Result<Option<WorkFile>, SpoolError> {
        let left_over = disk.status(work_file)?.is_some();
        if !left_over {
            if if_exists(disk.rename(log, work_file))?.is_none() {
                return Ok(None);
            }
            if let Some(directory) = work_file.parent() {
                disk.sync_dir(directory)?;
            }
        }
        let file = disk.open_write(work_file)?;
        file.lock(LockKind::Exclusive, disk.lock_deadline())?;
        file.unlock()?;
        Ok(Some(WorkFile {
            disk: disk.clone(),
            file,
            path: work_file.to_owned(),
            left_over,
        }))
    }

    /// Opens a saved log by name. Reading changes nothing.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(disk: &Disk, path: &Path) -> Result<WorkFile, SpoolError> {
        Ok(WorkFile {
            disk: disk.clone(),
            file: disk.open_read(path)?,
            path: path.to_owned(),
            left_over: true,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether an earlier run left it.
    pub fn is_left_over(&self) -> bool {
        self.left_over
    }

    /// The items in order; lines that make no sense are told as such and passed over. Memory does
    /// not grow with the file.
    pub fn items(&self) -> Items<'_> {
        Items {
            file: &self.file,
            buffer: Vec::new(),
            start: 0,
            offset: 0,
            ended: false,
        }
    }

    /// Removes the work file, durably: everything in it is done.
    ///
    /// # Errors
    /// If it cannot be removed; then it will be processed once more, which is harmless.
    pub fn remove(self) -> Result<(), SpoolError> {
        self.disk.unlink(&self.path)?;
        if let Some(directory) = self.path.parent() {
            self.disk.sync_dir(directory)?;
        }
        Ok(())
    }
}

/// The items of a log. After an error of the disk there are no more.
#[derive(Debug)]
pub struct Items<'a> {
    file: &'a DiskFile,
    buffer: Vec<u8>,
    /// Where in the buffer the next line starts.
    start: usize,
    /// Where in the file the buffer ends.
    offset: u64,
    ended: bool,
}

impl Items<'_> {
    /// Reads on; whether there was something left to read.
    fn read_on(&mut self) -> Result<bool, SpoolError> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let piece = self.file.read_at(self.offset, PIECE)?;
        self.offset = self.offset.saturating_add(piece.len() as u64);
        self.buffer.extend_from_slice(&piece);
        Ok(!piece.is_empty())
    }

    /// The rest of the file, which is no whole line.
    fn unfinished(&mut self) -> Option<Result<LogItem, LineError>> {
        self.ended = true;
        let rest = self.buffer.get(self.start..).unwrap_or_default();
        let text = String::from_utf8_lossy(rest);
        let text = text.trim();
        (!text.is_empty()).then(|| Err(LineError::Unfinished(text.to_owned())))
    }
}

impl Iterator for Items<'_> {
    type Item = Result<Result<LogItem, LineError>, SpoolError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            let rest = self.buffer.get(self.start..).unwrap_or_default();
            if let Parsed::Line { item, length } = parse_line(rest) {
                self.start += length;
                return Some(Ok(item));
            }
            match self.read_on() {
                Ok(true) => {}
                Ok(false) => return self.unfinished().map(Ok),
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::UserId;

    fn store(content: &[u8]) -> (tempfile::TempDir, PathBuf, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        std::fs::write(&log, content).unwrap();
        let work_file = directory.path().join("log-run");
        (directory, log, work_file)
    }

    fn user(name: &str) -> LogItem {
        LogItem::User(UserId::parse(name).unwrap())
    }

    #[test]
    fn a_log_is_taken_over_once() {
        let (_directory, log, work_file) = store(b"USER a\nNONSENSE\nUSER b\nUSER c");
        let disk = Disk::default();
        let run = WorkFile::take(&disk, &log, &work_file).unwrap().unwrap();
        assert!(!run.is_left_over() && !log.exists());
        let items: Vec<_> = run.items().map(Result::unwrap).collect();
        assert_eq!(items.len(), 4);
        assert_eq!(items[0], Ok(user("a")));
        assert!(matches!(items[1], Err(LineError::InvalidInput(_))));
        assert_eq!(items[2], Ok(user("b")));
        assert_eq!(items[3], Err(LineError::Unfinished("USER c".into())));

        drop(run);
        std::fs::write(&log, b"USER d\n").unwrap();
        let again = WorkFile::take(&disk, &log, &work_file).unwrap().unwrap();
        assert!(again.is_left_over());
        assert_eq!(again.items().count(), 4);
        again.remove().unwrap();
        let next = WorkFile::take(&disk, &log, &work_file).unwrap().unwrap();
        assert_eq!(next.items().next().unwrap().unwrap(), Ok(user("d")));
        next.remove().unwrap();
        assert!(WorkFile::take(&disk, &log, &work_file).unwrap().is_none());
    }

    #[test]
    fn a_writer_inside_is_waited_for() {
        let (_directory, log, work_file) = store(b"USER a\n");
        let disk = Disk::new(0o077, std::time::Duration::from_millis(20));
        let writer = disk.open_write(&log).unwrap();
        writer
            .lock(LockKind::Exclusive, disk.lock_deadline())
            .unwrap();
        let error = WorkFile::take(&disk, &log, &work_file).unwrap_err();
        assert!(error.is_lock_timeout());
        writer.append(b"USER b\n").unwrap();
        drop(writer);
        let run = WorkFile::take(&disk, &log, &work_file).unwrap().unwrap();
        assert_eq!(run.items().count(), 2);
    }

    #[test]
    fn lines_across_pieces_are_whole() {
        let names: Vec<String> = (0..30_000).map(|number| format!("user{number}")).collect();
        let content: String = names.iter().map(|name| format!("USER {name}\n")).collect();
        assert!(content.len() > 4 * PIECE);
        let (_directory, log, _) = store(content.as_bytes());
        let run = WorkFile::open(&Disk::default(), &log).unwrap();
        let read: Vec<LogItem> = run.items().map(|item| item.unwrap().unwrap()).collect();
        let expected: Vec<LogItem> = names.iter().map(|name| user(name)).collect();
        assert_eq!(read, expected);
    }
}
