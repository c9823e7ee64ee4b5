//! What can be wrong with a configuration.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Unsupported;

/// Where something stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: Arc<Path>,
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// A configuration with which no program starts.
#[derive(Debug, thiserror::Error)]
#[error("{}{problem}", at(place))]
pub struct ConfigError {
    /// Where; a problem of the whole configuration has no place.
    pub place: Option<Place>,
    /// What is wrong.
    pub problem: Problem,
}

fn at(place: &Option<Place>) -> String {
    place
        .as_ref()
        .map_or_else(String::new, |place| format!("{place}: "))
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A file cannot be read.
    #[error("cannot read configuration file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file is read twice.
    #[error("configuration file {} is included twice", .0.display())]
    IncludedTwice(PathBuf),
    /// A line does not begin with the name of an option and a colon.
    #[error("a line is \"name: value\", with nothing between the name and the colon")]
    NoName,
    /// A line begins with `@` but is no directive.
    #[error("unknown directive {0}; there is only @include")]
    UnknownDirective(String),
    /// Nothing stands behind the colon.
    #[error("{0} has no value")]
    NoValue(String),
    /// A line holds NUL.
    #[error("the line holds a NUL character")]
    Nul,
    /// A setting occurs again.
    #[error("{name} is set again; it was set at {first}")]
    Twice {
        /// The setting.
        name: String,
        /// Where it was set first.
        first: Place,
    },
    /// A value does not fit the setting.
    #[error("{name} is {value:?}, but should be {expected}")]
    Value {
        /// The setting.
        name: String,
        /// The value.
        value: String,
        /// What it should be.
        expected: String,
    },
    /// There is no such setting.
    #[error("unknown setting {name}{}", did_you_mean(nearest))]
    Unknown {
        /// The name.
        name: String,
        /// A known name that looks like it.
        nearest: Option<String>,
    },
    /// A file in our own form is not TOML.
    #[error("{0}")]
    Toml(String),
    /// Settings that Cyrus takes but that this program cannot work with.
    #[error("{}", lines(.0))]
    Unsupported(Vec<Unsupported>),
    /// Settings do not go together, or something is missing.
    #[error("{0}")]
    Whole(String),
}

fn lines(found: &[Unsupported]) -> String {
    let lines: Vec<String> = found.iter().map(Unsupported::to_string).collect();
    lines.join("\n")
}

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest
        .as_ref()
        .map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

impl ConfigError {
    /// The exit status of a program with such a configuration, `EX_CONFIG`.
    pub const EXIT_STATUS: u8 = 78;

    pub(super) fn at(place: &Place, problem: Problem) -> ConfigError {
        ConfigError {
            place: Some(place.clone()),
            problem,
        }
    }

    pub(super) fn whole(text: impl Into<String>) -> ConfigError {
        ConfigError {
            place: None,
            problem: Problem::Whole(text.into()),
        }
    }
}

/// The one of `names` that `name` was probably meant to be.
pub(super) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    names
        .map(|known| (distance(name, known), known))
        .filter(|(distance, known)| *distance <= 1 + known.len().max(name.len()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known.to_owned())
}

/// How many letters must be put in, taken out or replaced to make one text of the other.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, other) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(letter != other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_names() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        let names = || ["sync_host", "sync_port", "servername"].into_iter();
        assert_eq!(nearest("sync_hots", names()).as_deref(), Some("sync_host"));
        assert_eq!(nearest("colour", names()), None);
    }
}
