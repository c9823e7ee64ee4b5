//! The values that configuration files give, before they are put together.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

use super::OWN_PREFIX;
use super::cyrus::is_other_option;
use super::error::{ConfigError, Place, Problem, nearest};
use super::kind::{self, Kind};
use super::table::{Key, OLD_NAMES, SETTINGS, Setting};

/// One value, as it stands in a file.
#[derive(Debug, Clone)]
pub(super) struct Raw {
    /// The name of the setting as it is written there.
    pub name: String,
    /// Octets that are not UTF-8 are replaced.
    pub text: Zeroizing<String>,
    pub is_utf8: bool,
    pub place: Place,
}

#[derive(Debug, Clone)]
struct Slot {
    raw: Raw,
    /// Given with the prefix of the service, which outweighs one without.
    of_service: bool,
}

/// All values of a configuration. The rules by which one of several counts, and by which some
/// combinations are refused, are those of Cyrus (configuration §1.1, §1.3).
#[derive(Debug, Clone, Default)]
pub(super) struct Values {
    /// The name of the service or program, in lower case.
    ident: String,
    /// Options that we or Cyrus know, by name.
    known: BTreeMap<String, Slot>,
    /// All else, by the name as written.
    unknown: BTreeMap<String, Raw>,
}

impl Values {
    pub fn new(ident: &str) -> Values {
        Values {
            ident: ident.to_ascii_lowercase(),
            ..Values::default()
        }
    }

    /// Takes a line of `imapd.conf`; `name` is in lower case.
    pub fn accept(&mut self, name: &str, raw: Raw) -> Result<(), ConfigError> {
        let plain = self.without_ident(name).filter(|plain| is_known(plain));
        let of_service = plain.is_some();
        let plain = plain.unwrap_or(name).to_owned();
        if !is_known(&plain) {
            self.refuse_unknown_of_ours(name, &raw)?;
            return match self.unknown.get(name) {
                Some(earlier) => Err(twice(&raw, &earlier.place)),
                None => {
                    self.unknown.insert(name.to_owned(), raw);
                    Ok(())
                }
            };
        }
        match self.known.get(&plain) {
            Some(earlier) if earlier.of_service == of_service => {
                return Err(twice(&raw, &earlier.raw.place));
            }
            Some(earlier) if earlier.of_service => return Ok(()),
            _ => {}
        }
        check(&plain, &raw)?;
        self.known.insert(plain, Slot { raw, of_service });
        Ok(())
    }

    /// Sets a value whatever was there before.
    pub fn set(&mut self, name: &str, raw: Raw) -> Result<(), ConfigError> {
        check(name, &raw)?;
        if is_known(name) {
            let of_service = true;
            self.known.insert(name.to_owned(), Slot { raw, of_service });
        } else {
            let with_ident = format!("{}_{name}", self.ident);
            self.unknown.remove(&with_ident);
            self.unknown.insert(name.to_owned(), raw);
        }
        Ok(())
    }

