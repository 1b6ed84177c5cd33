//! The documented request and response bodies of the API.

use std::{
    borrow::Cow,
    hash::{DefaultHasher, Hash, Hasher},
};

use axum::{body::Bytes, http::StatusCode};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

/// The body of a send request. Stricter than the API is known to be: unknown fields and `null` are malformed, so that a
/// mistake of the caller shows here and not in production.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OutgoingMessage<'a> {
    /// Empty when there are attachments only.
    #[serde(borrow, default)]
    pub(super) text: Cow<'a, str>,
    #[serde(borrow, default)]
    attachments: Vec<OutgoingAttachment<'a>>,
    /// The table of the API's page has the short name, its samples have the long one.
    #[serde(borrow, rename = "clientApplicationDescriptor", alias = "applicationDescriptor")]
    pub(super) descriptor: OutgoingDescriptor<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct OutgoingDescriptor<'a> {
    #[serde(borrow)]
    pub(super) channel_type: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) device_address: Cow<'a, str>,
    #[serde(default, deserialize_with = "present")]
    pub(super) client_id: Option<String>,
    #[serde(default, deserialize_with = "present", rename = "unauthorizedClientId")]
    _unauthorized_client_id: Option<String>,
    #[serde(default, deserialize_with = "present", rename = "appMarker")]
    _app_marker: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutgoingAttachment<'a> {
    #[serde(borrow)]
    url: Cow<'a, str>,
    #[serde(default, deserialize_with = "present", rename = "name")]
    _name: Option<String>,
    #[serde(default, deserialize_with = "present", rename = "type")]
    _mime_type: Option<String>,
    #[serde(default, deserialize_with = "present", rename = "size")]
    _size: Option<u64>,
}

/// Rejects `null`: an absent value is an absent field.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl<'a> OutgoingMessage<'a> {
    /// Parses a body. The error names the path and never quotes a value.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, String> {
        let message: Self = serde_json::from_slice(body).map_err(|_| describe_error(body))?;
        message.empty_field().map_or(Ok(message), |field| Err(format!("{field} is empty")))
    }

    /// A field that is empty and must not be.
    fn empty_field(&self) -> Option<&'static str> {
        let fields = [
            ("channelType of the descriptor", self.descriptor.channel_type.is_empty()),
            ("deviceAddress of the descriptor", self.descriptor.device_address.is_empty()),
            ("url of an attachment", self.attachments.iter().any(|attachment| attachment.url.is_empty())),
            ("text, without attachments,", self.text.is_empty() && self.attachments.is_empty()),
        ];
        fields.into_iter().find_map(|(field, is_empty)| is_empty.then_some(field))
    }

    /// Identifies the device and the text; stable across runs.
    pub(super) fn key(&self) -> u64 {
        hash(&[&self.descriptor.device_address, &self.text])
    }
}

/// Parses again to find the path of the error: the first parse stays fast.
fn describe_error(body: &[u8]) -> String {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    match serde_path_to_error::deserialize::<_, OutgoingMessage<'_>>(&mut deserializer) {
        Err(error) if error.inner().is_data() => {
            format!("at {}: a field is missing, unknown, duplicate or of the wrong type", error.path())
        }
        _ => "not a JSON document".to_owned(),
    }
}

/// Stable across runs: fixed keys instead of a random state.
fn hash(parts: &[&str]) -> u64 {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish()
}

/// The response to an accepted message: the five documented fields.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SendResponse<'a> {
    id: u64,
    thread_id: u64,
    client_id: u64,
    client_external_id: Option<&'a str>,
    agent_id: u64,
}

/// The response body for message `id`: a new thread, a client id that is stable per device, and the agent of the API's
/// sample.
pub(super) fn sent(id: u64, message: &OutgoingMessage<'_>) -> Bytes {
    let response = SendResponse {
        id,
        thread_id: id.saturating_add(1),
        // 31 bits fit into the integers of any JSON parser.
        client_id: hash(&[&message.descriptor.device_address]) >> 33,
        client_external_id: message.descriptor.client_id.as_deref(),
        agent_id: 3,
    };
    // A struct of numbers and strings always serializes.
    serde_json::to_vec(&response).unwrap_or_default().into()
}

/// An error body as Spring writes it; the API documents none.
pub(super) fn problem(status: StatusCode, message: &str) -> Value {
    json!({ "status": status.as_u16(), "error": status.canonical_reason(), "message": message })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parse_of_any_body_does_not_panic(body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..64),
            r#"(\{|\}|\[|\]|:|,|"text"|"attachments"|"applicationDescriptor"|"url"|null|1e9|"\PC{0,4}"){0,30}"#
                .prop_map(String::into_bytes),
        ]) {
            drop(OutgoingMessage::parse(&body));
        }
    }
}
