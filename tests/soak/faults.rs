//! Injects faults of all kinds one after the other; a seed determines order and durations.

use std::{future::pending, time::Duration};

use axum::http::{HeaderValue, StatusCode};
use edna_courier::sandbox::{Action, Rule, Sandbox, ScriptedResponse};
use fastrand::Rng;
use tokio::time::{Instant, timeout, timeout_at};

use crate::support::{
    TIMEOUT,
    broker::Broker,
    daemon::Daemon,
    eventually::eventually,
    proxy::{Direction, Proxy, Role},
};

/// Range of the duration of a fault, in milliseconds.
const FAULT_MS: std::ops::Range<u64> = 500..6_000;
/// Range of the pause before a fault, in milliseconds.
const PAUSE_MS: std::ops::Range<u64> = 500..4_000;

#[derive(Clone, Copy, Debug)]
enum Fault {
    Cut,
    Stall,
    HalfOpen(Direction),
    Blackhole,
    Refuse,
    WithholdConfirms,
    RestartBroker,
    MemoryAlarm,
    ApiRefuses,
    ApiCuts,
    ApiAnswers(u16),
    ApiHangs,
    ApiThrottles,
    TokenRefused,
}

const FAULTS: [Fault; 16] = [
    Fault::Cut,
    Fault::Stall,
    Fault::HalfOpen(Direction::ToServer),
    Fault::HalfOpen(Direction::ToClient),
    Fault::Blackhole,
    Fault::Refuse,
    Fault::WithholdConfirms,
    Fault::RestartBroker,
    Fault::MemoryAlarm,
    Fault::ApiRefuses,
    Fault::ApiCuts,
    Fault::ApiAnswers(503),
    Fault::ApiAnswers(500),
    Fault::ApiHangs,
    Fault::ApiThrottles,
    Fault::TokenRefused,
];

/// Access to everything that can fail.
pub(crate) struct FaultInjector<'a> {
    rng: Rng,
    broker: &'a Broker,
    sandbox: &'a Sandbox,
    /// Proxy handles for the consuming connection, the publishing one, and both.
    broker_proxies: [(&'static str, Proxy); 3],
    api: &'a Proxy,
}

impl<'a> FaultInjector<'a> {
    pub(crate) fn new(seed: u64, broker: &'a Broker, sandbox: &'a Sandbox, proxy: &Proxy, api: &'a Proxy) -> Self {
        let broker_proxies = [
            ("consume", proxy.for_role(Role::Consume)),
            ("publish", proxy.for_role(Role::Publish)),
            ("both", proxy.clone()),
        ];
        Self { rng: Rng::with_seed(seed), broker, sandbox, broker_proxies, api }
    }

    /// Injects faults until this time and ends the last one. After each fault the daemon must consume again by itself.
    pub(crate) async fn run(&mut self, daemon: &Daemon, until: Instant) {
        let started = Instant::now();
        let mut order = Vec::new();
        while Instant::now() < until {
            if order.is_empty() {
                order = FAULTS.to_vec();
                self.rng.shuffle(&mut order);
            }
            let Some(fault) = order.pop() else { break };
            let (name, proxy) = self.broker_proxies[self.rng.usize(..self.broker_proxies.len())].clone();
            let (pause, duration) = (self.rng.u64(PAUSE_MS), Duration::from_millis(self.rng.u64(FAULT_MS)));
            elapse(Duration::from_millis(pause)).await;
            let at = started.elapsed();
            self.begin(fault, &proxy).await;
            elapse(duration).await;
            self.end(fault, &proxy).await;
            let ended = Instant::now();
            let ready = (200, "consuming\n".to_owned());
            eventually!(
                TIMEOUT,
                daemon.get("/readyz").await,
                |response| *response == ready,
                format!("readiness after {fault:?}")
            );
            let recovered = ended.elapsed();
            let (at, memory) = (at.as_secs(), daemon.rss_bytes() >> 20);
            println!("{at:5} s: {fault:?} ({name}) for {duration:.1?}, ready after {recovered:.1?}; {memory} MiB");
        }
        // The load and the memory samples end at the same time.
        drop(timeout_at(until, pending::<()>()).await);
    }

    async fn begin(&self, fault: Fault, proxy: &Proxy) {
        match fault {
            Fault::Cut => proxy.cut(),
            Fault::Stall => proxy.stall(),
            Fault::HalfOpen(direction) => proxy.stall_direction(direction),
            Fault::Blackhole => {
                proxy.blackhole();
                proxy.cut();
            }
            Fault::Refuse => {
                proxy.refuse().await;
                proxy.cut();
            }
            Fault::WithholdConfirms => proxy.withhold_confirms(),
            Fault::RestartBroker => self.broker.stop().await,
            Fault::MemoryAlarm => self.watermark("0.00001").await,
            Fault::ApiRefuses => {
                self.api.refuse().await;
                self.api.cut();
            }
            Fault::ApiCuts => self.api.cut(),
            Fault::ApiAnswers(status) => self.script(0.8, StatusCode::from_u16(status).expect("a status")),
            Fault::ApiHangs => self.script(0.5, ScriptedResponse::Hang),
            Fault::ApiThrottles => {
                let (status, retry_after) = (StatusCode::TOO_MANY_REQUESTS, Some(HeaderValue::from_static("1")));
                self.script(0.1, ScriptedResponse::Status { status, retry_after, body: None });
            }
            Fault::TokenRefused => self.sandbox.set_token("another".into()),
        }
    }

    async fn end(&self, fault: Fault, proxy: &Proxy) {
        match fault {
            Fault::RestartBroker => self.broker.start().await,
            Fault::MemoryAlarm => self.watermark("0.6").await,
            _ => {}
        }
        self.sandbox.set_token("t".into());
        self.sandbox.clear_script();
        self.api.resume().await;
        proxy.resume().await;
    }

    fn script(&self, share: f64, action: impl Into<Action>) {
        self.sandbox.script([Rule::new(action).share(share)]).expect("room");
    }

    async fn watermark(&self, share: &str) {
        let output = self.broker.rabbitmqctl(&["set_vm_memory_high_watermark", share]).await;
        output.unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Lets this time pass.
async fn elapse(time: Duration) {
    drop(timeout(time, pending::<()>()).await);
}
