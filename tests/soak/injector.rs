//! Injects one fault after the other; a seed determines order, targets and durations.

use std::{sync::atomic::Ordering, time::Duration};

use axum::http::{HeaderValue, StatusCode};
use edna_courier::sandbox::{Action, Rule, ScriptedResponse};
use fastrand::Rng;
use futures_util::future::join_all;
use lapin::{ExchangeKind, types::AMQPValue};
use tokio::time::{Instant, timeout};

use crate::{
    config::{TIERS, elapse},
    deployment::{Deployment, unbind},
    doubt::{Effects, Site},
    environment::Environment,
    faults::{ApiFault, FAULTS, Fault, LinkFault},
    load,
    support::{
        TIMEOUT,
        eventually::eventually,
        proxy::{Proxy, Role},
        raw_amqp::RawProperties,
    },
};

/// Range of the pause before a fault, in ms.
const PAUSE_MS: std::ops::Range<u64> = 1_000..5_000;

/// So deep that the client library overflows its stack.
const CRASHING_DEPTH: usize = 5_000;

/// Without duplicates of commands before the journals are lost: longer than one needs to end.
const UNIQUE_BEFORE_LOSS: Duration = Duration::from_secs(5);

/// A slow link forwards for a quarter of the time.
const SLOW_STALL: Duration = Duration::from_millis(300);
const SLOW_FLOW: Duration = Duration::from_millis(100);

const FLAPS: u32 = 25;

/// Injects faults into an environment.
pub(crate) struct FaultInjector<'a> {
    rng: Rng,
    environment: &'a Environment,
}

impl<'a> FaultInjector<'a> {
    pub(crate) fn new(seed: u64, environment: &'a Environment) -> Self {
        Self { rng: Rng::with_seed(seed), environment }
    }

    /// Injects faults for this long, and loses both journals once after four fifths; then ends the load. After each fault
    /// everything must work again by itself.
    ///
    /// # Errors
    /// What does not.
    pub(crate) async fn run(&mut self, duration: Duration) -> Result<(), String> {
        let result = self.inject_all(duration).await;
        self.environment.is_loaded.store(false, Ordering::Relaxed);
        result
    }

    async fn inject_all(&mut self, duration: Duration) -> Result<(), String> {
        let started = Instant::now();
        let (mut order, mut is_lost) = (Vec::new(), false);
        while started.elapsed() < duration {
            if !is_lost && started.elapsed() >= duration * 4 / 5 {
                is_lost = true;
                self.lose_journals().await?;
            }
            if order.is_empty() {
                order = FAULTS.to_vec();
                self.rng.shuffle(&mut order);
            }
            let Some(fault) = order.pop() else { break };
            elapse(Duration::from_millis(self.rng.u64(PAUSE_MS))).await;
            self.inject(fault).await?;
        }
        Ok(())
    }

    async fn inject(&mut self, fault: Fault) -> Result<(), String> {
        let (site, duration) = (fault.site(&mut self.rng), fault.duration(&mut self.rng));
        let environment = self.environment;
        let disturbance = environment.begin(site, fault.effects(), format!("{fault:?}"));
        let began = environment.now_ms();
        let sites: Vec<_> = site.map_or(Site::ALL.to_vec(), |site| vec![site]);
        let deployments: Vec<_> = sites.into_iter().map(|site| environment.deployment(site)).collect();
        let role = self.apply(fault, &deployments, duration).await;
        let ended = Instant::now();
        let healthy = environment.wait_healthy().await;
        let last = healthy.map_err(|problem| format!("after {fault:?} at {began} ms: {problem}"))?;
        if fault == Fault::RestartRedis {
            environment.end_redis_doubt().await?;
        }
        environment.end(disturbance);
        println!(
            "{:5} s: {fault:?} ({}{role}) for {duration:.1?}, recovered after {:.1?} ({})",
            began / 1_000,
            site.map_or("both", Site::as_str),
            ended.elapsed(),
            last.lines().next().unwrap_or_default()
        );
        Ok(())
    }

