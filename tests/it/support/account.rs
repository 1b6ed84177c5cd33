//! What became of every command: its events and its dead letters, as they came from the broker.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use edna_courier::sandbox::{ReceivedFilter, Sandbox};
use lapin::BasicProperties;
use serde_json::Value;
use tokio::time::timeout;

use super::{client::Tap, message::Message, queues::Queues, stage::id};

/// The message behind the last of a queue.
const END: &[u8] = br#"{"commandId": "the end"}"#;

/// How a command has to end.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    pub(crate) outcome: &'static str,
    /// The reason of its dead letter.
    pub(crate) letter: Option<&'static str>,
    /// Counted attempts, as each of its events says.
    pub(crate) attempts: RangeInclusive<u64>,
}

impl Ending {
    /// Delivered by an attempt of this number.
    pub(crate) fn success(attempts: RangeInclusive<u64>) -> Self {
        Self { outcome: "succeeded", letter: None, attempts }
    }

    /// A dead letter of this reason.
    pub(crate) fn death(outcome: &'static str, reason: &'static str, attempts: RangeInclusive<u64>) -> Self {
        Self { outcome, letter: Some(reason), attempts }
    }
}

/// Whether an outcome may be told more than once, always by the same event id and reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Nothing was lost that could raise a doubt.
    Once,
    /// A connection was lost.
    OnceOrAgain,
}

/// What is told of one command.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    pub(crate) events: Vec<Value>,
    letters: Vec<String>,
}

/// The books, kept while they are open.
#[derive(Debug)]
pub(crate) struct Account {
    entries: BTreeMap<String, Entry>,
    events: Tap,
    letters: Tap,
}

impl Account {
    /// Takes events and dead letters from now on, and those that wait.
    pub(crate) async fn open(queues: &Queues) -> Self {
        let (events, letters) = (queues.name("events"), queues.name("dead"));
        let client = queues.client();
        Self { entries: BTreeMap::new(), events: client.tap(&events).await, letters: client.tap(&letters).await }
    }

    /// Waits until so many commands have an event.
    pub(crate) async fn until_told(&mut self, commands: usize, deadline: Duration) {
        let told = async {
            while self.entries.values().filter(|entry| !entry.events.is_empty()).count() < commands {
                tokio::select! {
                    event = self.events.next() => note_event(&mut self.entries, &event),
                    letter = self.letters.next() => note_letter(&mut self.entries, &letter),
                }
            }
        };
        if timeout(deadline, told).await.is_err() {
            panic!("{} of {commands} commands with an outcome within {deadline:?}", self.entries.len());
        }
    }

    /// Takes what is left, now that the daemon has ended.
    pub(crate) async fn close(&mut self, queues: &Queues) {
        for (name, key) in [("events", "send.end.END"), ("dead", "rejected")] {
            queues.client().publish(&queues.name(name), key, END, BasicProperties::default()).await;
        }
        for (tap, note) in [(&mut self.events, note_event as fn(&mut _, &_)), (&mut self.letters, note_letter)] {
            let rest = async {
                loop {
                    match tap.next().await {
                        last if last.body == END => break,
                        message => note(&mut self.entries, &message),
                    }
                }
            };
            timeout(super::SOON, rest).await.expect("the message behind the last");
        }
    }

    /// The commands of which anything is told.
    pub(crate) fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// Insists that there is an outcome of exactly these commands, each as wanted.
    pub(crate) fn expect(&self, wanted: impl IntoIterator<Item = (String, Ending)>, told: Told) {
        let wanted: BTreeMap<_, _> = wanted.into_iter().collect();
        let unknown: Vec<_> = self.entries.keys().filter(|id| !wanted.contains_key(*id)).collect();
        assert!(unknown.is_empty(), "told of commands that nobody sent: {unknown:?}");
        for (id, ending) in &wanted {
            let entry = self.entries.get(id).unwrap_or_else(|| panic!("{id} is lost: neither event nor dead letter"));
            assert!(entry.is(ending, told), "{id} must be {ending:?}, told {told:?}, and is {entry:?}");
        }
    }

    /// Insists that a device that got several POSTs has an event that says so. Each command has a device of its own.
    pub(crate) fn expect_no_secret_repeats(&self, sandbox: &Sandbox, device: impl Fn(&str) -> String) {
        let mut accepted = BTreeMap::<_, usize>::new();
        for request in
            sandbox.received(&ReceivedFilter::default()).requests.into_iter().filter(|request| request.accepted)
        {
            *accepted.entry(request.device_address.expect("a good request")).or_default() += 1;
        }
        for (id, entry) in &self.entries {
            let times = accepted.get(&device(id)).copied().unwrap_or_default();
            assert!(times <= 1 || entry.is_doubtful(), "{id} was delivered {times} times: {entry:?}");
        }
    }
}

impl Entry {
    /// Whether it has a dead letter.
    pub(crate) fn is_dead(&self) -> bool {
        !self.letters.is_empty()
    }

    /// Whether an event says that the customer may have got the message twice, or after all.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.events.iter().any(|event| event["possibleDuplicate"] == true)
    }

    fn is(&self, ending: &Ending, told: Told) -> bool {
        let fits = |count: usize| if told == Told::Once { count == 1 } else { count >= 1 };
        let as_wanted = |event: &Value| {
            let attempts = event["attempts"].as_u64().is_some_and(|attempts| ending.attempts.contains(&attempts));
            event["outcome"] == ending.outcome && event["eventId"] == self.events[0]["eventId"] && attempts
        };
        let letters = match ending.letter {
            Some(reason) => fits(self.letters.len()) && self.letters.iter().all(|letter| letter == reason),
            None => self.letters.is_empty(),
        };
        fits(self.events.len()) && self.events.iter().all(as_wanted) && letters
    }
}

fn note_event(entries: &mut BTreeMap<String, Entry>, message: &Message) {
    let event = message.json();
    entries.entry(id(&event).to_owned()).or_default().events.push(event);
}

fn note_letter(entries: &mut BTreeMap<String, Entry>, message: &Message) {
    entries.entry(id(&message.json()).to_owned()).or_default().letters.push(message.key.clone());
}

impl std::fmt::Display for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let entries = self.entries.values();
        let (events, letters) = entries.fold((0, 0), |(e, l), entry| (e + entry.events.len(), l + entry.letters.len()));
        write!(f, "{events} events and {letters} dead letters, repeats included")
    }
}
