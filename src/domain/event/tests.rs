//! Events by the cases of `tests/data/events.json`, as messages in each format, and for arbitrary content.
//!
//! A case has: `command`, the message in the form of `samples`; `answer` (the API's body) or `failure` for a command,
//! neither for a malformed message; `replay`, `occurred_at`, `attempts`, `possible_duplicate`, `timing`; and `event`,
//! the JSON it must become byte for byte, or `null` where no event can be told.

use proptest::{collection::vec, option, prelude::*, sample};
use serde_json::{Value, json};

use super::*;
use crate::domain::{
    json::bytes,
    message::{Message, Target},
    properties::{HeaderValue, Properties, header},
    samples::{Case, EVENTS, cases},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventCase {
    command: Case,
    answer: Option<String>,
    failure: Option<Failure>,
    replay: u32,
    #[serde(with = "milliseconds")]
    occurred_at: Timestamp,
    attempts: u32,
    possible_duplicate: bool,
    timing: Timing,
    event: Option<Box<RawValue>>,
}

impl EventCase {
    fn tell(&self) -> Option<Event> {
        let circumstances = EventContext {
            replay: self.replay,
            occurred_at: self.occurred_at,
            attempts: self.attempts,
            possible_duplicate: self.possible_duplicate,
            timing: self.timing,
        };
        let ending = match (&self.answer, &self.failure) {
            (Some(answer), None) => Some(CommandResult::Succeeded(Response::parse(answer.as_bytes()))),
            (None, Some(failure)) => Some(CommandResult::Failed(failure.clone())),
            _ => None,
        };
        match (self.command.decode(), ending) {
            (Ok(command), Some(ending)) => Some(Event::of_command(&command, ending, &circumstances)),
            (Err(malformed), None) => Event::of_malformed(&malformed, &circumstances),
            _ => panic!("{}: a command has an ending, a malformed message has none", self.command.name),
        }
    }
}

fn check(case: &EventCase) {
    let name = &case.command.name;
    let told = case.tell().map(|event| String::from_utf8(bytes(&event)).unwrap());
    assert_eq!(told.as_deref(), case.event.as_ref().map(|raw| raw.get()), "{name}");
}

#[test]
fn ends_of_commands_become_their_events() {
    cases(EVENTS).iter().for_each(check);
}

fn sample_event() -> (Event, Properties) {
    let case: EventCase = cases(EVENTS).into_iter().next().unwrap();
    let traceparent = (header::TRACEPARENT.into(), "00-a-b-01".into());
    let own = ["courier-attempt", "x-death", "tracestate"].map(|name| (name.into(), HeaderValue::Int(7)));
    let original = Properties {
        reply_to: Some("answers".to_owned()),
        message_id: Some("theirs".to_owned()),
        priority: Some(3),
        headers: own.into_iter().chain([traceparent]).collect(),
        ..Properties::default()
    };
    (case.tell().unwrap(), original)
}

/// What every format has in common.
fn expected_properties(event: &Event, content_type: &'static str) -> Properties {
    let headers: [(&str, HeaderValue); 3] = [
        ("courier-replay", HeaderValue::Int(4)),
        ("courier-version", env!("CARGO_PKG_VERSION").into()),
        ("traceparent", "00-a-b-01".into()),
    ];
    Properties {
        content_type: Some(content_type.into()),
        message_id: Some(event.event_id.to_string()),
        correlation_id: Some("order-4711-ready".to_owned()),
        kind: Some("send.succeeded".into()),
        app_id: Some("edna-courier".into()),
        timestamp_s: Some(1_795_341_600),
        headers: headers.map(|(name, value)| (name.into(), value)).into_iter().collect(),
        ..Properties::default()
    }
}

#[test]
fn a_plain_message_is_the_event() {
    let (event, original) = sample_event();
    let message = event.to_message(event.json(), EventFormat::Plain, 4, &original);
    let target = Target::Event { outcome: Outcome::Succeeded, channel_type: "WHATSAPP".to_owned() };
    let properties = expected_properties(&event, "application/json");
    assert_eq!(message, Message { target, properties, body: bytes(&event).into() });
}

#[test]
fn a_structured_cloudevent_has_the_event_as_data() {
    let (event, original) = sample_event();
    let message = event.to_message(event.json(), EventFormat::CloudEventsStructured, 4, &original);
    assert_eq!(message.properties, expected_properties(&event, "application/cloudevents+json"));
    let id = event.event_id;
    let expected = format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/edna-courier","type":"send.succeeded","subject":"order-4711-ready","time":"2026-11-22T10:00:00.123Z","traceparent":"00-a-b-01","datacontenttype":"application/json","data":{}}}"#,
        String::from_utf8(bytes(&event)).unwrap()
    );
    assert_eq!(message.body, expected);
}

#[test]
fn a_binary_cloudevent_has_its_attributes_in_headers() {
    let (event, original) = sample_event();
    let message = event.to_message(event.json(), EventFormat::CloudEventsBinary, 4, &original);
    let mut properties = expected_properties(&event, "application/json");
    for (name, value) in [
        ("specversion", "1.0"),
        ("id", &event.event_id.to_string()),
        ("source", "/edna-courier"),
        ("type", "send.succeeded"),
        ("subject", "order-4711-ready"),
        ("time", "2026-11-22T10:00:00.123Z"),
        ("traceparent", "00-a-b-01"),
    ] {
        properties.headers.insert(format!("cloudEvents_{name}").into(), value.to_owned().into());
    }
    assert_eq!(message.properties, properties);
    assert_eq!(message.body, bytes(&event));
}

