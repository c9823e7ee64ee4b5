//! Charset names: Cyrus's aliases first, then those of ICU.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::Charset;

/// Names that Cyrus maps to another one before it asks ICU.
const ALIASES: [(&str, &str); 93] = [
    ("utf8", "utf-8"),
    ("utf7", "utf-7"),
    ("unicode-1-1-utf-8", "utf-8"),
    ("unicode-1-1-utf-7", "utf-7"),
    ("imap-utf-7", "IMAP-mailbox-name"),
    ("ascii", "us-ascii"),
    ("ANSI_X3.4-1968", "us-ascii"),
    ("usascii", "us-ascii"),
    ("iso-8859-1", "windows-1252"),
    ("ISO_8859_1", "windows-1252"),
    ("ISO_8859-1", "windows-1252"),
    ("ISO_8859", "windows-1252"),
    ("ISO-8859", "windows-1252"),
    ("8859_1", "windows-1252"),
    ("iso--8859-1", "windows-1252"),
    ("so-8859-1", "windows-1252"),
    ("en_GB", "windows-1252"),
    ("auto", "windows-1252"),
    ("unknown", "windows-1252"),
    ("unknown-8bit", "windows-1252"),
    ("x-unknown", "windows-1252"),
    ("x-user-defined", "windows-1252"),
    ("x-europa", "windows-1252"),
    ("none", "windows-1252"),
    ("latin1", "windows-1252"),
    ("ISO8859-1", "windows-1252"),
    ("8859-1", "windows-1252"),
    ("es-windows-1252", "windows-1252"),
    ("DISPLAY", "windows-1252"),
    ("Any", "windows-1252"),
    ("x-mac-roman", "macintosh"),
    ("mac", "macintosh"),
    ("csmacintosh", "macintosh"),
    ("646", "iso-8859-1"),
    ("ISO646-US", "iso-8859-1"),
    ("8859_2", "iso-8859-2"),
    ("x-mac-turkish", "iso-8859-9"),
    ("greek-ccitt", "iso-8859-7"),
    ("iso-8859-8-i", "iso-8859-8"),
    ("ISO8859_15_FDIS", "iso-8859-15"),
    ("ISO8859-15", "iso-8859-15"),
    ("tis-620", "iso-8859-11"),
    ("x-mac-thai", "iso-8859-11"),
    ("ASMO-708", "iso-8859-6"),
    ("WIN-KOI8", "koi8-r"),
    ("KOI8-R", "koi8-r"),
    ("KOI8-U", "koi8-u"),
    ("_iso-2022-jp$ESC", "iso-2022-jp"),
    ("_iso-2022-jp", "iso-2022-jp"),
    ("csISO2022JP", "iso-2022-jp"),
    ("ks_c_5601", "ksc5601"),
    ("1250", "windows-1250"),
    ("cp1250", "windows-1250"),
    ("win-1250", "windows-1250"),
    ("1251", "windows-1251"),
    ("cp1251", "windows-1251"),
    ("win-1251", "windows-1251"),
    ("1252", "windows-1252"),
    ("cp1252", "windows-1252"),
    ("cp-1252", "windows-1252"),
    ("win-1252", "windows-1252"),
    ("1254", "windows-1254"),
    ("cp1254", "windows-1254"),
    ("win-1254", "windows-1254"),
    ("1255", "windows-1255"),
    ("cp1255", "windows-1255"),
    ("win-1255", "windows-1255"),
    ("1256", "windows-1256"),
    ("cp1256", "windows-1256"),
    ("win-1256", "windows-1256"),
    ("win1256", "windows-1256"),
    ("1257", "windows-1257"),
    ("cp1257", "windows-1257"),
    ("win-1257", "windows-1257"),
    ("1258", "windows-1258"),
    ("cp1258", "windows-1258"),
    ("win-1258", "windows-1258"),
    ("cp850", "windows-850"),
    ("cp-850", "windows-850"),
    ("dos-latin1", "windows-850"),
    ("msdos-latin1", "windows-850"),
    ("cp932", "windows-31j"),
    ("cp-932", "windows-31j"),
    ("win-31j", "windows-31j"),
    ("Shift_JIS", "windows-31j"),
    ("cp936", "windows-936"),
    ("cp-936", "windows-936"),
    ("win-936", "windows-936"),
    ("238", "windows-1250"),
    ("136", "big5"),
    ("gbk", "windows-936"),
    ("x-gbk", "windows-936"),
    ("gb2312", "windows-936"),
];

