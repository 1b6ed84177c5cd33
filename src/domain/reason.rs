//! How a command can end, and why.

/// The terminal end of a command; every accepted command reaches exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The API answered 2xx.
    Succeeded,
    /// The command will not be delivered: malformed, rejected or out of attempts.
    Failed,
    /// The deadline passed before an attempt could start.
    Expired,
    /// An attempt may have reached the API, nobody can tell, and the policy is to park.
    Uncertain,
}

impl Outcome {
    /// All of them, for closed label sets.
    pub const ALL: [Self; 4] = [Self::Succeeded, Self::Failed, Self::Expired, Self::Uncertain];

    /// The word on the wire (`outcome`, routing key, label).
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

/// Why a command became a dead letter; the routing key on `<p>.dead`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// The message is not a command.
    Malformed,
    /// The API refused this command for good.
    Rejected,
    /// Every allowed attempt was used.
    Exhausted,
    /// It may have been sent; parked rather than sent twice.
    Uncertain,
    /// The deadline passed.
    Expired,
    /// The broker gave up redelivering it; written by the broker, never by the daemon.
    Poison,
}

impl Reason {
    /// All of them: the bindings of `<p>.dead`.
    pub const ALL: [Self; 6] =
        [Self::Malformed, Self::Rejected, Self::Exhausted, Self::Uncertain, Self::Expired, Self::Poison];

    /// The word on the wire (routing key, `courier-reason`, label).
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

    /// The outcome that this reason is told as in the event.
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
    fn the_word_in_json_is_the_word_everywhere_else() {
        for outcome in Outcome::ALL {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
        }
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }

    #[test]
    fn each_reason_is_told_as_its_outcome() {
        let told = Reason::ALL.map(|reason| (reason.as_str(), reason.outcome().as_str()));
        assert_eq!(
            told,
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
