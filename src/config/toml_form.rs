//! Our own form of configuration: TOML, with the settings in groups.
//!
//! Every setting of the table stands under its group; `[partition.NAME]`, `[channel.NAME]` and
//! `[host.NAME]` hold what `imapd.conf` names with a prefix. `imapd_conf` at the top names a file
//! of Cyrus whose settings count where this one has none. Nothing unknown is accepted.

use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use super::error::{ConfigError, Place, Problem, nearest};
use super::imapd_conf::{self, Files};
use super::table::{CHANNEL_SETTINGS, HOST_SETTINGS, PARTITION_SETTINGS, SETTINGS};
use super::values::{Raw, Values};
use super::{ChannelName, kind::Kind};
use crate::mail::Partition;

/// The setting that names the file of Cyrus.
const BASE: &str = "imapd_conf";

/// Reads a file, and the `imapd.conf` that it names, into `values`.
pub(super) fn read(files: &Files<'_>, path: &Path, values: &mut Values) -> Result<(), ConfigError> {
    let content = files.content(path).map_err(|problem| ConfigError {
        place: None,
        problem,
    })?;
    let text = Zeroizing::new(String::from_utf8_lossy(&content).into_owned());
    let document = Document {
        file: path.into(),
        text: &text,
    };
    let table = DeTable::parse(&text).map_err(|error| {
        let place = document.place(error.span().unwrap_or_default().start);
        ConfigError::at(&place, Problem::Toml(error.message().to_owned()))
    })?;
    let table = table.get_ref();
    if let Some(base) = table.get(BASE) {
        let base = document.text_of(BASE, base)?;
        imapd_conf::read(files, Path::new(base.as_str()), values)?;
    }
    for (group, content) in table.iter().filter(|(name, _)| name.get_ref() != BASE) {
        document.group(group, content, values)?;
    }
    Ok(())
}

struct Document<'a> {
    file: Arc<Path>,
    text: &'a str,
}

type Entry<'a> = (
    &'a Spanned<std::borrow::Cow<'a, str>>,
    &'a Spanned<DeValue<'a>>,
);

