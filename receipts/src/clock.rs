//! Time as receipts write it: RFC 3339, UTC, microseconds, always 27 characters, so that text order is time order.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The current time.
pub(crate) fn now() -> String {
    rfc3339(now_us())
}

/// Microseconds since 1970.
pub(crate) fn now_us() -> u64 {
    let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_micros());
    u64::try_from(micros).unwrap_or(u64::MAX)
}

/// The two clocks that receipts tell, so that tests can turn them.
pub(crate) trait Clock: Send + Sync + std::fmt::Debug {
    /// Microseconds since 1970, as the machine believes.
    fn wall_us(&self) -> u64;
    /// Nanoseconds since the process took up the log; never falls.
    fn mono_ns(&self) -> u64;
}

/// The clocks of the machine.
#[derive(Debug)]
pub(crate) struct SystemClock(Instant);

impl SystemClock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn wall_us(&self) -> u64 {
        now_us()
    }

    fn mono_ns(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The last microsecond of the year 9999: later times have no four-digit year and are written as this one.
pub(crate) const MICROS_MAX: u64 = 253_402_300_799_999_999;

/// Microseconds since 1970 as text.
pub(crate) fn rfc3339(micros: u64) -> String {
    let micros = micros.min(MICROS_MAX);
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days to a date of the Gregorian calendar, in years that begin with March so that the leap day is the last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{fraction:06}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// True for text that [`rfc3339`] could have written, but for days that the month does not have.
pub(crate) fn is_timestamp(text: &str) -> bool {
    const PATTERN: &[u8; 27] = b"dddd-dd-ddTdd:dd:dd.ddddddZ";
    text.len() == PATTERN.len()
        && text.bytes().zip(PATTERN).all(|(byte, expected)| match expected {
            b'd' => byte.is_ascii_digit(),
            other => byte == *other,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times() {
        // From `date -u -d @N +%FT%T`.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399, "2000-02-28T23:59:59.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (951_868_800, "2000-03-01T00:00:00.000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
            (1_795_304_464, "2026-11-21T23:41:04.000000Z"),
        ] {
            assert_eq!(rfc3339(seconds * 1_000_000), text);
        }
        assert_eq!(rfc3339(1), "1970-01-01T00:00:00.000001Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59.999999Z");
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let mut last = rfc3339(0);
        for day in 1..146_097 {
            let text = rfc3339(day * 86_400_000_000);
            assert!(text > last && is_timestamp(&text), "{last} {text}");
            last = text;
        }
        assert_eq!(last, "2369-12-31T00:00:00.000000Z");
    }

    #[test]
    fn other_spellings_are_not_timestamps() {
        for text in ["", "1970-01-01T00:00:00Z", "1970-01-01 00:00:00.000000Z", "1970-01-01T00:00:00.000000+", "é"] {
            assert!(!is_timestamp(text));
        }
    }
}
