//! Configuration mistakes, each with its place and its remedy.

use std::fmt;

use serde::Serialize;

/// Longer values, names and problems are truncated.
const MAX_SHOWN_CHARS: usize = 400;

/// One mistake. Its texts are safe to print on a terminal: bounded, and with control characters escaped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// The setting; the file or the environment variable if that cannot be read.
    pub path: String,
    /// The value as written; never a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The file or the environment variable that holds the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// What is wrong and how to correct it.
    pub problem: String,
}

impl Mistake {
    pub(super) fn new(path: &str, problem: impl AsRef<str>) -> Self {
        Self { path: printable(path), value: None, origin: None, problem: printable(problem.as_ref()) }
    }

    pub(super) fn from(self, origin: impl AsRef<str>) -> Self {
        Self { origin: Some(printable(origin.as_ref())), ..self }
    }

    pub(super) fn with_value(self, value: &str) -> Self {
        Self { value: Some(printable(value)), ..self }
    }
}

fn printable(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars().take(MAX_SHOWN_CHARS) {
        match c {
            '"' | '\'' | '\\' => shown.push(c),
            _ => shown.extend(c.escape_debug()),
        }
    }
    if text.chars().nth(MAX_SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if let Some(value) = &self.value {
            write!(f, " = \"{value}\"")?;
        }
        if let Some(origin) = &self.origin {
            write!(f, " ({origin})")?;
        }
        write!(f, ": {}", self.problem)
    }
}

/// All mistakes of a configuration, in the order of the settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(transparent)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, plural) = (self.0.len(), if self.0.len() == 1 { "" } else { "s" });
        write!(f, "{count} mistake{plural} in the configuration")?;
        self.0.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}
