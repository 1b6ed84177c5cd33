//! RFC 3339 timestamps.

use jiff::{Timestamp, civil};

use super::malformed::{FieldError, FieldProblem};

/// Reads the timestamp in `field`. The seconds may be absent: Java's `OffsetDateTime` omits them if they are zero.
///
/// jiff alone accepts more than that, so the format is checked first. "Never" is often written as the last second
/// of the year 9999, which is later than jiff's last timestamp; any time on the last two days means that one.
pub(super) fn parse(field: &str, text: &str) -> Result<Timestamp, FieldError> {
    let latest = || {
        let date = text.get(..10).filter(|date| *date >= "9999-12-30")?;
        date.parse::<civil::Date>().ok().map(|_| Timestamp::MAX)
    };
    let timestamp = is_rfc3339(text).then(|| text.parse().ok().or_else(latest)).flatten();
    let expected = "an RFC 3339 time such as 2026-11-22T12:00:00Z";
    timestamp.ok_or_else(|| FieldError::at(field, FieldProblem::MustBe(expected)))
}

/// Whether the text is `0000-00-00T00:00`, optional seconds, and `Z` or an offset, in digits.
fn is_rfc3339(text: &str) -> bool {
    let Some((minutes, rest)) = text.split_at_checked(16) else { return false };
    let zone = match rest.split_at_checked(3) {
        Some((seconds, rest)) if matches_pattern(seconds, ":00") => without_fraction(rest),
        _ => rest,
    };
    let is_zone = ["Z", "+00:00", "-00:00"].iter().any(|pattern| matches_pattern(zone, pattern));
    matches_pattern(minutes, "0000-00-00T00:00") && is_zone
}

/// Removes the fraction of a second, which has at least one digit.
fn without_fraction(text: &str) -> &str {
    match text.strip_prefix('.') {
        Some(fraction) if fraction.starts_with(|c: char| c.is_ascii_digit()) => {
            fraction.trim_start_matches(|c: char| c.is_ascii_digit())
        }
        _ => text,
    }
}

/// Whether the text matches the pattern, in which `0` stands for any digit, regardless of case.
fn matches_pattern(text: &str, pattern: &str) -> bool {
    let matches = |(byte, expected): (u8, u8)| match expected {
        b'0' => byte.is_ascii_digit(),
        _ => byte.eq_ignore_ascii_case(&expected),
    };
    text.len() == pattern.len() && text.bytes().zip(pattern.bytes()).all(matches)
}
