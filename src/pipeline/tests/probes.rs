//! The breaker and the brake: when they close, which command probes, and what a failed probe costs.

use std::{collections::HashMap, time::Duration};

use serde_json::json;

use super::{
    fake_ports::{FakePorts, status, success, throttled},
    test_daemon::TestDaemon,
};
use crate::{
    domain::{
        command::OnUncertain,
        evidence::{Evidence, NoAnswer, NoToken, NotSent},
    },
    gate::GateReason,
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

impl FakePorts {
    /// Answers each POST by its text, instead of by the script.
    fn answer_by_text(&self, answer: impl FnMut(&str) -> Evidence + Send + 'static) {
        self.state().answers = Some(Box::new(answer));
    }

    /// Texts with `bad` in them get this evidence, others succeed.
    fn answer_bad_with(&self, evidence: Evidence) {
        self.answer_by_text(move |text| if text.contains("bad") { evidence.clone() } else { success() });
    }

    fn exhausted(&self) -> usize {
        self.events().iter().filter(|event| event["failure"]["reason"] == "exhausted").count()
    }
}

fn refused() -> Evidence {
    Evidence::NotSent(NotSent::Connect)
}

fn timeout() -> Evidence {
    Evidence::NoAnswer(NoAnswer::Timeout)
}

fn device(n: usize) -> serde_json::Value {
    json!({"deviceAddress": format!("8900{n:07}")})
}

/// Delivers a command of another device in each interval.
async fn trickle(daemon: &mut TestDaemon, commands: usize, interval: Duration) {
    for n in 0..commands {
        daemon.deliver("hello", device(n));
        daemon.advance(interval).await;
    }
}

#[tokio::test(start_paused = true)]
async fn breaker_closes_at_a_trickle_and_costs_no_command() {
    for (interval, commands) in [(20 * SECOND, 75), (5 * MINUTE, 24)] {
        let mut daemon = TestDaemon::start();
        daemon.fakes.answer_by_text(|_| refused());
        trickle(&mut daemon, commands, interval).await;
        assert!(daemon.gate.state().is_closed_by(GateReason::Breaker), "one command in {interval:?}");
        daemon.fakes.answer_by_text(|_| success());
        daemon.advance(2 * HOUR).await;
        assert_eq!(daemon.fakes.dead_letters(), []);
        assert_eq!(daemon.fakes.events().len(), commands);
        assert!(daemon.fakes.events().iter().all(|event| event["attempts"].as_u64() <= Some(8)));
    }
}

#[tokio::test(start_paused = true)]
async fn breaker_closes_on_hanging_api_with_few_uncertain_letters() {
    let mut daemon = TestDaemon::start_with(|settings| settings.on_uncertain = OnUncertain::Park);
    daemon.fakes.set_latency(5 * SECOND);
    daemon.fakes.answer_by_text(|_| timeout());
    trickle(&mut daemon, 75, 20 * SECOND).await;
    assert!(daemon.gate.state().is_closed_by(GateReason::Breaker));
    let (closing, probes) = (5, 25 + 5);
    assert!(daemon.fakes.dead_letters().len() <= closing + probes, "{}", daemon.fakes.dead_letters().len());
}

#[tokio::test(start_paused = true)]
async fn breaker_probes_are_uncounted_and_at_most_sixty_an_hour() {
    let mut daemon = TestDaemon::start_with(|settings| settings.max_attempts = 2);
    daemon.fakes.answer_by_text(|_| refused());
    for n in 0..10 {
        daemon.deliver("hello", device(n));
    }
    daemon.advance(SECOND).await;
    assert!(daemon.gate.state().is_closed_by(GateReason::Breaker));
    let closing = daemon.fakes.posts();
    let dead = daemon.fakes.dead_letters().len();
    daemon.advance(HOUR).await;
    let probes = daemon.fakes.posts() - closing;
    assert!((50..=60).contains(&probes), "{probes} probes in the first hour");
    daemon.advance(23 * HOUR).await;
    assert!(daemon.fakes.posts() - closing <= 24 * 60);
    assert_eq!(daemon.fakes.dead_letters().len(), dead, "the outage cost no command");
}

#[tokio::test(start_paused = true)]
async fn breaker_probe_prefers_resend() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.answer_by_text(|_| timeout());
    for n in 0..10 {
        daemon.deliver("resend", device(n));
    }
    daemon.advance(500 * SECOND / 1_000).await;
    assert!(daemon.gate.state().is_closed_by(GateReason::Breaker));
    for n in 10..40 {
        let mut more = device(n);
        more["onUncertain"] = json!(if n % 2 == 0 { "park" } else { "resend" });
        daemon.deliver("hello", more);
    }
    daemon.advance(4 * MINUTE).await;
    assert_eq!(daemon.fakes.dead_letters(), [], "no command with `park` was the probe");
}

