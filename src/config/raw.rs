//! The value of a setting as a source gives it, before it is parsed.

use toml::de::{DeInteger, DeValue};

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

    const fn nested() -> Self {
        Self { text: String::new(), kind: ValueKind::Nested }
    }

    fn from_toml(value: &DeValue<'_>) -> Self {
        let (text, kind) = match value {
            DeValue::String(text) => (text.to_string(), ValueKind::Text),
            DeValue::Datetime(time) => (time.to_string(), ValueKind::Text),
            DeValue::Integer(integer) => (decimal(integer), ValueKind::Integer),
            DeValue::Boolean(flag) => (flag.to_string(), ValueKind::Boolean),
            DeValue::Float(number) => (number.as_str().to_owned(), ValueKind::Number),
            DeValue::Array(_) | DeValue::Table(_) => return Self::nested(),
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

/// `0x10` becomes `16`; an integer that is too large stays as written, and the check of the range refuses it.
fn decimal(integer: &DeInteger<'_>) -> String {
    let number = i128::from_str_radix(integer.as_str(), integer.radix());
    number.map_or_else(|_| integer.to_string(), |number| number.to_string())
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
    pub(super) fn from_toml(value: &DeValue<'_>, origin: &str) -> Self {
        let scalars = match value {
            DeValue::Array(items) => items.iter().map(|item| Scalar::from_toml(item.get_ref())).collect(),
            _ => vec![Scalar::from_toml(value)],
        };
        Self { scalars, is_list: matches!(value, DeValue::Array(_)), origin: Some(origin.to_owned()) }
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
