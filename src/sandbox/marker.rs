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

/// The one word that is not of the action.
const TIMES: &str = "times";

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

/// What stands between brackets and begins with a word of a marker.
fn markers(text: &str) -> impl Iterator<Item = &str> {
    let bracketed = text.split("[[").skip(1).filter_map(|rest| rest.split_once("]]"));
    bracketed.map(|(inside, _)| inside).filter(|inside| {
        let first = inside.split([',', '=']).next().unwrap_or_default();
        first.trim() == TIMES || WORDS.contains(&first.trim())
    })
}

fn read(marker: &str) -> Result<(Action, Option<u64>), Unreadable> {
    let mut fields: Map<String, Value> = marker.split(',').map(field).collect();
    let times = match fields.remove(TIMES) {
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

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use proptest::prelude::*;

    use super::{super::action::Answer, *};

    fn answer(text: &str, attempt: u32) -> Option<Answer> {
        action(text, attempt).unwrap().map(|action| action.answer)
    }

    #[test]
    fn every_word_is_one_of_an_action() {
        for word in WORDS {
            let error = serde_json::from_str::<Action>(&format!("{{\"{word}\": {{}}}}")).unwrap_err();
            assert!(!error.to_string().contains("unknown field"), "{word}: {error}");
        }
    }

    #[test]
    fn brackets_around_anything_else_are_plain_text() {
        for text in ["", "[[", "]]", "[[]]", "[[ ]]", "[hang]", "[[hang", "[[hello]]", "[[statsu=500]]", "]]hang[["] {
            assert_eq!(action(text, 1), Ok(None), "{text}");
        }
    }

    #[test]
    fn a_marker_with_a_mistake_is_told_and_not_passed_over() {
        for text in
            ["[[status]]", "[[status=99]]", "[[hang,cut]]", "[[hang,tmies=2]]", "[[hang,times=x]]", "[[times=1]]"]
        {
            assert_eq!(action(text, 1), Err(Unreadable), "{text}");
        }
    }

    #[test]
    fn the_first_marker_that_still_works_counts() {
        let text = "a [[times=1, hang]] b [[ cut , times = 3 ]] c";
        assert_eq!(
            [1, 2, 3, 4].map(|attempt| answer(text, attempt)),
            [Some(Answer::Hang), Some(Answer::Cut), Some(Answer::Cut), None]
        );
    }

    #[test]
    fn markers_have_a_limit() {
        let text = "[[hang,times=0]]".repeat(MAX_MARKERS) + "[[cut]]";
        assert_eq!(answer(&text, 1), None);
    }

    #[test]
    fn values_are_numbers_or_texts() {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let body = Some(Value::from("down"));
        let expected = Answer::Status { status, retry_after: Some(30.into()), body };
        assert_eq!(answer("[[status=503,retryAfter=30,body=down]]", 9), Some(expected));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(\\[\\[|\\]\\]|[=,]|status|times|hang|delay|[0-9]{1,20}|\\PC){0,40}", attempt: u32) {
            drop(action(&text, attempt));
        }
    }
}
