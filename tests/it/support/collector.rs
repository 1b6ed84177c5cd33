//! Collects the events and dead letters of all commands from the broker.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use edna_courier::sandbox::{ReceivedFilter, Sandbox};
use lapin::BasicProperties;
use serde_json::Value;
use tokio::time::timeout;

use super::{client::Subscription, fixture::id, message::Message, queues::Queues};

/// Marks the end of a queue.
const END: &[u8] = br#"{"commandId": "the end"}"#;

/// The expected outcome of a command.
#[derive(Clone, Debug)]
pub(crate) struct ExpectedOutcome {
    pub(crate) outcome: &'static str,
    /// The reason of its dead letter; `None` if there must be none.
    pub(crate) dead_letter_reason: Option<&'static str>,
    /// The value of `attempts` in each of its events.
    pub(crate) attempts: RangeInclusive<u64>,
}

impl ExpectedOutcome {
    /// Succeeded, with an attempt count in this range.
    pub(crate) fn succeeded(attempts: RangeInclusive<u64>) -> Self {
        Self { outcome: "succeeded", dead_letter_reason: None, attempts }
    }

    /// Ended with this outcome and a dead letter with this reason.
    pub(crate) fn dead_letter(outcome: &'static str, reason: &'static str, attempts: RangeInclusive<u64>) -> Self {
        Self { outcome, dead_letter_reason: Some(reason), attempts }
    }
}

/// Whether an outcome may be published more than once, always with the same event id and reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Duplicates {
    /// Exactly one event: no connection was lost.
    Forbidden,
    /// At least one event: a connection was lost, so the broker may redeliver.
    Allowed,
}

/// The messages of one command.
#[derive(Debug, Default)]
pub(crate) struct CommandMessages {
    pub(crate) events: Vec<Value>,
    /// The reason of each dead letter.
    dead_letters: Vec<String>,
}

/// Consumes the event and dead-letter queues of a test.
#[derive(Debug)]
pub(crate) struct OutcomeCollector {
    commands: BTreeMap<String, CommandMessages>,
    events: Subscription,
    dead_letters: Subscription,
}

impl OutcomeCollector {
    /// Subscribes to both queues; messages already in them are consumed too.
    pub(crate) async fn start(queues: &Queues) -> Self {
        let (events, dead_letters) = (queues.name("events"), queues.name("dead"));
        let client = queues.client();
        Self {
            commands: BTreeMap::new(),
            events: client.subscribe(&events).await,
            dead_letters: client.subscribe(&dead_letters).await,
        }
    }

    /// Waits until this many commands have an event; panics after `deadline`.
    pub(crate) async fn wait_for_events(&mut self, commands: usize, deadline: Duration) {
        let collect = async {
            while self.commands.values().filter(|command| !command.events.is_empty()).count() < commands {
                tokio::select! {
                    event = self.events.next() => record_event(&mut self.commands, &event),
                    letter = self.dead_letters.next() => record_dead_letter(&mut self.commands, &letter),
                }
            }
        };
        if timeout(deadline, collect).await.is_err() {
            panic!("{} of {commands} commands have an outcome after {deadline:?}", self.commands.len());
        }
    }

    /// Consumes the remaining messages, after the daemon has exited.
    pub(crate) async fn drain(&mut self, queues: &Queues) {
        for (name, key) in [("events", "send.end.END"), ("dead", "rejected")] {
            queues.client().publish(&queues.name(name), key, END, BasicProperties::default()).await;
        }
        for (subscription, record) in
            [(&mut self.events, record_event as fn(&mut _, &_)), (&mut self.dead_letters, record_dead_letter)]
        {
            let rest = async {
                loop {
                    match subscription.next().await {
                        last if last.body == END => break,
                        message => record(&mut self.commands, &message),
                    }
                }
            };
            timeout(super::TIMEOUT, rest).await.expect("the end marker arrives");
        }
    }

    /// The commands with at least one message, by command id.
    pub(crate) fn commands(&self) -> &BTreeMap<String, CommandMessages> {
        &self.commands
    }

    /// Asserts that exactly these commands have an outcome, each the expected one.
    pub(crate) fn assert_outcomes(
        &self,
        expected: impl IntoIterator<Item = (String, ExpectedOutcome)>,
        duplicates: Duplicates,
    ) {
        let expected: BTreeMap<_, _> = expected.into_iter().collect();
        let unknown: Vec<_> = self.commands.keys().filter(|id| !expected.contains_key(*id)).collect();
        assert!(unknown.is_empty(), "outcomes of commands that were never sent: {unknown:?}");
        for (id, expected) in &expected {
            let command =
                self.commands.get(id).unwrap_or_else(|| panic!("{id} is lost: neither event nor dead letter"));
            assert!(
                command.matches(expected, duplicates),
                "{id}: {command:?}; expected {expected:?}, duplicates {duplicates:?}"
            );
        }
    }

    /// Asserts that each command delivered more than once has an event with `possibleDuplicate`. `device` maps a command
    /// id to its device; no two commands share one.
    pub(crate) fn assert_duplicates_reported(&self, sandbox: &Sandbox, device: impl Fn(&str) -> String) {
        let mut accepted = BTreeMap::<_, usize>::new();
        for request in
            sandbox.received(&ReceivedFilter::default()).requests.into_iter().filter(|request| request.accepted)
        {
            *accepted.entry(request.device_address.expect("a valid request has an address")).or_default() += 1;
        }
        for (id, command) in &self.commands {
            let times = accepted.get(&device(id)).copied().unwrap_or_default();
            assert!(times <= 1 || command.is_possible_duplicate(), "{id} was delivered {times} times: {command:?}");
        }
    }
}

impl CommandMessages {
    /// Whether the command has a dead letter.
    pub(crate) fn is_dead_lettered(&self) -> bool {
        !self.dead_letters.is_empty()
    }

    /// Whether an event has `possibleDuplicate`.
    pub(crate) fn is_possible_duplicate(&self) -> bool {
        self.events.iter().any(|event| event["possibleDuplicate"] == true)
    }

    fn matches(&self, expected: &ExpectedOutcome, duplicates: Duplicates) -> bool {
        let valid_count = |count: usize| if duplicates == Duplicates::Forbidden { count == 1 } else { count >= 1 };
        let valid_event = |event: &Value| {
            let attempts = event["attempts"].as_u64().is_some_and(|attempts| expected.attempts.contains(&attempts));
            event["outcome"] == expected.outcome && event["eventId"] == self.events[0]["eventId"] && attempts
        };
        let valid_dead_letters = match expected.dead_letter_reason {
            Some(reason) => valid_count(self.dead_letters.len()) && self.dead_letters.iter().all(|own| own == reason),
            None => self.dead_letters.is_empty(),
        };
        valid_count(self.events.len()) && self.events.iter().all(valid_event) && valid_dead_letters
    }
}

fn record_event(commands: &mut BTreeMap<String, CommandMessages>, message: &Message) {
    let event = message.json();
    commands.entry(id(&event).to_owned()).or_default().events.push(event);
}

fn record_dead_letter(commands: &mut BTreeMap<String, CommandMessages>, message: &Message) {
    commands.entry(id(&message.json()).to_owned()).or_default().dead_letters.push(message.key.clone());
}

impl std::fmt::Display for OutcomeCollector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let events: usize = self.commands.values().map(|command| command.events.len()).sum();
        let dead_letters: usize = self.commands.values().map(|command| command.dead_letters.len()).sum();
        write!(f, "{events} events and {dead_letters} dead letters, duplicates included")
    }
}
