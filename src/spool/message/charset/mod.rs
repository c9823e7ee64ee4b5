//! Charsets by the names that Cyrus accepts, and their conversion to Unicode.
//!
//! Cyrus has its own table of aliases and its own decoders for US-ASCII and UTF-8; all else it
//! leaves to ICU. Whether a name is known decides what the SECTION item says, so the complete list
//! of ICU's names is here. Its conversions are done by tables or `encoding_rs`. What neither has
//! (EBCDIC, ISO-2022-KR, ISO-2022-CN, HZ and the like) becomes one U+FFFD per piece of text, which
//! only affects the text that searches see (mailbox-format §4.11).

mod iso_2022_jp;
mod multi_byte;
mod names;
mod utf7;

use std::sync::LazyLock;

use encoding_rs::Encoding;

pub(super) use names::lookup;

/// A known charset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Charset {
    /// US-ASCII, by Cyrus's own decoder.
    Ascii,
    /// UTF-8, by Cyrus's own decoder.
    Utf8,
    /// Left to ICU.
    Converter {
        /// What two names of the same charset have in common: Cyrus's own name for it if it has
        /// one, else ICU's.
        canonical: &'static str,
        /// ICU's name.
        converter: &'static str,
    },
}

/// The replacement character as UTF-8.
const REPLACEMENT: &str = "\u{FFFD}";

impl Charset {
    /// Converts a complete piece of text to UTF-8.
    pub(super) fn decode(&self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Charset::Ascii => single_byte("US-ASCII").map_or_else(Vec::new, |t| t.decode(bytes)),
            Charset::Utf8 => String::from_utf8_lossy(bytes).into_owned().into_bytes(),
            Charset::Converter { converter, .. } => convert(converter, bytes),
        }
    }
}

fn convert(converter: &str, bytes: &[u8]) -> Vec<u8> {
    if let Some(table) = single_byte(converter) {
        return table.decode(bytes);
    }
    if let Some(charset) = multi_byte::find(converter) {
        return charset.decode(bytes).into_bytes();
    }
    let text = match converter {
        "UTF-8" => String::from_utf8_lossy(bytes).into_owned(),
        "UTF-7" => utf7::decode(bytes, utf7::Variant::Mail),
        "IMAP-mailbox-name" => utf7::decode(bytes, utf7::Variant::ImapMailboxName),
        "UTF-32" => utf32_with_mark(bytes),
        "UTF-32BE" => utf32(bytes, u32::from_be_bytes),
        "UTF-32LE" => utf32(bytes, u32::from_le_bytes),
        "UTF-16" => utf16_with_mark(bytes),
        "ISO_2022,locale=ja,version=0" => iso_2022_jp::decode(bytes),
        _ => match encoding(converter) {
            Some(encoding) => {
                let (text, _) = encoding.decode_without_bom_handling(bytes);
                text.into_owned()
            }
            None if bytes.is_empty() => String::new(),
            None => REPLACEMENT.to_owned(),
        },
    };
    text.into_bytes()
}

/// Encodings that `encoding_rs` shares with ICU, or nearly so: the rarer variants of one charset
/// differ in some symbols.
fn encoding(converter: &str) -> Option<&'static Encoding> {
    Some(match converter {
        "UTF-16BE" => encoding_rs::UTF_16BE,
        "UTF-16LE" => encoding_rs::UTF_16LE,
        "ibm-1386_P100-2001" | "ibm-1383_P110-1999" => encoding_rs::GBK,
        "ibm-950_P110-1999" | "ibm-1373_P100-2002" | "ibm-1375_P100-2008"
        | "ibm-5471_P100-2006" => encoding_rs::BIG5,
        "ibm-949_P110-1999" | "ibm-949_P11A-1999" | "ibm-1363_P11B-1998" | "ibm-1363_P110-1997" => {
            encoding_rs::EUC_KR
        }
        "ibm-942_P12A-1999" | "ibm-943_P130-1999" => encoding_rs::SHIFT_JIS,
        "ibm-33722_P12A_P12A-2009_U2" | "ibm-33722_P120-1999" | "ibm-954_P101-2007" => {
            encoding_rs::EUC_JP
        }
        _ => return None,
    })
}

fn utf16_with_mark(bytes: &[u8]) -> String {
    let (encoding, text) = match bytes {
        [0xFF, 0xFE, text @ ..] => (encoding_rs::UTF_16LE, text),
        [0xFE, 0xFF, text @ ..] => (encoding_rs::UTF_16BE, text),
        text => (encoding_rs::UTF_16BE, text),
    };
    encoding.decode_without_bom_handling(text).0.into_owned()
}

