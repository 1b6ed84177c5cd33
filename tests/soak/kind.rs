//! The kinds of commands, and the outcomes that each may have whatever fails.

/// A kind of command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Succeeds at the first attempt; with the policy `resend`.
    Plain,
    /// The same with the policy `park`.
    Parked,
    /// The API answers 400.
    Rejected,
    /// The API refuses the token once.
    TokenRefused,
    /// Without a device address.
    Malformed,
    /// With a deadline in the past.
    Expired,
    /// With a deadline soon.
    Deadline,
    /// Without an id.
    GeneratedId,
    /// The API answers 503 three times, so that the command goes to a tier.
    Retried,
    /// The API accepts the message and closes the connection, once.
    Cut,
    /// The API accepts the message and does not answer, once.
    Hanging,
    /// The API answers 500; with the policy `park`.
    UncertainParked,
    /// The API accepts the message with an answer that is not JSON.
    UnreadAnswer,
}

/// The outcome and the reason of an event.
pub(crate) type Outcome = (&'static str, Option<&'static str>);

const SUCCEEDED: Outcome = ("succeeded", None);
const UNCERTAIN: Outcome = ("uncertain", Some("uncertain"));
const EXPIRED: Outcome = ("expired", Some("expired"));

impl Kind {
    /// The marker in the text that makes the sandbox fail.
    pub(crate) const fn marker(self) -> &'static str {
        match self {
            Self::Rejected => "[[status=400]]",
            Self::TokenRefused => "[[status=401,times=1]]",
            Self::Retried => "[[status=503,times=3]]",
            Self::Cut => "[[cut,times=1]]",
            Self::Hanging => "[[hang,times=1]]",
            Self::UncertainParked => "[[status=500]]",
            Self::UnreadAnswer => "[[wrongBody]]",
            _ => "hello",
        }
    }

    /// Whether the policy is `park`.
    pub(crate) const fn is_parked(self) -> bool {
        matches!(self, Self::Parked | Self::UncertainParked)
    }

    /// Whether the command may be posted.
    pub(crate) const fn is_posted(self) -> bool {
        !matches!(self, Self::Malformed | Self::Expired)
    }

    /// The outcomes that the contract allows. An outage costs no command, so none may be `exhausted`.
    pub(crate) const fn outcomes(self) -> &'static [Outcome] {
        match self {
            Self::Parked => &[SUCCEEDED, UNCERTAIN],
            Self::Rejected => &[("failed", Some("rejected"))],
            Self::Malformed => &[("failed", Some("malformed"))],
            Self::Expired => &[EXPIRED],
            Self::Deadline => &[SUCCEEDED, EXPIRED],
            Self::UncertainParked => &[UNCERTAIN],
            _ => &[SUCCEEDED],
        }
    }
}
