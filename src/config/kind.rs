//! The types of settings and the syntax of their values (configuration §1.2).

use std::time::Duration;

/// What values a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text; a leading `{configdirectory}` stands for that directory.
    Text,
    /// Any text, which is not shown to anybody.
    Secret,
    /// An absolute path; a leading `{configdirectory}` stands for that directory.
    Path,
    /// Words separated by blanks.
    List,
    /// On or off.
    Switch,
    /// A number in the notation of C.
    Number,
    /// A number in octal.
    Octal,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Any of these words, separated by blanks.
    Set(&'static [&'static str]),
    /// Numbers with `d`, `h`, `m`, `s`; a plain number is in the unit given.
    Duration(char),
    /// A number of octets with `K`, `M`, `G`; a plain number is in the unit given.
    Size(u64),
}

impl Kind {
    /// Checks the syntax of a value.
    ///
    /// # Errors
    /// What the value should be.
    pub fn check(self, text: &str) -> Result<(), String> {
        match self {
            Kind::Text | Kind::Secret | Kind::List => Ok(()),
            Kind::Path => path(text).map(drop),
            Kind::Switch => switch(text).map(drop),
            Kind::Number => number(text).map(drop),
            Kind::Octal => octal(text).map(drop),
            Kind::Choice(words) => choice(words, text).map(drop),
            Kind::Set(words) => set(words, text).map(drop),
            Kind::Duration(unit) => duration(text, unit).map(drop),
            Kind::Size(unit) => size(text, unit).map(drop),
        }
    }
}

/// An absolute path, or one below the configuration directory.
fn path(text: &str) -> Result<&str, String> {
    if text.starts_with('/') || strip_config_directory(text).is_some() {
        Ok(text)
    } else {
        Err("an absolute path".to_owned())
    }
}

/// What follows a leading `{configdirectory}`, which may be in any case.
pub(super) fn strip_config_directory(text: &str) -> Option<&str> {
    const WORD: &str = "{configdirectory}";
    let head = text.get(..WORD.len())?;
    if head.eq_ignore_ascii_case(WORD) {
        text.get(WORD.len()..)
    } else {
        None
    }
}

/// Only the first letters count.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text.as_bytes() {
        [b'0' | b'n' | b'f', ..] | [b'o', b'f', ..] => Ok(false),
        [b'1' | b'y' | b't', ..] | [b'o', b'n', ..] => Ok(true),
        _ => Err("on, off, yes, no, true, false, 1 or 0, in lower case".to_owned()),
    }
}

pub(super) fn number(text: &str) -> Result<i64, String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = if let Some(digits) = digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"))
    {
        (16, digits)
    } else if digits.len() > 1 && digits.starts_with('0') {
        (8, digits)
    } else {
        (10, digits)
    };
    let value = digits
        .starts_with(|c: char| c.is_ascii_hexdigit())
        .then(|| i64::from_str_radix(&format!("{sign}{digits}"), radix).ok());
    value.flatten().ok_or_else(|| "a number".to_owned())
}

pub(super) fn octal(text: &str) -> Result<u32, String> {
    let digits_only = text.bytes().all(|byte| byte.is_ascii_digit());
    match u32::from_str_radix(text, 8) {
        Ok(value) if digits_only && value <= 0o777 => Ok(value),
        _ => Err("an octal number up to 777".to_owned()),
    }
}

