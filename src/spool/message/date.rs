//! The Date header as 3.6.1 reads it: an instant for sorting, a calendar day for searching.
//!
//! Accepted is `[Wdy,] D[D] Mon YY[YY] HH:MM[:SS] [zone]` with either blanks or any single character
//! between day, month and year (mailbox-format §4.9). The day counts even when the time is malformed.

use jiff::civil;
use jiff::tz::TimeZone;

use crate::mail::UnixTime;

/// What a Date header says; both parts are `None` when it is missing or unreadable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeaderDate {
    /// Days from 1970-01-01 to the calendar day written in the header, whatever its zone.
    day: Option<i64>,
    /// Seconds since 1970-01-01 UTC.
    instant: Option<i64>,
}

/// The two times of an index record that come from the message (mailbox-format §3.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageDates {
    /// Local midnight of the calendar day on which the message was sent.
    pub sent_date: UnixTime,
    /// The instant at which the message was sent.
    pub gm_time: UnixTime,
}

const SECONDS_PER_DAY: i64 = 86_400;

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// The time zone of this process, from `TZ` or the system's configuration, which must be that of
/// the Cyrus daemons on the same store: `sent_date` depends on it (mailbox-format §4.9).
pub fn server_time_zone() -> TimeZone {
    TimeZone::system()
}

impl HeaderDate {
    /// Reads the unfolded value of a Date header.
    pub(super) fn parse(value: &[u8]) -> HeaderDate {
        let mut scanner = Scanner { value, offset: 0 };
        let Some(days) = scanner.day() else {
            return HeaderDate::default();
        };
        HeaderDate {
            day: Some(days),
            instant: scanner.instant(days),
        }
    }

    /// The times for the index record. A time that is unknown, or that the index cannot tell from
    /// unknown because it is 0, is taken from the internal date.
    pub fn resolve(&self, internal_date: UnixTime, zone: &TimeZone) -> MessageDates {
        let sent_date = self.day.and_then(|day| local_midnight(day, zone));
        let sent_date = match sent_date.map(stored_seconds) {
            Some(seconds) if seconds != 0 => seconds,
            _ => midnight_of(internal_date, zone),
        };
        let gm_time = match self.instant.map(stored_seconds) {
            Some(seconds) if seconds != 0 => seconds,
            _ => internal_date.0,
        };
        MessageDates {
            sent_date: UnixTime(sent_date),
            gm_time: UnixTime(gm_time),
        }
    }
}

/// The low 32 bits, which are all that an index record of version 6 to 19 holds.
fn stored_seconds(seconds: i64) -> u32 {
    (seconds & i64::from(u32::MAX)) as u32
}

/// The instant of local midnight, unless it lies before 1970.
fn local_midnight(day: i64, zone: &TimeZone) -> Option<i64> {
    // The calendar repeats itself every 400 years; zone rules have an end only there.
    const DAYS_IN_400_YEARS: i64 = 146_097;
    const SAFE_DAYS: i64 = 7600 * 365;
    let repeats = (day - SAFE_DAYS).max(0) / DAYS_IN_400_YEARS;
    let shift = repeats * DAYS_IN_400_YEARS;
    let span = jiff::Span::new().try_days(day - shift).ok()?;
    let date = civil::date(1970, 1, 1).checked_add(span).ok()?;
    let zoned = date.at(0, 0, 0, 0).to_zoned(zone.clone()).ok()?;
    let midnight = zoned.timestamp().as_second() + shift * SECONDS_PER_DAY;
    Some(midnight).filter(|seconds| *seconds >= 0)
}

fn midnight_of(time: UnixTime, zone: &TimeZone) -> u32 {
    let midnight = jiff::Timestamp::from_second(i64::from(time.0))
        .ok()
        .and_then(|instant| instant.to_zoned(zone.clone()).start_of_day().ok())
        .map(|zoned| zoned.timestamp().as_second());
    midnight.map_or(time.0, stored_seconds)
}

struct Scanner<'a> {
    value: &'a [u8],
    offset: usize,
}

