//! The header `Retry-After` (RFC 9110, section 10.2.3).

use std::time::{Duration, SystemTime};

/// Upper bound: an absurd value must not stop the target for good.
const MAX_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// The wait from `now`. The value is a number of seconds or an HTTP date; a past date is no wait, anything else is `None`.
/// RFC 9110 has whole seconds only, but servers also send a fraction.
pub(super) fn parse(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let wait = match seconds(value) {
        // Fails only for a number beyond a duration.
        Some(seconds) => Duration::try_from_secs_f64(seconds).unwrap_or(MAX_WAIT),
        None => httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(MAX_WAIT))
}

/// Digits, and perhaps a point with more digits. Rust's own numbers allow more.
fn seconds(value: &str) -> Option<f64> {
    let is_decimal = value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    (is_decimal && !value.starts_with('.')).then(|| value.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW_S: u64 = 784_111_777;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(NOW_S)
    }

    #[test]
    fn parse_seconds_and_dates() {
        let rows = [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("86400", Some(86_400)),
            ("86401", Some(86_400)),
            ("99999999999999999999999", Some(86_400)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:49:07 GMT", Some(0)),
            ("Sunday, 06-Nov-94 08:50:07 GMT", Some(30)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(86_400)),
            ("", None),
            ("-1", None),
            ("soon", None),
        ];
        for (value, seconds) in rows {
            assert_eq!(parse(value, now()), seconds.map(Duration::from_secs), "{value:?}");
        }
    }

    #[test]
    fn parse_fractions_of_seconds() {
        let rows = [
            ("2.5", Some(2_500)),
            ("0.05", Some(50)),
            (" 3. ", Some(3_000)),
            ("86400.5", Some(86_400_000)),
            ("99999999999999999999999.5", Some(86_400_000)),
            (".5", None),
            ("1.2.3", None),
            ("-1.5", None),
            ("1e3", None),
            ("inf", None),
            ("2,5", None),
        ];
        for (value, wait_ms) in rows {
            assert_eq!(parse(value, now()), wait_ms.map(Duration::from_millis), "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn parse_any_input_is_at_most_a_day(value in any::<String>()) {
            prop_assert!(parse(&value, now()).is_none_or(|wait| wait <= MAX_WAIT));
        }
    }
}
