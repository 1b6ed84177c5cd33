//! The copy of a command that is delayed in a tier. Its headers carry the state for the next attempt.

use bytes::Bytes;

use super::{
    message::{Message, Target},
    properties::{HeaderValue, Properties, header},
    reason::Reason,
    tier::Tier,
};

/// The routing key of commands; partitions append `.pNN`.
pub const COMMAND_KEY: &str = "send";

/// The state of a delayed command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelayedCommand {
    /// Counted attempts so far.
    pub attempts: u32,
    /// When the daemon first received the command, in milliseconds since the Unix epoch.
    pub first_seen_ms: i64,
    /// The earliest next attempt, in milliseconds since the Unix epoch; may be later than the end of the tier.
    pub not_before_ms: Option<i64>,
    /// An attempt may have reached the API, so the event will have `possibleDuplicate: true`.
    pub uncertain: bool,
    /// `exchange/routing-key` of the original command.
    pub source: String,
    /// The replay count.
    pub replay: u32,
    /// How often the command was copied because of its returns; present if the broker had redelivered it.
    pub returns: Option<u32>,
}

impl DelayedCommand {
    /// Creates the message for the tier, with the unchanged body. After the delay the broker routes it by `key`, the
    /// command's routing key; a key without a binding to the command queues is replaced by [`COMMAND_KEY`].
    #[must_use]
    pub fn to_message(&self, tier: &Tier, key: &str, body: Bytes, original: &Properties) -> Message {
        let is_bound = key == COMMAND_KEY || key.strip_prefix(COMMAND_KEY).is_some_and(|rest| rest.starts_with(".p"));
        let key = if is_bound { key } else { COMMAND_KEY };
        let target = Target::Tier { tier: tier.name.clone(), key: key.to_owned() };
        Message { target, properties: original.copy_with(self.headers()), body }
    }

    fn headers(&self) -> impl Iterator<Item = (&'static str, HeaderValue)> {
        let not_before = self.not_before_ms.map(|ms| (header::NOT_BEFORE, HeaderValue::Int(ms)));
        let reason = self.uncertain.then(|| (header::REASON, Reason::Uncertain.as_str().into()));
        let returns = self.returns.map(|returns| (header::RETURNS, returns.into()));
        let always = [
            (header::ATTEMPT, self.attempts.into()),
            (header::FIRST_SEEN, HeaderValue::Int(self.first_seen_ms)),
            (header::SOURCE, self.source.clone().into()),
            (header::REPLAY, self.replay.into()),
            (header::VERSION, header::VERSION_VALUE.into()),
        ];
        always.into_iter().chain(not_before).chain(reason).chain(returns)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn delayed() -> DelayedCommand {
        DelayedCommand {
            attempts: 3,
            first_seen_ms: 1_795_000_000_123,
            not_before_ms: Some(1_795_000_600_000),
            uncertain: true,
            source: "edna.commands/send".to_owned(),
            replay: 1,
            returns: Some(2),
        }
    }

    fn message(delayed: &DelayedCommand, key: &str) -> Message {
        let headers =
            [("traceparent", "00-1"), ("courier-reason", "old"), ("courier-detail", "old"), ("x-death", "no")];
        let headers = headers.map(|(name, value)| (name.into(), HeaderValue::from(value))).into_iter().collect();
        let original = Properties { message_id: Some("m".to_owned()), headers, ..Properties::default() };
        let tier = Tier { length: Duration::from_secs(5), name: "5s".to_owned() };
        delayed.to_message(&tier, key, Bytes::from_static(b"body"), &original)
    }

    #[test]
    fn message_headers_carry_the_state() {
        let message = message(&delayed(), "send");
        assert_eq!(message.body.as_ref(), b"body");
        assert_eq!(message.properties.message_id.as_deref(), Some("m"));
        assert_eq!(message.properties.int(header::ATTEMPT), Some(3));
        assert_eq!(message.properties.int(header::FIRST_SEEN), Some(1_795_000_000_123));
        assert_eq!(message.properties.int(header::NOT_BEFORE), Some(1_795_000_600_000));
        assert_eq!(message.properties.text(header::REASON), Some("uncertain"));
        assert_eq!(message.properties.text(header::SOURCE), Some("edna.commands/send"));
        assert_eq!(message.properties.text(header::TRACEPARENT), Some("00-1"));
        assert_eq!(message.properties.int(header::RETURNS), Some(2));
        assert_eq!(message.properties.headers.len(), 9, "unexpected headers: {:?}", message.properties.headers);
    }

    #[test]
    fn message_of_redelivered_command_is_marked() {
        for (returns, header) in [(None, None), (Some(0), Some(0))] {
            let message = message(&DelayedCommand { returns, ..delayed() }, "send");
            assert_eq!(message.properties.int(header::RETURNS), header);
        }
    }

    #[test]
    fn message_keeps_only_keys_of_command_queues() {
        for (key, expected) in
            [("send", "send"), ("send.p07", "send.p07"), ("edna.commands", "send"), ("sender", "send")]
        {
            let Target::Tier { key: returned, .. } = message(&delayed(), key).target else { panic!("not for a tier") };
            assert_eq!(returned, expected, "{key}");
        }
    }
}
