//! Process figures from `/proc`.

use std::{fs, time::Instant};

/// `USER_HZ` is 100 on Linux: CPU times have a resolution of 10 ms.
const TICK_US: u64 = 10_000;

/// CPU time and context switches of a process since its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapshot {
    pub(crate) at: Instant,
    pub(crate) user_us: u64,
    pub(crate) system_us: u64,
    /// Voluntary context switches of its current threads.
    pub(crate) switches: u64,
}

impl Snapshot {
    pub(crate) fn of(pid: u32) -> Self {
        let stat = read(&format!("/proc/{pid}/stat"));
        // The command name in parentheses may contain anything.
        let fields: Vec<_> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
        let us = |field: usize| fields[field].parse::<u64>().expect("ticks") * TICK_US;
        Self { at: Instant::now(), user_us: us(11), system_us: us(12), switches: switches(pid) }
    }
}

fn switches(pid: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    let threads = threads.filter_map(Result::ok).map(|thread| thread.path().join("status"));
    let status = threads.filter_map(|path| fs::read_to_string(path).ok());
    status.filter_map(|status| field(&status, "voluntary_ctxt_switches")).sum()
}

/// Peak resident memory so far.
pub(crate) fn peak_bytes(pid: u32) -> u64 {
    field(&read(&format!("/proc/{pid}/status")), "VmHWM").expect("VmHWM") * 1_024
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}: the process has ended"))
}

/// The number in a line `name:   12 kB`.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}
