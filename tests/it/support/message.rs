//! AMQP messages with headers as JSON values.

use std::collections::BTreeMap;

use lapin::{
    BasicProperties,
    message::Delivery,
    types::{AMQPValue, FieldTable},
};
use serde_json::Value;

/// A consumed message.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// The payload.
    pub(crate) body: Vec<u8>,
    /// The exchange of the last publish.
    pub(crate) exchange: String,
    /// The routing key.
    pub(crate) key: String,
    /// The broker has delivered it before.
    pub(crate) redelivered: bool,
    /// Every header, by name.
    pub(crate) headers: BTreeMap<String, Value>,
    /// All properties.
    pub(crate) properties: BasicProperties,
}

impl Message {
    /// The payload as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("not JSON ({e}): {self:?}"))
    }
}

impl From<Delivery> for Message {
    fn from(delivery: Delivery) -> Self {
        let headers = delivery.properties.headers().as_ref().map(read_table).unwrap_or_default();
        Self {
            body: delivery.data,
            exchange: delivery.exchange.to_string(),
            key: delivery.routing_key.to_string(),
            redelivered: delivery.redelivered,
            headers,
            properties: delivery.properties,
        }
    }
}

/// Properties with these headers: strings, integers and booleans.
pub(crate) fn with_headers<const N: usize>(headers: [(&str, Value); N]) -> BasicProperties {
    let mut table = FieldTable::default();
    for (name, value) in headers {
        let value = match value {
            Value::Bool(value) => AMQPValue::Boolean(value),
            Value::Number(value) => AMQPValue::LongLongInt(value.as_i64().expect("an integer")),
            Value::String(value) => AMQPValue::LongString(value.into()),
            other => panic!("unsupported header value: {other}"),
        };
        table.insert(name.into(), value);
    }
    BasicProperties::default().with_headers(table)
}

fn read_table(table: &FieldTable) -> BTreeMap<String, Value> {
    table.inner().iter().map(|(name, value)| (name.to_string(), read_value(value))).collect()
}

fn read_value(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(value) => (*value).into(),
        AMQPValue::ShortShortInt(value) => (*value).into(),
        AMQPValue::ShortShortUInt(value) => (*value).into(),
        AMQPValue::ShortInt(value) => (*value).into(),
        AMQPValue::ShortUInt(value) => (*value).into(),
        AMQPValue::LongInt(value) => (*value).into(),
        AMQPValue::LongUInt(value) => (*value).into(),
        AMQPValue::LongLongInt(value) => (*value).into(),
        AMQPValue::Timestamp(value) => (*value).into(),
        AMQPValue::Float(value) => (*value).into(),
        AMQPValue::Double(value) => (*value).into(),
        AMQPValue::ShortString(value) => value.as_str().into(),
        AMQPValue::LongString(value) => value.to_string().into(),
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(read_value).collect(),
        AMQPValue::FieldTable(table) => Value::Object(read_table(table).into_iter().collect()),
        AMQPValue::ByteArray(bytes) => String::from_utf8_lossy(bytes.as_slice()).into(),
        AMQPValue::DecimalValue(_) | AMQPValue::Void => Value::Null,
    }
}
