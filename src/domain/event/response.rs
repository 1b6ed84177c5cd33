//! The API's response as it appears in the event.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::{error::Category, value::RawValue};

/// Below it, every whole number has a floating-point number of its own: 2^53.
const MAX_EXACT_FLOAT: f64 = 9_007_199_254_740_992.0;

/// The fields of a 2xx body. Each may be `null` or absent: no known installation fills all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    /// The id of the message in edna Chat Center.
    pub id: Option<i64>,
    /// The id of the message's thread.
    pub thread_id: Option<i64>,
    /// edna's id of the client; not the command's `clientId`.
    pub client_id: Option<i64>,
    /// The client's id in the customer's systems.
    pub client_external_id: Option<String>,
    /// The id of the agent in whose name the message was sent.
    pub agent_id: Option<i64>,
}

/// Why the body of a 2xx has no [`Response`]. The message was delivered all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnreadReason {
    /// There is no body, or only white space.
    Empty,
    /// The body is not JSON, was too long or broke off.
    NotJson,
    /// The body is JSON without any of the fields: a list, an envelope, another object.
    NoIds,
}

impl UnreadReason {
    /// All reasons, for closed label sets.
    pub const ALL: [Self; 3] = [Self::Empty, Self::NotJson, Self::NoIds];

    /// Returns the name in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NotJson => "not_json",
            Self::NoIds => "no_ids",
        }
    }
}

