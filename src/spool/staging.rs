//! Messages on their way into mailboxes: received or found elsewhere, hashed and parsed, but not
//! in any mailbox yet.
//!
//! Each session has a directory of its own, `sync./<process>/<session>/`, on every partition that
//! it stages for (mailbox-format §1.5), with one file per GUID. What the parser found in a message
//! is kept beside it, the cache records in one nameless file, so that a commit reads no message
//! again and memory grows by some hundred octets a message only.
//!
//! Nothing here is durable before [`Placing::make_durable`].

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use jiff::tz::TimeZone;
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::SpoolError;
use super::disk::{Disk, DiskError, DiskFile, FILE_MODE, if_exists};
use super::layout::{Layout, UnknownPartition};
use super::message::{HeaderDate, MessageDates, MessageParser, ParsedMessage, ParserOptions};
use crate::mail::{Guid, Partition, UnixTime};

/// Octets read or written at a time.
const PIECE: usize = 64 * 1024;
/// So many octets of a message are written as they come; fewer wait for more.
const WORTH_WRITING: usize = 2048;
/// Staged messages for which a session keeps room in memory when it has none.
const KEPT_ROOM: usize = 256;
/// As many files are made durable at the same time: a disk that is asked for one after the other
/// waits for each.
const SYNC_THREADS: usize = 4;
/// Fewer files than this are made durable one after the other.
const FEW_FILES: usize = 16;
/// Files that are open at a time while they are made durable.
const OPEN_FILES: usize = 16;

/// Sessions that this process has had.
static SESSIONS: AtomicU64 = AtomicU64::new(0);

/// How messages are staged.
#[derive(Clone, Debug)]
pub struct StagingSettings {
    /// How messages are parsed.
    pub parser: ParserOptions,
    /// Whether mailboxes may share the file of a message (`singleinstancestore`).
    pub share_files: bool,
}

/// The staged messages of one session. Dropping it removes them.
#[derive(Debug)]
pub struct Staging {
    disk: Disk,
    layout: Layout,
    settings: StagingSettings,
    session: u64,
    partitions: HashMap<Partition, Stage>,
    caches: Caches,
    /// Room for the octets of a message, from the last one.
    buffer: Vec<u8>,
}

/// The cache records of the staged messages, one after the other: the last ones in memory, those
/// before in a file without name.
#[derive(Debug, Default)]
struct Caches {
    file: Option<DiskFile>,
    /// Octets in the file.
    written: u64,
    last: Vec<u8>,
}

impl Caches {
    /// Where the next record goes.
    fn end(&self) -> u64 {
        self.written + self.last.len() as u64
    }

    /// Appends a record. `file` makes the file when the first records go there.
    fn append(
        &mut self,
        record: &[u8],
        file: impl FnOnce() -> Result<DiskFile, SpoolError>,
    ) -> Result<(), SpoolError> {
        self.last.extend_from_slice(record);
        if self.last.len() < PIECE {
            return Ok(());
        }
        let file = match self.file.take() {
            Some(file) => file,
            None => file()?,
        };
        self.file.insert(file).write_at(self.written, &self.last)?;
        self.written += self.last.len() as u64;
        self.last.clear();
        Ok(())
    }