impl Scanner<'_> {
    /// The character at hand: NUL at the end, and `None` for 0xFF, which ends a date for Cyrus too.
    fn current(&self) -> Option<u8> {
        match self.value.get(self.offset) {
            None | Some(0xFF) => None,
            Some(byte) => Some(*byte),
        }
    }

    fn advance(&mut self) -> Option<u8> {
        if self.offset < self.value.len() {
            self.offset += 1;
        }
        self.current()
    }

    fn skip_blanks(&mut self) {
        while matches!(self.current(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.offset += 1;
        }
    }

    /// At most 32 letters and digits, possibly none; `None` when there is nothing left to read or
    /// 0xFF cuts the token off.
    fn token(&mut self) -> Option<&[u8]> {
        const LONGEST: usize = 32;
        self.current()?;
        let rest = self.value.get(self.offset..)?;
        let length = rest
            .iter()
            .take(LONGEST)
            .take_while(|byte| byte.is_ascii_alphanumeric())
            .count();
        self.offset += length;
        if rest.get(length) == Some(&0xFF) {
            return None;
        }
        rest.get(..length)
    }

    /// A number of one or two digits.
    fn short_number(&mut self) -> Option<i64> {
        let token = self.token()?;
        let fits = matches!(token.len(), 1 | 2);
        let number = decimal(token)?;
        fits.then_some(i64::from(number))
    }

    /// Day, month and year, as days since 1970-01-01.
    fn day(&mut self) -> Option<i64> {
        self.skip_blanks();
        if self.current()?.is_ascii_alphabetic() {
            if self.token()?.len() != 3 || self.current() != Some(b',') {
                return None;
            }
            self.offset += 1;
            self.skip_blanks();
        }
        let day = self.short_number()?;
        self.advance();
        self.skip_blanks();
        let month = self.month()?;
        self.advance();
        self.skip_blanks();
        let year = self.year()?;
        let first = days_from_civil(year, month)?;
        first.checked_add(day - 1)
    }

    /// The month's number from 1.
    fn month(&mut self) -> Option<i64> {
        let token = self.token()?;
        let position = MONTHS
            .iter()
            .position(|name| name.eq_ignore_ascii_case(token))?;
        i64::try_from(position + 1).ok()
    }

    fn year(&mut self) -> Option<i64> {
        let token = self.token()?;
        let two_digits = token.len() == 2;
        let year = i64::from(decimal(token)?);
        match (two_digits, year) {
            (true, 0..70) => Some(year + 2000),
            (true, _) => Some(year + 1900),
            (false, 1900..) => Some(year),
            (false, _) => None,
        }
    }

    /// Time and zone after the day.
    fn instant(&mut self, days: i64) -> Option<i64> {
        self.skip_blanks();
        let hours = self.short_number()?;
        if !matches!(self.current(), Some(b':' | b'.')) {
            return None;
        }
        self.advance();
        let minutes = self.short_number()?;
        let mut seconds = 0;
        if matches!(self.current(), Some(b':' | b'.')) {
            self.advance();
            seconds = self.short_number()?;
        }
        let local = days
            .checked_mul(SECONDS_PER_DAY)?
            .checked_add(hours * 3600 + minutes * 60 + seconds)
            .filter(|instant| *instant >= 0)?;
        self.skip_blanks();
        let sign = self.current();
        if matches!(sign, Some(b'+' | b'-')) {
            self.advance();
        }
        let offset = self.token().map_or(0, |zone| zone_minutes(zone, sign));
        local.checked_sub(offset * 60)
    }
}

/// All digits, with the wrapping of the 32-bit original.
fn decimal(token: &[u8]) -> Option<i32> {
    token.iter().try_fold(0_i32, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| i32::from(byte - b'0'))?;
        Some(number.wrapping_mul(10).wrapping_add(digit))
    })
}

