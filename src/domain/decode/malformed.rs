//! The error of decoding. It names the field and the problem, and never contains a value of the message.

use std::fmt;

use crate::domain::{
    command::CommandId,
    detail::{Detail, one_line},
};

/// How much of an unknown field's name an error contains, in bytes.
const MAX_UNKNOWN_NAME_BYTES: usize = 64;

/// A message that is not a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct Malformed {
    /// The command's id, if one could be read; required for an event.
    pub id: Option<CommandId>,
    /// The command's channel, if a valid one could be read.
    pub channel_type: Option<String>,
    error: FieldError,
}

impl Malformed {
    pub(super) const fn new(error: FieldError, id: Option<CommandId>, channel_type: Option<String>) -> Self {
        Self { id, channel_type, error }
    }

    /// Returns the path of the field, such as `attachments[0].url`, the name of a property or header, or `body`.
    #[must_use]
    pub fn field(&self) -> &str {
        self.error.field()
    }

    /// Returns the explanation for the event and the dead letter.
    #[must_use]
    pub fn detail(&self) -> Detail {
        Detail::from(self.to_string())
    }
}

/// A problem and the field that has it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` {problem}", self.field())]
pub(super) struct FieldError {
    /// Empty while the error concerns the whole value that was read.
    path: String,
    problem: FieldProblem,
}

impl FieldError {
    /// The path consists of known names and of those that [`unknown_name`] returns.
    pub(super) fn at(path: impl Into<String>, problem: FieldProblem) -> Self {
        Self { path: path.into(), problem }
    }

    /// An error of the whole value, whatever its name in the enclosing object.
    pub(super) const fn whole(problem: FieldProblem) -> Self {
        Self { path: String::new(), problem }
    }

    fn field(&self) -> &str {
        if self.path.is_empty() { "body" } else { &self.path }
    }

    /// Prefixes the path with the name of the enclosing field.
    pub(super) fn under(self, name: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        Self { path: format!("{name}{dot}{}", self.path), problem: self.problem }
    }
}

/// The predicate of an error whose subject is the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FieldProblem {
    #[error("is missing")]
    Missing,
    #[error("must not be empty")]
    Empty,
    #[error("must not be empty unless there is an attachment")]
    NothingToSend,
    #[error("must be {0}")]
    MustBe(&'static str),
    #[error("has {got} {unit}, at most {limit} are allowed")]
    TooLong { got: usize, unit: &'static str, limit: usize },
    #[error("must not contain a control character")]
    ControlCharacter,
    #[error("must be one word of a routing key: without '.', '*', '#' and white space")]
    NotOneWord,
    #[error("is not one of api.channel_types: {0}")]
    NotAllowed(String),
    #[error("names a compression: publish the body uncompressed")]
    Compressed,
    #[error("appears twice")]
    Duplicate,
    #[error("contains the key `{0}` twice")]
    DuplicateKey(String),
    #[error("is not a known field{}", DidYouMean(*.0))]
    Unknown(Option<&'static str>),
    #[error("must not appear together with `{0}`")]
    Conflicts(&'static str),
    #[error("is not UTF-8 from byte {0} on")]
    NotUtf8(usize),
    #[error("starts with a byte order mark: leave it out")]
    ByteOrderMark,
    /// The parser's syntax error, which contains no values.
    #[error("is not the JSON of a command: {0}")]
    NotJson(String),
}

struct DidYouMean(Option<&'static str>);

impl fmt::Display for DidYouMean {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |name| write!(f, ": did you mean `{name}`?"))
    }
}

/// Returns a name from the message in a form that is safe to show: one line, of bounded length.
pub(super) fn unknown_name(name: &str) -> String {
    if name.is_empty() { r#""""#.to_owned() } else { one_line(name, MAX_UNKNOWN_NAME_BYTES) }
}

/// Returns the known name that is most similar to an unknown one, regardless of case, if any is similar enough.
pub(super) fn nearest_name(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let name = unknown_name(name).to_lowercase();
    known
        .iter()
        .map(|known| (strsim::osa_distance(&name, &known.to_lowercase()), *known))
        .min()
        .filter(|(distance, known)| *distance <= known.len() / 3)
        .map(|(_, known)| known)
}
