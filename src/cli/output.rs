//! Standard output for results, standard error for problems. Who closed them does not want to know.

use std::{
    fmt::Display,
    io::{self, Write},
};

use serde::Serialize;

/// A line of the result.
pub(super) fn line(text: &impl Display) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// The result for programs.
pub(super) fn json(value: &impl Serialize) {
    if let Ok(text) = serde_json::to_string_pretty(value) {
        line(&text);
    }
}

/// What went wrong and what to do.
pub(super) fn problem(text: &impl Display) {
    let _ = writeln!(io::stderr(), "edna-courier: {text}");
}

/// A word about what is going on, for people, besides the result.
pub(super) fn note(text: &impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}
