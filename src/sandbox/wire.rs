//! The documented request and answers of the API, byte shapes only.

use std::{
    borrow::Cow,
    hash::{DefaultHasher, Hash, Hasher},
};

use axum::{body::Bytes, http::StatusCode};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

/// A send request. Stricter than the API is known to be: unknown fields and `null` are malformed, so that a mistake of
/// the caller shows here and not in production.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Outgoing<'a> {
    /// Empty when there are attachments only.
    #[serde(borrow, default)]
    pub(super) text: Cow<'a, str>,
    #[serde(borrow, default)]
    attachments: Vec<Attachment<'a>>,
    /// The table of the API's page says the short name, its samples the long one.
    #[serde(borrow, rename = "clientApplicationDescriptor", alias = "applicationDescriptor")]
    pub(super) descriptor: Descriptor<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Descriptor<'a> {
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
struct Attachment<'a> {
    #[serde(borrow)]
    url: Cow<'a, str>,
    #[serde(default, deserialize_with = "present", rename = "name")]
    _name: Option<String>,
    #[serde(default, deserialize_with = "present", rename = "type")]
    _mime_type: Option<String>,
    #[serde(default, deserialize_with = "present", rename = "size")]
    _size: Option<u64>,
}

/// Absent is absent, never `null`.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl<'a> Outgoing<'a> {
    /// Reads a body; the error says where it is wrong, never what stands there.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, String> {
        let outgoing: Self = serde_json::from_slice(body).map_err(|_| mistake(body))?;
        outgoing.check().map_or(Ok(outgoing), |field| Err(format!("{field} is empty")))
    }

    /// The field that must not be empty and is.
    fn check(&self) -> Option<&'static str> {
        let texts = [
            ("channelType of the descriptor", self.descriptor.channel_type.is_empty()),
            ("deviceAddress of the descriptor", self.descriptor.device_address.is_empty()),
            ("url of an attachment", self.attachments.iter().any(|attachment| attachment.url.is_empty())),
            ("text, without attachments,", self.text.is_empty() && self.attachments.is_empty()),
        ];
        texts.into_iter().find_map(|(field, empty)| empty.then_some(field))
    }

    /// The same for the same device and text, in every run.
    pub(super) fn key(&self) -> u64 {
        hash(&[&self.descriptor.device_address, &self.text])
    }
}

/// Read a second time for the place of the mistake: the first reading stays fast.
fn mistake(body: &[u8]) -> String {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    match serde_path_to_error::deserialize::<_, Outgoing<'_>>(&mut deserializer) {
        Err(error) if error.inner().is_data() => {
            format!("at {}: a field is missing, unknown, there twice or of the wrong type", error.path())
        }
        _ => "not a JSON document".to_owned(),
    }
}

/// Fixed keys, not a random state: the same in every run.
fn hash(parts: &[&str]) -> u64 {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish()
}

/// The answer to an accepted message: the five documented fields.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sent<'a> {
    id: u64,
    thread_id: u64,
    client_id: u64,
    client_external_id: Option<&'a str>,
    agent_id: u64,
}

/// Answers message `id`: a new thread, a client number that stays with the device, the agent of the page's sample.
pub(super) fn sent(id: u64, outgoing: &Outgoing<'_>) -> Bytes {
    let sent = Sent {
        id,
        thread_id: id.saturating_add(1),
        // 31 bits: any JSON reader holds them.
        client_id: hash(&[&outgoing.descriptor.device_address]) >> 33,
        client_external_id: outgoing.descriptor.client_id.as_deref(),
        agent_id: 3,
    };
    // A struct of numbers and a string can't fail to serialize.
    serde_json::to_vec(&sent).unwrap_or_default().into()
}

/// An error body in the manner of Spring; no page documents one.
pub(super) fn problem(status: StatusCode, message: &str) -> Value {
    json!({ "status": status.as_u16(), "error": status.canonical_reason(), "message": message })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_body_panics(body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..64),
            r#"(\{|\}|\[|\]|:|,|"text"|"attachments"|"applicationDescriptor"|"url"|null|1e9|"\PC{0,4}"){0,30}"#
                .prop_map(String::into_bytes),
        ]) {
            drop(Outgoing::parse(&body));
        }
    }
}