#[tokio::test(start_paused = true)]
async fn fresh_good_command_opens_the_breaker_at_once() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.answer_bad_with(status(500));
    for n in 0..8 {
        daemon.deliver("bad", device(n));
    }
    daemon.advance(2 * MINUTE).await;
    assert!(daemon.gate.state().is_closed_by(GateReason::Breaker));
    daemon.deliver("good", device(9));
    daemon.advance(66 * SECOND).await;
    assert_eq!(daemon.fakes.delivered_texts(), ["good"], "the next probe");
    for n in 0..120 {
        daemon.deliver("good", device(100 + n));
        daemon.advance(2 * MINUTE).await;
    }
    assert_eq!(daemon.fakes.delivered_texts().len(), 121, "no good one was held back");
    assert_eq!(daemon.fakes.exhausted(), 8, "between good ones the bad ones are counted");
}

#[tokio::test(start_paused = true)]
async fn bad_commands_in_hand_request_another_probe() {
    for evidence in [status(500), status(403), refused()] {
        let mut daemon = TestDaemon::start();
        daemon.fakes.answer_bad_with(evidence.clone());
        for n in 0..5 {
            daemon.deliver("bad", device(n));
        }
        daemon.advance(20 * SECOND).await;
        assert!(!daemon.gate_is_open());
        let requested = daemon.gate.clone();
        let before_the_next = tokio::time::timeout(MINUTE, requested.until(|gate| gate.probe_requested()));
        before_the_next.await.expect("a request before the next probe");
        daemon.deliver("good", device(9));
        daemon.advance(4 * SECOND).await;
        assert_eq!(daemon.fakes.delivered_texts(), ["good"], "{evidence}");
    }
}

#[tokio::test(start_paused = true)]
async fn hand_beyond_the_configured_prefetch_has_room_for_a_probe() {
    let mut daemon = TestDaemon::start_with(|settings| settings.prefetch = 10);
    daemon.fakes.answer_bad_with(refused());
    // As many in hand as after the prefetch has grown, none of them a good probe.
    for n in 0..75 {
        daemon.deliver("bad", json!({"deviceAddress": format!("8900{n:07}"), "onUncertain": "park"}));
    }
    daemon.advance(20 * SECOND).await;
    assert!(!daemon.gate_is_open());
    let requested = daemon.gate.clone();
    let before_the_next = tokio::time::timeout(2 * MINUTE, requested.until(|gate| gate.probe_requested()));
    before_the_next.await.expect("a request before the next probe");
}

