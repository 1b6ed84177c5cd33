//! The API's response as it appears in the event.

use serde::{Deserialize, Serialize};

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

impl Response {
    /// Parses the body of a 2xx. `None` if it is not a JSON object or a known field has another type; the message was
    /// delivered all the same. Unknown fields are ignored.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        // A derived `Deserialize` accepts an array, too.
        if !body.trim_ascii_start().starts_with(b"{") {
            return None;
        }
        serde_json::from_slice(body).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn response_documented_body_is_parsed() {
        let body = br#"{ "id": 1, "threadId": 2, "clientId": 1, "clientExternalId": null, "agentId": 3 }"#;
        let response = Response {
            id: Some(1),
            thread_id: Some(2),
            client_id: Some(1),
            client_external_id: None,
            agent_id: Some(3),
        };
        assert_eq!(Response::parse(body), Some(response));
    }

    #[test]
    fn response_absent_null_or_unknown_fields_are_accepted() {
        let empty = Some(Response::default());
        for body in ["{}", r#" {"id":null,"agentId":null}"#, r#"{"status":"ok","more":{"id":[1]}}"#] {
            assert_eq!(Response::parse(body.as_bytes()), empty, "{body}");
        }
        let largest = Response { id: Some(i64::MAX), ..Response::default() };
        assert_eq!(Response::parse(br#"{"id":9223372036854775807}"#), Some(largest));
    }

    #[test]
    fn response_any_other_body_is_none() {
        for body in [
            "",
            "ok",
            "null",
            "[1,2,1,null,3]",
            r#"{"id":"1"}"#,
            r#"{"id":1.5}"#,
            r#"{"id":9223372036854775808}"#,
            r#"{"clientExternalId":7}"#,
            r#"{"agentId":true}"#,
            r#"{"id":1} x"#,
            r#"{"id":1"#,
            "<html>",
        ] {
            assert_eq!(Response::parse(body.as_bytes()), None, "{body}");
        }
        assert_eq!(Response::parse(b"{\"clientExternalId\":\"\xff\"}"), None);
    }
}
