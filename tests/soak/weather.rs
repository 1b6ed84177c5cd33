//! Faults one after the other, of every kind, in an order and for times that a seed decides.

use std::{future::pending, time::Duration};

use axum::http::{HeaderValue, StatusCode};
use edna_courier::sandbox::{Action, Rule, Sandbox, ScriptedResponse};
use fastrand::Rng;
use tokio::time::{Instant, timeout, timeout_at};

use crate::support::{
    SOON,
    broker::Broker,
    daemon::Daemon,
    eventually::eventually,
    proxy::{Link, Proxy, Way},
};

/// How long a fault lasts and how long it is calm, in milliseconds.
const FAULT_MS: std::ops::Range<u64> = 500..6_000;
const CALM_MS: std::ops::Range<u64> = 500..4_000;

#[derive(Clone, Copy, Debug)]
enum Fault {
    Cut,
    Stall,
    HalfOpen(Way),
    Blackhole,
    Refuse,
    WithholdConfirms,
    RestartBroker,
    Alarm,
    ApiRefuses,
    ApiCuts,
    ApiAnswers(u16),
    ApiHangs,
    ApiAsksToWait,
    TokenRefused,
}

const FAULTS: [Fault; 16] = [
    Fault::Cut,
    Fault::Stall,
    Fault::HalfOpen(Way::ToServer),
    Fault::HalfOpen(Way::ToClient),
    Fault::Blackhole,
    Fault::Refuse,
    Fault::WithholdConfirms,
    Fault::RestartBroker,
    Fault::Alarm,
    Fault::ApiRefuses,
    Fault::ApiCuts,
    Fault::ApiAnswers(503),
    Fault::ApiAnswers(500),
    Fault::ApiHangs,
    Fault::ApiAsksToWait,
    Fault::TokenRefused,
];

/// All that can be broken.
pub(crate) struct Weather<'a> {
    random_unit: Rng,
    broker: &'a Broker,
    sandbox: &'a Sandbox,
    /// The daemon's connections to the broker: one, the other, both.
    links: [(&'static str, Proxy); 3],
    api: &'a Proxy,
}

impl<'a> Weather<'a> {
    pub(crate) fn new(seed: u64, broker: &'a Broker, sandbox: &'a Sandbox, links: &Proxy, api: &'a Proxy) -> Self {
        let links =
            [("consume", links.only(Link::Consume)), ("publish", links.only(Link::Publish)), ("both", links.clone())];
        Self { random_unit: Rng::with_seed(seed), broker, sandbox, links, api }
    }

    /// Until then, and fair weather afterwards. After each fault the daemon must take commands again by itself.
    pub(crate) async fn rage(&mut self, daemon: &Daemon, until: Instant) {
        let began = Instant::now();
        let mut order = Vec::new();
        while Instant::now() < until {
            if order.is_empty() {
                order = FAULTS.to_vec();
                self.random_unit.shuffle(&mut order);
            }
            let Some(fault) = order.pop() else { break };
            let (name, links) = self.links[self.random_unit.usize(..self.links.len())].clone();
            let (calm, lasts) = (self.random_unit.u64(CALM_MS), Duration::from_millis(self.random_unit.u64(FAULT_MS)));
            elapse(Duration::from_millis(calm)).await;
            let at = began.elapsed();
            self.begin(fault, &links).await;
            elapse(lasts).await;
            self.end(fault, &links).await;
            let ended = Instant::now();
            let told = (200, "consuming\n".to_owned());
            eventually!(SOON, daemon.get("/readyz").await, |answer| *answer == told, format!("the end of {fault:?}"));
            let back = ended.elapsed();
            let (at, memory) = (at.as_secs(), daemon.rss_bytes() >> 20);
            println!("{at:5} s: {fault:?} ({name}) for {lasts:.1?}, back after {back:.1?}; {memory} MiB");
        }
        // The load and the watch end then, too.
        drop(timeout_at(until, pending::<()>()).await);
    }

    async fn begin(&self, fault: Fault, links: &Proxy) {
        match fault {
            Fault::Cut => links.cut(),
            Fault::Stall => links.stall(),
            Fault::HalfOpen(way) => links.stall_way(way),
            Fault::Blackhole => {
                links.blackhole();
                links.cut();
            }
            Fault::Refuse => {
                links.refuse().await;
                links.cut();
            }
            Fault::WithholdConfirms => links.withhold_confirms(),
            Fault::RestartBroker => self.broker.stop().await,
            Fault::Alarm => self.watermark("0.00001").await,
            Fault::ApiRefuses => {
                self.api.refuse().await;
                self.api.cut();
            }
            Fault::ApiCuts => self.api.cut(),
            Fault::ApiAnswers(status) => self.script(0.8, StatusCode::from_u16(status).expect("a status")),
            Fault::ApiHangs => self.script(0.5, ScriptedResponse::Hang),
            Fault::ApiAsksToWait => {
                let (status, retry_after) = (StatusCode::TOO_MANY_REQUESTS, Some(HeaderValue::from_static("1")));
                self.script(0.1, ScriptedResponse::Status { status, retry_after, body: None });
            }
            Fault::TokenRefused => self.sandbox.set_token("another".into()),
        }
    }

    async fn end(&self, fault: Fault, links: &Proxy) {
        match fault {
            Fault::RestartBroker => self.broker.start().await,
            Fault::Alarm => self.watermark("0.6").await,
            _ => {}
        }
        self.sandbox.set_token("t".into());
        self.sandbox.clear_script();
        self.api.resume().await;
        links.resume().await;
    }

    fn script(&self, share: f64, action: impl Into<Action>) {
        self.sandbox.script([Rule::new(action).share(share)]).expect("room");
    }

    async fn watermark(&self, share: &str) {
        let set = self.broker.rabbitmqctl(&["set_vm_memory_high_watermark", share]).await;
        set.unwrap_or_else(|why| panic!("{why}"));
    }
}

async fn elapse(time: Duration) {
    drop(timeout(time, pending::<()>()).await);
}
