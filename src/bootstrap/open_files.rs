//! Whether the system lets the daemon open as many files as it may need: with HTTP/1.1 each attempt under way has a
//! connection of its own.

use std::fs;

use tracing::warn;

/// For the broker, the admin server, the journal and connections that are just closing.
const BESIDES: u64 = 256;

/// Tells if it does not. It is read from a file, which Linux has, for the standard library has no call for it.
pub(super) fn look(max_in_flight: u16) {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    if let Some(limit) = soft_limit(&limits)
        && let Some(problem) = problem(limit, max_in_flight)
    {
        warn!(limit, max_in_flight, "{problem}");
    }
}

/// `Max open files            1024                 524288               files`; `None` for no limit, too.
fn soft_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn problem(limit: u64, max_in_flight: u16) -> Option<String> {
    let needed = u64::from(max_in_flight) + BESIDES;
    (limit < needed).then(|| {
        format!(
            "the system lets this daemon open {limit} files, and limits.max_in_flight = {max_in_flight} may need {needed}: \
             an attempt that gets no connection fails, and counts; raise the limit (systemd: LimitNOFILE, Docker: \
             --ulimit nofile, a shell: ulimit -n), or lower limits.max_in_flight"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_low_a_limit_is_told_with_both_ways_out() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max processes             7                    8                    processes \n\
                      Max open files            1024                 524288               files     \n";
        let limit = soft_limit(limits).unwrap();
        assert_eq!((limit, problem(limit, 64), problem(limit, 768)), (1_024, None, None), "enough");
        let told = problem(limit, 769).unwrap();
        assert!(["open 1024 files", "need 1025", "LimitNOFILE"].iter().all(|part| told.contains(part)), "{told}");
        assert_eq!(soft_limit(&limits.replace("1024  ", "unlimited")), None, "no limit");
        assert_eq!(soft_limit(""), None, "a system that cannot be asked");
    }
}
