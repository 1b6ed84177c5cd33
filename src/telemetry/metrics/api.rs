//! The families about the API.

use std::time::Duration;

use prometheus::{Error, Histogram, IntCounter, IntGauge};

use super::family::{Children, Families};
use crate::domain::verdict::Verdict;

/// Up to the default `api.timeout`.
const REQUEST_BOUNDS_S: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// What kind of answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StatusClass {
    Success,
    Redirect,
    ClientError,
    ServerError,
    /// There was no answer.
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

    /// A status outside of 2xx to 4xx proves no more than a 5xx does, so it is counted as one.
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

/// The API: attempts, answers, pace, credential.
#[derive(Debug)]
pub(crate) struct Api {
    attempts: Children<Verdict, IntCounter>,
    duration: Children<Verdict, Histogram>,
    responses: Children<StatusClass, IntCounter>,
    credential: Children<bool, IntCounter>,
    /// Attempts under way.
    pub(crate) in_flight: IntGauge,
    /// How many attempts may be under way.
    pub(crate) concurrency_limit: IntGauge,
}

impl Api {
    pub(super) fn register(families: &Families<'_>) -> Result<Self, Error> {
        let verdicts = || Verdict::ALL.map(|verdict| (verdict, [verdict.as_str()]));
        Ok(Self {
            attempts: families.counters(
                ("attempts_total", "Requests made to the API, by what they proved."),
                ["verdict"],
                verdicts(),
            )?,
            duration: families.histograms(
                ("api_request_duration_seconds", "Time that an attempt took."),
                &REQUEST_BOUNDS_S,
                ["verdict"],
                verdicts(),
            )?,
            responses: families.counters(
                ("api_responses_total", "Answers of the API by class of status; none when no answer came."),
                ["status_class"],
                StatusClass::LABELS,
            )?,
            credential: families.counters(
                ("credential_refresh_total", "Logins and reads of a changed token file."),
                ["result"],
                [(true, ["success"]), (false, ["failure"])],
            )?,
            in_flight: families.gauge(("in_flight", "Attempts under way."))?,
            concurrency_limit: families.gauge(("concurrency_limit", "How many attempts may be under way at once."))?,
        })
    }

    /// `status` is `None` when no answer came.
    pub(crate) fn attempt_made(&self, verdict: Verdict, status: Option<u16>, took: Duration) {
        self.attempts.inc(verdict);
        self.duration.observe(verdict, took);
        self.responses.inc(StatusClass::of(status));
    }

    pub(crate) fn credential_refreshed(&self, success: bool) {
        self.credential.inc(success);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_class() {
        let classes =
            [(None, StatusClass::None), (Some(100), StatusClass::ServerError), (Some(204), StatusClass::Success)]
                .into_iter()
                .chain([(Some(302), StatusClass::Redirect), (Some(429), StatusClass::ClientError)])
                .chain([(Some(502), StatusClass::ServerError), (Some(999), StatusClass::ServerError)]);
        for (status, class) in classes {
            assert_eq!(StatusClass::of(status), class, "{status:?}");
        }
    }
}
