//! The cases of `tests/data/`: commands with their expected requests and events. Integration tests read the same files.
//!
//! A case is an object with these fields:
//! - `name`: a description;
//! - `properties`: `content_type`, `content_encoding`, `message_id`, `correlation_id`, `headers` (text or integer);
//! - `limits`: fields of `DecodeLimits` other than the defaults;
//! - the body, as `body` (a string whose text is the body, or any other JSON that is the body byte for byte) or as
//!   `body_base64` for bytes that are not text;
//! - for a command: `request`, compared as a JSON value, and the decoded `id`, `expires_at`, `order_key`,
//!   `on_uncertain` and `metadata` (its exact text); absent fields must be absent in the command;
//! - for a malformed message: `malformed_field`, the exact path; `detail`, a part of the explanation; and the salvaged
//!   `id` and `channel_type`.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    command::{Command, OnUncertain},
    decode::{DecodeLimits, Malformed, decode},
    properties::{HeaderValue, Properties},
};

/// The generated id.
pub(super) const GENERATED: &str = "generated";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub(super) name: String,
    #[serde(default)]
    pub(super) properties: SampleProperties,
    #[serde(default)]
    pub(super) limits: DecodeLimits,
    body: Option<Box<RawValue>>,
    body_base64: Option<String>,
    pub(super) id: Option<String>,
    pub(super) request: Option<Value>,
    pub(super) expires_at: Option<String>,
    pub(super) order_key: Option<String>,
    pub(super) on_uncertain: Option<OnUncertain>,
    pub(super) metadata: Option<String>,
    pub(super) malformed_field: Option<String>,
    pub(super) detail: Option<String>,
    pub(super) channel_type: Option<String>,
}

impl Case {
    pub(super) fn body(&self) -> Vec<u8> {
        match (&self.body, &self.body_base64) {
            (Some(raw), None) => {
                serde_json::from_str::<String>(raw.get()).unwrap_or_else(|_| raw.get().to_owned()).into()
            }
            (None, Some(base64)) => STANDARD.decode(base64).unwrap(),
            _ => panic!("{}: needs either `body` or `body_base64`", self.name),
        }
    }

    pub(super) fn decode(&self) -> Result<Command, Malformed> {
        decode(&self.body(), &self.properties.to_properties(), &self.limits, || GENERATED.to_owned())
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct SampleProperties {
    content_type: Option<String>,
    content_encoding: Option<String>,
    message_id: Option<String>,
    correlation_id: Option<String>,
    headers: BTreeMap<String, Value>,
}

impl SampleProperties {
    pub(super) fn to_properties(&self) -> Properties {
        let header = |value: &Value| match value {
            Value::String(text) => text.clone().into(),
            value => HeaderValue::Int(value.as_i64().unwrap()),
        };
        Properties {
            content_type: self.content_type.clone().map(Into::into),
            content_encoding: self.content_encoding.clone(),
            message_id: self.message_id.clone(),
            correlation_id: self.correlation_id.clone(),
            headers: self.headers.iter().map(|(name, value)| (name.clone().into(), header(value))).collect(),
            ..Properties::default()
        }
    }
}

/// Parses the cases of a file, at least one.
pub(super) fn cases<T: for<'de> Deserialize<'de>>(json: &str) -> Vec<T> {
    let cases: Vec<T> = serde_json::from_str(json).unwrap();
    assert!(!cases.is_empty());
    cases
}

pub(super) const COMMANDS: &str = include_str!("../../tests/data/commands.json");
pub(super) const CLOUDEVENTS: &str = include_str!("../../tests/data/cloudevents.json");
pub(super) const MALFORMED: &str = include_str!("../../tests/data/malformed.json");
pub(super) const EVENTS: &str = include_str!("../../tests/data/events.json");
