//! Events: the cases of `tests/data/events.json`, messages in each format, and random content.
//!
//! A case has: `command`, the message in the format of `samples`; `answer` (the API's body) or `failure` for a command,
//! neither for a malformed message; `replay`, `occurred_at`, `attempts`, `possible_duplicate`, `timing`; and `event`,
//! the expected JSON, byte for byte, or `null` if the message has no readable id.

use proptest::{collection::vec, option, prelude::*, sample};
use serde_json::{Value, json};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{content::milliseconds, *};
use crate::domain::{
    command::CommandId,
    detail::Detail,
    message::{Message, Target},
    properties::{HeaderValue, Properties, header},
    reason::{Outcome, Reason},
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
    fn event(&self) -> Option<Event> {
        let context = EventContext {
            replay: self.replay,
            occurred_at: self.occurred_at,
            attempts: self.attempts,
            possible_duplicate: self.possible_duplicate,
            timing: self.timing,
        };
        let result = match (&self.answer, &self.failure) {
            (Some(answer), None) => Some(CommandResult::Succeeded(Response::parse(answer.as_bytes()).ok())),
            (None, Some(failure)) => Some(CommandResult::Failed(failure.clone())),
            _ => None,
        };
        match (self.command.decode(), result) {
            (Ok(command), Some(result)) => Some(Event::of_command(&command, result, &context)),
            (Err(malformed), None) => Event::of_malformed(&malformed, &context),
            _ => panic!("{}: only a command has `answer` or `failure`", self.command.name),
        }
    }
}

fn check(case: &EventCase) {
    let name = &case.command.name;
    let json = case.event().map(|event| text(&event));
    assert_eq!(json.as_deref(), case.event.as_ref().map(|raw| raw.get()), "{name}");
}

#[test]
fn event_of_each_case_has_the_expected_json() {
    cases(EVENTS).iter().for_each(check);
}

fn text(event: &Event) -> String {
    String::from_utf8(event.to_json().into()).unwrap()
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
    (case.event().unwrap(), original)
}

/// The properties in every format.
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
fn message_plain_body_is_the_event() {
    let (event, original) = sample_event();
    let message = event.to_message(event.to_json(), EventFormat::Plain, 4, &original);
    let target = Target::Event { outcome: Outcome::Succeeded, channel_type: "WHATSAPP".to_owned() };
    let properties = expected_properties(&event, "application/json");
    assert_eq!(message, Message { target, properties, body: event.to_json() });
}

#[test]
fn message_structured_cloudevent_has_event_as_data() {
    let (event, original) = sample_event();
    let message = event.to_message(event.to_json(), EventFormat::CloudEventsStructured, 4, &original);
    assert_eq!(message.properties, expected_properties(&event, "application/cloudevents+json"));
    let id = event.event_id;
    let expected = format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/edna-courier","type":"send.succeeded","subject":"order-4711-ready","time":"2026-11-22T10:00:00.123Z","traceparent":"00-a-b-01","datacontenttype":"application/json","data":{}}}"#,
        text(&event)
    );
    assert_eq!(message.body, expected);
}

#[test]
fn message_binary_cloudevent_has_attributes_as_headers() {
    let (event, original) = sample_event();
    let message = event.to_message(event.to_json(), EventFormat::CloudEventsBinary, 4, &original);
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
    assert_eq!(message.body, event.to_json());
}

#[test]
fn message_without_traceparent_has_none() {
    let (event, _) = sample_event();
    let message = event.to_message(event.to_json(), EventFormat::CloudEventsStructured, 4, &Properties::default());
    assert!(!message.properties.headers.contains_key(header::TRACEPARENT));
    let body: Value = serde_json::from_slice(&message.body).unwrap();
    assert_eq!(body.get("traceparent"), None);
}

#[test]
fn message_correlation_id_is_copied() {
    let (event, original) = sample_event();
    let original = Properties { correlation_id: Some("theirs".to_owned()), ..original };
    let message = event.to_message(event.to_json(), EventFormat::Plain, 0, &original);
    assert_eq!(message.properties.correlation_id.as_deref(), Some("theirs"));
}

#[test]
fn message_empty_correlation_id_is_absent() {
    let (event, original) = sample_event();
    let original = Properties { correlation_id: Some(String::new()), ..original };
    let message = event.to_message(event.to_json(), EventFormat::Plain, 0, &original);
    assert_eq!(message.properties.correlation_id.as_deref(), Some("order-4711-ready"));
}

#[test]
fn message_without_channel_is_routed_as_unknown() {
    let (event, original) = sample_event();
    let event = Event { channel_type: None, ..event };
    let target = Target::Event { outcome: Outcome::Succeeded, channel_type: "unknown".to_owned() };
    assert_eq!(event.to_message(event.to_json(), EventFormat::Plain, 0, &original).target, target);
}

#[test]
fn message_to_reply_queue_differs_in_target_only() {
    let (event, original) = sample_event();
    let message = event.to_message(event.to_json(), EventFormat::Plain, 0, &original);
    let reply = message.to_target(Target::Reply("answers".to_owned()));
    assert_eq!(reply.target, Target::Reply("answers".to_owned()));
    assert_eq!((reply.properties, reply.body), (message.properties, message.body));
}

#[test]
fn format_deserializes_from_the_setting() {
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

fn any_result() -> impl Strategy<Value = CommandResult> {
    let failure = (sample::select(&Reason::ALL[..]), option::of(any::<u16>()), any::<String>());
    prop_oneof![
        option::of(any_response()).prop_map(CommandResult::Succeeded),
        failure.prop_map(|(reason, http_status, detail)| {
            CommandResult::Failed(Failure { reason, http_status, detail: Detail::from(detail) })
        }),
    ]
}

fn any_context() -> impl Strategy<Value = EventContext> {
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
    fn event_json_round_trips(
        id in any_id(), channel_type in option::of("[A-Z]{1,8}"), result in any_result(),
        context in any_context(), repeated: bool, metadata in option::of(vec(any::<i32>(), 0..4)),
    ) {
        let metadata = metadata.map(|list| RawValue::from_string(format!("{{ \"list\":{list:?}}}")).unwrap());
        let event = Event { repeated, metadata, ..Event::new(id, channel_type, result, &context) };
        let json = event.to_json();
        let parsed: Event = serde_json::from_slice(&json).unwrap();
        prop_assert_eq!(format!("{parsed:?}"), format!("{event:?}"));
        prop_assert_eq!(parsed.to_json(), json);
    }

    #[test]
    fn event_id_differs_by_id_replay_and_outcome_only(
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

/// Ids that would collide if the parts were joined without separators.
#[test]
fn event_id_of_similar_ids_and_replays_differs() {
    let id = |id: &str, replay| event_id(&CommandId::new(id).unwrap(), replay, Outcome::Failed);
    assert_ne!(id("1", 11), id("11", 1));
    assert_ne!(id("1/a", 0), id("a", 1));
    assert_ne!(id("0/a", 0), id("a", 0));
}
