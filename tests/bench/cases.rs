//! What can be measured, by name.

use std::time::Duration;

/// One case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) work: Work,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    /// A full queue, worked off.
    Backlog(Load),
    /// Commands at an even pace.
    Steady(Pace),
}

/// What lies in the queue, and how it is worked off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) commands: usize,
    /// Different devices.
    pub(crate) keys: usize,
    /// Of each text.
    pub(crate) text_bytes: usize,
    /// Of the API.
    pub(crate) latency: Duration,
    /// Attempts at once.
    pub(crate) in_flight: u16,
}

/// What arrives, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) commands: usize,
    pub(crate) per_second: u32,
    /// Of the API.
    pub(crate) latency: Duration,
}

const BASE: Load = Load { commands: 30_000, keys: 10_000, text_bytes: 150, latency: Duration::ZERO, in_flight: 500 };

const fn backlog(name: &'static str, about: &'static str, load: Load) -> Case {
    Case { name, about, work: Work::Backlog(load) }
}

const fn steady(name: &'static str, about: &'static str, per_second: u32, commands: usize) -> Case {
    let pace = Pace { commands, per_second, latency: Duration::from_millis(20) };
    Case { name, about, work: Work::Steady(pace) }
}

/// Without a name, the first three.
pub(crate) const USUAL: usize = 3;

pub(crate) const CASES: &[Case] = &[
    backlog("api-0ms", "30,000 commands of 150 B to 10,000 devices, 500 in flight, the API answers at once", BASE),
    backlog(
        "api-50ms",
        "the same, 512 in flight, the API takes 50 ms",
        Load { in_flight: 512, latency: Duration::from_millis(50), ..BASE },
    ),
    steady("latency", "from a command's time to its event, 500/s for 20 s, the API takes 20 ms", 500, 10_000),
    steady("latency-1000", "the same at 1,000/s", 1_000, 20_000),
    backlog("ten-devices", "as api-0ms, to 10 devices", Load { keys: 10, ..BASE }),
    backlog("long-texts", "as api-0ms, texts of 8 KiB", Load { text_bytes: 8_192, ..BASE }),
    backlog("million", "as api-0ms, a million commands", Load { commands: 1_000_000, ..BASE }),
    backlog(
        "in-flight-1600",
        "1,600 in flight, the API takes 50 ms",
        Load { in_flight: 1_600, latency: Duration::from_millis(50), ..BASE },
    ),
    backlog(
        "in-flight-5000",
        "60,000 commands, 5,000 in flight, the API takes a second",
        Load { commands: 60_000, in_flight: 5_000, latency: Duration::from_secs(1), ..BASE },
    ),
    backlog("smoke", "300 commands: proves that it runs", Load { commands: 300, in_flight: 50, ..BASE }),
    steady("smoke-latency", "300 commands at an even pace: proves that it runs", 500, 300),
];
