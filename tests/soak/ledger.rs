//! What was published, posted and received, by command. Times are in ms since the start of the run.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    doubt::{Disturbances, Site},
    kind::Kind,
};

/// A request at the sandbox.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) at_ms: u64,
    /// `None` without a response.
    pub(crate) status: Option<u16>,
    /// The message counts as sent.
    pub(crate) accepted: bool,
}

impl Post {
    /// Whether the daemon cannot know that the message was or was not sent.
    pub(crate) fn is_uncertain(&self) -> bool {
        self.status.is_none_or(|status| status >= 500 && status != 503)
    }

    /// Whether a later request may be a duplicate.
    pub(crate) fn may_have_sent(&self) -> bool {
        self.accepted || self.is_uncertain()
    }
}

/// A received event.
#[derive(Clone, Debug)]
pub(crate) struct ReceivedEvent {
    pub(crate) at_ms: u64,
    pub(crate) occurred_ms: u64,
    pub(crate) id: String,
    pub(crate) outcome: String,
    pub(crate) reason: Option<String>,
    pub(crate) possible_duplicate: bool,
    pub(crate) repeated: bool,
    pub(crate) attempts: u64,
    pub(crate) json: String,
}

impl ReceivedEvent {
    /// Reads an event; `None` if a field is missing.
    pub(crate) fn read(json: &Value, at_ms: u64, start: Timestamp) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let occurred: Timestamp = json["occurredAt"].as_str()?.parse().ok()?;
        let occurred_ms = occurred.as_millisecond().saturating_sub(start.as_millisecond());
        Some(Self {
            at_ms,
            occurred_ms: u64::try_from(occurred_ms).unwrap_or(0),
            id: text(&json["eventId"])?,
            outcome: text(&json["outcome"])?,
            reason: text(&json["failure"]["reason"]),
            possible_duplicate: json["possibleDuplicate"].as_bool()?,
            repeated: json["repeated"].as_bool()?,
            attempts: json["attempts"].as_u64()?,
            json: json.to_string(),
        })
    }
}

/// Everything about one command.
#[derive(Clone, Debug)]
pub(crate) struct CommandHistory {
    pub(crate) site: Site,
    pub(crate) kind: Kind,
    pub(crate) body: String,
    /// Each publish, also those without a confirm.
    pub(crate) published_ms: Vec<u64>,
    pub(crate) posts: Vec<Post>,
    pub(crate) events: Vec<ReceivedEvent>,
    /// Time and reason of each dead letter.
    pub(crate) letters: Vec<(u64, String)>,
}

/// A message that no client can decode.
#[derive(Clone, Debug)]
pub(crate) struct Culprit {
    pub(crate) site: Site,
    pub(crate) published_ms: u64,
    /// The number of its letters in the poison queue.
    pub(crate) letters: u32,
    /// The number of its disturbance.
    pub(crate) disturbance: usize,
}

/// All records of a run.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) commands: BTreeMap<u64, CommandHistory>,
    /// By body.
    pub(crate) culprits: BTreeMap<String, Culprit>,
    pub(crate) disturbances: Disturbances,
    /// Messages that belong to no command.
    pub(crate) strays: Vec<String>,
}

/// The number of a command, from its metadata, else from its id `c-<number>-…`.
pub(crate) fn number(json: &Value) -> Option<u64> {
    let of_id = || json["commandId"].as_str()?.strip_prefix("c-")?.split('-').next()?.parse().ok();
    json["metadata"]["n"].as_u64().or_else(of_id)
}

/// The leading number of a text.
pub(crate) fn number_of_text(text: &str) -> Option<u64> {
    text.split(' ').next()?.parse().ok()
}

impl Ledger {
    /// Records a new command that is about to be published.
    pub(crate) fn add_command(&mut self, number: u64, site: Site, kind: Kind, body: String) {
        let (published_ms, posts, events, letters) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        self.commands.insert(number, CommandHistory { site, kind, body, published_ms, posts, events, letters });
    }

    /// Records a publish of a command: the first one, one after a missing confirm, or a duplicate.
    pub(crate) fn add_publish(&mut self, number: u64, now_ms: u64) {
        if let Some(command) = self.commands.get_mut(&number) {
            command.published_ms.push(now_ms);
        }
    }

    pub(crate) fn add_post(&mut self, text: Option<&str>, post: Post) {
        match text.and_then(number_of_text).and_then(|number| self.commands.get_mut(&number)) {
            Some(command) => command.posts.push(post),
            None => self.strays.push(format!("a POST of no command: {post:?}, text {text:?}")),
        }
    }

    pub(crate) fn add_event(&mut self, site: Site, json: &Value, at_ms: u64, start: Timestamp) {
        let event = ReceivedEvent::read(json, at_ms, start);
        let command = number(json).and_then(|number| self.commands.get_mut(&number));
        match (event, command.filter(|command| command.site == site)) {
            (Some(event), Some(command)) => command.events.push(event),
            _ => self.strays.push(format!("an event of no command in {site:?}: {json}")),
        }
    }

    pub(crate) fn add_letter(&mut self, site: Site, reason: &str, body: &[u8], at_ms: u64) {
        let number = serde_json::from_slice(body).ok().and_then(|json| number(&json));
        match number.and_then(|number| self.commands.get_mut(&number)).filter(|command| command.site == site) {
            Some(command) => command.letters.push((at_ms, reason.to_owned())),
            None => {
                let body = String::from_utf8_lossy(body);
                self.strays.push(format!("a dead letter ({reason}) of no command in {site:?}: {body}"));
            }
        }
    }

    /// Records that a message which no client can decode is about to be published, and its disturbance.
    pub(crate) fn add_culprit(&mut self, body: String, culprit: Culprit) {
        self.culprits.insert(body, culprit);
    }

    /// Records a message in the poison queue, which ends the disturbance of a culprit.
    pub(crate) fn add_poison(&mut self, site: Site, body: &[u8], now_ms: u64) {
        let body = String::from_utf8_lossy(body);
        match self.culprits.get_mut(body.as_ref()).filter(|culprit| culprit.site == site) {
            Some(culprit) => {
                culprit.letters += 1;
                self.disturbances.end(culprit.disturbance, now_ms);
            }
            None => self.strays.push(format!("poison although it can be decoded, in {site:?}: {body}")),
        }
    }

    /// The commands of a deployment without an event that were published before this time.
    pub(crate) fn unfinished(&self, site: Site, before_ms: u64) -> Vec<u64> {
        let is_open = |command: &CommandHistory| {
            command.site == site
                && command.events.is_empty()
                && command.published_ms.first().is_some_and(|published| *published < before_ms)
        };
        self.commands.iter().filter(|(_, command)| is_open(command)).map(|(number, _)| *number).collect()
    }

    /// The number of culprits that are not in the poison queue yet.
    pub(crate) fn unburied(&self) -> usize {
        self.culprits.values().filter(|culprit| culprit.letters == 0).count()
    }
}
