//! Converts message properties between the client library's type and the domain's. Properties without a field in the
//! domain's type are not read.

use jiff::Timestamp;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, ShortString},
};

use crate::domain::properties::{HeaderValue, Headers, Properties, Text, header};

const PERSISTENT: u8 = 2;

/// Limits of one header and of all headers, in bytes on the wire. Copies are published with `courier-*` headers added,
/// and all headers must fit into one frame, for which a broker may negotiate as little as 8,192 bytes: without a limit
/// one message could end every publish session.
const MAX_HEADER_BYTES: usize = 2_048;
const MAX_HEADERS_BYTES: usize = 4_096;

/// Reads the properties of a delivery.
pub(super) fn read(from: &BasicProperties) -> Properties {
    let text = |value: &Option<ShortString>| value.as_ref().map(|text| text.as_str().to_owned());
    Properties {
        content_type: text(from.content_type()).map(Text::from),
        content_encoding: text(from.content_encoding()),
        message_id: text(from.message_id()),
        correlation_id: text(from.correlation_id()),
        reply_to: text(from.reply_to()),
        kind: text(from.kind()).map(Text::from),
        app_id: text(from.app_id()).map(Text::from),
        timestamp_s: *from.timestamp(),
        priority: *from.priority(),
        headers: from.headers().as_ref().map(read_headers).unwrap_or_default(),
    }
}

/// How often the broker has taken the message back since its publish: RabbitMQ's `x-delivery-count`, absent on a first
/// delivery (0 before RabbitMQ 3.12) and in classic queues.
pub(super) fn returns(from: &BasicProperties) -> u32 {
    let count = from.headers().as_ref().and_then(|headers| headers.inner().get("x-delivery-count"));
    let count = count.and_then(read_value).and_then(|value| value.to_int());
    count.and_then(|count| u32::try_from(count).ok()).unwrap_or(0)
}

/// Reads the allowed headers, in the order of [`rank`]; skips those that exceed a limit.
fn read_headers(from: &FieldTable) -> Headers {
    let allowed = from.inner().iter().filter(|(name, _)| Properties::allows_header(name.as_str()));
    let mut allowed: Vec<_> = allowed.collect();
    allowed.sort_by_key(|(name, _)| rank(name.as_str()));
    let mut room = MAX_HEADERS_BYTES;
    let mut headers = Headers::new();
    for (name, value) in allowed {
        let Some(value) = read_value(value) else { continue };
        let bytes = 1 + name.as_str().len() + value.wire_bytes();
        if bytes <= MAX_HEADER_BYTES.min(room) {
            room -= bytes;
            headers.insert(name.as_str().to_owned().into(), value);
        }
    }
    headers
}

/// The rank of a header when not all fit: own headers (attempts, replays), trace context, CloudEvents attributes that
/// the decoder requires or acts on, the other attributes.
fn rank(name: &str) -> u8 {
    let attribute = name.strip_prefix("cloudEvents").and_then(|rest| rest.strip_prefix(['_', ':']));
    match attribute {
        None if name.starts_with(header::OWN_PREFIX) => 0,
        None => 1,
        Some("id" | "specversion" | "expirytime") => 2,
        Some(_) => 3,
    }
}

fn read_value(value: &AMQPValue) -> Option<HeaderValue> {
    Some(match value {
        AMQPValue::LongString(text) => String::from_utf8_lossy(text.as_bytes()).into_owned().into(),
        AMQPValue::ShortString(text) => text.as_str().to_owned().into(),
        AMQPValue::Boolean(bool) => HeaderValue::Bool(*bool),
        AMQPValue::ShortShortInt(int) => HeaderValue::Int((*int).into()),
        AMQPValue::ShortShortUInt(int) => HeaderValue::Int((*int).into()),
        AMQPValue::ShortInt(int) => HeaderValue::Int((*int).into()),
        AMQPValue::ShortUInt(int) => HeaderValue::Int((*int).into()),
        AMQPValue::LongInt(int) => HeaderValue::Int((*int).into()),
        AMQPValue::LongUInt(int) => HeaderValue::Int((*int).into()),
        AMQPValue::LongLongInt(int) => HeaderValue::Int(*int),
        AMQPValue::Timestamp(seconds) => {
            let seconds = i64::try_from(*seconds).ok()?;
            Timestamp::from_second(seconds).ok()?.to_string().into()
        }
        _ => return None,
    })
}

