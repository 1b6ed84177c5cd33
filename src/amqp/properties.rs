//! Between the library's properties and ours. What our type has no field for is not read.

use jiff::Timestamp;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, ShortString},
};

use crate::domain::properties::{HeaderValue, Headers, Properties, Text, header};

const PERSISTENT: u8 = 2;

/// Reads the properties of a delivery.
pub(super) fn read(theirs: &BasicProperties) -> Properties {
    let text = |value: &Option<ShortString>| value.as_ref().map(|text| text.as_str().to_owned());
    Properties {
        content_type: text(theirs.content_type()).map(Text::from),
        content_encoding: text(theirs.content_encoding()),
        message_id: text(theirs.message_id()),
        correlation_id: text(theirs.correlation_id()),
        reply_to: text(theirs.reply_to()),
        kind: text(theirs.kind()).map(Text::from),
        app_id: text(theirs.app_id()).map(Text::from),
        timestamp_s: *theirs.timestamp(),
        priority: *theirs.priority(),
        headers: theirs.headers().as_ref().map(read_headers).unwrap_or_default(),
    }
}

/// What one header and all of them may weigh on the wire. A table must fit into one frame, in the copies that we publish with headers
/// of our own, too: without a bound one message could break every publish session. Nothing sound comes near it.
const MAX_HEADER_BYTES: usize = 2_048;
const MAX_HEADERS_BYTES: usize = 4_096;

/// The allowed headers; those that are too large are not read, nor those for which no room is left.
fn read_headers(theirs: &FieldTable) -> Headers {
    let allowed = theirs.inner().iter().filter(|(name, _)| Properties::allows_header(name.as_str()));
    let mut allowed: Vec<_> = allowed.collect();
    allowed.sort_by_key(|(name, _)| turn(name.as_str()));
    let mut room = MAX_HEADERS_BYTES;
    let mut headers = Headers::new();
    for (name, value) in allowed {
        let Some(value) = read_value(value) else { continue };
        let weight = 1 + name.as_str().len() + value.wire_bytes();
        if weight <= MAX_HEADER_BYTES.min(room) {
            room -= weight;
            headers.insert(name.as_str().to_owned().into(), value);
        }
    }
    headers
}