/// Converters of ICU by all their names, reduced to what ICU compares.
static CONVERTERS: LazyLock<HashMap<Vec<u8>, &'static str>> = LazyLock::new(|| {
    let mut converters = HashMap::new();
    for line in include_str!("converters.txt").lines() {
        let mut names = line.split(' ');
        let Some(converter) = names.next().filter(|name| *name != "#") else {
            continue;
        };
        for name in names.chain([converter]) {
            converters
                .entry(reduced(name.as_bytes()))
                .or_insert(converter);
        }
    }
    converters
});

/// Cyrus's own names by alias, and by themselves, all in lower case.
static CANONICAL: LazyLock<HashMap<Vec<u8>, &'static str>> = LazyLock::new(|| {
    let mut names = HashMap::new();
    for (alias, canonical) in ALIASES {
        names.insert(alias.as_bytes().to_ascii_lowercase(), canonical);
    }
    for (_, canonical) in ALIASES {
        let name = canonical.as_bytes().to_ascii_lowercase();
        names.entry(name).or_insert(canonical);
    }
    names
});

/// The charset of this name, if Cyrus knows it (mailbox-format §4.11 on how lenient that is).
pub(in super::super) fn lookup(name: &[u8]) -> Option<Charset> {
    let canonical = CANONICAL.get(&name.to_ascii_lowercase()).copied();
    match canonical {
        Some("us-ascii") => return Some(Charset::Ascii),
        Some("utf-8") => return Some(Charset::Utf8),
        _ => {}
    }
    let converter = converter(canonical.map_or(name, str::as_bytes))?;
    Some(Charset::Converter {
        canonical: canonical.unwrap_or(converter),
        converter,
    })
}

/// Finds ICU's converter by one of its names; options behind a comma do not count.
fn converter(name: &[u8]) -> Option<&'static str> {
    const LONGEST: usize = 59;
    let name = name.split(|byte| *byte == b',').next()?;
    if name.len() > LONGEST {
        return None;
    }
    CONVERTERS.get(&reduced(name)).copied()
}

/// ICU compares only letters, whatever their case, and digits without leading zeros.
fn reduced(name: &[u8]) -> Vec<u8> {
    let mut reduced = Vec::with_capacity(name.len());
    let mut after_digit = false;
    for (index, &byte) in name.iter().enumerate() {
        let before_digit = name.get(index + 1).is_some_and(u8::is_ascii_digit);
        match byte {
            b'0' if !after_digit && before_digit => continue,
            b'0' => {}
            b'1'..=b'9' => after_digit = true,
            _ => {
                after_digit = false;
                if !byte.is_ascii_alphabetic() {
                    continue;
                }
            }
        }
        reduced.push(byte.to_ascii_lowercase());
    }
    reduced
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converter_of(name: &str) -> &'static str {
        match lookup(name.as_bytes()) {
            Some(Charset::Converter { converter, .. }) => converter,
            other => panic!("{name}: {other:?}"),
        }
    }

    #[test]
    fn names_of_cyrus() {
        assert_eq!(lookup(b"UTF-8"), Some(Charset::Utf8));
        assert_eq!(lookup(b"utf8"), Some(Charset::Utf8));
        assert_eq!(lookup(b"US-ASCII"), Some(Charset::Ascii));
        assert_eq!(converter_of("ISO-8859-1"), converter_of("windows-1252"));
        assert_eq!(converter_of("gb2312"), "windows-936-2000");
        assert_eq!(converter_of("cp-850"), "ibm-850_P100-1995");
    }

    #[test]
    fn names_of_icu_are_compared_leniently() {
        assert_eq!(converter_of("ut.f-8"), "UTF-8");
        assert_eq!(converter_of("iso_8859-0015"), "ibm-923_P100-1998");
        assert_eq!(converter_of("utf-16,version=1"), "UTF-16");
        for unknown in ["", "--", "klingon", "utf-80", "x-utf"] {
            assert_eq!(lookup(unknown.as_bytes()), None, "{unknown}");
        }
    }
}
