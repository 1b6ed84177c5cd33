//! The cases of the benchmark.

use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) workload: Workload,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Workload {
    /// A full queue to be drained.
    Backlog(Load),
    /// Commands at a constant rate.
    Steady(Pace),
}

/// The commands in the queue and the conditions of draining it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) commands: usize,
    /// Number of devices.
    pub(crate) keys: usize,
    /// Size of each text.
    pub(crate) text_bytes: usize,
    /// Latency of the API.
    pub(crate) latency: Duration,
    /// Limit of concurrent attempts.
    pub(crate) in_flight: u16,
}

/// The commands and their rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) commands: usize,
    pub(crate) per_second: u32,
    /// Limit of concurrent attempts.
    pub(crate) in_flight: u16,
    /// Latency of the API.
    pub(crate) latency: Duration,
}

/// A rate below that of any program on any machine, for the deadline.
const MIN_PER_SECOND: usize = 200;

impl Load {
    /// The deadline for all commands.
    pub(crate) fn deadline(&self) -> Duration {
        Duration::from_secs(60 + u64::try_from(self.commands / MIN_PER_SECOND).expect("a number"))
    }
}

const BASE: Load = Load { commands: 30_000, keys: 10_000, text_bytes: 150, latency: Duration::ZERO, in_flight: 500 };

const fn backlog(name: &'static str, about: &'static str, load: Load) -> Case {
    Case { name, about, workload: Workload::Backlog(load) }
}

const fn steady(name: &'static str, about: &'static str, per_second: u32, commands: usize) -> Case {
    // More than a latency of 20 ms requires.
    let pace = Pace { commands, per_second, in_flight: 100, latency: Duration::from_millis(20) };
    Case { name, about, workload: Workload::Steady(pace) }
}

/// The number of cases, from the first, that run by default.
pub(crate) const DEFAULT_CASES: usize = 3;

pub(crate) const CASES: &[Case] = &[
    backlog("api-0ms", "30,000 commands of 150 B to 10,000 devices, 500 in flight, an API latency of 0", BASE),
    backlog(
        "api-50ms",
        "the same, 512 in flight, an API latency of 50 ms",
        Load { in_flight: 512, latency: Duration::from_millis(50), ..BASE },
    ),
    steady(
        "latency",
        "from a command's scheduled time to its event, 500/s for 20 s, an API latency of 20 ms",
        500,
        10_000,
    ),
    steady("latency-1000", "the same at 1,000/s", 1_000, 20_000),
    backlog("ten-devices", "as api-0ms, to 10 devices", Load { keys: 10, ..BASE }),
    backlog("long-texts", "as api-0ms, texts of 8 KiB", Load { text_bytes: 8_192, ..BASE }),
    backlog("million", "as api-0ms, a million commands", Load { commands: 1_000_000, ..BASE }),
    backlog(
        "in-flight-1600",
        "1,600 in flight, an API latency of 50 ms",
        Load { in_flight: 1_600, latency: Duration::from_millis(50), ..BASE },
    ),
    backlog(
        "in-flight-5000",
        "60,000 commands, 5,000 in flight, an API latency of 1 s",
        Load { commands: 60_000, in_flight: 5_000, latency: Duration::from_secs(1), ..BASE },
    ),
    backlog("smoke", "300 commands: checks that it runs", Load { commands: 300, in_flight: 50, ..BASE }),
    steady("smoke-latency", "300 commands at a constant rate: checks that it runs", 500, 300),
];
