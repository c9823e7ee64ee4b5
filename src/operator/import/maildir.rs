//! Maildirs, with the subfolders of Maildir++ and the keywords of Dovecot.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::content::{Content, ContentWriter};
use super::{Message, Read};
use crate::mail::{FlagName, SystemFlags, UnixTime};
use crate::operator::OperatorError;

/// Octets read at a time.
const PIECE: usize = 64 * 1024;
/// Where Dovecot keeps the names of the keywords whose letters stand in file names.
const KEYWORDS: &str = "dovecot-keywords";
/// The keyword that clients use for the flag `P`, passed on.
const FORWARDED: &str = "$Forwarded";

/// A Maildir at or below the one named.
#[derive(Debug, PartialEq, Eq)]
pub struct Folder {
    pub path: PathBuf,
    /// The levels of its name; none for the one named.
    pub levels: Vec<String>,
}

/// The Maildir and its subfolders (`.Work.2024`), by name.
///
/// # Errors
/// If it is none, or cannot be read.
pub fn folders(path: &Path) -> Result<Vec<Folder>, OperatorError> {
    let is_maildir = |path: &Path| path.join("cur").is_dir() && path.join("new").is_dir();
    if !is_maildir(path) {
        return Err(OperatorError::NoMail {
            path: path.to_owned(),
            what: "this directory is no Maildir (it has no cur and new)".to_owned(),
        });
    }
    let mut folders = vec![Folder {
        path: path.to_owned(),
        levels: Vec::new(),
    }];
    for name in names(path)? {
        let below = path.join(&name);
        let Some(text) = name.to_str().and_then(|name| name.strip_prefix('.')) else {
            continue;
        };
        if is_maildir(&below) {
            folders.push(Folder {
                path: below,
                levels: text.split('.').map(str::to_owned).collect(),
            });
        }
    }
    Ok(folders)
}

/// The messages of one Maildir, the oldest first.
pub struct Maildir {
    files: std::vec::IntoIter<(Option<UnixTime>, PathBuf)>,
    keywords: Vec<Option<FlagName>>,
}

impl Maildir {
    /// Lists the messages.
    ///
    /// # Errors
    /// If a directory cannot be read.
    pub fn open(path: &Path) -> Result<Maildir, OperatorError> {
        let mut files = Vec::new();
        for directory in ["new", "cur"] {
            let directory = path.join(directory);
            for name in names(&directory)? {
                if !name.as_encoded_bytes().starts_with(b".") {
                    files.push((date_of(&name), directory.join(name)));
                }
            }
        }
        files.sort();
        let keywords = fs::read_to_string(path.join(KEYWORDS)).unwrap_or_default();
        Ok(Maildir {
            files: files.into_iter(),
            keywords: keywords_of(&keywords),
        })
    }

    fn read(&self, path: &Path, date: Option<UnixTime>) -> Result<Read, OperatorError> {
        let origin = path.display().to_string();
        let mut file = match File::open(path) {
            Ok(file) => file,
            // A mail reader may have renamed it; the others are still to come.
            Err(error) => {
                return Ok(Read::Refused {
                    origin,
                    reason: error.to_string(),
                });
            }
        };
        let failed = |source| OperatorError::Source {
            path: path.to_owned(),
            source,
        };
        let modified = file.metadata().map_err(failed)?.modified().ok();
        let content = copy(&mut file, failed)?;
        let (flags, keywords) = self.flags_of(path);
        let message = Message {
            origin,
            content,
            flags,
            keywords,
            date: date.or_else(|| {
                let since = modified?.duration_since(UNIX_EPOCH).ok()?;
                u32::try_from(since.as_secs()).ok().map(UnixTime)
            }),
        };
        Ok(message.checked())
    }

    /// The flags behind `:2,` in the name of a file.
    fn flags_of(&self, path: &Path) -> (SystemFlags, Vec<FlagName>) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let letters = name.rsplit_once(":2,").map_or("", |(_, letters)| letters);
        let mut flags = SystemFlags::empty();
        let mut keywords = Vec::new();
        for letter in letters.bytes() {
            match letter {
                b'S' => flags |= SystemFlags::SEEN,
                b'R' => flags |= SystemFlags::ANSWERED,
                b'F' => flags |= SystemFlags::FLAGGED,
                b'D' => flags |= SystemFlags::DRAFT,
                b'T' => flags |= SystemFlags::DELETED,
                b'P' => keywords.extend(FlagName::parse(FORWARDED).ok()),
                b'a'..=b'z' => {
                    let number = usize::from(letter - b'a');
                    keywords.extend(self.keywords.get(number).cloned().flatten());
                }
                _ => {}
            }
        }
        (flags, keywords)
    }
}

impl Iterator for Maildir {
    type Item = Result<Read, OperatorError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (date, path) = self.files.next()?;
        Some(self.read(&path, date))
    }
}

fn copy(
    file: &mut File,
    failed: impl Fn(io::Error) -> OperatorError,
) -> Result<Content, OperatorError> {
    let mut writer = ContentWriter::new();
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece).map_err(&failed)? {
            0 => return writer.finish().map_err(OperatorError::Temporary),
            length => writer
                .write(piece.get(..length).unwrap_or_default())
                .map_err(OperatorError::Temporary)?,
        }
    }
}

/// When a message came, by the name of its file: it begins with the seconds since 1970.
fn date_of(name: &OsString) -> Option<UnixTime> {
    let name = name.to_str()?;
    let (seconds, _) = name.split_once('.')?;
    seconds
        .parse()
        .ok()
        .filter(|seconds| *seconds > 0)
        .map(UnixTime)
}

/// The keywords by letter, from lines of a number and a name.
fn keywords_of(file: &str) -> Vec<Option<FlagName>> {
    let mut keywords = vec![None; 26];
    for line in file.lines() {
        let Some((number, name)) = line.split_once(' ') else {
            continue;
        };
        let place = number
            .parse()
            .ok()
            .and_then(|number: usize| keywords.get_mut(number));
        if let Some(place) = place {
            *place = FlagName::parse(name).ok();
        }
    }
    keywords
}

fn names(path: &Path) -> Result<Vec<OsString>, OperatorError> {
    let failed = |source| OperatorError::Source {
        path: path.to_owned(),
        source,
    };
    let entries = fs::read_dir(path).map_err(failed)?;
    let names: Result<Vec<OsString>, io::Error> =
        entries.map(|entry| Ok(entry?.file_name())).collect();
    let mut names = names.map_err(failed)?;
    names.sort();
    Ok(names)
}
