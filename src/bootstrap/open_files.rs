//! Compares the system's limit of open files with what the daemon may need: with HTTP/1.1 each attempt in flight has a
//! connection.

use std::fs;

use tracing::warn;

/// Files for the broker, the admin server, the journal and connections that are closing.
const RESERVE: u64 = 256;

/// Logs a warning if the limit is too low. Reads `/proc`, because std has no call for it; does nothing without `/proc`.
pub(super) fn check(max_in_flight: u16) {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    if let Some(limit) = soft_limit(&limits)
        && let Some(problem) = problem(limit, max_in_flight)
    {
        warn!(limit, max_in_flight, "{problem}");
    }
}

/// Parses `Max open files            1024                 524288               files`; `None` if unlimited.
fn soft_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn problem(limit: u64, max_in_flight: u16) -> Option<String> {
    let needed = u64::from(max_in_flight) + RESERVE;
    (limit < needed).then(|| {
        format!(
            "the system lets this daemon open {limit} files, but limits.max_in_flight = {max_in_flight} may need \
             {needed}; an attempt without a connection fails and is counted; raise the limit (systemd: LimitNOFILE, Docker: \
             --ulimit nofile, shell: ulimit -n), or lower limits.max_in_flight"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_too_low_is_a_problem_with_remedies() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max processes             7                    8                    processes \n\
                      Max open files            1024                 524288               files     \n";
        let limit = soft_limit(limits).unwrap();
        assert_eq!((limit, problem(limit, 64), problem(limit, 768)), (1_024, None, None));
        let text = problem(limit, 769).unwrap();
        assert!(["open 1024 files", "need 1025", "LimitNOFILE"].iter().all(|part| text.contains(part)), "{text}");
        assert_eq!(soft_limit(&limits.replace("1024  ", "unlimited")), None, "unlimited");
        assert_eq!(soft_limit(""), None, "no /proc");
    }
}
