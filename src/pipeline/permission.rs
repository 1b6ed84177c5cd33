//! The right to make one attempt: the gate is open, or it is this command's turn to try whether it could be; and a slot
//! is free.

use tokio::{sync::SemaphorePermit, time::Instant};

use super::{
    Shared,
    keeper::{Probe, Turn},
};
use crate::ports::{Ports, Settler, Tag};

/// Held during the attempt.
pub(super) struct Permission<'a> {
    probe: Option<Probe<'a>>,
    _slot: SemaphorePermit<'a>,
}

impl Permission<'_> {
    /// Whether the attempt tries if the gate could be open.
    pub(super) const fn is_probe(&self) -> bool {
        self.probe.is_some()
    }
}

impl<P: Ports> Shared<P> {
    /// Waits for it. `None` when no attempt may start any more.
    pub(super) async fn permission(&self, tag: Tag) -> Option<Permission<'_>> {
        loop {
            let (mut gate, mut keeper) = (self.gate.subscribe(), self.keeper.changes());
            let probe = match self.keeper.turn() {
                Turn::Open => None,
                Turn::Probe(probe) => Some(probe),
                Turn::Wait(until) => {
                    tokio::select! {
                        biased;
                        () = self.drain.cancelled() => return None,
                        _ = gate.changed() => {}
                        _ = keeper.changed() => {}
                        () = at(until) => {}
                    }
                    continue;
                }
            };
            let slot = tokio::select! {
                biased;
                () = self.drain.cancelled() => return None,
                slot = self.slots.acquire() => slot.ok()?,
            };
            // That took time: the session may be gone (the broker hands the command out again, so this copy must not be
            // posted as well), or somebody may have closed the gate.
            if !self.ports.settler().is_current(tag) {
                return None;
            }
            if self.gate.state().reasons().all(|reason| probe.is_some() && reason.is_probed()) {
                return Some(Permission { probe, _slot: slot });
            }
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
