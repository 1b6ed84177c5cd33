//! The actions of a script and their JSON form, which rules and markers share.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode};
use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;

/// Maximum duration in a script.
const MAX_DURATION: Duration = Duration::from_hours(1);

/// A delay, then a response; as JSON an object such as `{"delay": "250ms", "status": 503, "retryAfter": 2}`.
///
/// | field | does |
/// |---|---|
/// | `delay` | delays the response: the documented one, or that of the other field |
/// | `status` | 200 to 599; 2xx accepts the message. Optional: `retryAfter` (seconds, or a string sent as is, such as an HTTP date) and `body` (a string sent as text, or any JSON) |
/// | `hang` | accepts the message and never responds |
/// | `cut` | accepts the message, then closes the connection without a response |
/// | `cutBefore` | closes the connection without accepting the message |
/// | `unauthorized` | 401; rejects every token until a login or `POST /token` |
/// | `wrongBody` | accepts the message and responds 200 with a body that is not JSON |
/// | `slowBody` | accepts the message and takes this long to send the response body |
///
/// Durations are written `250ms`, `5s`, `2m`, `1h`, at most one hour; fields without a value are `true`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "ActionFields")]
pub struct Action {
    /// Delay before the response, in addition to the sandbox's latency.
    pub delay: Duration,
    /// The response.
    pub response: ScriptedResponse,
}

/// The response to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScriptedResponse {
    /// 200 with the documented body.
    Documented,
    /// Any status.
    Status {
        /// 2xx accepts the message.
        status: StatusCode,
        /// The header `Retry-After`, sent as is.
        retry_after: Option<HeaderValue>,
        /// A string is sent as text, anything else as JSON; `None` is the documented body (2xx) or an error body.
        body: Option<Value>,
    },
    /// Accepts the message and never responds.
    Hang,
    /// Accepts the message and closes the connection without a response.
    Cut,
    /// Closes the connection without accepting the message.
    CutBefore,
    /// 401; rejects every token from now on.
    Unauthorized,
    /// Accepts the message; the response body is not JSON.
    WrongBody,
    /// Accepts the message; sending the response body takes this long.
    SlowBody(Duration),
}

impl From<ScriptedResponse> for Action {
    fn from(response: ScriptedResponse) -> Self {
        Self { delay: Duration::ZERO, response }
    }
}

impl From<StatusCode> for Action {
    fn from(status: StatusCode) -> Self {
        ScriptedResponse::Status { status, retry_after: None, body: None }.into()
    }
}

impl Action {
    /// The documented response after `delay`.
    #[must_use]
    pub const fn delay(delay: Duration) -> Self {
        Self { delay, response: ScriptedResponse::Documented }
    }
}

impl ScriptedResponse {
    /// Whether the message counts as sent to the customer.
    #[must_use]
    pub fn accepts(&self) -> bool {
        match self {
            Self::Documented | Self::Hang | Self::Cut | Self::WrongBody | Self::SlowBody(_) => true,
            Self::Status { status, .. } => status.is_success(),
            Self::CutBefore | Self::Unauthorized => false,
        }
    }

    /// The response status; `None` without a response.
    #[must_use]
    pub const fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Documented | Self::WrongBody | Self::SlowBody(_) => Some(StatusCode::OK),
            Self::Status { status, .. } => Some(*status),
            Self::Unauthorized => Some(StatusCode::UNAUTHORIZED),
            Self::Hang | Self::Cut | Self::CutBefore => None,
        }
    }
}

/// The JSON form of an action.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct ActionFields {
    #[serde(deserialize_with = "duration")]
    delay: Option<Duration>,
    status: Option<u16>,
    retry_after: Option<RetryAfterValue>,
    body: Option<Value>,
    hang: bool,
    cut: bool,
    cut_before: bool,
    unauthorized: bool,
    wrong_body: bool,
    #[serde(deserialize_with = "duration")]
    slow_body: Option<Duration>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "retryAfter is a number of seconds or a string")]
enum RetryAfterValue {
    Seconds(u32),
    Verbatim(String),
}

/// The fields of [`ActionFields`], which are also those of a marker in a text.
pub(super) const FIELDS: [&str; 10] =
    ["delay", "status", "retryAfter", "body", "hang", "cut", "cutBefore", "unauthorized", "wrongBody", "slowBody"];

impl TryFrom<ActionFields> for Action {
    type Error = &'static str;

    fn try_from(fields: ActionFields) -> Result<Self, Self::Error> {
        match (fields.delay, fields.response()?) {
            (None, None) => Err("the action is empty; set a field such as \"status\" or \"hang\""),
            (delay, response) => {
                let response = response.unwrap_or(ScriptedResponse::Documented);
                Ok(Self { delay: delay.unwrap_or_default(), response })
            }
        }
    }
}

impl ActionFields {
    /// The response, if any; fails if there are several.
    fn response(self) -> Result<Option<ScriptedResponse>, &'static str> {
        if self.status.is_none() && (self.retry_after.is_some() || self.body.is_some()) {
            return Err("\"retryAfter\" and \"body\" require \"status\"");
        }
        let responses = [
            self.hang.then_some(ScriptedResponse::Hang),
            self.cut.then_some(ScriptedResponse::Cut),
            self.cut_before.then_some(ScriptedResponse::CutBefore),
            self.unauthorized.then_some(ScriptedResponse::Unauthorized),
            self.wrong_body.then_some(ScriptedResponse::WrongBody),
            self.slow_body.map(ScriptedResponse::SlowBody),
            status(self.status, self.retry_after, self.body)?,
        ];
        let mut responses = responses.into_iter().flatten();
        match (responses.next(), responses.next()) {
            (response, None) => Ok(response),
            _ => Err("the action has two responses; keep one"),
        }
    }
}

fn status(
    status: Option<u16>,
    retry_after: Option<RetryAfterValue>,
    body: Option<Value>,
) -> Result<Option<ScriptedResponse>, &'static str> {
    let Some(code) = status else { return Ok(None) };
    let status = StatusCode::from_u16(code).ok().filter(|_| (200..600).contains(&code));
    let status = status.ok_or("\"status\" is a number from 200 to 599")?;
    let retry_after = retry_after.map(|after| match after {
        RetryAfterValue::Seconds(seconds) => Ok(HeaderValue::from(seconds)),
        RetryAfterValue::Verbatim(text) => {
            HeaderValue::try_from(text).map_err(|_| "\"retryAfter\" is not a valid header value")
        }
    });
    let retry_after = retry_after.transpose()?;
    Ok(Some(ScriptedResponse::Status { status, retry_after, body }))
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let duration = text.parse::<SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok());
    let duration = duration.filter(|duration| *duration <= MAX_DURATION);
    duration.map(Some).ok_or_else(|| D::Error::custom("a duration is written 250ms, 5s, 2m or 1h, at most one hour"))
}