    /// Applies a fault for this long; returns more about its target.
    async fn apply(&mut self, fault: Fault, deployments: &[&Deployment], duration: Duration) -> &'static str {
        let environment = self.environment;
        match fault {
            Fault::Link(fault) => return self.break_links(fault, deployments, duration).await,
            Fault::RestartBroker => {
                let broker = environment.broker.write().await;
                broker.stop().await;
                elapse(duration).await;
                broker.start().await;
            }
            Fault::MemoryAlarm => self.raise_memory_alarm(duration).await,
            Fault::FullListener => {
                join_all(deployments.iter().map(|deployment| self.fill_listener(deployment, duration))).await;
            }
            Fault::DeletedTier => {
                let tier = TIERS[self.rng.usize(..TIERS.len())];
                join_all(deployments.iter().map(|deployment| self.delete_tier(deployment, tier, duration))).await;
                return tier.0;
            }
            Fault::Api(fault) => self.break_api(fault, duration).await,
            Fault::Trickle(fault) => {
                environment.set_trickle(true);
                self.break_api(fault, duration).await;
                environment.set_trickle(false);
            }
            Fault::RestartRedis => {
                let mut redis = environment.redis.lock().await;
                redis.stop();
                elapse(duration).await;
                redis.start_again();
            }
            Fault::SuspendRedis => {
                let redis = environment.redis.lock().await;
                redis.pause();
                elapse(duration).await;
                redis.resume();
            }
            Fault::CutRedis => environment.redis_proxy.cut(),
            Fault::Kill => self.kill(duration).await,
            Fault::Terminate => {
                let daemons = &environment.deployment(Site::Redis).daemons;
                let mut daemon = daemons[self.rng.usize(..daemons.len())].lock().await;
                daemon.terminate().await;
                elapse(duration).await;
                daemon.restart().await;
            }
            Fault::CrashingMessage => {
                let properties = RawProperties::with_nested_header(CRASHING_DEPTH);
                load::publish_culprit(environment, Site::Redis, &properties, "a crashing message").await;
            }
        }
        ""
    }

    // --- Links ---

    async fn break_links(&mut self, fault: LinkFault, deployments: &[&Deployment], duration: Duration) -> &'static str {
        let role = [Some(Role::Consume), Some(Role::Publish), None][self.rng.usize(..3)];
        let link = |deployment: &&Deployment| match role {
            Some(role) => deployment.broker.for_role(role),
            None => deployment.broker.clone(),
        };
        join_all(deployments.iter().map(link).map(|link| break_link(link, fault, duration))).await;
        match role {
            Some(Role::Consume) => " consume",
            Some(_) => " publish",
            None => " all links",
        }
    }

    // --- Broker ---

    async fn raise_memory_alarm(&self, duration: Duration) {
        let broker = self.environment.broker.write().await;
        for (share, pause) in [("0.00001", duration), ("0.6", Duration::ZERO)] {
            let output = broker.rabbitmqctl(&["set_vm_memory_high_watermark", share]).await;
            output.unwrap_or_else(|error| panic!("{error}"));
            elapse(pause).await;
        }
    }

    /// Binds a queue for one event beside the default queue of events.
    async fn fill_listener(&self, deployment: &Deployment, duration: Duration) {
        let (client, listener) = (self.environment.client().await, deployment.queues.name("listener"));
        let limit =
            [("x-overflow", AMQPValue::LongString("reject-publish".into())), ("x-max-length", AMQPValue::LongInt(1))];
        client.declare_exchange(&listener, ExchangeKind::Fanout).await;
        client.declare_queue(&listener, "", limit).await;
        client.bind_to(&deployment.queues.name("events"), &listener, "#").await;
        elapse(duration).await;
        client.delete_queue(&listener).await;
    }

    /// Deletes the queue once it is empty and nothing can reach it.
    async fn delete_tier(&self, deployment: &Deployment, tier: (&str, i64), duration: Duration) {
        let (client, name) = (self.environment.client().await, deployment.queues.name(&format!("retry.{}", tier.0)));
        unbind(&client, &name, &name, "").await;
        eventually!(TIMEOUT, client.depth(&name).await == 0, "an empty tier");
        // What has expired is not counted until it is stored in its target.
        elapse(Duration::from_secs(2)).await;
        client.delete_queue(&name).await;
        elapse(duration).await;
        deployment.declare_tier(&client, tier).await;
    }

    // --- API ---

    async fn break_api(&self, fault: ApiFault, duration: Duration) {
        let links = self.environment.deployments.each_ref().map(|deployment| deployment.api.clone());
        let sandbox = &self.environment.sandbox;
        match fault {
            ApiFault::Refuse => {
                for link in &links {
                    link.refuse().await;
                    link.cut();
                }
            }
            ApiFault::Status(status) => self.script(StatusCode::from_u16(status).expect("a status")),
            ApiFault::Throttle => {
                let (status, retry_after) = (StatusCode::TOO_MANY_REQUESTS, Some(HeaderValue::from_static("1")));
                self.script(ScriptedResponse::Status { status, retry_after, body: None });
            }
            ApiFault::Hang => self.script(ScriptedResponse::Hang),
            ApiFault::TokenRefused => sandbox.set_token("another".into()),
            ApiFault::Slow => {
                join_all(links.iter().map(|link| slow_down(link, duration))).await;
            }
            ApiFault::Reset => self.script(ScriptedResponse::Cut),
            ApiFault::LinkCut => links.iter().for_each(Proxy::cut),
            ApiFault::LinkFreeze => links.iter().for_each(Proxy::stall),
        }
        if fault != ApiFault::Slow {
            elapse(duration).await;
        }
        sandbox.set_token("t".into());
        sandbox.clear_script();
        join_all(links.iter().map(Proxy::resume)).await;
    }

    fn script(&self, action: impl Into<Action>) {
        self.environment.sandbox.script([Rule::new(action).forever()]).expect("room");
    }

    // --- Processes and journals ---

    async fn kill(&mut self, duration: Duration) {
        let environment = self.environment;
        let daemons = &environment.deployment(Site::Redis).daemons;
        let mut daemon = daemons[self.rng.usize(..daemons.len())].lock().await;
        let crash = environment.begin(Some(Site::Redis), Effects::CRASH, "SIGKILL");
        daemon.kill();
        environment.end(crash);
        elapse(duration).await;
        daemon.restart().await;
    }

    /// Kills the daemon with the file journal and a daemon of the others, and loses both journals.
    async fn lose_journals(&mut self) -> Result<(), String> {
        let environment = self.environment;
        environment.is_unique.store(true, Ordering::Relaxed);
        elapse(UNIQUE_BEFORE_LOSS).await;
        environment.wait_healthy().await?;
        let disturbance = environment.begin(None, Effects::JOURNAL_LOSS, "both journals are lost");
        let (lost_ms, began) = (environment.now_ms(), Instant::now());
        {
            let mut file = environment.deployment(Site::File).daemons[0].lock().await;
            file.kill();
            file.remove_journal();
            let mut shared = environment.deployment(Site::Redis).daemons[0].lock().await;
            environment.redis.lock().await.cli(&["flushall"]);
            shared.kill();
            file.restart().await;
            shared.restart().await;
        }
        environment.wait_healthy().await.map_err(|problem| format!("after the loss of the journals: {problem}"))?;
        environment.wait_without_doubt(Site::File).await?;
        environment.wait_finished(lost_ms).await?;
        environment.end_redis_doubt().await?;
        environment.end(disturbance);
        environment.is_unique.store(false, Ordering::Relaxed);
        println!("{:5} s: both journals lost, recovered after {:.1?}", lost_ms / 1_000, began.elapsed());
        Ok(())
    }
}