#[tokio::test(start_paused = true)]
async fn tail_of_failing_commands_leaves_the_gate_open() {
    let mut daemon = TestDaemon::start();
    let mut failures = HashMap::<String, u32>::new();
    daemon.fakes.answer_by_text(move |text| {
        let failed = failures.entry(text.to_owned()).or_default();
        *failed += 1;
        if text.contains("bad") && *failed <= 3 { status(503) } else { success() }
    });
    daemon.fakes.set_latency(10 * SECOND / 1_000);
    for n in 0..1_000 {
        daemon.deliver(&format!("{} {n}", if n % 10 == 0 { "bad" } else { "good" }), device(n));
    }
    let mut closed = Duration::ZERO;
    while daemon.fakes.acked().len() < 1_000 + daemon.fakes.delayed_tiers().len() {
        daemon.advance(SECOND / 10).await;
        closed += if daemon.gate_is_open() { Duration::ZERO } else { SECOND / 10 };
        assert!(daemon.fakes.posts() < 2_000);
    }
    assert_eq!((daemon.fakes.dead_letters().len(), closed), (0, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn commands_behind_rejected_ones_go_within_thirty_seconds() {
    for same_sender in [false, true] {
        let mut daemon = TestDaemon::start();
        daemon.fakes.answer_bad_with(status(400));
        for n in 0..60 {
            daemon.deliver("bad", device(if same_sender { 0 } else { n }));
        }
        for n in 100..110 {
            daemon.deliver("good", device(n));
        }
        daemon.advance(SECOND / 2).await;
        assert!(daemon.gate.state().is_closed_by(GateReason::Brake));
        daemon.advance(30 * SECOND).await;
        assert_eq!(daemon.fakes.delivered_texts().len(), 10, "same sender: {same_sender}");
        daemon.deliver("good", device(111));
        daemon.advance(30 * SECOND).await;
        assert_eq!(daemon.fakes.delivered_texts().len(), 11, "also a later one");
    }
}

#[tokio::test(start_paused = true)]
async fn brake_probes_another_device_after_each_rejection() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.answer_by_text(|_| status(404));
    for n in 0..60 {
        daemon.deliver(&format!("of device {}", n % 20), device(n % 20));
    }
    daemon.advance(SECOND / 2).await;
    let closing = daemon.fakes.posts();
    daemon.advance(20 * SECOND).await;
    let mut probed = daemon.fakes.posted_texts().split_off(closing);
    let probes = probed.len();
    assert!((36..50).contains(&probes), "{probes} probes: each of those left once, then more slowly");
    probed.truncate(20);
    probed.sort_unstable();
    probed.dedup();
    assert_eq!(probed.len(), 20, "devices of the first twenty probes");
}

#[tokio::test(start_paused = true)]
async fn resume_releases_the_brake() {
    let mut daemon = TestDaemon::start();
    daemon.gate.resume();
    daemon.fakes.answer_by_text(|_| status(404));
    for n in 0..60 {
        daemon.deliver("hello", device(n));
    }
    daemon.advance(SECOND / 2).await;
    assert!(daemon.gate.state().is_closed_by(GateReason::Brake), "an earlier resume does not count");
    let dead = daemon.fakes.dead_letters().len();
    daemon.gate.resume();
    daemon.advance(SECOND / 4).await;
    assert!(daemon.fakes.dead_letters().len() >= dead + 19, "the next twenty decide anew");
    assert!(daemon.gate.state().is_closed_by(GateReason::Brake));
}

#[tokio::test(start_paused = true)]
async fn resume_probes_the_breaker_at_once() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.answer_by_text(|_| refused());
    for n in 0..20 {
        daemon.deliver("hello", device(n));
    }
    daemon.advance(200 * SECOND).await;
    assert!(daemon.gate.state().is_closed_by(GateReason::Breaker));
    daemon.fakes.answer_by_text(|_| success());
    daemon.gate.resume();
    daemon.advance(SECOND / 10).await;
    assert!(daemon.gate_is_open());
}

#[tokio::test(start_paused = true)]
async fn failed_login_is_no_attempt() {
    let mut daemon = TestDaemon::start_with(|settings| settings.max_attempts = 1);
    let no_login = NoToken { problem: "the login was refused".into(), retry_after: None };
    daemon.fakes.answer_by_text(move |_| Evidence::NoToken(no_login.clone()));
    for n in 0..12 {
        daemon.deliver("hello", device(n));
    }
    daemon.advance(MINUTE).await;
    assert_eq!(daemon.gate.state().reasons().collect::<Vec<_>>(), [GateReason::Auth]);
    assert_eq!(daemon.counted_attempts(), Vec::<String>::new());
    daemon.fakes.answer_by_text(|_| success());
    daemon.advance(15 * SECOND).await;
    assert!(daemon.gate_is_open());
    let events = daemon.fakes.events();
    assert_eq!(events.len(), 12);
    assert!(events.iter().all(|event| event["attempts"] == 1 && event["possibleDuplicate"] == false));
}

#[tokio::test(start_paused = true)]
async fn retry_after_of_a_login_postpones_the_probe() {
    for (retry_after_s, next_probe_s) in [(120, 120), (0, 1), (86_400, 3_600)] {
        let mut daemon = TestDaemon::start();
        let retry_after = Some(retry_after_s * SECOND);
        let no_login = NoToken { problem: "the login was put off".into(), retry_after };
        daemon.fakes.script_evidence([Evidence::NoToken(no_login)]);
        daemon.deliver("hello", device(0));
        daemon.advance(next_probe_s * SECOND - SECOND / 10).await;
        assert_eq!((daemon.fakes.posts(), daemon.gate_is_open()), (1, false), "Retry-After: {retry_after_s}");
        // A command that was held for too long may be in a tier: the probe is another one.
        daemon.deliver("hello", device(1));
        daemon.advance(SECOND / 5).await;
        assert!(daemon.gate_is_open(), "Retry-After: {retry_after_s}");
    }
}

#[tokio::test(start_paused = true)]
async fn probe_of_another_reason_that_fails_is_uncounted() {
    for closing in [status(401), throttled(1)] {
        for failure in [status(503), status(502), refused(), timeout()] {
            let mut daemon = TestDaemon::start_with(|settings| settings.max_attempts = 1);
            daemon.fakes.script_evidence([closing.clone(), failure.clone()]);
            daemon.deliver("hello", device(0));
            daemon.advance(MINUTE).await;
            assert_eq!(daemon.fakes.dead_letters(), [], "{closing}, then {failure}");
            assert_eq!(daemon.fakes.events()[0]["attempts"], 1, "{closing}, then {failure}");
        }
    }
}
