//! The East Asian charsets of mail, with the characters and the error handling of ICU.
//!
//! The characters are those of `encoding_rs` but for the runs listed here, which were found by
//! comparing all sequences. ICU takes one byte for an error, or two if the second can neither stand
//! alone nor begin a character; in charsets of IBM's making a single such byte becomes U+001A.

use std::ops::RangeInclusive;

use encoding_rs::Encoding;

type Bytes = RangeInclusive<u8>;

/// Characters for a run of sequences: the first sequence, how many, and the first character, after
/// which both count upwards. 0 stands for no character.
type Run = (u32, u32, u32);

/// One charset.
pub(super) struct MultiByte {
    encoding: &'static Encoding,
    /// Bytes that are a character.
    singles: &'static [Bytes],
    /// First bytes of longer sequences.
    leads: &'static [Bytes],
    /// Second bytes that belong to the first even where they make no character with it.
    trails: &'static [Bytes],
    /// What a single erroneous byte becomes.
    error: char,
    runs: &'static [Run],
    form: Form,
}

/// What else there is than one and two bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Nothing.
    TwoBytes,
    /// EUC-JP: three bytes beginning with 8F, and other second bytes behind 8E.
    EucJp,
    /// EUC-KR: without the characters that `encoding_rs` has behind A0.
    EucKr,
    /// GB18030: four bytes, the second and fourth a digit.
    Gb18030,
}

const SUBSTITUTE: char = '\u{1A}';

static GBK: MultiByte = MultiByte {
    encoding: encoding_rs::GBK,
    singles: &[0x00..=0x80, 0xFF..=0xFF],
    leads: &[0x81..=0xFE],
    trails: &[0x40..=0x7E, 0x80..=0xFE],
    error: char::REPLACEMENT_CHARACTER,
    runs: &[
        (0xFF, 1, 0xF8F5),
        (0xA2E3, 1, 0xE76C),
        (0xA3A0, 1, 0xE5E5),
        (0xA6D9, 7, 0xE78D),
        (0xA6EC, 2, 0xE794),
        (0xA6F3, 1, 0xE796),
        (0xA8BC, 1, 0xE7C7),
        (0xA8BF, 1, 0xE7C8),
        (0xA989, 13, 0xE7E7),
        (0xFE50, 1, 0xE815),
        (0xFE54, 24, 0xE819),
        (0xFE6D, 9, 0xE832),
        (0xFE77, 8, 0xE83C),
        (0xFE80, 17, 0xE844),
        (0xFE92, 15, 0xE856),
    ],
    form: Form::TwoBytes,
};

static GB18030: MultiByte = MultiByte {
    encoding: encoding_rs::GB18030,
    singles: &[0x00..=0x7F],
    leads: &[0x81..=0xFE],
    trails: &[0x40..=0x7E, 0x80..=0xFF],
    error: char::REPLACEMENT_CHARACTER,
    runs: &[
        (0xA3A0, 1, 0xE5E5),
        (0xA6D9, 7, 0xE78D),
        (0xA6EC, 2, 0xE794),
        (0xA6F3, 1, 0xE796),
        (0xFE59, 1, 0xE81E),
        (0xFE61, 1, 0xE826),
        (0xFE66, 2, 0xE82B),
        (0xFE6D, 1, 0xE832),
        (0xFE7E, 1, 0xE843),
        (0xFE90, 1, 0xE854),
        (0xFEA0, 1, 0xE864),
    ],
    form: Form::Gb18030,
};

static BIG5: MultiByte = MultiByte {
    encoding: encoding_rs::BIG5,
    singles: &[0x00..=0x80, 0xFF..=0xFF],
    leads: &[0x81..=0xFE],
    trails: &[0x40..=0x7E, 0x80..=0xFE],
    error: char::REPLACEMENT_CHARACTER,
    runs: &BIG5_RUNS,
    form: Form::TwoBytes,
};

static SHIFT_JIS: MultiByte = MultiByte {
    encoding: encoding_rs::SHIFT_JIS,
    singles: &[0x00..=0x7F, 0xA1..=0xDF],
    leads: &[0x81..=0x9F, 0xE0..=0xFC],
    trails: &[0x40..=0x7E, 0x80..=0xFC],
    error: SUBSTITUTE,
    runs: &[(0x1A, 1, 0x1C), (0x1C, 1, 0x7F), (0x7F, 1, 0x1A)],
    form: Form::TwoBytes,
};

static EUC_JP: MultiByte = MultiByte {
    encoding: encoding_rs::EUC_JP,
    singles: &[0x00..=0x8D, 0x90..=0x9F],
    leads: &[0x8E..=0x8F, 0xA1..=0xFE],
    trails: &[0xA0..=0xFF],
    error: SUBSTITUTE,
    runs: &[
        (0x80, 14, 0x80),
        (0x90, 16, 0x90),
        (0x8EE0, 2, 0xA2),
        (0x8EE2, 1, 0xAC),
        (0x8FF3A1, 10, 0x2170),
        (0x8FF3AB, 10, 0x2160),
        (0x8FF3B7, 1, 0x3231),
    ],
    form: Form::EucJp,
};