/// Days from 1970-01-01 to the first of a month of the Gregorian calendar.
fn days_from_civil(year: i64, month: i64) -> Option<i64> {
    let year = if month <= 2 {
        year.checked_sub(1)?
    } else {
        year
    };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = (month + 9) % 12;
    let day_of_year = (153 * shifted + 2) / 5;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// Minutes east of UTC: `+hhmm`, a military letter, UT, or a North American name.
fn zone_minutes(zone: &[u8], sign: Option<u8>) -> i64 {
    match *zone {
        [letter] => military_zone(letter),
        [place, season, last] if last.eq_ignore_ascii_case(&b'T') => {
            let hours = match place.to_ascii_uppercase() {
                b'A' => -4,
                b'E' => -5,
                b'C' => -6,
                b'M' => -7,
                b'P' => -8,
                b'Y' => -9,
                b'H' => -10,
                b'B' => -11,
                _ => return 0,
            };
            match season.to_ascii_uppercase() {
                b'D' => hours * 60 + 60,
                b'S' => hours * 60,
                _ => 0,
            }
        }
        [a, b, c, d] if zone.iter().all(u8::is_ascii_digit) => {
            let digit = |byte: u8| i64::from(byte - b'0');
            let minutes = (digit(a) * 10 + digit(b)) * 60 + digit(c) * 10 + digit(d);
            if sign == Some(b'+') {
                minutes
            } else {
                -minutes
            }
        }
        _ => 0,
    }
}

/// One letter; the arithmetic is that of the original also where it makes no sense (small
/// letters, digits).
fn military_zone(letter: u8) -> i64 {
    let value = i64::from(letter);
    match letter.to_ascii_uppercase() {
        upper if upper < b'J' => (value - i64::from(b'A') + 1) * 60,
        b'J' => 0,
        upper if upper <= b'M' => (value - i64::from(b'A')) * 60,
        upper if upper < b'Z' => (i64::from(b'M') - value) * 60,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instant(text: &str) -> Option<i64> {
        HeaderDate::parse(text.as_bytes()).instant
    }

    fn day(text: &str) -> Option<i64> {
        HeaderDate::parse(text.as_bytes()).day
    }

    #[test]
    fn ordinary_dates() {
        assert_eq!(
            instant("Mon, 02 Mar 2026 10:11:12 +0100"),
            Some(1_772_442_672)
        );
        assert_eq!(instant("2 Mar 2026 10:11 +0100"), Some(1_772_442_660));
        assert_eq!(instant("Mon, 2-Mar-26 10.11.12 EST"), Some(1_772_464_272));
        assert_eq!(
            instant("02 mar 2026 09:11:12 GMT (comment)"),
            Some(1_772_442_672)
        );
        assert_eq!(instant("02 Mar 2026 09:11:12"), Some(1_772_442_672));
        assert_eq!(day("Sat, 1 Jan 2000 23:00:00 -1200"), Some(10_957));
    }

    #[test]
    fn odd_zones_count_as_in_the_original() {
        let utc = instant("1 Jan 2000 00:00:00 +0000").unwrap();
        assert_eq!(instant("1 Jan 2000 00:00:00 0100"), Some(utc + 3600));
        assert_eq!(instant("1 Jan 2000 00:00:00 PDT"), Some(utc + 7 * 3600));
        assert_eq!(instant("1 Jan 2000 00:00:00 B"), Some(utc - 2 * 3600));
        assert_eq!(instant("1 Jan 2000 00:00:00 UTC"), Some(utc));
    }

    #[test]
    fn the_day_counts_without_a_time() {
        let date = HeaderDate::parse(b"Tue, 3 Mar 2026");
        assert_eq!((date.day, date.instant), (Some(20_515), None));
    }

    #[test]
    fn years_far_ahead_have_zones_too() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        for year in [2400, 9900, 12_026, 400_000] {
            let day = days_from_civil(year, 7).unwrap();
            let summer = day * SECONDS_PER_DAY - 2 * 3600;
            assert_eq!(local_midnight(day, &zone), Some(summer), "{year}");
        }
    }

    #[test]
    fn unreadable_dates() {
        for text in [
            "",
            "yesterday",
            "Monday, 2 Mar 2026 1:2:3",
            "2 Mrz 2026 1:2:3",
            "2 Mar 126 1:2",
        ] {
            assert_eq!(
                HeaderDate::parse(text.as_bytes()),
                HeaderDate::default(),
                "{text}"
            );
        }
    }

    #[test]
    fn missing_dates_come_from_the_internal_date() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let dates = HeaderDate::default().resolve(UnixTime(1_772_452_800), &zone);
        assert_eq!(dates.gm_time, UnixTime(1_772_452_800));
        assert_eq!(dates.sent_date, UnixTime(1_772_406_000));
        let dates =
            HeaderDate::parse(b"Mon, 02 Mar 2026 23:11:12 -0900").resolve(UnixTime(1), &zone);
        assert_eq!(dates.sent_date, UnixTime(1_772_406_000));
    }
}
