//! Explanations in events and headers.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::properties::header::DETAIL_MAX_BYTES;

/// An explanation on one line, at most [`DETAIL_MAX_BYTES`] long.
///
/// The type limits the form only: its author must leave out texts, addresses, URLs and tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct Detail(String);

impl Detail {
    /// Creates a detail from any text; see [`one_line`].
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(one_line(text, DETAIL_MAX_BYTES))
    }

    /// Returns the explanation.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Detail {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Detail {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Replaces each control character by a space and truncates the text to `max_bytes`, between two characters.
#[must_use]
pub fn one_line(text: &str, max_bytes: usize) -> String {
    let mut line = String::with_capacity(text.len().min(max_bytes));
    for character in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if line.len() + character.len_utf8() > max_bytes {
            break;
        }
        line.push(character);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_long_text_is_cut_between_characters() {
        for (text, max_bytes, line) in [
            ("short", 5, "short"),
            ("longer", 5, "longe"),
            ("жжж", 5, "жж"),
            ("a😀b", 4, "a"),
            ("a😀b", 5, "a😀"),
            ("", 5, ""),
        ] {
            assert_eq!(one_line(text, max_bytes), line, "{text}");
        }
        assert_eq!(Detail::new(&"ж".repeat(300)).as_str(), "ж".repeat(256));
        assert_eq!(Detail::new(&format!("a{}", "ж".repeat(300))).as_str().len(), 511);
    }

    #[test]
    fn detail_control_characters_become_spaces() {
        assert_eq!(Detail::from("a\r\nb\u{0}c\u{7f}d\u{85}e").as_str(), "a  b c d e");
    }
}
