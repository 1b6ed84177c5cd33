//! The event as a message: plain or as a CloudEvent 1.0.

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::content::Event;
use crate::domain::{
    json,
    message::{Message, Target},
    properties::{HeaderValue, Headers, Properties, Text, header},
    reason::Outcome,
};

const APP_ID: &str = "edna-courier";
const JSON: &str = "application/json";
const CLOUDEVENTS_JSON: &str = "application/cloudevents+json";
const SPECVERSION: &str = "1.0";
/// The CloudEvents `source`; together with the id it identifies the event globally.
const SOURCE: &str = "/edna-courier";
/// The third word of the routing key when the event has no channel.
const UNKNOWN_CHANNEL: &str = "unknown";

/// `events.format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventFormat {
    /// The event's JSON object.
    #[default]
    #[serde(rename = "plain")]
    Plain,
    /// One JSON object with the event as `data`.
    #[serde(rename = "cloudevents-structured")]
    CloudEventsStructured,
    /// The event's JSON object, CloudEvents attributes as headers.
    #[serde(rename = "cloudevents-binary")]
    CloudEventsBinary,
}

impl Event {
    /// Creates the message for `<p>.events`. `json` is [`Event::to_json`], which the caller has recorded in the
    /// journal; `replay` is the command's `courier-replay`, and `original` are the properties of its message. For the
    /// queue of `reply_to` see [`Message::to_target`].
    #[must_use]
    pub fn to_message(&self, json: Bytes, format: EventFormat, replay: u32, original: &Properties) -> Message {
        let mut headers = Headers::from_iter([
            (header::VERSION.into(), header::VERSION_VALUE.into()),
            (header::REPLAY.into(), replay.into()),
        ]);
        let traceparent = original.headers.get(header::TRACEPARENT);
        if let Some(value) = traceparent {
            headers.insert(header::TRACEPARENT.into(), value.clone());
        }
        let attributes = || EventAttributes::of(self, traceparent);
        let (content_type, body) = match format {
            EventFormat::Plain => (JSON, json),
            EventFormat::CloudEventsStructured => {
                (CLOUDEVENTS_JSON, json::to_bytes(&attributes().structured(self)).into())
            }
            EventFormat::CloudEventsBinary => {
                headers.extend(attributes().headers());
                (JSON, json)
            }
        };
        let properties = self.properties(content_type, original, headers);
        Message { target: self.target(), properties, body }
    }

    fn target(&self) -> Target {
        let channel_type = self.channel_type.as_deref().unwrap_or(UNKNOWN_CHANNEL).to_owned();
        Target::Event { outcome: self.outcome, channel_type }
    }

    /// The property `type` and the CloudEvents attribute of that name.
    const fn kind(&self) -> &'static str {
        match self.outcome {
            Outcome::Succeeded => "send.succeeded",
            Outcome::Failed => "send.failed",
            Outcome::Expired => "send.expired",
            Outcome::Uncertain => "send.uncertain",
        }
    }

    fn properties(&self, content_type: &'static str, original: &Properties, headers: Headers) -> Properties {
        let correlation_id = original.correlation_id.as_deref().filter(|id| !id.is_empty());
        let correlation_id = correlation_id.unwrap_or_else(|| self.command_id.as_str()).to_owned();
        Properties {
            content_type: Some(content_type.into()),
            message_id: Some(self.event_id.to_string()),
            correlation_id: Some(correlation_id),
            kind: Some(self.kind().into()),
            app_id: Some(APP_ID.into()),
            timestamp_s: unix_seconds(self.occurred_at),
            headers,
            ..Properties::default()
        }
    }
}

/// AMQP timestamps are unsigned.
fn unix_seconds(time: Timestamp) -> Option<u64> {
    u64::try_from(time.as_second()).ok()
}

/// The CloudEvents attributes of an event.
#[derive(Serialize)]
struct EventAttributes {
    specversion: &'static str,
    id: String,
    source: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    subject: String,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
}

/// A structured CloudEvent.
#[derive(Serialize)]
struct StructuredEvent<'a> {
    #[serde(flatten)]
    attributes: &'a EventAttributes,
    datacontenttype: &'static str,
    data: &'a Event,
}

impl EventAttributes {
    fn of(event: &Event, traceparent: Option<&HeaderValue>) -> Self {
        Self {
            specversion: SPECVERSION,
            id: event.event_id.to_string(),
            source: SOURCE,
            kind: event.kind(),
            subject: event.command_id.as_str().to_owned(),
            time: format!("{:.3}", event.occurred_at),
            traceparent: traceparent.map(HeaderValue::to_text),
        }
    }

    const fn structured<'a>(&'a self, event: &'a Event) -> StructuredEvent<'a> {
        StructuredEvent { attributes: self, datacontenttype: JSON, data: event }
    }

    /// Returns the headers of a binary CloudEvent; its `datacontenttype` is the property `content_type`.
    fn headers(&self) -> impl Iterator<Item = (Text, HeaderValue)> {
        let required = [
            ("specversion", self.specversion),
            ("id", &self.id),
            ("source", self.source),
            ("type", self.kind),
            ("subject", &self.subject),
            ("time", &self.time),
        ];
        let traceparent = self.traceparent.as_deref().map(|value| ("traceparent", value));
        required
            .into_iter()
            .chain(traceparent)
            .map(|(name, value)| (format!("cloudEvents_{name}").into(), value.to_owned().into()))
    }
}