static EUC_KR: MultiByte = MultiByte {
    encoding: encoding_rs::EUC_KR,
    singles: &[0x00..=0x8D, 0x90..=0x9F],
    leads: &[0xA1..=0xFE],
    trails: &[0xA0..=0xFF],
    error: SUBSTITUTE,
    runs: &[
        (0x80, 14, 0x80),
        (0x90, 16, 0x90),
        (0xA2E6, 2, 0),
        (0xC9A1, 94, 0xE000),
        (0xFEA1, 94, 0xE05E),
    ],
    form: Form::EucKr,
};

static WINDOWS_949: MultiByte = MultiByte {
    encoding: encoding_rs::EUC_KR,
    singles: &[0x00..=0x80, 0xFF..=0xFF],
    leads: &[0x81..=0xFE],
    trails: &[0x40..=0x7E, 0x80..=0xFE],
    error: char::REPLACEMENT_CHARACTER,
    runs: &[
        (0x80, 1, 0x80),
        (0xFF, 1, 0xF8F7),
        (0xC9A1, 94, 0xE000),
        (0xFEA1, 94, 0xE05E),
    ],
    form: Form::TwoBytes,
};

const BIG5_RUNS: [Run; 83] = [
    (0x80, 1, 0x80),
    (0xFF, 1, 0xF8F8),
    (0x8140, 63, 0xEEB8),
    (0x81A1, 94, 0xEEF7),
    (0x8240, 63, 0xEF55),
    (0x82A1, 94, 0xEF94),
    (0x8340, 63, 0xEFF2),
    (0x83A1, 94, 0xF031),
    (0x8440, 63, 0xF08F),
    (0x84A1, 94, 0xF0CE),
    (0x8540, 63, 0xF12C),
    (0x85A1, 94, 0xF16B),
    (0x8640, 63, 0xF1C9),
    (0x86A1, 94, 0xF208),
    (0x8740, 63, 0xF266),
    (0x87A1, 94, 0xF2A5),
    (0x8840, 63, 0xF303),
    (0x88A1, 94, 0xF342),
    (0x8940, 63, 0xF3A0),
    (0x89A1, 94, 0xF3DF),
    (0x8A40, 63, 0xF43D),
    (0x8AA1, 94, 0xF47C),
    (0x8B40, 63, 0xF4DA),
    (0x8BA1, 94, 0xF519),
    (0x8C40, 63, 0xF577),
    (0x8CA1, 94, 0xF5B6),
    (0x8D40, 63, 0xF614),
    (0x8DA1, 94, 0xF653),
    (0x8E40, 63, 0xE311),
    (0x8EA1, 94, 0xE350),
    (0x8F40, 63, 0xE3AE),
    (0x8FA1, 94, 0xE3ED),
    (0x9040, 63, 0xE44B),
    (0x90A1, 94, 0xE48A),
    (0x9140, 63, 0xE4E8),
    (0x91A1, 94, 0xE527),
    (0x9240, 63, 0xE585),
    (0x92A1, 94, 0xE5C4),
    (0x9340, 63, 0xE622),
    (0x93A1, 94, 0xE661),
    (0x9440, 63, 0xE6BF),
    (0x94A1, 94, 0xE6FE),
    (0x9540, 63, 0xE75C),
    (0x95A1, 94, 0xE79B),
    (0x9640, 63, 0xE7F9),
    (0x96A1, 94, 0xE838),
    (0x9740, 63, 0xE896),
    (0x97A1, 94, 0xE8D5),
    (0x9840, 63, 0xE933),
    (0x98A1, 94, 0xE972),
    (0x9940, 63, 0xE9D0),
    (0x99A1, 94, 0xEA0F),
    (0x9A40, 63, 0xEA6D),
    (0x9AA1, 94, 0xEAAC),
    (0x9B40, 63, 0xEB0A),
    (0x9BA1, 94, 0xEB49),
    (0x9C40, 63, 0xEBA7),
    (0x9CA1, 94, 0xEBE6),
    (0x9D40, 63, 0xEC44),
    (0x9DA1, 94, 0xEC83),
    (0x9E40, 63, 0xECE1),
    (0x9EA1, 94, 0xED20),
    (0x9F40, 63, 0xED7E),
    (0x9FA1, 94, 0xEDBD),
    (0xA040, 63, 0xEE1B),
    (0xA0A1, 94, 0xEE5A),
    (0xA3C0, 33, 0),
    (0xC6A1, 94, 0xF6B1),
    (0xC740, 63, 0xF70F),
    (0xC7A1, 94, 0xF74E),
    (0xC840, 63, 0xF7AC),
    (0xC8A1, 94, 0xF7EB),
    (0xF9FE, 1, 0x2593),
    (0xFA40, 63, 0xE000),
    (0xFAA1, 94, 0xE03F),
    (0xFB40, 63, 0xE09D),
    (0xFBA1, 94, 0xE0DC),
    (0xFC40, 63, 0xE13A),
    (0xFCA1, 94, 0xE179),
    (0xFD40, 63, 0xE1D7),
    (0xFDA1, 94, 0xE216),
    (0xFE40, 63, 0xE274),
    (0xFEA1, 94, 0xE2B3),
];