/// Who takes room first: what only the headers tell of a command's past, its trace, what makes a CloudEvent a command, the rest.
fn turn(name: &str) -> u8 {
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
        AMQPValue::Boolean(truth) => HeaderValue::Bool(*truth),
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

/// Writes the properties of a message of ours: persistent, always.
pub(super) fn write(ours: &Properties) -> BasicProperties {
    // What came in as a short string fits; what we make ourselves is bounded far below.
    let set = |theirs, value: Option<&str>, with: fn(BasicProperties, ShortString) -> BasicProperties| match value
        .and_then(|text| ShortString::try_new(text).ok())
    {
        Some(short) => with(theirs, short),
        None => theirs,
    };
    let mut theirs = BasicProperties::default().with_delivery_mode(PERSISTENT);
    theirs = set(theirs, ours.content_type.as_deref(), BasicProperties::with_content_type);
    theirs = set(theirs, ours.content_encoding.as_deref(), BasicProperties::with_content_encoding);
    theirs = set(theirs, ours.message_id.as_deref(), BasicProperties::with_message_id);
    theirs = set(theirs, ours.correlation_id.as_deref(), BasicProperties::with_correlation_id);
    theirs = set(theirs, ours.reply_to.as_deref(), BasicProperties::with_reply_to);
    theirs = set(theirs, ours.kind.as_deref(), BasicProperties::with_type);
    theirs = set(theirs, ours.app_id.as_deref(), BasicProperties::with_app_id);
    if let Some(seconds) = ours.timestamp_s {
        theirs = theirs.with_timestamp(seconds);
    }
    if let Some(priority) = ours.priority {
        theirs = theirs.with_priority(priority);
    }
    if ours.headers.is_empty() { theirs } else { theirs.with_headers(write_headers(&ours.headers)) }
}

fn write_headers(ours: &Headers) -> FieldTable {
    let mut theirs = FieldTable::default();
    for (name, value) in ours {
        let Ok(name) = ShortString::try_new(&**name) else { continue };
        theirs.insert(
            name,
            match value {
                HeaderValue::Text(text) => AMQPValue::LongString((&**text).into()),
                HeaderValue::Int(int) => AMQPValue::LongLongInt(*int),
                HeaderValue::Bool(truth) => AMQPValue::Boolean(*truth),
            },
        );
    }
    theirs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_would_not_fit_into_a_frame_are_not_read() {
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
    fn many_small_headers_are_no_way_around_that() {
        for value in [AMQPValue::LongString(String::new().into()), AMQPValue::LongLongInt(1), AMQPValue::Boolean(true)]
        {
            let mut headers = FieldTable::default();
            for n in 0..5_000 {
                headers.insert(format!("cloudEvents_{n}").into(), value.clone());
            }
            let written = write(&read(&BasicProperties::default().with_headers(headers)));
            // AMQP 0-9-1, 4.2.5.5: a length and a name, the kind, and the value, of which only texts tell their length.
            let bytes = |(name, value): (&ShortString, &AMQPValue)| match value {
                AMQPValue::LongString(text) => 1 + name.as_str().len() + 1 + 4 + text.as_bytes().len(),
                _ => 1 + name.as_str().len() + 1 + 8,
            };
            let all: usize = written.headers().iter().flat_map(|table| table.inner()).map(bytes).sum();
            assert!((MAX_HEADERS_BYTES - 100..=MAX_HEADERS_BYTES).contains(&all), "{value:?}: {all}");
        }
    }

    /// Else a command would forget how often it was tried, or not be one any more, when it comes again.
    #[test]
    fn what_decides_is_read_before_the_rest() {
        let decides = ["cloudEvents:id", "cloudEvents_expirytime", "courier-replay", "traceparent"];
        let mut headers = FieldTable::default();
        for name in (0..100).map(|n| format!("cloudEvents_a{n}")).chain(decides.map(str::to_owned)) {
            headers.insert(name.into(), AMQPValue::LongString("x".repeat(200).into()));
        }
        let came = read(&BasicProperties::default().with_headers(headers));
        let again = read(&write(&came.copy([(header::ATTEMPT, 3.into()), (header::REASON, "rejected".into())])));
        assert_eq!((again.int(header::ATTEMPT), again.text(header::REASON)), (Some(3), Some("rejected")));
        for name in decides.iter().filter(|name| !name.starts_with(header::OWN_PREFIX)) {
            assert!(again.headers.contains_key(*name), "{name}");
        }
        assert!(came.headers.contains_key(header::REPLAY));
    }

    #[test]
    fn what_is_allowed_survives_a_round_trip_and_nothing_else_does() {
        let mut headers = FieldTable::default();
        headers.insert("courier-attempt".into(), AMQPValue::ShortInt(3));
        headers.insert("traceparent".into(), AMQPValue::LongString("00-ab".into()));
        headers.insert("cloudEvents_id".into(), AMQPValue::LongString("a".into()));
        headers.insert("x-death".into(), AMQPValue::LongString("no".into()));
        headers.insert("CC".into(), AMQPValue::LongString("no".into()));
        let theirs = BasicProperties::default()
            .with_message_id("m".into())
            .with_correlation_id("c".into())
            .with_timestamp(1_700_000_000)
            .with_expiration("1000".into())
            .with_user_id("guest".into())
            .with_headers(headers);

        let written = write(&read(&theirs));

        assert_eq!(written.message_id(), theirs.message_id());
        assert_eq!(written.correlation_id(), theirs.correlation_id());
        assert_eq!(written.timestamp(), theirs.timestamp());
        assert_eq!(*written.delivery_mode(), Some(PERSISTENT));
        assert_eq!(*written.expiration(), None);
        assert_eq!(*written.user_id(), None);
        let tables = written.headers().iter();
        let names: Vec<_> = tables.flat_map(|table| table.inner().keys().map(ShortString::as_str)).collect();
        assert_eq!(names, ["cloudEvents_id", "courier-attempt", "traceparent"]);
    }
}
