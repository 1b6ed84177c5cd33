//! The commands that the demo sends, some with a failure of each kind, and the outcome expected of each.

use serde_json::{Value, json};

use crate::domain::reason::{Outcome, Reason};

/// One message to publish, and its expected effect.
#[derive(Clone, Debug)]
pub(super) struct PlannedMessage {
    pub(super) body: Vec<u8>,
    pub(super) content_type: &'static str,
    pub(super) expected: ExpectedOutcome,
    /// The number of POSTs that the sandbox must receive.
    pub(super) posts: usize,
}

/// The expected outcome. Each but a success has a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ExpectedOutcome {
    /// `None` for a success.
    pub(super) reason: Option<Reason>,
    /// Whether there is an event: not if the message has no readable id.
    pub(super) event: bool,
}

impl ExpectedOutcome {
    const SUCCESS: Self = Self { reason: None, event: true };

    const fn dead(reason: Reason) -> Self {
        Self { reason: Some(reason), event: true }
    }

    pub(super) fn outcome(self) -> Outcome {
        self.reason.map_or(Outcome::Succeeded, Reason::outcome)
    }
}

const JSON: &str = "application/json";
const CLOUD_EVENT: &str = "application/cloudevents+json";
/// Each kind of failure occurs once or twice in this many consecutive commands.
const CYCLE: usize = 50;

const TEXT: &str = "Your order ";

/// The message with this index. Markers in its text control the failures of the sandbox.
pub(super) fn planned(index: usize) -> PlannedMessage {
    let text = format!("{TEXT}{index} is ready");
    let json = |text: &str, more: Value, expected, posts| {
        let body = command(index, text, &more).to_string().into_bytes();
        PlannedMessage { body, content_type: JSON, expected, posts }
    };
    let marked = |marker: &str| format!("{text} [[{marker}]]");
    match index % CYCLE {
        4 => PlannedMessage {
            body: b"{\"text\": \"cut off".to_vec(),
            content_type: JSON,
            expected: UNREADABLE,
            posts: 0,
        },
        9 => json(&text, json!({"txet": "a typo"}), ExpectedOutcome::dead(Reason::Malformed), 0),
        14 => json(&marked("status=400"), json!({}), ExpectedOutcome::dead(Reason::Rejected), 1),
        19 => json(&marked("cut"), json!({"onUncertain": "park"}), ExpectedOutcome::dead(Reason::Uncertain), 1),
        24 => json(&text, json!({"expiresAt": "2020-01-01T00:00:00Z"}), ExpectedOutcome::dead(Reason::Expired), 0),
        29 | 39 => json(&marked("status=503,times=2"), json!({}), ExpectedOutcome::SUCCESS, 3),
        34 => {
            let receipt = json!({"url": "https://example.org/receipt.pdf", "name": "receipt.pdf"});
            json(&text, json!({"attachments": [receipt]}), ExpectedOutcome::SUCCESS, 1)
        }
        44 => {
            let body = cloud_event(index, &text);
            PlannedMessage { body, content_type: CLOUD_EVENT, expected: ExpectedOutcome::SUCCESS, posts: 1 }
        }
        _ => json(&text, json!({}), ExpectedOutcome::SUCCESS, 1),
    }
}

/// The index of the command with this text.
pub(super) fn index_of(text: &str) -> Option<usize> {
    text.strip_prefix(TEXT)?.split(' ').next()?.parse().ok()
}

const UNREADABLE: ExpectedOutcome = ExpectedOutcome { reason: Some(Reason::Malformed), event: false };

fn command(index: usize, text: &str, more: &Value) -> Value {
    let (channel, address) = if index.is_multiple_of(3) {
        ("MOBILE", format!("device{index:028}"))
    } else {
        ("WHATSAPP", format!("7900{index:07}"))
    };
    let mut command = json!({
        "commandId": format!("demo-{index}"), "text": text, "channelType": channel, "deviceAddress": address,
        "metadata": {"index": index},
    });
    if let (Some(command), Some(more)) = (command.as_object_mut(), more.as_object()) {
        command.extend(more.clone());
    }
    command
}

fn cloud_event(index: usize, text: &str) -> Vec<u8> {
    let event = json!({
        "specversion": "1.0", "id": format!("demo-{index}"), "source": "/shop", "type": "send",
        "data": {"text": text, "channelType": "WHATSAPP", "deviceAddress": format!("7900{index:07}")},
    });
    event.to_string().into_bytes()
}
