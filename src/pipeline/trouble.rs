//! Trouble that is not one command's own: the API asks everybody to wait, or accepts nobody's credential.
//!
//! The first command that meets it closes the gate, waits, and is the probe: when its next attempt shows that the
//! trouble is over, the gate opens. All others wait for that.

use std::time::Duration;

use super::Shared;
use crate::{domain::evidence::Evidence, gate::GateReason, ports::Ports, telemetry::ClosedGate};

/// What `Retry-After` may ask for: shorter is no wait, and longer is not believed.
const THROTTLE_S: std::ops::RangeInclusive<u64> = 1..=300;
/// Without a `Retry-After`.
const THROTTLE_DEFAULT: Duration = Duration::from_secs(5);
/// The waits between probes with a credential that was not accepted double up to this.
const AUTH_MAX: Duration = Duration::from_secs(10);

/// The gate is closed by us, and we are the probe.
pub(super) struct Trouble {
    /// Dropped, it lets the gate open.
    gate: ClosedGate,
    /// How often the probe failed.
    probes: u32,
}

impl Trouble {
    pub(super) fn reason(&self) -> GateReason {
        self.gate.reason()
    }
}

impl<P: Ports> Shared<P> {
    /// A command met trouble. If it is the first to meet it, it becomes the probe: it keeps the returned trouble and
    /// waits as long as told. The others wait at the gate.
    pub(super) fn meet(
        &self,
        before: Option<Trouble>,
        reason: GateReason,
        evidence: &Evidence,
        retry_after: Option<Duration>,
    ) -> (Option<Trouble>, Duration) {
        let still = before.filter(|trouble| trouble.reason() == reason);
        let trouble = still.or_else(|| {
            let gate = self.telemetry.try_close_gate(reason, &evidence.to_string())?;
            Some(Trouble { gate, probes: 0 })
        });
        let Some(mut trouble) = trouble else { return (None, Duration::ZERO) };
        let wait = match reason {
            GateReason::Throttle => throttle_wait(retry_after),
            _ => auth_wait(trouble.probes),
        };
        trouble.probes = trouble.probes.saturating_add(1);
        (Some(trouble), wait)
    }
}

fn throttle_wait(retry_after: Option<Duration>) -> Duration {
    let (least, most) = (Duration::from_secs(*THROTTLE_S.start()), Duration::from_secs(*THROTTLE_S.end()));
    retry_after.unwrap_or(THROTTLE_DEFAULT).clamp(least, most)
}

fn auth_wait(probes: u32) -> Duration {
    Duration::from_secs(1 << probes.min(10)).min(AUTH_MAX)
}
