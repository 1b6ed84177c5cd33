//! Parsers for the values of settings; each error says what to write instead.

use std::{fmt::Display, ops::RangeInclusive, str::FromStr, time::Duration};

const UNITS_MS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Parses `500ms`, `5s`, `2m`, `1h` or `3d`: a whole number and one unit.
pub(super) fn duration(text: &str, range: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit_ms = UNITS_MS.iter().find(|(name, _)| *name == unit).map(|(_, ms)| *ms);
    let parsed = number.parse::<u64>().ok().zip(unit_ms).and_then(|(number, ms)| number.checked_mul(ms));
    let duration = parsed.map(Duration::from_millis).ok_or("is not a duration; write 500ms, 5s, 2m, 1h or 3d")?;
    if range.contains(&duration) {
        return Ok(duration);
    }
    Err(format!("must be from {} to {}", format_duration(*range.start()), format_duration(*range.end())))
}

/// The shortest notation of a duration.
fn format_duration(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let fits = UNITS_MS.iter().rev().find(|(_, unit_ms)| ms >= *unit_ms && ms.is_multiple_of(*unit_ms));
    fits.map_or_else(|| format!("{ms}ms"), |(unit, unit_ms)| format!("{}{unit}", ms / unit_ms))
}

/// Parses a whole number within a range.
pub(super) fn whole<T: FromStr + PartialOrd + Display>(text: &str, range: &RangeInclusive<T>) -> Result<T, String> {
    let bounds = || format!("must be a whole number from {} to {}", range.start(), range.end());
    text.parse().ok().filter(|number| range.contains(number)).ok_or_else(bounds)
}

/// Parses a rate in attempts per second, which may be below 1.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| (0.001..=100_000.0).contains(rate));
    rate.ok_or_else(|| "must be a number of attempts per second from 0.001 to 100000".to_owned())
}

/// Parses `true` or `false`.
pub(super) fn flag(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "must be true or false".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: RangeInclusive<Duration> = Duration::ZERO..=Duration::MAX;

    #[test]
    fn duration_needs_a_number_and_a_unit() {
        for (text, ms) in [("500ms", 500), ("5s", 5_000), ("2m", 120_000), ("1h", 3_600_000), ("3d", 259_200_000)] {
            assert_eq!(duration(text, &ANY), Ok(Duration::from_millis(ms)), "{text}");
            assert_eq!(format_duration(Duration::from_millis(ms)), text);
        }
        for text in ["", "5", "s", "-5s", "5 s", "1.5s", "5S", "99999999999999999999s", "9999999999999999d"] {
            assert!(duration(text, &ANY).is_err(), "{text}");
        }
    }

    #[test]
    fn value_out_of_range_names_the_range() {
        let range = Duration::from_millis(100)..=Duration::from_secs(300);
        assert_eq!(duration("6m", &range), Err("must be from 100ms to 5m".to_owned()));
        assert_eq!(whole("0", &(1..=100)), Err("must be a whole number from 1 to 100".to_owned()));
        assert_eq!(whole("100", &(1_u32..=100)), Ok(100));
    }
}
