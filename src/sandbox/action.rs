//! What a script can do to a request, and how it is written: the same words in a rule and in a marker.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode};
use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;

/// No script waits longer before it goes on.
const MAX_DELAY: Duration = Duration::from_hours(1);

/// Waits, then answers; as JSON an object such as `{"delay": "250ms", "status": 503, "retryAfter": 2}`.
///
/// | field | does |
/// |---|---|
/// | `delay` | waits before it goes on: alone with a good answer, else with what stands beside it |
/// | `status` | 200 to 599; 2xx accepts the message. With `retryAfter` (seconds, or a string sent as it is, such as an HTTP date) and `body` (a string sent as text, or any JSON) |
/// | `hang` | accepts the message and never answers |
/// | `cut` | accepts the message, then closes the connection without an answer |
/// | `cutBefore` | closes the connection without accepting the message |
/// | `unauthorized` | 401, and every token known so far stays refused until a login or `POST /token` |
/// | `wrongBody` | accepts the message and answers 200 with a body that is not JSON |
/// | `slowBody` | accepts the message and takes this long to send the body of its answer |
///
/// Times are written `250ms`, `5s`, `2m`, `1h`, at most one hour; the words without a value are `true`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Action {
    /// Waited before the answer, on top of the sandbox's own latency.
    pub delay: Duration,
    /// What follows.
    pub answer: Answer,
}

/// How a request ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200 with the documented body.
    Good,
    /// A status of choice.
    Status {
        /// 2xx accepts the message.
        status: StatusCode,
        /// The header `Retry-After`, sent as it is.
        retry_after: Option<HeaderValue>,
        /// A string is sent as text, all else as JSON; absent is the documented body (2xx) or an error body.
        body: Option<Value>,
    },
    /// The message is accepted, the answer never comes.
    Hang,
    /// The message is accepted, the connection closed without an answer.
    Cut,
    /// The message is not accepted, the connection closed without an answer.
    CutBefore,
    /// 401; every token known so far is refused from here on.
    Unauthorized,
    /// The message is accepted, the body of the answer is not JSON.
    WrongBody,
    /// The message is accepted, the body of the answer takes this long.
    SlowBody(Duration),
}

impl From<Answer> for Action {
    fn from(answer: Answer) -> Self {
        Self { delay: Duration::ZERO, answer }
    }
}

impl From<StatusCode> for Action {
    fn from(status: StatusCode) -> Self {
        Answer::Status { status, retry_after: None, body: None }.into()
    }
}

impl Action {
    /// A good answer after `delay`.
    #[must_use]
    pub const fn delay(delay: Duration) -> Self {
        Self { delay, answer: Answer::Good }
    }
}

impl Answer {
    /// Whether the customer gets the message, whatever the caller learns of it.
    #[must_use]
    pub fn accepts(&self) -> bool {
        match self {
            Self::Good | Self::Hang | Self::Cut | Self::WrongBody | Self::SlowBody(_) => true,
            Self::Status { status, .. } => status.is_success(),
            Self::CutBefore | Self::Unauthorized => false,
        }
    }

    /// The status on the wire, if there is an answer.
    #[must_use]
    pub const fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Good | Self::WrongBody | Self::SlowBody(_) => Some(StatusCode::OK),
            Self::Status { status, .. } => Some(*status),
            Self::Unauthorized => Some(StatusCode::UNAUTHORIZED),
            Self::Hang | Self::Cut | Self::CutBefore => None,
        }
    }
}

/// An action as it is written.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Written {
    #[serde(deserialize_with = "time")]
    delay: Option<Duration>,
    status: Option<u16>,
    retry_after: Option<RetryAfter>,
    body: Option<Value>,
    hang: bool,
    cut: bool,
    cut_before: bool,
    unauthorized: bool,
    wrong_body: bool,
    #[serde(deserialize_with = "time")]
    slow_body: Option<Duration>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "retryAfter is a number of seconds or a string")]
enum RetryAfter {
    Seconds(u32),
    Verbatim(String),
}

/// The words of [`Written`], and so of `[[markers]]` in a text.
pub(super) const WORDS: [&str; 10] =
    ["delay", "status", "retryAfter", "body", "hang", "cut", "cutBefore", "unauthorized", "wrongBody", "slowBody"];

impl TryFrom<Written> for Action {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        match (written.delay, written.answer()?) {
            (None, None) => Err("the action is empty; name one, such as \"status\" or \"hang\""),
            (delay, answer) => Ok(Self { delay: delay.unwrap_or_default(), answer: answer.unwrap_or(Answer::Good) }),
        }
    }
}

impl Written {
    /// The one answer that is named, if any.
    fn answer(self) -> Result<Option<Answer>, &'static str> {
        if self.status.is_none() && (self.retry_after.is_some() || self.body.is_some()) {
            return Err("\"retryAfter\" and \"body\" need a \"status\" beside them");
        }
        let named = [
            self.hang.then_some(Answer::Hang),
            self.cut.then_some(Answer::Cut),
            self.cut_before.then_some(Answer::CutBefore),
            self.unauthorized.then_some(Answer::Unauthorized),
            self.wrong_body.then_some(Answer::WrongBody),
            self.slow_body.map(Answer::SlowBody),
            status(self.status, self.retry_after, self.body)?,
        ];
        let mut named = named.into_iter().flatten();
        match (named.next(), named.next()) {
            (answer, None) => Ok(answer),
            _ => Err("the action names two answers; keep one"),
        }
    }
}

fn status(
    status: Option<u16>,
    retry_after: Option<RetryAfter>,
    body: Option<Value>,
) -> Result<Option<Answer>, &'static str> {
    let Some(code) = status else { return Ok(None) };
    let status = StatusCode::from_u16(code).ok().filter(|_| (200..600).contains(&code));
    let status = status.ok_or("\"status\" is a number from 200 to 599")?;
    let retry_after = retry_after.map(|after| match after {
        RetryAfter::Seconds(seconds) => Ok(HeaderValue::from(seconds)),
        RetryAfter::Verbatim(text) => HeaderValue::try_from(text).map_err(|_| "\"retryAfter\" can't stand in a header"),
    });
    let retry_after = retry_after.transpose()?;
    Ok(Some(Answer::Status { status, retry_after, body }))
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let time = text.parse::<SignedDuration>().ok().and_then(|time| Duration::try_from(time).ok());
    let time = time.filter(|time| *time <= MAX_DELAY);
    time.map(Some).ok_or_else(|| D::Error::custom("a time is written 250ms, 5s, 2m or 1h, at most one hour"))
}