    /// Appends the record of this length at `offset` to `out`.
    fn read(&self, offset: u64, length: usize, out: &mut Vec<u8>) -> Result<(), SpoolError> {
        let start = out.len();
        match (&self.file, offset.checked_sub(self.written)) {
            (Some(file), None) => {
                out.resize(start + length, 0);
                file.read_exact_at(offset, out.get_mut(start..).unwrap_or_default())?;
            }
            (_, place) => {
                let place = place.and_then(|place| usize::try_from(place).ok());
                let record = place.and_then(|place| self.last.get(place..place + length));
                out.extend_from_slice(record.unwrap_or_default());
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Stage {
    /// Holds the directory, which is this session's alone.
    disk: Disk,
    directory: PathBuf,
    messages: HashMap<Guid, StagedMessage>,
}

impl Stage {
    fn clear(&mut self) {
        for (guid, _) in self.messages.drain() {
            // What stays behind is removed with the directory of the process.
            let _ = self.disk.unlink(&self.directory.join(guid.to_string()));
        }
        self.messages.shrink_to(KEPT_ROOM);
    }
}

/// A staged message.
#[derive(Clone, Debug)]
pub struct StagedMessage {
    guid: Guid,
    size: u32,
    header_size: u32,
    date: HeaderDate,
    cache_version: u16,
    cache_crc: u32,
    cache_offset: u64,
    cache_length: u32,
}

impl StagedMessage {
    /// SHA-1 of the content, whatever it was announced as.
    pub fn guid(&self) -> Guid {
        self.guid
    }

    /// Octets of the content.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Octets of the header, empty line included.
    pub fn header_size(&self) -> u32 {
        self.header_size
    }

    /// Version of the cache record.
    pub fn cache_version(&self) -> u16 {
        self.cache_version
    }

    /// CRC of the cache record.
    pub fn cache_crc(&self) -> u32 {
        self.cache_crc
    }

    /// Octets of the cache record.
    pub fn cache_length(&self) -> u32 {
        self.cache_length
    }

    /// The times for an index record of this internal date.
    pub fn dates(&self, internal_date: UnixTime, zone: &TimeZone) -> MessageDates {
        self.date.resolve(internal_date, zone)
    }
}

/// A message being received. Dropping it removes what has come.
pub struct StagedWriter {
    partition: Partition,
    announced: Guid,
    parser: MessageParser,
    file: DiskFile,
    buffer: Vec<u8>,
    written: u64,
    unfinished: Unfinished,
}

/// A file that is removed unless it is kept.
#[derive(Debug)]
struct Unfinished {
    disk: Disk,
    path: PathBuf,
    kept: bool,
}

impl Unfinished {
    fn new(disk: Disk, path: PathBuf) -> Unfinished {
        Unfinished {
            disk,
            path,
            kept: false,
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.kept {
            // What stays behind is removed with the directory of the process.
            let _ = self.disk.unlink(&self.path);
        }
    }
}

impl StagedWriter {
    /// Takes the next octets of the message.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write(&mut self, octets: &[u8]) -> Result<(), SpoolError> {
        self.parser.feed(octets);
        if self.buffer.is_empty() && octets.len() >= WORTH_WRITING {
            self.file.write_at(self.written, octets)?;
            self.written += octets.len() as u64;
            return Ok(());
        }
        self.buffer.extend_from_slice(octets);
        if self.buffer.len() >= PIECE {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SpoolError> {
        if !self.buffer.is_empty() {
            self.file.write_at(self.written, &self.buffer)?;
            self.written += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }
}

impl Staging {
    /// The staging of a new session; touches no disk yet.
    pub fn new(disk: Disk, layout: Layout, settings: StagingSettings) -> Staging {
        Staging {
            disk,
            layout,
            settings,
            session: SESSIONS.fetch_add(1, Ordering::Relaxed),
            partitions: HashMap::new(),
            caches: Caches::default(),
            buffer: Vec::new(),
        }
    }

    /// The message staged for a partition under a GUID. Its content may be another one: see
    /// [`StagedMessage::guid`].
    pub fn get(&self, partition: &Partition, guid: &Guid) -> Option<&StagedMessage> {
        self.partitions.get(partition)?.messages.get(guid)
    }

    /// Whether a message with this GUID is staged for a partition, whole and sound.
    pub fn contains(&self, partition: &Partition, guid: &Guid) -> bool {
        self.get(partition, guid)
            .is_some_and(|message| message.guid == *guid)
    }

    /// Starts to receive a message that is announced under a GUID; `None` if it is staged
    /// already and what comes may be ignored.
    ///
    /// # Errors
    /// If the partition is not configured or the file cannot be created.
    pub fn begin(
        &mut self,
        partition: &Partition,
        guid: &Guid,
    ) -> Result<Option<StagedWriter>, SpoolError> {
        if self.contains(partition, guid) {
            return Ok(None);
        }
        let (mut disk, mut path) = self.free_path(partition, guid)?;
        let file = match disk.create_new(&path, FILE_MODE) {
            // Somebody removed the directory.
            Err(error) if error.is_not_found() => {
                self.partitions.remove(partition);
                (disk, path) = self.free_path(partition, guid)?;
                disk.create_new(&path, FILE_MODE)?
            }
            created => created?,
        };
        Ok(Some(StagedWriter {
            partition: partition.clone(),
            announced: *guid,
            parser: MessageParser::new(&self.settings.parser),
            file,
            buffer: std::mem::take(&mut self.buffer),
            written: 0,
            unfinished: Unfinished::new(disk, path),
        }))
    }

    /// Takes up a message that was received as a whole. That its content has another GUID than
    /// announced is found when it is used.
    ///
    /// # Errors
    /// If the rest cannot be written, or the message is too long for an index record.
    pub fn finish(&mut self, mut writer: StagedWriter) -> Result<(), SpoolError> {
        writer.flush()?;
        let StagedWriter {
            partition,
            announced,
            parser,
            buffer,
            unfinished,
            ..
        } = writer;
        self.buffer = buffer;
        self.keep(&partition, &announced, parser.finish(), unfinished)
    }

    /// Stages a message file that exists, if it has this GUID; false if it has not or is gone.
    ///
    /// # Errors
    /// If the partition is not configured, or the file cannot be read or staged.
    pub fn reserve(
        &mut self,
        partition: &Partition,
        guid: &Guid,
        source: &Path,
    ) -> Result<bool, SpoolError> {
        if self.contains(partition, guid) {
            return Ok(true);
        }
        let (disk, path) = self.free_path(partition, guid)?;
        let unfinished = Unfinished::new(disk.clone(), path.clone());
        if if_exists(self.settings.link_or_copy(&disk, source, &path))?.is_none() {
            return Ok(false);
        }
        let file = disk.open_read(&path)?;
        let mut parser = MessageParser::new(&self.settings.parser);
        let mut buffer = vec![0; PIECE];
        let mut offset = 0;
        loop {
            let length = file.read_into(offset, &mut buffer)?;
            parser.feed(buffer.get(..length).unwrap_or_default());
            offset += length as u64;
            if length < buffer.len() {
                break;
            }
        }
        let parsed = parser.finish();
        if parsed.guid != *guid {
            return Ok(false);
        }
        self.keep(partition, guid, parsed, unfinished)?;
        Ok(true)
    }

    /// Forgets and removes all staged messages (RESTART, commands §6). The directories stay for the
    /// next ones: clients send RESTART after each mailbox.
    pub fn clear(&mut self) {
        for stage in self.partitions.values_mut() {
            stage.clear();
        }
        self.caches = Caches::default();
    }

    /// Starts to give staged messages of a partition names in `directory`, that of a locked mailbox.
    pub(super) fn placing(
        &self,
        partition: &Partition,
        directory: &Path,
    ) -> Result<Placing<'_>, SpoolError> {
        let stage = self.partitions.get(partition);
        let stage = stage.ok_or_else(|| UnknownPartition(partition.clone()))?;
        Ok(Placing {
            settings: &self.settings,
            stage: &stage.directory,
            disk: stage.disk.holding(directory)?,
        })
    }

    /// Appends the cache record of a staged message to `out`.
    pub(super) fn read_cache(
        &self,
        message: &StagedMessage,
        out: &mut Vec<u8>,
    ) -> Result<(), SpoolError> {
        let length = message.cache_length as usize;
        self.caches.read(message.cache_offset, length, out)
    }

    fn keep(
        &mut self,
        partition: &Partition,
        guid: &Guid,
        parsed: ParsedMessage,
        mut unfinished: Unfinished,
    ) -> Result<(), SpoolError> {
        let size = u32::try_from(parsed.size).map_err(|_| SpoolError::Unsupported {
            path: unfinished.path.clone(),
            what: format!("a message of {} octets", parsed.size),
        })?;
        let message = StagedMessage {
            guid: parsed.guid,
            size,
            header_size: parsed.header_size,
            date: parsed.date,
            cache_version: parsed.cache_version.number(),
            cache_crc: parsed.cache_crc,
            cache_offset: self.caches.end(),
            cache_length: u32::try_from(parsed.cache.len()).unwrap_or(u32::MAX),
        };
        let path = self.stage(partition)?.directory.join("caches");
        let disk = &self.disk;
        self.caches.append(&parsed.cache, || {
            let file = disk.create_new(&path, FILE_MODE)?;
            disk.unlink(&path)?;
            Ok(file)
        })?;
        self.stage(partition)?.messages.insert(*guid, message);
        unfinished.kept = true;
        Ok(())
    }

    /// The path for a message to be staged; one that is there, with the wrong content, goes.
    fn free_path(
        &mut self,
        partition: &Partition,
        guid: &Guid,
    ) -> Result<(Disk, PathBuf), SpoolError> {
        let stage = self.stage(partition)?;
        let path = stage.directory.join(guid.to_string());
        if stage.messages.remove(guid).is_some() {
            stage.disk.unlink(&path)?;
        }
        Ok((stage.disk.clone(), path))
    }

    fn stage(&mut self, partition: &Partition) -> Result<&mut Stage, SpoolError> {
        if !self.partitions.contains_key(partition) {
            let directory = self
                .layout
                .staging_directory(partition, std::process::id())?
                .join(self.session.to_string());
            self.disk.create_dirs(&directory)?;
            let stage = Stage {
                disk: self.disk.holding(&directory)?,
                directory,
                messages: HashMap::new(),
            };
            self.partitions.insert(partition.clone(), stage);
        }
        self.partitions
            .get_mut(partition)
            .ok_or_else(|| UnknownPartition(partition.clone()).into())
    }
}

/// The way of staged messages into one mailbox.
#[derive(Debug)]
pub(super) struct Placing<'staging> {
    settings: &'staging StagingSettings,
    stage: &'staging Path,
    /// Holds both directories.
    disk: Disk,
}

impl Placing<'_> {
    /// Gives a staged message a name in the mailbox, in the place of what a crash may have left
    /// there. Durable after [`Placing::make_durable`] and a sync of the directory.
    pub(super) fn place(&self, guid: &Guid, target: &Path) -> Result<(), SpoolError> {
        let (disk, staged) = (&self.disk, self.stage.join(guid.to_string()));
        match self.settings.link_or_copy(disk, &staged, target) {
            Err(error) if error.is_already_exists() => {
                disk.unlink(target)?;
                Ok(self.settings.link_or_copy(disk, &staged, target)?)
            }
            result => Ok(result?),
        }
    }

    /// Makes the content of files durable, with these times. The disk is given all to write before
    /// it is waited for one: that halves the waits, and what they cost.
    fn sync(&self, files: &[(PathBuf, UnixTime)]) -> Result<(), DiskError> {
        let mut opened = Vec::with_capacity(files.len());
        for (path, time) in files {
            let file = self.disk.open_read(path)?;
            file.set_times(SystemTime::UNIX_EPOCH + Duration::from_secs(time.0.into()))?;
            file.start_writing(0);
            opened.push(file);
        }
        opened.iter().try_for_each(DiskFile::sync_all)
    }

    /// Makes the content of message files durable, with these times.
    pub(super) fn make_durable(&self, files: &[(PathBuf, UnixTime)]) -> Result<(), SpoolError> {
        let sync = |files: &[(PathBuf, UnixTime)]| -> Result<(), DiskError> {
            for files in files.chunks(OPEN_FILES) {
                self.sync(files)?;
            }
            Ok(())
        };
        if files.len() < FEW_FILES {
            return Ok(sync(files)?);
        }
        let share = files.len().div_ceil(SYNC_THREADS);
        let sync = &sync;
        let results: Vec<Result<(), DiskError>> = std::thread::scope(|scope| {
            let threads: Vec<_> = files
                .chunks(share)
                .map(|share| scope.spawn(move || sync(share)))
                .collect();
            let results = threads.into_iter().map(|thread| thread.join());
            results
                .map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        Ok(results.into_iter().collect::<Result<(), DiskError>>()?)
    }
}

impl StagingSettings {
    fn link_or_copy(&self, disk: &Disk, from: &Path, to: &Path) -> Result<(), DiskError> {
        if self.share_files {
            match disk.hard_link(from, to) {
                // Another file system, too many links, or a policy against links.
                Err(error) if !error.is_not_found() && !error.is_already_exists() => {}
                result => return result,
            }
        }
        disk.copy(from, to, FILE_MODE)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        for stage in self.partitions.values_mut() {
            stage.clear();
            let _ = self.disk.remove_dir(&stage.directory);
        }
    }
}

/// Removes what processes that ended left staged, and what an earlier process with this one's
/// number left. To be called before the first session.
///
/// # Errors
/// If a directory cannot be read or a file removed.
pub fn remove_stale(disk: &Disk, layout: &Layout) -> Result<(), SpoolError> {
    for partition in layout.places().partitions.keys() {
        let root = layout.staging_root(partition)?;
        for name in disk.read_dir(&root)?.unwrap_or_default() {
            let process = name.to_str().and_then(|name| name.parse().ok());
            if process.is_some_and(is_gone) {
                remove_tree(disk, &root.join(name))?;
            }
        }
    }
    Ok(())
}

fn is_gone(process: i32) -> bool {
    let own = i32::try_from(std::process::id()) == Ok(process);
    own || process > 0 && kill(Pid::from_raw(process), None) == Err(Errno::ESRCH)
}

fn remove_tree(disk: &Disk, path: &Path) -> Result<(), SpoolError> {
    for name in disk.read_dir(path)?.unwrap_or_default() {
        let entry = path.join(name);
        match disk.unlink(&entry) {
            Err(_) if entry.is_dir() && !entry.is_symlink() => remove_tree(disk, &entry)?,
            result => drop(result?),
        }
    }
    disk.remove_dir(path)?;
    Ok(())
}

#[cfg(test)]
mod tests;
