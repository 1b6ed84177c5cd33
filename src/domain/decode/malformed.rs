//! Why a message is not a command, told without any of its values.

use std::fmt;

use crate::domain::{
    command::CommandId,
    detail::{Detail, one_line},
};

/// How much of a field name that the producer invented is told.
const MAX_TOLD_NAME: usize = 64;

/// A message that is not a command. It names the field, the problem and the limit, never a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct Malformed {
    /// The command's id, when one could be read: then an event can be told.
    pub id: Option<CommandId>,
    /// The command's channel, when a usable one could be read.
    pub channel_type: Option<String>,
    fault: Fault,
}

impl Malformed {
    pub(super) const fn new(fault: Fault, id: Option<CommandId>, channel_type: Option<String>) -> Self {
        Self { id, channel_type, fault }
    }

    /// The path of the field, such as `attachments[0].url`; `body` when the whole is meant; a property or header
    /// by its name.
    #[must_use]
    pub fn field(&self) -> &str {
        self.fault.place()
    }

    /// What is wrong and what would be right, for the event and the dead letter.
    #[must_use]
    pub fn detail(&self) -> Detail {
        Detail::from(self.to_string())
    }
}

/// One problem at one place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` {problem}", self.place())]
pub(super) struct Fault {
    /// Empty while the whole of what was read is meant.
    path: String,
    problem: Problem,
}

impl Fault {
    /// The path is one of ours or was made by [`told_name`].
    pub(super) fn at(path: impl Into<String>, problem: Problem) -> Self {
        Self { path: path.into(), problem }
    }

    /// The whole of what is read is meant, whatever it is called one level up.
    pub(super) const fn whole(problem: Problem) -> Self {
        Self { path: String::new(), problem }
    }

    fn place(&self) -> &str {
        if self.path.is_empty() { "body" } else { &self.path }
    }

    /// The same fault, seen from the object that has the faulty value under `name`.
    pub(super) fn under(self, name: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        Self { path: format!("{name}{dot}{}", self.path), problem: self.problem }
    }
}

/// What is wrong, in words that complete "`field` …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    #[error("must be there")]
    Missing,
    #[error("must not be empty")]
    Empty,
    #[error("must not be empty unless there is an attachment")]
    NothingToSend,
    #[error("must be {0}")]
    MustBe(&'static str),
    #[error("has {got} {unit}, at most {limit} are allowed")]
    TooLong { got: usize, unit: &'static str, limit: usize },
    #[error("must not hold a control character")]
    Control,
    #[error("must be one word of a routing key: without '.', '*', '#' and white space")]
    NotOneWord,
    #[error("is not one of api.channel_types: {0}")]
    NotAllowed(String),
    #[error("differs from {0}: send one of them, or the same id in both")]
    Differs(&'static str),
    #[error("is there twice")]
    Twice,
    #[error("has the key `{0}` twice")]
    KeyTwice(String),
    #[error("is not a known field{}", Hint(*.0))]
    Unknown(Option<&'static str>),
    #[error("must not be there beside `{0}`")]
    Beside(&'static str),
    #[error("is not UTF-8 from byte {0} on")]
    NotUtf8(usize),
    #[error("starts with a byte order mark: leave it out")]
    ByteOrderMark,
    /// The parser's own words about syntax, which quote nothing.
    #[error("is not the JSON of a command: {0}")]
    NotJson(String),
}

struct Hint(Option<&'static str>);

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |name| write!(f, ": did you mean `{name}`?"))
    }
}

/// A name that the producer invented, in a form that is safe to tell.
pub(super) fn told_name(name: &str) -> String {
    if name.is_empty() { r#""""#.to_owned() } else { one_line(name, MAX_TOLD_NAME) }
}

/// The known name that an unknown one was probably meant to be, whatever its case.
pub(super) fn nearest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let name = told_name(name).to_lowercase();
    known
        .iter()
        .map(|known| (strsim::osa_distance(&name, &known.to_lowercase()), *known))
        .min()
        .filter(|(distance, known)| *distance <= known.len() / 3)
        .map(|(_, known)| known)
}
