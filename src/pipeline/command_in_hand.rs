//! A command whose delivery is not settled yet.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::delivery_state::DeliveryState;
use crate::{
    domain::{command::Command, journal::SendKey},
    ports::Delivery,
};

/// A decoded delivery in hand. Large, so tasks hold it in a `Box`.
pub(super) struct CommandInHand {
    pub(super) delivery: Delivery,
    pub(super) command: Command,
    pub(super) state: DeliveryState,
}

impl CommandInHand {
    /// The key of its journal record.
    pub(super) fn send_key(&self) -> SendKey {
        SendKey { command_id: self.command.id.clone(), replay: self.state.replay }
    }

    /// A hash of the send key: the same for each copy of the command that returns from a tier.
    pub(super) fn identity(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.command.id.as_str(), self.state.replay).hash(&mut hasher);
        hasher.finish()
    }
}