/// Writes the properties of a message to publish, always persistent.
pub(super) fn write(from: &Properties) -> BasicProperties {
    type Setter = fn(BasicProperties, ShortString) -> BasicProperties;
    // Each text was read from a short string or is shorter; a longer one would be left out.
    let set = |to: BasicProperties, text: Option<&str>, setter: Setter| match text.map(ShortString::try_new) {
        Some(Ok(text)) => setter(to, text),
        Some(Err(_)) | None => to,
    };
    let mut to = BasicProperties::default().with_delivery_mode(PERSISTENT);
    to = set(to, from.content_type.as_deref(), BasicProperties::with_content_type);
    to = set(to, from.content_encoding.as_deref(), BasicProperties::with_content_encoding);
    to = set(to, from.message_id.as_deref(), BasicProperties::with_message_id);
    to = set(to, from.correlation_id.as_deref(), BasicProperties::with_correlation_id);
    to = set(to, from.reply_to.as_deref(), BasicProperties::with_reply_to);
    to = set(to, from.kind.as_deref(), BasicProperties::with_type);
    to = set(to, from.app_id.as_deref(), BasicProperties::with_app_id);
    if let Some(seconds) = from.timestamp_s {
        to = to.with_timestamp(seconds);
    }
    if let Some(priority) = from.priority {
        to = to.with_priority(priority);
    }
    if from.headers.is_empty() { to } else { to.with_headers(write_headers(&from.headers)) }
}

