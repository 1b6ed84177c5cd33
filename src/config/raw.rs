//! The value of a setting as a source gives it, before it is parsed.

use config::Value;

/// The kind of a value.
///
/// Text is accepted for every kind, because environment variables are text. No other kind is accepted for text:
/// `prefix = 007` must not become `7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueKind {
    Text,
    Integer,
    Boolean,
    /// With or without a decimal point.
    Number,
    /// A table, or a list within a list; no setting accepts it.
    Nested,
}

impl ValueKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Text => "a text in quotes",
            Self::Integer => "a whole number",
            Self::Boolean => "true or false",
            Self::Number => "a number",
            Self::Nested => "a table or a list within a list",
        }
    }
}

/// A single value, or one element of a list.
#[derive(Clone, Debug)]
pub(super) struct Scalar {
    text: String,
    kind: ValueKind,
}

impl Scalar {
    pub(super) const fn text(text: String) -> Self {
        Self { text, kind: ValueKind::Text }
    }

    fn new(value: Value) -> Self {
        let (text, kind) = match value.kind {
            config::ValueKind::String(text) => (text, ValueKind::Text),
            config::ValueKind::Boolean(flag) => (flag.to_string(), ValueKind::Boolean),
            // `Debug` keeps the decimal point of `1.0`.
            config::ValueKind::Float(number) => (format!("{number:?}"), ValueKind::Number),
            config::ValueKind::Nil | config::ValueKind::Table(_) | config::ValueKind::Array(_) => {
                (String::new(), ValueKind::Nested)
            }
            integer => (integer.to_string(), ValueKind::Integer),
        };
        Self { text, kind }
    }

    /// The text of the value, if it has the wanted kind.
    pub(super) fn as_kind(&self, wanted: ValueKind) -> Result<&str, String> {
        let is_whole = wanted == ValueKind::Number && self.kind == ValueKind::Integer;
        if self.kind == wanted || self.kind == ValueKind::Text || is_whole {
            return Ok(&self.text);
        }
        Err(format!("is {}; write {}", self.kind.name(), wanted.name()))
    }

    /// The text for an error message; `None` for a nested value.
    pub(super) fn displayed(&self) -> Option<&str> {
        (self.kind != ValueKind::Nested).then_some(self.text.as_str())
    }
}

/// The value of one setting in one source.
#[derive(Clone, Debug)]
pub(super) struct RawValue {
    pub(super) scalars: Vec<Scalar>,
    pub(super) is_list: bool,
    /// The file or the environment variable; `None` for a default.
    pub(super) origin: Option<String>,
}

impl RawValue {
    pub(super) fn text(text: String, origin: Option<String>) -> Self {
        Self { scalars: vec![Scalar::text(text)], is_list: false, origin }
    }

    pub(super) fn list(texts: impl Iterator<Item = String>, origin: String) -> Self {
        Self { scalars: texts.map(Scalar::text).collect(), is_list: true, origin: Some(origin) }
    }

    /// Nested values are replaced by a placeholder.
    pub(super) fn new(value: Value, origin: String) -> Self {
        let origin = Some(origin);
        match value.kind {
            config::ValueKind::Array(items) => {
                Self { scalars: items.into_iter().map(Scalar::new).collect(), is_list: true, origin }
            }
            _ => Self { scalars: vec![Scalar::new(value)], is_list: false, origin },
        }
    }

    pub(super) fn is_table(&self) -> bool {
        !self.is_list && self.displayed().is_none()
    }

    /// The text of the value, if it is no list and has the wanted kind.
    pub(super) fn as_kind(&self, wanted: ValueKind) -> Result<&str, String> {
        match self.scalars.as_slice() {
            [scalar] if !self.is_list => scalar.as_kind(wanted),
            _ => Err(format!("is a list; write {}", wanted.name())),
        }
    }

    /// The text for an error message; `None` for a list or a table.
    pub(super) fn displayed(&self) -> Option<&str> {
        self.scalars.first().filter(|_| !self.is_list)?.displayed()
    }
}

/// Refuses control characters: no setting needs one, and terminals and logs interpret them.
pub(super) fn without_control(text: &str) -> Result<&str, String> {
    let problem = "has a control character, such as a line break; remove it";
    if text.contains(char::is_control) { Err(problem.to_owned()) } else { Ok(text) }
}