/// The charset of this name of ICU's.
pub(super) fn find(converter: &str) -> Option<&'static MultiByte> {
    Some(match converter {
        "windows-936-2000" => &GBK,
        "gb18030" => &GB18030,
        "windows-950-2000" => &BIG5,
        "ibm-943_P15A-2003" => &SHIFT_JIS,
        "euc-jp-2007" => &EUC_JP,
        "ibm-970_P110_P110-2006_U2" => &EUC_KR,
        "windows-949-2000" => &WINDOWS_949,
        _ => return None,
    })
}

impl MultiByte {
    /// Converts a complete piece of text.
    pub(super) fn decode(&self, bytes: &[u8]) -> String {
        let mut text = String::with_capacity(bytes.len());
        let mut rest = bytes;
        while !rest.is_empty() {
            let length = self.sequence(rest);
            let (sequence, after) = rest.split_at(length.min(rest.len()));
            let character = self.character(sequence);
            text.push(character.unwrap_or(match sequence {
                [_] => self.error,
                _ => char::REPLACEMENT_CHARACTER,
            }));
            rest = after;
        }
        text
    }

    /// How many bytes belong together at the beginning of `bytes`.
    fn sequence(&self, bytes: &[u8]) -> usize {
        match *bytes {
            [lead, second, ..] if contains(self.leads, lead) => match self.form {
                Form::EucJp if lead == 0x8F => euc_jp_three(second, bytes.get(2)),
                Form::EucJp if lead == 0x8E && (0xE5..0xFF).contains(&second) => 1,
                Form::Gb18030 if second.is_ascii_digit() => gb18030_four(bytes),
                _ if contains(self.trails, second) => 2,
                _ => 1,
            },
            _ => 1,
        }
    }

    fn character(&self, sequence: &[u8]) -> Option<char> {
        match *sequence {
            [byte] if !contains(self.singles, byte) => return None,
            [_, 0xA0] if self.form == Form::EucKr => return None,
            _ => {}
        }
        let key = sequence
            .iter()
            .fold(0, |key, byte| key << 8 | u32::from(*byte));
        let run = self
            .runs
            .iter()
            .find(|(first, count, _)| (*first..first + count).contains(&key));
        if let Some((first, _, character)) = run {
            let character = if *character == 0 {
                None
            } else {
                Some(character + key - first)
            };
            return character.and_then(char::from_u32);
        }
        let (text, _) = self.encoding.decode_without_bom_handling(sequence);
        let mut characters = text.chars();
        match (characters.next(), characters.next()) {
            (Some(char::REPLACEMENT_CHARACTER), _) | (_, Some(_)) => None,
            (character, None) => character,
        }
    }
}

fn contains(ranges: &[Bytes], byte: u8) -> bool {
    ranges.iter().any(|range| range.contains(&byte))
}

fn euc_jp_three(second: u8, third: Option<&u8>) -> usize {
    match (second, third) {
        (0xA1..=0xFE, None | Some(0xA1..=0xFE)) => 3,
        // No character begins with these, so they belong to the error.
        (0xA1..=0xFE, Some(_)) => 1,
        (0xA0 | 0xFF, _) => 2,
        _ => 1,
    }
}

fn gb18030_four(bytes: &[u8]) -> usize {
    let third = bytes.get(2).is_none_or(|byte| (0x81..=0xFE).contains(byte));
    let fourth = bytes.get(3).is_none_or(u8::is_ascii_digit);
    if third && fourth { 4 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_where_icu_differs() {
        assert_eq!(GBK.decode(b"\x80\xFF\xA8\xBC"), "€\u{F8F5}\u{E7C7}");
        assert_eq!(BIG5.decode(b"\xA3\xC0\xFA\x41"), "\u{FFFD}\u{E001}");
        assert_eq!(SHIFT_JIS.decode(b"\xB1\x1A"), "ｱ\u{1C}");
        assert_eq!(EUC_KR.decode(b"\xA2\xE6\xB0\xA1"), "\u{FFFD}가");
        assert_eq!(GB18030.decode(b"\x81\x30\x81\x30"), "\u{80}");
        assert_eq!(EUC_JP.decode(b"\x8F\xF3\xA2\x8E\xB1"), "\u{2171}ｱ");
    }

    #[test]
    fn errors() {
        assert_eq!(GBK.decode(b"\x81\x20\x81"), "\u{FFFD} \u{FFFD}");
        assert_eq!(SHIFT_JIS.decode(b"\x81\x20\xA0"), "\u{1A} \u{1A}");
        assert_eq!(EUC_KR.decode(b"\xB0\xFF\xB0"), "\u{FFFD}\u{1A}");
        assert_eq!(
            EUC_JP.decode(b"\x8F\xA1\x20\x8F\xA1"),
            "\u{1A}\u{1A} \u{FFFD}"
        );
        assert_eq!(
            GB18030.decode(b"\x81\x30\x20\x81\x30"),
            "\u{FFFD}0 \u{FFFD}"
        );
    }
}
