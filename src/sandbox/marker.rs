//! Actions in the text of a message, for demos: `Hello [[status=503,retryAfter=2,times=2]]`.
//!
//! A marker holds the fields of an [`Action`], separated by commas, with their values after `=`. With `times=2` it
//! applies to the first two attempts at this text to this device, without it to every attempt. Of several markers the
//! first that still applies wins: `[[status=503,times=1]][[cut,times=2]]` is a sequence. Brackets around anything else
//! are plain text.

use serde_json::{Map, Value};

use super::action::{Action, FIELDS};

/// Further markers are plain text.
const MAX_MARKERS: usize = 8;

/// The only field that is not a field of the action.
const TIMES: &str = "times";

/// A marker that cannot be parsed. The error does not quote the text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MalformedMarker;

/// The action that the text holds for this attempt, counted from 1.
pub(super) fn action(text: &str, attempt: u32) -> Result<Option<Action>, MalformedMarker> {
    for marker in markers(text).take(MAX_MARKERS) {
        let (action, times) = parse(marker)?;
        if times.is_none_or(|times| u64::from(attempt) <= times) {
            return Ok(Some(action));
        }
    }
    Ok(None)
}

/// The texts in double brackets that begin with a field of a marker.
fn markers(text: &str) -> impl Iterator<Item = &str> {
    let bracketed = text.split("[[").skip(1).filter_map(|rest| rest.split_once("]]"));
    bracketed.map(|(inside, _)| inside).filter(|inside| {
        let first = inside.split([',', '=']).next().unwrap_or_default();
        first.trim() == TIMES || FIELDS.contains(&first.trim())
    })
}

fn parse(marker: &str) -> Result<(Action, Option<u64>), MalformedMarker> {
    let mut fields: Map<String, Value> = marker.split(',').map(field).collect();
    let times = match fields.remove(TIMES) {
        Some(times) => Some(times.as_u64().ok_or(MalformedMarker)?),
        None => None,
    };
    let action = serde_json::from_value(Value::Object(fields)).map_err(|_| MalformedMarker)?;
    Ok((action, times))
}

/// `name=value`, or a name alone, which means true.
fn field(text: &str) -> (String, Value) {
    match text.split_once('=') {
        Some((name, value)) => (name.trim().to_owned(), number_or_text(value.trim())),
        None => (text.trim().to_owned(), Value::Bool(true)),
    }
}

fn number_or_text(value: &str) -> Value {
    value.parse::<u64>().map_or_else(|_| Value::from(value), Value::from)
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use proptest::prelude::*;

    use super::*;
    use crate::sandbox::action::ScriptedResponse;

    fn response(text: &str, attempt: u32) -> Option<ScriptedResponse> {
        action(text, attempt).unwrap().map(|action| action.response)
    }

    #[test]
    fn every_marker_field_is_an_action_field() {
        for field in FIELDS {
            let error = serde_json::from_str::<Action>(&format!("{{\"{field}\": {{}}}}")).unwrap_err();
            assert!(!error.to_string().contains("unknown field"), "{field}: {error}");
        }
    }

    #[test]
    fn brackets_without_a_known_field_are_plain_text() {
        for text in ["", "[[", "]]", "[[]]", "[[ ]]", "[hang]", "[[hang", "[[hello]]", "[[statsu=500]]", "]]hang[["] {
            assert_eq!(action(text, 1), Ok(None), "{text}");
        }
    }

    #[test]
    fn marker_with_a_mistake_is_malformed() {
        for text in
            ["[[status]]", "[[status=99]]", "[[hang,cut]]", "[[hang,tmies=2]]", "[[hang,times=x]]", "[[times=1]]"]
        {
            assert_eq!(action(text, 1), Err(MalformedMarker), "{text}");
        }
    }

    #[test]
    fn first_marker_that_still_applies_wins() {
        let text = "a [[times=1, hang]] b [[ cut , times = 3 ]] c";
        assert_eq!(
            [1, 2, 3, 4].map(|attempt| response(text, attempt)),
            [Some(ScriptedResponse::Hang), Some(ScriptedResponse::Cut), Some(ScriptedResponse::Cut), None]
        );
    }

    #[test]
    fn markers_beyond_the_limit_are_plain_text() {
        let text = "[[hang,times=0]]".repeat(MAX_MARKERS) + "[[cut]]";
        assert_eq!(response(&text, 1), None);
    }

    #[test]
    fn marker_values_are_numbers_or_texts() {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let body = Some(Value::from("down"));
        let expected = ScriptedResponse::Status { status, retry_after: Some(30.into()), body };
        assert_eq!(response("[[status=503,retryAfter=30,body=down]]", 9), Some(expected));
    }

    proptest! {
        #[test]
        fn action_of_any_text_does_not_panic(text in "(\\[\\[|\\]\\]|[=,]|status|times|hang|delay|[0-9]{1,20}|\\PC){0,40}", attempt: u32) {
            drop(action(&text, attempt));
        }
    }
}