fn write_headers(from: &Headers) -> FieldTable {
    let mut to = FieldTable::default();
    for (name, value) in from {
        let Ok(name) = ShortString::try_new(&**name) else { continue };
        let value = match value {
            HeaderValue::Text(text) => AMQPValue::LongString((&**text).into()),
            HeaderValue::Int(int) => AMQPValue::LongLongInt(*int),
            HeaderValue::Bool(bool) => AMQPValue::Boolean(*bool),
        };
        to.insert(name, value);
    }
    to
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::domain::{dead_letter::DeadLetter, reason::Reason};

    /// RabbitMQ's lower limit for `frame_max`.
    const LEAST_FRAME_MAX: usize = 8_192;

    /// AMQP 0-9-1, 4.2.5.5: name length, name, type and value; only a text carries its length.
    fn header_bytes((name, value): (&ShortString, &AMQPValue)) -> usize {
        let value = match value {
            AMQPValue::LongString(text) => 4 + text.as_bytes().len(),
            _ => 8,
        };
        1 + name.as_str().len() + 1 + value
    }

    #[test]
    fn read_headers_beyond_limits_are_skipped() {
        let mut headers = FieldTable::default();
        headers.insert("cloudEvents_big".into(), AMQPValue::LongString("x".repeat(130_000).into()));
        for n in 0..100 {
            headers.insert(format!("cloudEvents_{n}").into(), AMQPValue::LongString("x".repeat(1_000).into()));
        }
        let read = read(&BasicProperties::default().with_headers(headers)).headers;
        assert!(!read.contains_key("cloudEvents_big"));
        assert!((3..=4).contains(&read.len()), "{}", read.len());
    }

    #[test]
    fn read_many_small_headers_respects_the_limit() {
        for value in [AMQPValue::LongString(String::new().into()), AMQPValue::LongLongInt(1), AMQPValue::Boolean(true)]
        {
            let mut headers = FieldTable::default();
            for n in 0..5_000 {
                headers.insert(format!("cloudEvents_{n}").into(), value.clone());
            }
            let written = write(&read(&BasicProperties::default().with_headers(headers)));
            let all: usize = written.headers().iter().flat_map(|table| table.inner()).map(header_bytes).sum();
            assert!((MAX_HEADERS_BYTES - 100..=MAX_HEADERS_BYTES).contains(&all), "{value:?}: {all}");
        }
    }

    /// A copy without them would lose its attempts, or not be decoded as a command.
    #[test]
    fn read_crowded_headers_keeps_decisive_ones() {
        let decisive = ["cloudEvents:id", "cloudEvents_expirytime", "courier-replay", "traceparent"];
        let mut headers = FieldTable::default();
        for name in (0..100).map(|n| format!("cloudEvents_a{n}")).chain(decisive.map(str::to_owned)) {
            headers.insert(name.into(), AMQPValue::LongString("x".repeat(200).into()));
        }
        let first = read(&BasicProperties::default().with_headers(headers));
        let second = read(&write(&first.copy_with([(header::ATTEMPT, 3.into()), (header::REASON, "rejected".into())])));
        assert_eq!((second.int(header::ATTEMPT), second.text(header::REASON)), (Some(3), Some("rejected")));
        for name in decisive.iter().filter(|name| !name.starts_with(header::OWN_PREFIX)) {
            assert!(second.headers.contains_key(*name), "{name}");
        }
        assert!(first.headers.contains_key(header::REPLAY));
    }

    #[test]
    fn round_trip_keeps_allowed_properties_only() {
        let mut headers = FieldTable::default();
        headers.insert("courier-attempt".into(), AMQPValue::ShortInt(3));
        headers.insert("traceparent".into(), AMQPValue::LongString("00-ab".into()));
        headers.insert("cloudEvents_id".into(), AMQPValue::LongString("a".into()));
        headers.insert("x-death".into(), AMQPValue::LongString("no".into()));
        headers.insert("CC".into(), AMQPValue::LongString("no".into()));
        let original = BasicProperties::default()
            .with_message_id("m".into())
            .with_correlation_id("c".into())
            .with_timestamp(1_700_000_000)
            .with_expiration("1000".into())
            .with_user_id("guest".into())
            .with_headers(headers);

        let written = write(&read(&original));

        assert_eq!(written.message_id(), original.message_id());
        assert_eq!(written.correlation_id(), original.correlation_id());
        assert_eq!(written.timestamp(), original.timestamp());
        assert_eq!(*written.delivery_mode(), Some(PERSISTENT));
        assert_eq!(*written.expiration(), None);
        assert_eq!(*written.user_id(), None);
        let tables = written.headers().iter();
        let names: Vec<_> = tables.flat_map(|table| table.inner().keys().map(ShortString::as_str)).collect();
        assert_eq!(names, ["cloudEvents_id", "courier-attempt", "traceparent"]);
    }

    /// The size of the frame with the properties: AMQP 0-9-1, 2.3.5.2 and 4.2.6.1.
    fn frame_bytes(properties: &BasicProperties) -> usize {
        let texts = [
            properties.content_type(),
            properties.content_encoding(),
            properties.correlation_id(),
            properties.reply_to(),
            properties.message_id(),
            properties.kind(),
            properties.app_id(),
        ];
        let texts: usize = texts.into_iter().flatten().map(|text| 1 + text.as_str().len()).sum();
        let headers: usize = properties.headers().iter().flat_map(|table| table.inner()).map(header_bytes).sum();
        let (frame, content_header, mode, priority, timestamp, table) = (8, 14, 1, 1, 8, 4);
        frame + content_header + texts + mode + priority + timestamp + table + headers
    }

    /// A dead letter has the most headers.
    #[test]
    fn published_headers_fit_into_the_least_frame_max() {
        let long = || "x".repeat(255);
        let mut headers = FieldTable::default();
        for n in 0..1_000 {
            headers.insert(format!("cloudEvents_{n}").into(), AMQPValue::LongString("x".repeat(1_000).into()));
            headers.insert(format!("cloudEvents_n{n}").into(), AMQPValue::Boolean(true));
        }
        let received = BasicProperties::default()
            .with_content_type(long().into())
            .with_content_encoding(long().into())
            .with_correlation_id(long().into())
            .with_reply_to(long().into())
            .with_message_id(long().into())
            .with_type(long().into())
            .with_app_id(long().into())
            .with_timestamp(1)
            .with_priority(1)
            .with_headers(headers);
        let letter = DeadLetter {
            reason: Reason::Exhausted,
            http_status: Some(599),
            detail: "x".repeat(1_000).as_str().into(),
            attempts: u32::MAX,
            first_seen_ms: i64::MAX,
            source: [long(), long()].join("/"),
            replay: u32::MAX,
        };
        let written = write(&letter.to_message(Bytes::new(), &read(&received)).properties);
        let bytes = frame_bytes(&written);
        assert!((7_000..=LEAST_FRAME_MAX).contains(&bytes), "{bytes}");
    }
}
