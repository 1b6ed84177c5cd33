//! The result of verifying or declaring one object of the topology.

use serde::Serialize;

/// The state of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingState {
    /// Was missing; exists now.
    Created,
    /// Exists and matches the contract, as far as it can be compared.
    There,
    /// Exists with other arguments, possibly on purpose: policies can set the same.
    Differs,
    /// Exists with another type, which no policy can change.
    WrongType,
    /// Does not exist.
    Missing,
    /// The broker refuses the declaration.
    Refused,
    /// The user may not inspect it.
    CannotVerify,
}

impl FindingState {
    /// Whether the object violates the contract.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::WrongType | Self::Missing | Self::Refused)
    }

    /// The state as text, for tables and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::There => "there",
            Self::Differs => "differs",
            Self::WrongType => "wrong type",
            Self::Missing => "missing",
            Self::Refused => "refused",
            Self::CannotVerify => "cannot verify",
        }
    }
}

/// One object and its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `exchange`, `queue` or `binding`.
    pub kind: &'static str,
    /// The object's name.
    pub name: String,
    /// Its state.
    pub state: FindingState,
    /// The reason for the state, usually the broker's message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