    fn without_ident<'a>(&self, name: &'a str) -> Option<&'a str> {
        if self.ident.is_empty() {
            return None;
        }
        name.strip_prefix(&self.ident)?.strip_prefix('_')
    }

    /// Cyrus takes any name, but one with our prefix can only be meant for us.
    fn refuse_unknown_of_ours(&self, name: &str, raw: &Raw) -> Result<(), ConfigError> {
        let plain = self.without_ident(name).unwrap_or(name);
        if !plain.starts_with(OWN_PREFIX) {
            return Ok(());
        }
        let known = SETTINGS.iter().filter(|setting| setting.is_our_own());
        let problem = Problem::Unknown {
            name: raw.name.clone(),
            nearest: nearest(plain, known.map(|setting| setting.name)),
        };
        Err(ConfigError::at(&raw.place, problem))
    }

    fn given(&self, key: Key) -> Option<&Raw> {
        let old = OLD_NAMES
            .iter()
            .filter(|(_, successor)| *successor == key)
            .map(|(old, _)| *old);
        std::iter::once(key.setting().name)
            .chain(old)
            .find_map(|name| self.known.get(name))
            .map(|slot| &slot.raw)
    }

    /// A setting that neither we nor Cyrus know by its full name, such as `partition-default`.
    pub fn unknown(&self, name: &str) -> Option<&Raw> {
        let with_ident = format!("{}_{name}", self.ident);
        self.unknown
            .get(&with_ident)
            .or_else(|| self.unknown.get(name))
    }

    /// The names of unknown settings without the prefix of the service.
    pub fn unknown_names(&self) -> impl Iterator<Item = &str> {
        self.unknown
            .keys()
            .map(|name| self.without_ident(name).unwrap_or(name))
    }

    /// Whether the files set it.
    pub fn is_given(&self, key: Key) -> bool {
        self.given(key).is_some()
    }

    /// What it is called where it is set.
    pub fn name(&self, key: Key) -> &str {
        match self.given(key) {
            Some(raw) => &raw.name,
            None => key.setting().name,
        }
    }

    /// Where it is set, if it is.
    pub fn place(&self, key: Key) -> Option<&Place> {
        self.given(key).map(|raw| &raw.place)
    }

    /// The value as text, or the default.
    pub fn text(&self, key: Key) -> Option<&str> {
        match self.given(key) {
            Some(raw) => Some(&raw.text),
            None => key.setting().default,
        }
    }

    fn parsed<T>(
        &self,
        key: Key,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, ConfigError>
    where
        T: Default,
    {
        match self.text(key) {
            None => Ok(T::default()),
            Some(text) => parse(text).map_err(|expected| self.wrong(key, &expected)),
        }
    }

    /// The error of a value that does not fit.
    pub fn wrong(&self, key: Key, expected: &str) -> ConfigError {
        let setting = key.setting();
        ConfigError {
            place: self.place(key).cloned(),
            problem: Problem::Value {
                name: self.name(key).to_owned(),
                value: shown(setting.kind, self.text(key).unwrap_or_default()),
                expected: expected.to_owned(),
            },
        }
    }

    /// An optional text, with `{configdirectory}` replaced.
    pub fn optional(&self, key: Key) -> Option<String> {
        self.text(key).map(|text| self.expand(text))
    }

    /// An optional path.
    pub fn path(&self, key: Key) -> Option<PathBuf> {
        self.optional(key).map(PathBuf::from)
    }

    fn expand(&self, text: &str) -> String {
        match kind::strip_config_directory(text) {
            Some(rest) => {
                let directory = self.text(Key::ConfigDirectory).unwrap_or_default();
                format!("{directory}{rest}")
            }
            None => text.to_owned(),
        }
    }

    /// The words of a list.
    pub fn list(&self, key: Key) -> Vec<String> {
        let text = self.text(key).unwrap_or_default();
        text.split_ascii_whitespace().map(str::to_owned).collect()
    }

    pub fn switch(&self, key: Key) -> Result<bool, ConfigError> {
        self.parsed(key, kind::switch)
    }

    /// A number that is not negative.
    pub fn number(&self, key: Key) -> Result<u32, ConfigError> {
        self.parsed(key, |text| {
            u32::try_from(kind::number(text)?)
                .map_err(|_| "a number from 0 to 4294967295".to_owned())
        })
    }

    pub fn octal(&self, key: Key) -> Result<u32, ConfigError> {
        self.parsed(key, kind::octal)
    }

    pub fn duration(&self, key: Key) -> Result<Duration, ConfigError> {
        match key.setting().kind {
            Kind::Duration(unit) => self.parsed(key, |text| kind::duration(text, unit)),
            _ => Err(self.wrong(key, "a setting for durations")),
        }
    }

    pub fn size(&self, key: Key) -> Result<u64, ConfigError> {
        match key.setting().kind {
            Kind::Size(unit) => self.parsed(key, |text| kind::size(text, unit)),
            _ => Err(self.wrong(key, "a setting for sizes")),
        }
    }

    /// One of the words that the table lists.
    pub fn choice(&self, key: Key) -> Result<&'static str, ConfigError> {
        match key.setting().kind {
            Kind::Choice(words) => self.parsed(key, |text| kind::choice(words, text)),
            _ => Err(self.wrong(key, "a setting for words")),
        }
    }

    /// A bit per word that the table lists.
    pub fn set_of(&self, key: Key) -> Result<u32, ConfigError> {
        match key.setting().kind {
            Kind::Set(words) => self.parsed(key, |text| kind::set(words, text)),
            _ => Err(self.wrong(key, "a setting for words")),
        }
    }
}

fn is_known(name: &str) -> bool {
    Setting::named(name).is_some() || successor(name).is_some() || is_other_option(name)
}

fn successor(name: &str) -> Option<&'static Setting> {
    OLD_NAMES
        .iter()
        .find(|(old, _)| *old == name)
        .map(|(_, key)| key.setting())
}

fn check(name: &str, raw: &Raw) -> Result<(), ConfigError> {
    let Some(setting) = Setting::named(name).or_else(|| successor(name)) else {
        return Ok(());
    };
    let checked = match raw.is_utf8 {
        true => setting.kind.check(&raw.text),
        false => Err("UTF-8".to_owned()),
    };
    checked.map_err(|expected| {
        let problem = Problem::Value {
            name: raw.name.clone(),
            value: shown(setting.kind, &raw.text),
            expected,
        };
        ConfigError::at(&raw.place, problem)
    })
}

fn shown(kind: Kind, text: &str) -> String {
    match kind {
        Kind::Secret => "(secret)".to_owned(),
        _ => text.to_owned(),
    }
}

fn twice(raw: &Raw, first: &Place) -> ConfigError {
    let problem = Problem::Twice {
        name: raw.name.clone(),
        first: first.clone(),
    };
    ConfigError::at(&raw.place, problem)
}
