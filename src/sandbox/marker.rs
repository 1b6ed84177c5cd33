//! Actions written into the text of a message, for demos: `Hello [[status=503,retryAfter=2,times=2]]`.
//!
//! Inside the brackets stand the words of an [`Action`], separated by commas, with their values after `=`. With
//! `times=2` the marker works on the first two attempts of this text to this device, else on every one. Of several
//! markers the first that still works counts, so `[[status=503,times=1]][[cut,times=2]]` is a sequence. Brackets around
//! anything else are plain text.

use serde_json::{Map, Value};

use super::action::{Action, WORDS};

/// More markers than these are plain text.
const MAX_MARKERS: usize = 8;

/// A marker that can't be read. It does not quote the text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// What the text asks for on this attempt, counted from 1.
pub(super) fn action(text: &str, attempt: u32) -> Result<Option<Action>, Unreadable> {
    for marker in markers(text).take(MAX_MARKERS) {
        let (action, times) = read(marker)?;
        if times.is_none_or(|times| u64::from(attempt) <= times) {
            return Ok(Some(action));
        }
    }
    Ok(None)
}

/// What stands between brackets and begins with a word of an action.
fn markers(text: &str) -> impl Iterator<Item = &str> {
    let bracketed = text.split("[[").skip(1).filter_map(|rest| rest.split_once("]]"));
    bracketed.map(|(inside, _)| inside).filter(|inside| {
        let first = inside.split([',', '=']).next().unwrap_or_default();
        WORDS.contains(&first.trim())
    })
}

fn read(marker: &str) -> Result<(Action, Option<u64>), Unreadable> {
    let mut fields: Map<String, Value> = marker.split(',').map(field).collect();
    let times = match fields.remove("times") {
        Some(times) => Some(times.as_u64().ok_or(Unreadable)?),
        None => None,
    };
    let action = serde_json::from_value(Value::Object(fields)).map_err(|_| Unreadable)?;
    Ok((action, times))
}

/// `word=value`, or a word alone, which is true.
fn field(written: &str) -> (String, Value) {
    match written.split_once('=') {
        Some((word, value)) => (word.trim().to_owned(), number_or_text(value.trim())),
        None => (written.trim().to_owned(), Value::Bool(true)),
    }
}

fn number_or_text(value: &str) -> Value {
    value.parse::<u64>().map_or_else(|_| Value::from(value), Value::from)
}
