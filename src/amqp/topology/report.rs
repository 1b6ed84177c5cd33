//! What was found, or done, for each part of the table.

use serde::Serialize;

/// How a part of the table stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It was missing and is there now.
    Created,
    /// As far as can be told, as in the table.
    There,
    /// There, with other arguments. That may be on purpose: policies can set the same.
    Differs,
    /// There, and of another type, which no policy can mend.
    WrongType,
    /// Not there.
    Missing,
    /// The broker does not let this user make it.
    Refused,
    /// The broker does not let this user look.
    CannotVerify,
}

impl State {
    /// Whether the contract does not hold.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::WrongType | Self::Missing | Self::Refused)
    }

    /// For people.
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

/// One part and its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `exchange`, `queue` or `binding`.
    pub kind: &'static str,
    /// Which.
    pub name: String,
    /// How it stands.
    pub state: State,
    /// Why, most often in the broker's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
