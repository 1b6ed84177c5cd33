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
    /// Exists with other arguments that no guarantee rests on.
    Differs,
    /// Exists with arguments that void a guarantee, unless a policy that was not read sets them.
    WrongArguments,
    /// Exists with another type, which no policy can change.
    WrongType,
    /// A feature flag of the broker is not enabled.
    Disabled,
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
        matches!(self, Self::WrongArguments | Self::WrongType | Self::Disabled | Self::Missing | Self::Refused)
    }

    /// The state as text, for tables and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::There => "there",
            Self::Differs => "differs",
            Self::WrongArguments => "wrong arguments",
            Self::WrongType => "wrong type",
            Self::Disabled => "disabled",
            Self::Missing => "missing",
            Self::Refused => "refused",
            Self::CannotVerify => "cannot verify",
        }
    }
}

/// One object and its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `exchange`, `queue`, `binding` or `feature flag`.
    pub kind: &'static str,
    /// The object's name.
    pub name: String,
    /// Its state.
    pub state: FindingState,
    /// The reason for the state, usually the broker's message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
