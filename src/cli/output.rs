//! Results go to standard output, problems and notes to standard error. A closed stream is not an error.

use std::{
    fmt::Display,
    io::{self, Write},
};

use serde::Serialize;

/// Prints a line of the result.
pub(super) fn print(text: &impl Display) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// Prints the result as JSON.
pub(super) fn print_json(value: &impl Serialize) {
    if let Ok(text) = serde_json::to_string_pretty(value) {
        print(&text);
    }
}

/// Prints an error: what failed and what to do.
pub(super) fn print_error(text: &impl Display) {
    let _ = writeln!(io::stderr(), "{}", error_line(text));
}

/// The line that [`print_error`] prints.
pub(super) fn error_line(text: &impl Display) -> String {
    format!("edna-courier: {text}")
}

/// Prints progress, which is not part of the result.
pub(super) fn print_note(text: &impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}
