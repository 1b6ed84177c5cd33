//! A command whose delivery is not settled yet.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::{delivery_state::DeliveryState, probe_choice::ProbeCandidate};
use crate::{
    domain::{
        command::{Command, OnUncertain},
        journal::SendKey,
    },
    ports::Delivery,
};

/// A decoded delivery in hand. Large, so tasks hold it in a `Box`.
pub(super) struct CommandInHand {
    pub(super) delivery: Delivery,
    pub(super) command: Command,
    pub(super) state: DeliveryState,
    /// The id was made here, so no record of an earlier delivery can be found.
    pub(super) has_generated_id: bool,
    /// It must go on record that an earlier delivery may have been posted.
    pub(super) needs_doubt_record: bool,
}

impl CommandInHand {
    /// The key of its journal record.
    pub(super) fn send_key(&self) -> SendKey {
        SendKey { command_id: self.command.id.clone(), replay: self.state.replay }
    }

    /// The hash by which a later delivery is recognized: not with a generated id.
    pub(super) fn lasting_identity(&self) -> Option<u64> {
        (!self.has_generated_id).then(|| self.identity())
    }

    /// A hash of the send key: the same for each copy of the command that returns from a tier.
    pub(super) fn identity(&self) -> u64 {
        hash(&(self.command.id.as_str(), self.state.replay))
    }

    /// What its choice as a probe depends on; `default` is the policy of a command without one.
    pub(super) fn probe_candidate(&self, default: OnUncertain) -> ProbeCandidate {
        let Command { channel_type, device_address, on_uncertain, .. } = &self.command;
        ProbeCandidate {
            command: self.identity(),
            device: hash(&(channel_type, device_address)),
            is_parked_if_uncertain: on_uncertain.unwrap_or(default) == OnUncertain::Park,
        }
    }
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