async fn break_link(link: Proxy, fault: LinkFault, duration: Duration) {
    match fault {
        LinkFault::Cut => link.cut(),
        LinkFault::Flap => {
            for _ in 0..FLAPS {
                link.cut();
                elapse(duration / FLAPS).await;
            }
        }
        LinkFault::Freeze => link.stall(),
        LinkFault::HalfOpen(direction) => link.stall_direction(direction),
        LinkFault::Lose => link.lose(),
        LinkFault::Blackhole => {
            link.blackhole();
            link.cut();
        }
        LinkFault::Refuse => {
            link.refuse().await;
            link.cut();
        }
        LinkFault::WithholdConfirms => link.withhold_confirms(),
        LinkFault::OnlyHeartbeats => link.only_heartbeats(),
        LinkFault::Slow => slow_down(&link, duration).await,
    }
    if !matches!(fault, LinkFault::Flap | LinkFault::Slow) {
        elapse(duration).await;
    }
    link.resume().await;
}

/// Forwards in short bursts for this long.
async fn slow_down(link: &Proxy, duration: Duration) {
    let bursts = async {
        loop {
            link.stall();
            elapse(SLOW_STALL).await;
            link.resume().await;
            elapse(SLOW_FLOW).await;
        }
    };
    let _: Result<(), _> = timeout(duration, bursts).await;
}