impl Response {
    /// Parses the body of a 2xx field by field: a field of another type is `None`, and unknown fields are ignored. A byte
    /// order mark, a number as text and a whole floating-point number are read; a list or an envelope is not.
    ///
    /// # Errors
    /// If the body has none of the fields.
    pub fn parse(body: &[u8]) -> Result<Self, UnreadReason> {
        // Bytes that are not UTF-8 concern one field only.
        let text = String::from_utf8_lossy(body);
        let json = text.trim_start_matches('\u{feff}').trim();
        if json.is_empty() {
            return Err(UnreadReason::Empty);
        }
        let mut parser = serde_json::Deserializer::from_str(json);
        let response = parser.deserialize_map(ResponseVisitor);
        match response.and_then(|response| parser.end().map(|()| response)) {
            Ok(response) if response != Self::default() => Ok(response),
            Ok(_) => Err(UnreadReason::NoIds),
            Err(error) if error.classify() == Category::Data && is_json(json) => Err(UnreadReason::NoIds),
            Err(_) => Err(UnreadReason::NotJson),
        }
    }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum ResponseField {
    Id,
    ThreadId,
    ClientId,
    ClientExternalId,
    AgentId,
    #[serde(other)]
    Unknown,
}

struct ResponseVisitor;

impl<'de> Visitor<'de> for ResponseVisitor {
    type Value = Response;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Response, A::Error> {
        let mut response = Response::default();
        while let Some((field, value)) = map.next_entry::<ResponseField, &RawValue>()? {
            match field {
                ResponseField::Id => response.id = integer(value),
                ResponseField::ThreadId => response.thread_id = integer(value),
                ResponseField::ClientId => response.client_id = integer(value),
                ResponseField::ClientExternalId => response.client_external_id = text(value),
                ResponseField::AgentId => response.agent_id = integer(value),
                ResponseField::Unknown => {}
            }
        }
        Ok(response)
    }
}

/// A whole number, also as text or with a fraction of zero.
fn integer(value: &RawValue) -> Option<i64> {
    let json = value.get();
    let inside = json.strip_prefix('"').and_then(|json| json.strip_suffix('"'));
    let number = inside.unwrap_or(json).trim();
    number.parse().ok().or_else(|| exact_integer(number.parse().ok()?))
}

fn exact_integer(float: f64) -> Option<i64> {
    let is_exact = float.fract() == 0.0 && float.abs() < MAX_EXACT_FLOAT;
    is_exact.then(|| format!("{float:.0}").parse().ok()).flatten()
}

/// A text, also as a whole number. A text that was not UTF-8 in the body would name another client.
fn text(value: &RawValue) -> Option<String> {
    if !value.get().starts_with('"') {
        return integer(value).map(|number| number.to_string());
    }
    let text: String = serde_json::from_str(value.get()).ok()?;
    (!text.contains(char::REPLACEMENT_CHARACTER)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(id: i64, thread_id: i64) -> Response {
        Response { id: Some(id), thread_id: Some(thread_id), ..Response::default() }
    }

    #[test]
    fn response_documented_body_is_parsed() {
        let body = br#"{ "id": 1, "threadId": 2, "clientId": 1, "clientExternalId": null, "agentId": 3 }"#;
        let response = Response { client_id: Some(1), agent_id: Some(3), ..ids(1, 2) };
        assert_eq!(Response::parse(body), Ok(response));
    }

    #[test]
    fn response_is_read_field_by_field() {
        for body in [
            "\u{feff}{\"id\":7,\"threadId\":8}",
            r#"{"id":"7","threadId":"8"}"#,
            r#"{"id":7.0,"threadId":"8.00"}"#,
            r#"{"id":0.7e1,"threadId":" 8 "}"#,
            r#"{"id":7,"threadId":8,"clientId":1.5,"agentId":true,"clientExternalId":["a"]}"#,
            r#"{"id":7,"threadId":8,"clientId":9223372036854775808,"agentId":"","clientExternalId":{"id":1}}"#,
            r#"{"id":7,"threadId":8,"clientId":9007199254740993.0,"agentId":"seven","clientExternalId":1.5}"#,
            r#"{"id":7,"threadId":8,"clientId":1e400,"agentId":"inf","clientExternalId":"\ud83d"}"#,
            r#"{"id":7,"threadId":8,"status":"ok","more":{"id":[1]}}"#,
            r#"{"id":6,"threadId":8,"id":7}"#,
        ] {
            assert_eq!(Response::parse(body.as_bytes()), Ok(ids(7, 8)), "{body}");
        }
        assert_eq!(Response::parse(b"{\"id\":7,\"threadId\":8,\"clientExternalId\":\"\xff\"}"), Ok(ids(7, 8)));
    }

    #[test]
    fn response_keeps_extreme_integers_and_texts() {
        let largest = Response { id: Some(i64::MAX), thread_id: Some(i64::MIN), ..Response::default() };
        for quote in ["", "\""] {
            let body = format!(r#"{{"id":{quote}{}{quote},"threadId":{quote}{}{quote}}}"#, i64::MAX, i64::MIN);
            assert_eq!(Response::parse(body.as_bytes()), Ok(largest.clone()), "{body}");
        }
        for (json, text) in [(r#""\u0041-1""#, "A-1"), ("123", "123"), (r#""ж""#, "ж")] {
            let response = Response { client_external_id: Some(text.to_owned()), ..Response::default() };
            assert_eq!(Response::parse(format!(r#"{{"clientExternalId":{json}}}"#).as_bytes()), Ok(response), "{json}");
        }
    }

    #[test]
    fn response_unread_body_has_its_reason() {
        let rows = [
            (UnreadReason::Empty, &["", " \r\n", "\u{feff}"][..]),
            (
                UnreadReason::NotJson,
                &["ok", "200 OK", "<html>", r#"{"id":1} x"#, r#"{"id":1"#, "{id:1}", "[1,2", r#""ok" x"#, "id=1"],
            ),
            (
                UnreadReason::NoIds,
                &[
                    "{}",
                    "null",
                    "7",
                    r#""ok""#,
                    "[1,2,1,null,3]",
                    r#"[{"id":1}]"#,
                    r#"{"data":{"id":1}}"#,
                    r#"{"success":false}"#,
                    r#"{"id":null,"agentId":null}"#,
                    r#"{"Id":1}"#,
                ],
            ),
        ];
        for (reason, bodies) in rows {
            for body in bodies {
                assert_eq!(Response::parse(body.as_bytes()), Err(reason), "{body}");
            }
        }
    }
}
