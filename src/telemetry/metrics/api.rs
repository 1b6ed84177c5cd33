//! Metrics of the API.

use std::time::Duration;

use prometheus::{Error, Histogram, IntCounter, IntGauge};

use super::family::{Children, Families};
use crate::domain::{event::UnreadReason, verdict::Verdict};

/// Up to the default `api.timeout`.
const REQUEST_BOUNDS_S: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The class of a response status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StatusClass {
    Success,
    Redirect,
    ClientError,
    ServerError,
    /// No response.
    None,
}

impl StatusClass {
    const LABELS: [(Self, [&'static str; 1]); 5] = [
        (Self::Success, ["2xx"]),
        (Self::Redirect, ["3xx"]),
        (Self::ClientError, ["4xx"]),
        (Self::ServerError, ["5xx"]),
        (Self::None, ["none"]),
    ];

    /// A status outside 2xx to 4xx proves no more than a 5xx and counts as one.
    const fn of(status: Option<u16>) -> Self {
        match status {
            Some(200..=299) => Self::Success,
            Some(300..=399) => Self::Redirect,
            Some(400..=499) => Self::ClientError,
            Some(_) => Self::ServerError,
            None => Self::None,
        }
    }
}

/// Metrics of the API.
#[derive(Debug)]
pub(crate) struct ApiMetrics {
    attempts: Children<Verdict, IntCounter>,
    request_seconds: Children<Verdict, Histogram>,
    responses: Children<StatusClass, IntCounter>,
    unread_answers: Children<UnreadReason, IntCounter>,
    /// By success.
    credential_refreshes: Children<bool, IntCounter>,
    pub(crate) in_flight: IntGauge,
    pub(crate) concurrency_limit: IntGauge,
}

impl ApiMetrics {
    pub(super) fn register(families: &Families<'_>) -> Result<Self, Error> {
        let verdicts = || Verdict::ALL.map(|verdict| (verdict, [verdict.as_str()]));
        Ok(Self {
            attempts: families.counters(
                ("attempts_total", "Requests posted to the API, by verdict."),
                ["verdict"],
                verdicts(),
            )?,
            request_seconds: families.histograms(
                (
                    "api_request_duration_seconds",
                    "Time in seconds from the start of a request to the end of its response.",
                ),
                &REQUEST_BOUNDS_S,
                ["verdict"],
                verdicts(),
            )?,
            responses: families.counters(
                ("api_responses_total", "Responses of the API, by status class; none: no response."),
                ["status_class"],
                StatusClass::LABELS,
            )?,
            unread_answers: families.counters(
                ("answers_unread_total", "2xx responses that were not read, by reason."),
                ["why"],
                UnreadReason::ALL.map(|why| (why, [why.as_str()])),
            )?,
            credential_refreshes: families.counters(
                ("credential_refresh_total", "Logins and reads of a changed token file, by result."),
                ["result"],
                [(true, ["success"]), (false, ["failure"])],
            )?,
            in_flight: families.gauge(("in_flight", "Attempts in flight."))?,
            concurrency_limit: families.gauge(("concurrency_limit", "Current limit of concurrent attempts."))?,
        })
    }

    /// `status` is `None` without a response.
    pub(crate) fn count_attempt(&self, verdict: Verdict, status: Option<u16>, took: Duration) {
        self.attempts.inc(verdict);
        self.request_seconds.observe(verdict, took);
        self.responses.inc(StatusClass::of(status));
    }

    pub(crate) fn count_unread_answer(&self, why: UnreadReason) {
        self.unread_answers.inc(why);
    }

    pub(crate) fn count_credential_refresh(&self, success: bool) {
        self.credential_refreshes.inc(success);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_class_covers_every_status() {
        for (status, class) in [
            (None, StatusClass::None),
            (Some(100), StatusClass::ServerError),
            (Some(204), StatusClass::Success),
            (Some(302), StatusClass::Redirect),
            (Some(429), StatusClass::ClientError),
            (Some(502), StatusClass::ServerError),
            (Some(999), StatusClass::ServerError),
        ] {
            assert_eq!(StatusClass::of(status), class, "{status:?}");
        }
    }
}
