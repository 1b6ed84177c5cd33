//! The dead letter: the original command, byte for byte, with the reason in headers.

use bytes::Bytes;

use super::{
    detail::Detail,
    message::{Message, Target},
    properties::{HeaderValue, Properties, header},
    reason::Reason,
};

/// The reason of a dead letter, and what an operator needs to examine or replay the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The reason; also the routing key.
    pub reason: Reason,
    /// The status code of the last answer, if any.
    pub http_status: Option<u16>,
    /// The explanation.
    pub detail: Detail,
    /// Counted attempts over all deliveries.
    pub attempts: u32,
    /// When the daemon first received the command, in milliseconds since the Unix epoch.
    pub first_seen_ms: i64,
    /// `exchange/routing-key` of the command.
    pub source: String,
    /// The replay count.
    pub replay: u32,
}

impl DeadLetter {
    /// Creates the message for `<p>.dead`: the unchanged body, the copied properties, and new headers of the daemon.
    #[must_use]
    pub fn to_message(&self, body: Bytes, original: &Properties) -> Message {
        Message { target: Target::Dead(self.reason), properties: original.copy_with(self.headers()), body }
    }

    fn headers(&self) -> impl Iterator<Item = (&'static str, HeaderValue)> {
        let status = self.http_status.map(|status| (header::HTTP_STATUS, u32::from(status).into()));
        let always = [
            (header::REASON, self.reason.as_str().into()),
            (header::DETAIL, self.detail.as_str().to_owned().into()),
            (header::ATTEMPT, self.attempts.into()),
            (header::FIRST_SEEN, HeaderValue::Int(self.first_seen_ms)),
            (header::SOURCE, self.source.clone().into()),
            (header::REPLAY, self.replay.into()),
            (header::VERSION, header::VERSION_VALUE.into()),
        ];
        always.into_iter().chain(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter() -> DeadLetter {
        DeadLetter {
            reason: Reason::Rejected,
            http_status: Some(400),
            detail: Detail::from("answered 400\n"),
            attempts: 3,
            first_seen_ms: 1_795_000_000_123,
            source: "edna.commands/send".to_owned(),
            replay: 1,
        }
    }

    fn original() -> Properties {
        let headers = [
            ("traceparent", "00-1-2-01"),
            ("tracestate", "a=b"),
            ("cloudEvents_id", "order-1"),
            ("courier-attempt", "2"),
            ("courier-not-before", "1"),
            ("courier-reason", "expired"),
            ("x-death", "never read"),
        ];
        Properties {
            content_type: Some("application/json".into()),
            content_encoding: Some("utf-8".to_owned()),
            message_id: Some("order-1".to_owned()),
            correlation_id: Some("c".to_owned()),
            reply_to: Some("answers".to_owned()),
            kind: Some("send".into()),
            app_id: Some("shop".into()),
            timestamp_s: Some(1),
            priority: Some(4),
            headers: headers.map(|(name, value)| (name.into(), value.into())).into_iter().collect(),
        }
    }

    #[test]
    fn message_is_the_original_with_reason_headers() {
        let body = Bytes::from_static(b"\x00 anything \xff");
        let message = letter().to_message(body.clone(), &original());
        assert_eq!(message.target, Target::Dead(Reason::Rejected));
        assert_eq!(message.body, body);
        assert_eq!(Properties { headers: original().headers, ..message.properties.clone() }, original());
        let expected = [
            ("cloudEvents_id", "order-1".into()),
            ("courier-attempt", HeaderValue::Int(3)),
            ("courier-detail", "answered 400 ".into()),
            ("courier-first-seen", HeaderValue::Int(1_795_000_000_123)),
            ("courier-http-status", HeaderValue::Int(400)),
            ("courier-reason", "rejected".into()),
            ("courier-replay", HeaderValue::Int(1)),
            ("courier-source", "edna.commands/send".into()),
            ("courier-version", env!("CARGO_PKG_VERSION").into()),
            ("traceparent", "00-1-2-01".into()),
            ("tracestate", "a=b".into()),
        ];
        assert_eq!(
            message.properties.headers,
            expected.map(|(name, value)| (name.into(), value)).into_iter().collect()
        );
    }

    #[test]
    fn message_of_a_dead_letter_has_no_old_status() {
        let first = letter().to_message(Bytes::new(), &original());
        let second = DeadLetter { reason: Reason::Expired, http_status: None, ..letter() };
        let message = second.to_message(Bytes::new(), &first.properties);
        assert_eq!(message.properties.headers.get(header::HTTP_STATUS), None);
        assert_eq!(message.properties.headers.get(header::REASON), Some(&"expired".into()));
    }

    #[test]
    fn message_long_detail_is_cut() {
        let long = DeadLetter { detail: Detail::from("é".repeat(400)), ..letter() };
        let message = long.to_message(Bytes::new(), &Properties::default());
        assert_eq!(message.properties.headers.get(header::DETAIL), Some(&HeaderValue::Text("é".repeat(256).into())));
    }
}
