//! What the API answered, as the event tells it.

use serde::{Deserialize, Serialize};

/// The fields of a 2xx body; each may be `null` or absent, as no installation is known to fill them all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    /// The message in edna Chat Center.
    pub id: Option<i64>,
    /// The new thread of the message.
    pub thread_id: Option<i64>,
    /// The client, by edna's own number; not the command's `clientId`.
    pub client_id: Option<i64>,
    /// The client, by the number that the installation's systems use.
    pub client_external_id: Option<String>,
    /// The agent that the message was sent as.
    pub agent_id: Option<i64>,
}

impl Response {
    /// Reads the body of a 2xx. `None` when it is not a JSON object or a known field is of another type: the message
    /// was delivered all the same. Unknown fields are left out.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        // A derived struct would take an array, too.
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
    fn the_documented_answer_is_read() {
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
    fn what_is_absent_null_or_unknown_does_no_harm() {
        let nothing = Some(Response::default());
        for body in ["{}", r#" {"id":null,"agentId":null}"#, r#"{"status":"ok","more":{"id":[1]}}"#] {
            assert_eq!(Response::parse(body.as_bytes()), nothing, "{body}");
        }
        let long = Response { id: Some(i64::MAX), ..Response::default() };
        assert_eq!(Response::parse(br#"{"id":9223372036854775807}"#), Some(long));
    }

    #[test]
    fn anything_else_is_no_response() {
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
