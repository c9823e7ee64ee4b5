//! The syntax of `imapd.conf` (configuration §1.1).

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::{Zeroize, Zeroizing};

use super::error::{ConfigError, Place, Problem};
use super::values::{Raw, Values};

/// Where configuration files come from.
pub(super) struct Files<'a> {
    /// Reads a whole file.
    pub read: &'a dyn Fn(&Path) -> io::Result<Vec<u8>>,
    /// Tried in front of every path first (`CYRUS_PREFIX`).
    pub prefix: Option<String>,
}

impl Files<'_> {
    /// The content of a file.
    pub fn content(&self, path: &Path) -> Result<Zeroizing<Vec<u8>>, Problem> {
        let prefixed = self.prefix.as_ref().map(|prefix| {
            let mut prefixed = prefix.clone().into_bytes();
            prefixed.extend_from_slice(path.as_os_str().as_encoded_bytes());
            PathBuf::from(String::from_utf8_lossy(&prefixed).into_owned())
        });
        if let Some(content) = prefixed.and_then(|path| (self.read)(&path).ok()) {
            return Ok(Zeroizing::new(content));
        }
        match (self.read)(path) {
            Ok(content) => Ok(Zeroizing::new(content)),
            Err(source) => Err(Problem::Unreadable {
                path: path.to_owned(),
                source,
            }),
        }
    }
}

/// Reads a file, and those that it includes, into `values`.
pub(super) fn read(files: &Files<'_>, path: &Path, values: &mut Values) -> Result<(), ConfigError> {
    let mut reader = Reader {
        files,
        values,
        seen: BTreeSet::new(),
    };
    reader.file(path).map_err(|problem| match problem {
        Wrong::Here(problem) => ConfigError {
            place: None,
            problem,
        },
        Wrong::There(error) => error,
    })
}

/// A problem, with its place once that is known.
enum Wrong {
    Here(Problem),
    There(ConfigError),
}

impl From<Problem> for Wrong {
    fn from(problem: Problem) -> Wrong {
        Wrong::Here(problem)
    }
}

impl From<ConfigError> for Wrong {
    fn from(error: ConfigError) -> Wrong {
        Wrong::There(error)
    }
}

struct Reader<'a> {
    files: &'a Files<'a>,
    values: &'a mut Values,
    seen: BTreeSet<PathBuf>,
}

impl Reader<'_> {
    fn file(&mut self, path: &Path) -> Result<(), Wrong> {
        let content = self.files.content(path)?;
        if !self.seen.insert(path.to_owned()) {
            return Err(Problem::IncludedTwice(path.to_owned()).into());
        }
        let file: Arc<Path> = path.into();
        for (line, text) in LogicalLines::new(&content) {
            let place = Place {
                file: file.clone(),
                line,
            };
            self.line(&text, &place).map_err(|wrong| match wrong {
                Wrong::Here(problem) => ConfigError::at(&place, problem),
                Wrong::There(error) => error,
            })?;
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8], place: &Place) -> Result<(), Wrong> {
        if line.contains(&0) {
            return Err(Problem::Nul.into());
        }
        let line = trim(line);
        if line.is_empty() || line.starts_with(b"#") {
            return Ok(());
        }
        let (name, value) = split(line).ok_or(Problem::NoName)?;
        if value.is_empty() {
            return Err(Problem::NoValue(name).into());
        }
        let is_utf8 = std::str::from_utf8(value).is_ok();
        let text = Zeroizing::new(String::from_utf8_lossy(value).into_owned());
        if name == "@include" {
            return self.file(Path::new(text.as_str()));
        }
        if name.starts_with('@') {
            return Err(Problem::UnknownDirective(name).into());
        }
        let raw = Raw {
            name: name.clone(),
            text,
            is_utf8,
            place: place.clone(),
        };
        Ok(self.values.accept(&name, raw)?)
    }
}

/// Name in lower case, and value.
fn split(line: &[u8]) -> Option<(String, &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = line.get(..colon)?;
    let letters = name.strip_prefix(b"@").unwrap_or(name);
    let is_legal = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !letters.iter().all(is_legal) {
        return None;
    }
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    Some((name, trim(line.get(colon + 1..)?)))
}

/// Without white space at both ends; unlike Rust, C counts the vertical tab as such.
fn trim(mut text: &[u8]) -> &[u8] {
    let is_space = |byte: u8| byte.is_ascii_whitespace() || byte == 0x0b;
    while let [first, rest @ ..] = text
        && is_space(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_space(*last)
    {
        text = rest;
    }
    text
}

/// The lines of a file with their numbers; those that end in a backslash are joined with the next.
/// A joined line without its next one, at the end of the file, does not count at all.
struct LogicalLines<'a> {
    rest: &'a [u8],
    number: usize,
}

impl LogicalLines<'_> {
    fn new(content: &[u8]) -> LogicalLines<'_> {
        LogicalLines {
            rest: content,
            number: 0,
        }
    }
}

impl Iterator for LogicalLines<'_> {
    type Item = (usize, Zeroizing<Vec<u8>>);

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.number + 1;
        let mut joined = Zeroizing::new(Vec::new());
        while !self.rest.is_empty() {
            self.number += 1;
            let end = self.rest.iter().position(|byte| *byte == b'\n');
            let (line, rest) = match end {
                Some(end) => (self.rest.get(..end)?, self.rest.get(end + 1..)?),
                None => (self.rest, &[][..]),
            };
            self.rest = rest;
            match line.strip_suffix(b"\\").filter(|_| end.is_some()) {
                Some(part) => joined.extend_from_slice(part),
                None => {
                    joined.extend_from_slice(line);
                    return Some((first, joined));
                }
            }
        }
        joined.zeroize();
        None
    }
}
