//! The cases of `tests/data/` for integration tests. `src/domain/samples.rs` documents their format; fields about decoding
//! alone are not read here.

use base64::{Engine, engine::general_purpose::STANDARD};
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use super::queues::Queues;

/// A message and its expected result.
#[derive(Debug, Deserialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    #[serde(default)]
    properties: Properties,
    /// Non-default settings, by their key in section `delivery` (`api` for `channel_types`).
    #[serde(default)]
    pub(crate) limits: Map<String, Value>,
    body: Option<Box<RawValue>>,
    body_base64: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) request: Option<Value>,
    pub(crate) metadata: Option<String>,
    pub(crate) malformed_field: Option<String>,
    pub(crate) detail: Option<String>,
    pub(crate) channel_type: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Properties {
    content_type: Option<String>,
    content_encoding: Option<String>,
    message_id: Option<String>,
    correlation_id: Option<String>,
    headers: Map<String, Value>,
}

const COMMANDS: &str = include_str!("../../data/commands.json");
const CLOUDEVENTS: &str = include_str!("../../data/cloudevents.json");
const MALFORMED: &str = include_str!("../../data/malformed.json");
const EVENTS: &str = include_str!("../../data/events.json");

/// The valid commands, with deadlines moved a century ahead so that they have not passed.
pub(crate) fn commands() -> Vec<Case> {
    let all = [COMMANDS, CLOUDEVENTS].map(|json| json.replace("2026-11-22", "2126-11-22"));
    all.iter().flat_map(|json| read::<Case>(json)).filter(|case| case.request.is_some()).collect()
}

/// The malformed messages.
pub(crate) fn malformed() -> Vec<Case> {
    let all = [MALFORMED, CLOUDEVENTS];
    all.into_iter().flat_map(read::<Case>).filter(|case| case.malformed_field.is_some()).collect()
}

/// The cases of `events.json`.
pub(crate) fn events<T: for<'de> Deserialize<'de>>() -> Vec<T> {
    read(EVENTS)
}

fn read<T: for<'de> Deserialize<'de>>(json: &str) -> Vec<T> {
    let cases: Vec<T> = serde_json::from_str(json).expect("cases");
    assert!(!cases.is_empty());
    cases
}

impl Case {
    /// The raw message body.
    pub(crate) fn body(&self) -> Vec<u8> {
        match (&self.body, &self.body_base64) {
            (Some(raw), None) => {
                serde_json::from_str::<String>(raw.get()).unwrap_or_else(|_| raw.get().to_owned()).into()
            }
            (None, Some(base64)) => STANDARD.decode(base64).expect("Base64"),
            _ => panic!("{}: exactly one of body and body_base64", self.name),
        }
    }

    /// The message's properties, with the correlation id `default_correlation_id` if the case has none.
    pub(crate) fn properties(&self, default_correlation_id: &str) -> BasicProperties {
        let Properties { content_type, content_encoding, message_id, correlation_id, headers } = &self.properties;
        let mut properties = BasicProperties::default()
            .with_correlation_id(correlation_id.as_deref().unwrap_or(default_correlation_id).into())
            .with_headers(table(headers));
        if let Some(text) = content_type {
            properties = properties.with_content_type(text.as_str().into());
        }
        if let Some(text) = content_encoding {
            properties = properties.with_content_encoding(text.as_str().into());
        }
        if let Some(text) = message_id {
            properties = properties.with_message_id(text.as_str().into());
        }
        properties
    }

    /// The header names.
    pub(crate) fn header_names(&self) -> impl Iterator<Item = &str> {
        self.properties.headers.keys().map(String::as_str)
    }

    /// Publishes the message as producers do.
    pub(crate) async fn send(&self, queues: &Queues, correlation_id: &str) {
        let (body, properties) = (self.body(), self.properties(correlation_id));
        queues.client().publish(&queues.name("commands"), "send", &body, properties).await;
    }
}

fn table(headers: &Map<String, Value>) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in headers {
        let value = match value {
            Value::String(text) => AMQPValue::LongString(text.as_str().into()),
            value => AMQPValue::LongLongInt(value.as_i64().expect("a string or an integer")),
        };
        table.insert(name.as_str().into(), value);
    }
    table
}