#[test]
fn without_a_trace_there_is_none() {
    let (event, _) = sample_event();
    let message = event.to_message(event.json(), EventFormat::CloudEventsStructured, 4, &Properties::default());
    assert!(!message.properties.headers.contains_key(header::TRACEPARENT));
    let body: Value = serde_json::from_slice(&message.body).unwrap();
    assert_eq!(body.get("traceparent"), None);
}

#[test]
fn the_correlation_id_is_the_commands() {
    let (event, original) = sample_event();
    let original = Properties { correlation_id: Some("theirs".to_owned()), ..original };
    let message = event.to_message(event.json(), EventFormat::Plain, 0, &original);
    assert_eq!(message.properties.correlation_id.as_deref(), Some("theirs"));
}

#[test]
fn an_unreadable_channel_has_a_word_in_the_routing_key() {
    let (event, original) = sample_event();
    let event = Event { channel_type: None, ..event };
    let target = Target::Event { outcome: Outcome::Succeeded, channel_type: "unknown".to_owned() };
    assert_eq!(event.to_message(event.json(), EventFormat::Plain, 0, &original).target, target);
}

#[test]
fn a_reply_is_the_same_message_for_another_queue() {
    let (event, original) = sample_event();
    let message = event.to_message(event.json(), EventFormat::Plain, 0, &original);
    let reply = message.to_target(Target::Reply("answers".to_owned()));
    assert_eq!(reply.target, Target::Reply("answers".to_owned()));
    assert_eq!((reply.properties, reply.body), (message.properties, message.body));
}

#[test]
fn the_formats_have_the_names_of_the_setting() {
    let names = [
        (EventFormat::Plain, "plain"),
        (EventFormat::CloudEventsStructured, "cloudevents-structured"),
        (EventFormat::CloudEventsBinary, "cloudevents-binary"),
    ];
    for (format, name) in names {
        assert_eq!(serde_json::from_value::<EventFormat>(json!(name)).unwrap(), format);
    }
    assert_eq!(EventFormat::default(), EventFormat::Plain);
}

fn any_id() -> impl Strategy<Value = CommandId> {
    prop_oneof!["[^\\p{Cc}]{1,32}", "(succeeded|failed|expired|uncertain)?[/0-9a-]{1,6}"]
        .prop_map(|id| CommandId::new(id).unwrap())
}

fn any_response() -> impl Strategy<Value = Response> {
    let number = || option::of(any::<i64>());
    (number(), number(), number(), option::of(any::<String>()), number()).prop_map(
        |(id, thread_id, client_id, client_external_id, agent_id)| Response {
            id,
            thread_id,
            client_id,
            client_external_id,
            agent_id,
        },
    )
}

fn any_ending() -> impl Strategy<Value = CommandResult> {
    let failure = (sample::select(&Reason::ALL[..]), option::of(any::<u16>()), any::<String>());
    prop_oneof![
        option::of(any_response()).prop_map(CommandResult::Succeeded),
        failure.prop_map(|(reason, http_status, detail)| {
            CommandResult::Failed(Failure { reason, http_status, detail: Detail::from(detail) })
        }),
    ]
}

fn any_circumstances() -> impl Strategy<Value = EventContext> {
    let time = (0..4_000_000_000_000_i64).prop_map(|ms| Timestamp::from_millisecond(ms).unwrap());
    let timing =
        any::<(u64, u64, u64)>().prop_map(|(waited_ms, api_ms, total_ms)| Timing { waited_ms, api_ms, total_ms });
    (any::<(u32, u32, bool)>(), time, timing).prop_map(
        |((replay, attempts, possible_duplicate), occurred_at, timing)| EventContext {
            replay,
            occurred_at,
            attempts,
            possible_duplicate,
            timing,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_event_parses_back(
        id in any_id(), channel_type in option::of("[A-Z]{1,8}"), ending in any_ending(),
        circumstances in any_circumstances(), repeated: bool, metadata in option::of(vec(any::<i32>(), 0..4)),
    ) {
        let metadata = metadata.map(|list| RawValue::from_string(format!("{{ \"list\":{list:?}}}")).unwrap());
        let event = Event { repeated, metadata, ..Event::new(id, channel_type, ending, &circumstances) };
        let json = bytes(&event);
        let parsed: Event = serde_json::from_slice(&json).unwrap();
        prop_assert_eq!(format!("{parsed:?}"), format!("{event:?}"));
        prop_assert_eq!(bytes(&parsed), json);
    }

    #[test]
    fn an_event_id_is_a_function_of_all_three_and_of_nothing_else(
        left in (any_id(), 0..3_u32, sample::select(&Outcome::ALL[..])),
        right in (any_id(), 0..3_u32, sample::select(&Outcome::ALL[..])),
    ) {
        let id = |(id, replay, outcome): &(CommandId, u32, Outcome)| event_id(id, *replay, *outcome);
        prop_assert_eq!(id(&left), id(&left.clone()));
        prop_assert_eq!(id(&left) == id(&right), left == right);
        for changed in [
            (CommandId::new(format!("{}0", left.0)).unwrap(), left.1, left.2),
            (left.0.clone(), left.1 + 1, left.2),
            (left.0.clone(), left.1, if left.2 == Outcome::Failed { Outcome::Expired } else { Outcome::Failed }),
        ] {
            prop_assert_ne!(id(&left), id(&changed));
        }
    }
}

/// Ids that run into each other when the parts are only joined.
#[test]
fn no_id_looks_like_another_replay() {
    let id = |id: &str, replay| event_id(&CommandId::new(id).unwrap(), replay, Outcome::Failed);
    assert_ne!(id("1", 11), id("11", 1));
    assert_ne!(id("1/a", 0), id("a", 1));
    assert_ne!(id("0/a", 0), id("a", 0));
}
