//! A copy of a command that waits in a tier: what the next attempt must know travels in its headers.

use bytes::Bytes;

use super::{
    message::{Message, Target},
    properties::{HeaderValue, Properties, header},
    reason::Reason,
    tier::Tier,
};

/// What a producer publishes commands with; partitions append their name.
pub const COMMAND_KEY: &str = "send";

/// What is known of a command that is parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelayedCommand {
    /// POSTs that counted so far.
    pub attempts: u32,
    /// When the daemon first saw the command, milliseconds since the epoch.
    pub first_seen_ms: i64,
    /// No attempt before this, milliseconds since the epoch; a wait may be longer than the longest tier.
    pub not_before_ms: Option<i64>,
    /// An attempt may have reached the API: the event will say so.
    pub uncertain: bool,
    /// `exchange/key` that the command came by at first.
    pub source: String,
    /// How often an operator replayed it.
    pub replay: u32,
}

impl DelayedCommand {
    /// The message for the tier: `body` as it came. `key` is the one that the command came by; one that is not ours
    /// would come back from the tier to nobody, so it becomes [`COMMAND_KEY`].
    #[must_use]
    pub fn to_message(&self, tier: &Tier, key: &str, body: Bytes, original: &Properties) -> Message {
        let ours = key == COMMAND_KEY || key.strip_prefix(COMMAND_KEY).is_some_and(|rest| rest.starts_with(".p"));
        let key = if ours { key } else { COMMAND_KEY };
        let target = Target::Tier { tier: tier.name.clone(), key: key.to_owned() };
        Message { target, properties: original.copy(self.headers()), body }
    }

    fn headers(&self) -> impl Iterator<Item = (&'static str, HeaderValue)> {
        let not_before = self.not_before_ms.map(|ms| (header::NOT_BEFORE, HeaderValue::Int(ms)));
        let reason = self.uncertain.then(|| (header::REASON, Reason::Uncertain.as_str().into()));
        let always = [
            (header::ATTEMPT, self.attempts.into()),
            (header::FIRST_SEEN, HeaderValue::Int(self.first_seen_ms)),
            (header::SOURCE, self.source.clone().into()),
            (header::REPLAY, self.replay.into()),
            (header::VERSION, header::VERSION_VALUE.into()),
        ];
        always.into_iter().chain(not_before).chain(reason)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn parked() -> DelayedCommand {
        DelayedCommand {
            attempts: 3,
            first_seen_ms: 1_795_000_000_123,
            not_before_ms: Some(1_795_000_600_000),
            uncertain: true,
            source: "edna.commands/send".to_owned(),
            replay: 1,
        }
    }

    fn message(parked: &DelayedCommand, key: &str) -> Message {
        let headers =
            [("traceparent", "00-1"), ("courier-reason", "old"), ("courier-detail", "old"), ("x-death", "no")];
        let headers = headers.map(|(name, value)| (name.into(), HeaderValue::from(value))).into_iter().collect();
        let original = Properties { message_id: Some("m".to_owned()), headers, ..Properties::default() };
        let tier = Tier { length: Duration::from_secs(5), name: "5s".to_owned() };
        parked.to_message(&tier, key, Bytes::from_static(b"body"), &original)
    }

    #[test]
    fn all_that_the_next_attempt_must_know_travels_in_the_headers() {
        let message = message(&parked(), "send");
        assert_eq!(message.body.as_ref(), b"body");
        assert_eq!(message.properties.message_id.as_deref(), Some("m"));
        assert_eq!(message.properties.int(header::ATTEMPT), Some(3));
        assert_eq!(message.properties.int(header::FIRST_SEEN), Some(1_795_000_000_123));
        assert_eq!(message.properties.int(header::NOT_BEFORE), Some(1_795_000_600_000));
        assert_eq!(message.properties.text(header::REASON), Some("uncertain"));
        assert_eq!(message.properties.text(header::SOURCE), Some("edna.commands/send"));
        assert_eq!(message.properties.text(header::TRACEPARENT), Some("00-1"));
        assert_eq!(message.properties.headers.len(), 8, "nothing else is copied: {:?}", message.properties.headers);
    }

    #[test]
    fn a_copy_comes_back_by_the_key_it_came_by_if_that_is_ours() {
        for (key, back) in [("send", "send"), ("send.p07", "send.p07"), ("edna.commands", "send"), ("sender", "send")] {
            let Target::Tier { key: told, .. } = message(&parked(), key).target else { panic!("not for a tier") };
            assert_eq!(told, back, "{key}");
        }
    }
}
