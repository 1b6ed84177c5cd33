//! The outcomes of a command, and the reasons of those that are not success.

/// The outcome of a command. Every command has exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The API accepted the message (2xx).
    Succeeded,
    /// The command was not delivered: malformed, rejected or out of attempts.
    Failed,
    /// The deadline passed before an attempt started.
    Expired,
    /// An attempt may have reached the API, and the policy is `park`.
    Uncertain,
}

impl Outcome {
    /// All outcomes, for closed label sets.
    pub const ALL: [Self; 4] = [Self::Succeeded, Self::Failed, Self::Expired, Self::Uncertain];

    /// Returns the name in the event, the routing key and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Uncertain => "uncertain",
        }
    }
}

/// The reason of a dead letter; its routing key on `<p>.dead`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// The message is not a command.
    Malformed,
    /// The API rejected this command.
    Rejected,
    /// `delivery.max_attempts` were made.
    Exhausted,
    /// The message may have been sent, and the policy is `park`.
    Uncertain,
    /// The deadline passed.
    Expired,
    /// Sessions that ended returned the command too often: beyond the queue's delivery limit, set by the broker, or beyond
    /// the daemon's own, see [`super::returns`].
    Poison,
}

impl Reason {
    /// All reasons: the bindings of `<p>.dead`.
    pub const ALL: [Self; 6] =
        [Self::Malformed, Self::Rejected, Self::Exhausted, Self::Uncertain, Self::Expired, Self::Poison];

    /// Returns the name in the routing key, `courier-reason` and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Rejected => "rejected",
            Self::Exhausted => "exhausted",
            Self::Uncertain => "uncertain",
            Self::Expired => "expired",
            Self::Poison => "poison",
        }
    }

    /// Returns the outcome in the event of this reason.
    #[must_use]
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::Malformed | Self::Rejected | Self::Exhausted | Self::Poison => Outcome::Failed,
            Self::Uncertain => Outcome::Uncertain,
            Self::Expired => Outcome::Expired,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_str_matches_json() {
        for outcome in Outcome::ALL {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
        }
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }

    #[test]
    fn outcome_of_each_reason() {
        let outcomes = Reason::ALL.map(|reason| (reason.as_str(), reason.outcome().as_str()));
        assert_eq!(
            outcomes,
            [
                ("malformed", "failed"),
                ("rejected", "failed"),
                ("exhausted", "failed"),
                ("uncertain", "uncertain"),
                ("expired", "expired"),
                ("poison", "failed"),
            ]
        );
    }
}
