//! The header `Keep-Alive`, in which a server states how long it keeps an idle connection (RFC 2068, section 19.7.1).

use std::time::Duration;

use reqwest::header::HeaderMap;

/// A request may be on its way for as long before it reaches the server.
const MARGIN: Duration = Duration::from_secs(1);
/// A connection that the server keeps for no time is not used again.
const SHORTEST: Duration = Duration::from_millis(1);

/// How long a connection may be idle so that a request still meets it open; `None` if the server states nothing. The
/// server's time less a second, and half of it where it is a second or two.
pub(super) fn idle_limit(headers: &HeaderMap) -> Option<Duration> {
    let parameters = headers.get_all("keep-alive").iter().filter_map(|value| value.to_str().ok());
    let seconds = parameters.flat_map(|value| value.split(',')).filter_map(timeout_seconds).min()?;
    let stated = Duration::from_secs(seconds);
    Some(stated.saturating_sub(MARGIN).max(stated / 2).max(SHORTEST))
}

/// The value of a parameter `timeout`.
fn timeout_seconds(parameter: &str) -> Option<u64> {
    let (name, value) = parameter.split_once('=')?;
    name.trim().eq_ignore_ascii_case("timeout").then(|| value.trim().trim_matches('"').parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_limit_is_below_the_stated_time() {
        let rows = [
            ("timeout=5", Some(4_000)),
            ("timeout=75, max=1000", Some(74_000)),
            ("max=100,Timeout = \"3\"", Some(2_000)),
            ("timeout=2", Some(1_000)),
            ("timeout=1", Some(500)),
            ("timeout=0", Some(1)),
            ("timeout=5, timeout=2", Some(1_000)),
            ("max=100", None),
            ("timeout=", None),
            ("timeout=soon", None),
            ("timeout=-1", None),
            ("", None),
        ];
        for (value, limit_ms) in rows {
            let headers = HeaderMap::from_iter([("keep-alive".parse().unwrap(), value.parse().unwrap())]);
            assert_eq!(idle_limit(&headers), limit_ms.map(Duration::from_millis), "{value:?}");
        }
        assert_eq!(idle_limit(&HeaderMap::new()), None);
    }
}