pub(super) fn choice(words: &[&'static str], text: &str) -> Result<&'static str, String> {
    let normal = match text {
        "1" | "yes" | "t" | "true" => "on",
        "0" | "no" | "f" | "false" => "off",
        other => other,
    };
    let find = |wanted: &str| words.iter().find(|word| **word == wanted).copied();
    find(text)
        .or_else(|| find(normal))
        .ok_or_else(|| format!("one of {}", words.join(", ")))
}

/// A bit per word, in the order of the words.
pub(super) fn set(words: &[&str], text: &str) -> Result<u32, String> {
    let mut bits = 0;
    for word in text.split_ascii_whitespace() {
        match words.iter().position(|known| *known == word) {
            Some(place) => bits |= 1 << place,
            None => return Err(format!("some of {}", words.join(", "))),
        }
    }
    Ok(bits)
}

/// Seconds; may be negative.
fn seconds(text: &str, default_unit: char) -> Option<i64> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut total = 0i64;
    let mut pending: Option<i64> = None;
    let add = |total: i64, amount: i64, unit: char| {
        let factor = match unit {
            'd' => 86400,
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        total.checked_add(amount.checked_mul(factor)?)
    };
    for letter in rest.chars() {
        if let Some(digit) = letter.to_digit(10) {
            let value = pending.unwrap_or(0).checked_mul(10)?;
            pending = Some(value.checked_add(i64::from(digit))?);
        } else {
            total = add(total, pending.take()?, letter)?;
        }
    }
    if let Some(amount) = pending {
        total = add(total, amount, default_unit)?;
    }
    let in_range = i32::try_from(total).is_ok();
    in_range.then_some(if negative { -total } else { total })
}

/// A time; none is longer than 68 years, negative ones count as zero.
pub(super) fn duration(text: &str, default_unit: char) -> Result<Duration, String> {
    match seconds(text, default_unit) {
        Some(seconds) => Ok(Duration::from_secs(u64::try_from(seconds).unwrap_or(0))),
        None => Err("a duration such as 90s, 30m, 1h30m or 7d".to_owned()),
    }
}

/// Octets.
pub(super) fn size(text: &str, default_unit: u64) -> Result<u64, String> {
    let parsed = || {
        if let Ok(plain) = number(text) {
            return u64::try_from(plain).ok()?.checked_mul(default_unit);
        }
        let end = text.find(|c: char| !c.is_ascii_digit())?;
        let (digits, unit) = text.split_at(end);
        let unit = unit.trim_start_matches(' ');
        let unit = unit.strip_suffix(['B', 'b']).unwrap_or(unit);
        let unit = unit.strip_suffix(['I', 'i']).unwrap_or(unit);
        let factor = match unit {
            "" => 1,
            "K" | "k" => 1 << 10,
            "M" | "m" => 1 << 20,
            "G" | "g" => 1 << 30,
            _ => return None,
        };
        digits.parse::<u64>().ok()?.checked_mul(factor)
    };
    parsed().ok_or_else(|| "a size such as 131072, 128K or 16M".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn switches() {
        for on in ["1", "yes", "y", "on", "true", "t", "yellow"] {
            assert_eq!(switch(on), Ok(true), "{on}");
        }
        for off in ["0", "no", "n", "off", "of", "false", "f"] {
            assert_eq!(switch(off), Ok(false), "{off}");
        }
        for bad in ["", "True", "YES", "o", "2", "enabled"] {
            assert!(switch(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers() {
        for (text, value) in [
            ("16", 16),
            ("0x10", 16),
            ("010", 8),
            ("0", 0),
            ("-5", -5),
            ("+3", 3),
        ] {
            assert_eq!(number(text), Ok(value), "{text}");
        }
        for bad in [
            "",
            "5k",
            "0x",
            "08",
            "-",
            "--5",
            "+-5",
            "1 2",
            "99999999999999999999",
        ] {
            assert!(number(bad).is_err(), "{bad}");
        }
        assert_eq!(octal("077"), Ok(0o77));
        for bad in ["", "+77", "8", "1777"] {
            assert!(octal(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn words() {
        assert_eq!(choice(&["off", "on"], "yes"), Ok("on"));
        assert_eq!(choice(&["off", "userid", "on"], "f"), Ok("off"));
        assert!(choice(&["unix"], "yes").is_err());
        assert!(choice(&["off", "on"], "On").is_err());
        assert_eq!(set(&["a", "b", "c"], " c\ta "), Ok(0b101));
        assert!(set(&["a"], "a x").is_err());
    }

    #[test]
    fn durations() {
        for (text, unit, value) in [
            ("1h30m", 's', 5400),
            ("5", 's', 5),
            ("5", 'm', 300),
            ("1d2h3m4s", 's', 93784),
            ("1h30", 'm', 5400),
            ("-5", 's', 0),
        ] {
            assert_eq!(
                duration(text, unit),
                Ok(Duration::from_secs(value)),
                "{text}"
            );
        }
        for bad in [
            "h",
            "1x",
            "1h h",
            "5 s",
            "9999999999",
            "99999999999999999999d",
        ] {
            assert!(duration(bad, 's').is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes() {
        for (text, unit, value) in [
            ("131072", 1, 131_072),
            ("32", 1024, 32768),
            ("128K", 1, 131_072),
            ("128 KiB", 1, 131_072),
            ("1gb", 1, 1 << 30),
            ("5B", 1024, 5),
            ("0x10", 1, 16),
        ] {
            assert_eq!(size(text, unit), Ok(value), "{text}");
        }
        for bad in ["", "K", "5T", "-1", "5 K K", "99999999999G"] {
            assert!(size(bad, 1).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_judged(text in "\\PC{0,12}|[-0-9a-zKMGiB ]{0,12}") {
            for kind in [
                Kind::Path, Kind::Switch, Kind::Number, Kind::Octal, Kind::Choice(&["on"]),
                Kind::Set(&["a"]), Kind::Duration('d'), Kind::Size(1024),
            ] {
                let _ = kind.check(&text);
            }
        }
    }
}