fn utf32_with_mark(bytes: &[u8]) -> String {
    match bytes {
        [0xFF, 0xFE, 0, 0, text @ ..] => utf32(text, u32::from_le_bytes),
        [0, 0, 0xFE, 0xFF, text @ ..] => utf32(text, u32::from_be_bytes),
        text => utf32(text, u32::from_be_bytes),
    }
}

fn utf32(bytes: &[u8], read: fn([u8; 4]) -> u32) -> String {
    let (units, rest) = bytes.as_chunks::<4>();
    let decoded = units
        .iter()
        .map(|unit| char::from_u32(read(*unit)).unwrap_or(char::REPLACEMENT_CHARACTER));
    let truncated = (!rest.is_empty()).then_some(char::REPLACEMENT_CHARACTER);
    decoded.chain(truncated).collect()
}

/// A charset of one byte per character that contains ASCII.
struct SingleByte {
    converter: &'static str,
    /// Whether 1A, 1C and 7F stand for each other as in IBM's PC charsets.
    dos: bool,
    /// UTF-16 of bytes 0x80 to 0xFF.
    upper: Vec<u16>,
}

static SINGLE_BYTE: LazyLock<Vec<SingleByte>> = LazyLock::new(|| {
    include_str!("single_byte.txt")
        .lines()
        .filter_map(SingleByte::read)
        .collect()
});

fn single_byte(converter: &str) -> Option<&'static SingleByte> {
    SINGLE_BYTE
        .iter()
        .find(|table| table.converter == converter)
}

impl SingleByte {
    fn read(line: &'static str) -> Option<SingleByte> {
        let mut words = line.split(' ');
        let converter = words.next().filter(|word| *word != "#")?;
        let dos = line.contains(" dos ");
        let upper = words.next_back()?.as_bytes().chunks(4).map(|digits| {
            let digits = std::str::from_utf8(digits).unwrap_or_default();
            u16::from_str_radix(digits, 16).unwrap_or(0xFFFD)
        });
        Some(SingleByte {
            converter,
            dos,
            upper: upper.collect(),
        })
    }

    fn decode(&self, bytes: &[u8]) -> Vec<u8> {
        let characters = bytes.iter().map(|&byte| match byte {
            0x1A if self.dos => '\u{1C}',
            0x1C if self.dos => '\u{7F}',
            0x7F if self.dos => '\u{1A}',
            0..0x80 => char::from(byte),
            _ => {
                let unit = self.upper.get(usize::from(byte & 0x7F)).copied();
                char::from_u32(u32::from(unit.unwrap_or(0xFFFD)))
                    .unwrap_or(char::REPLACEMENT_CHARACTER)
            }
        });
        characters.collect::<String>().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(name: &str, bytes: &[u8]) -> String {
        let charset = lookup(name.as_bytes()).unwrap();
        String::from_utf8(charset.decode(bytes)).unwrap()
    }

    #[test]
    fn single_byte_charsets() {
        assert_eq!(decoded("iso-8859-1", b"\x80\xE4"), "€ä");
        assert_eq!(decoded("iso-8859-15", b"\xA4"), "€");
        assert_eq!(decoded("koi8-r", b"\xF0\xD2"), "Пр");
        assert_eq!(decoded("cp850", b"\x84\x1A"), "ä\u{1C}");
        assert_eq!(decoded("macintosh", b"\x8A"), "ä");
    }

    #[test]
    fn multi_byte_charsets() {
        assert_eq!(decoded("gb2312", b"\xC4\xE3"), "你");
        assert_eq!(decoded("big5", b"\xA7\x41"), "你");
        assert_eq!(decoded("euc-kr", b"\xB0\xA1"), "가");
        assert_eq!(decoded("shift_jis", b"\x93\xFA"), "日");
        assert_eq!(decoded("iso-2022-jp", b"\x1B$BF|\x1B(B"), "日");
        assert_eq!(decoded("utf-16", b"\xFF\xFEa\0"), "a");
        assert_eq!(decoded("utf-32le", b"a\0\0\0b"), "a\u{FFFD}");
        assert_eq!(decoded("utf-7", b"a+AOQ-b"), "aäb");
    }

    #[test]
    fn charsets_without_a_table() {
        assert_eq!(decoded("ibm-37", b"\x81\x82"), "\u{FFFD}");
    }
}