impl Document<'_> {
    fn place(&self, offset: usize) -> Place {
        let before = self.text.as_bytes().iter().take(offset);
        Place {
            file: self.file.clone(),
            line: 1 + before.filter(|byte| **byte == b'\n').count(),
        }
    }

    fn group(
        &self,
        group: &Spanned<std::borrow::Cow<'_, str>>,
        content: &Spanned<DeValue<'_>>,
        values: &mut Values,
    ) -> Result<(), ConfigError> {
        let name = group.get_ref().as_ref();
        let is_plain = groups().any(|known| known == name);
        let is_of_names = ["partition", "channel", "host"].contains(&name);
        if !is_plain && !is_of_names {
            let known = groups().chain(["partition", "channel", "host", BASE]);
            return Err(self.unknown(group.span().start, name, nearest(name, known)));
        }
        for (key, value) in self.table(name, content)? {
            let path = format!("{name}.{}", key.get_ref());
            if is_plain {
                self.plain(&path, (key, value), values)?;
                continue;
            }
            for entry in self.table(&path, value)? {
                self.named(name, key.get_ref(), entry, values)?;
            }
        }
        Ok(())
    }

    fn plain(&self, path: &str, entry: Entry<'_>, values: &mut Values) -> Result<(), ConfigError> {
        let (key, value) = entry;
        let Some(setting) = SETTINGS.iter().find(|setting| setting.toml == path) else {
            let known = SETTINGS.iter().map(|setting| setting.toml);
            return Err(self.unknown(key.span().start, path, nearest(path, known)));
        };
        let raw = self.raw(path, value)?;
        if raw.text.is_empty() && setting.kind != Kind::List {
            return Err(self.wrong(value.span().start, path, "", "a value"));
        }
        values.set(setting.name, raw)
    }

    /// A setting in `[partition.NAME]`, `[channel.NAME]` or `[host.NAME]`.
    fn named(
        &self,
        group: &str,
        name: &str,
        entry: Entry<'_>,
        values: &mut Values,
    ) -> Result<(), ConfigError> {
        let (key, value) = entry;
        let wanted = key.get_ref().as_ref();
        let path = format!("{group}.{name}.{wanted}");
        let known: Vec<(String, &str, Kind)> = match group {
            "partition" => PARTITION_SETTINGS
                .iter()
                .map(|(prefix, last)| (format!("{prefix}{name}"), *last, Kind::Path))
                .collect(),
            "channel" => CHANNEL_SETTINGS
                .iter()
                .map(|key| key.setting())
                .filter_map(|setting| {
                    let last = setting.toml.split_once('.')?.1;
                    Some((format!("{name}_{}", setting.name), last, setting.kind))
                })
                .collect(),
            _ => HOST_SETTINGS
                .iter()
                .map(|(suffix, last)| (format!("{name}{suffix}"), *last, Kind::Text))
                .collect(),
        };
        let Some((full, _, kind)) = known.iter().find(|(_, last, _)| *last == wanted) else {
            let names = known.iter().map(|(_, last, _)| *last);
            return Err(self.unknown(key.span().start, &path, nearest(wanted, names)));
        };
        let raw = self.raw(&path, value)?;
        let is_legal = match group {
            "partition" => Partition::parse(name).is_ok_and(|legal| legal.as_str() == name),
            "channel" => ChannelName::parse(name).is_ok() && name == name.to_ascii_lowercase(),
            _ => name == name.to_ascii_lowercase() && !name.contains('.'),
        };
        if !is_legal {
            return Err(self.wrong(key.span().start, group, name, "a name in lower case"));
        }
        if let Err(expected) = kind.check(&raw.text) {
            return Err(self.wrong(value.span().start, &path, &raw.text, &expected));
        }
        values.set(full, raw)
    }

    fn table<'v>(
        &self,
        path: &str,
        value: &'v Spanned<DeValue<'v>>,
    ) -> Result<impl Iterator<Item = Entry<'v>>, ConfigError> {
        match value.get_ref().as_table() {
            Some(table) => Ok(table.iter()),
            None => Err(self.not_a(path, value, "a table")),
        }
    }

    fn raw(&self, path: &str, value: &Spanned<DeValue<'_>>) -> Result<Raw, ConfigError> {
        Ok(Raw {
            name: path.to_owned(),
            text: self.text_of(path, value)?,
            is_utf8: true,
            place: self.place(value.span().start),
        })
    }

    /// The value in the syntax of `imapd.conf`.
    fn text_of(
        &self,
        path: &str,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Zeroizing<String>, ConfigError> {
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Boolean(true) => "yes".to_owned(),
            DeValue::Boolean(false) => "no".to_owned(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
            DeValue::Array(items) => {
                let word = |item: &Spanned<DeValue<'_>>| match item.get_ref().as_str() {
                    Some("") => Ok("\"\"".to_owned()),
                    Some(word) if !word.contains(char::is_whitespace) => Ok(word.to_owned()),
                    _ => Err(self.not_a(path, item, "a word")),
                };
                let words: Result<Vec<String>, ConfigError> = items.iter().map(word).collect();
                words?.join(" ")
            }
            _ => return Err(self.not_a(path, value, "a string, number, boolean or list of words")),
        };
        if text.chars().any(char::is_control) {
            return Err(self.not_a(path, value, "a text without control characters"));
        }
        Ok(Zeroizing::new(text))
    }

    fn not_a(&self, path: &str, value: &Spanned<DeValue<'_>>, expected: &str) -> ConfigError {
        let kind = value.get_ref().type_str();
        self.wrong(value.span().start, path, kind, expected)
    }

    fn wrong(&self, offset: usize, name: &str, value: &str, expected: &str) -> ConfigError {
        let problem = Problem::Value {
            name: name.to_owned(),
            value: value.to_owned(),
            expected: expected.to_owned(),
        };
        ConfigError::at(&self.place(offset), problem)
    }

    fn unknown(&self, offset: usize, name: &str, nearest: Option<String>) -> ConfigError {
        let problem = Problem::Unknown {
            name: name.to_owned(),
            nearest,
        };
        ConfigError::at(&self.place(offset), problem)
    }
}

/// The groups of the table.
fn groups() -> impl Iterator<Item = &'static str> {
    SETTINGS
        .iter()
        .filter_map(|setting| setting.toml.split_once('.'))
        .map(|(group, _)| group)
}
