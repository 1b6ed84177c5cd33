//! Simulates outages of hours and days on the real pipeline, and checks the table in `deploy/guarantees.md`.
//!
//! The default run simulates the rows that take a few seconds each. With `EDNA_COURIER_BLESS=1` all rows are simulated and
//! written, which takes minutes.

use std::{env, fs, path::Path, thread, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    simulated_ports::{API_TIMEOUT, ApiFailure, SimulatedPorts, Tally},
    test_daemon,
};
use crate::{
    domain::{command::OnUncertain, properties::Properties, tier::Tiers},
    gate::Gate,
    pipeline::{Concurrency, Order, Pipeline, PipelineSettings},
    ports::Random,
    telemetry::{Telemetry, TelemetryLimits},
};

const HOUR: Duration = Duration::from_secs(3_600);
/// The API works for this long before the outage.
const HEALTHY: Duration = Duration::from_secs(60);
const DEVICES: usize = 200;
const PREFETCH: u16 = 96;
const HEADER: &str = "| outage | commands | `exhausted` | `uncertain` | attempts | probes an hour | empty after |\n\
                      |---|---|---|---|---|---|---|\n";

/// The most attempts that close the gate: the ten that trip the breaker, and all that are in flight then.
const MAX_CLOSING: usize = 10 + 64;

/// One row of the table.
#[derive(Clone, Copy)]
struct Scenario {
    hours: u32,
    per_minute: f64,
    is_random: bool,
}

/// The failures of each row, each with a policy. A refused connection and a 503 never are uncertain.
const CASES: [(ApiFailure, OnUncertain); 6] = [
    (ApiFailure::Refusing, OnUncertain::Resend),
    (ApiFailure::Status(503), OnUncertain::Park),
    (ApiFailure::Status(502), OnUncertain::Resend),
    (ApiFailure::Status(502), OnUncertain::Park),
    (ApiFailure::Hanging, OnUncertain::Resend),
    (ApiFailure::Hanging, OnUncertain::Park),
];

/// The result of one simulation; of a row, the worst of its cases.
#[derive(Clone, Copy, Debug, Default)]
struct SimulationResult {
    exhausted: usize,
    uncertain: usize,
    /// During the outage.
    attempts: usize,
    /// The most in any hour.
    probes_an_hour: usize,
    /// From the end of the outage until the last outcome.
    empty_after: Duration,
}

impl Scenario {
    fn outage(self) -> Duration {
        HOUR * self.hours
    }

    /// When the commands arrive, until the end of the outage.
    fn arrivals(self, random: impl Random) -> impl Iterator<Item = Duration> {
        let (mean, end) = (Duration::from_secs_f64(60.0 / self.per_minute), HEALTHY + self.outage());
        let gap = move || if self.is_random { mean.mul_f64(-(1.0 - random.random_unit()).ln()) } else { mean };
        std::iter::successors(Some(gap()), move |last| Some(*last + gap())).take_while(move |at| *at < end)
    }

    /// The row's cells that tell the scenario.
    fn label(self) -> String {
        let Self { hours, per_minute, is_random } = self;
        let commands = if per_minute >= 60.0 {
            format!("{} a second", per_minute / 60.0)
        } else {
            format!("{per_minute} a minute, {}", if is_random { "at random" } else { "evenly" })
        };
        format!("| {hours} h | {commands} |")
    }

    fn row(self, worst: SimulationResult) -> String {
        let SimulationResult { exhausted, uncertain, attempts, probes_an_hour, empty_after } = worst;
        let (label, minutes) = (self.label(), empty_after.as_secs().div_ceil(60));
        format!("{label} {exhausted} | {uncertain} | {attempts} | {probes_an_hour} | {minutes} min |\n")
    }

    /// Whether the default run simulates it.
    fn is_short(self) -> bool {
        self.hours == 2 && self.per_minute <= 60.0
    }
}

fn settings(on_uncertain: OnUncertain) -> PipelineSettings {
    PipelineSettings {
        api_timeout: API_TIMEOUT,
        on_uncertain,
        order: Order::Device,
        concurrency: Concurrency::Adaptive(1, 64),
        prefetch: PREFETCH,
        ..test_daemon::settings()
    }
}

fn body(n: usize) -> Vec<u8> {
    let device = n % DEVICES;
    let command = serde_json::json!({
        "commandId": format!("c-{n}"), "text": "hello", "channelType": "WHATSAPP", "deviceAddress": device.to_string(),
    });
    command.to_string().into_bytes()
}

async fn simulate(scenario: Scenario, failure: ApiFailure, on_uncertain: OnUncertain) -> SimulationResult {
    let gate = Gate::default();
    let ports = SimulatedPorts::new(gate.clone(), PREFETCH, 0x2545_F491_4F6C_DD1D);
    let limits = TelemetryLimits { max_in_flight: 64, prefetch: PREFETCH };
    let telemetry = Telemetry::new(limits, &Tiers::default()).unwrap();
    let drain = CancellationToken::new();
    let pipeline = Pipeline::new(settings(on_uncertain), ports.clone(), gate, telemetry, drain.clone());
    let (started, running) = (Instant::now(), tokio::spawn(pipeline.run(ports.clone())));
    let switch = ports.clone();
    let outage = tokio::spawn(async move {
        sleep(HEALTHY).await;
        switch.set_failure(Some(failure));
        sleep(scenario.outage()).await;
        switch.set_failure(None);
        switch.tally()
    });
    let mut commands = 0;
    for at in scenario.arrivals(ports.clone()) {
        sleep_until(started + at).await;
        ports.push(body(commands).into(), Properties::default());
        commands += 1;
    }
    let during = outage.await.unwrap();
    let ended = Instant::now();
    while ports.finished() < commands {
        sleep(Duration::from_secs(1)).await;
        assert!(ended.elapsed() < 24 * HOUR, "{} of {commands} are finished", ports.finished());
    }
    let empty_after = ended.elapsed();
    drain.cancel();
    running.await.unwrap();
    let tally = ports.tally();
    assert_eq!((tally.finished, tally.expired), (commands, 0), "each has one outcome");
    check_letters(&tally, on_uncertain);
    SimulationResult {
        exhausted: tally.exhausted,
        uncertain: tally.uncertain.len(),
        attempts: during.closing + during.probes.len(),
        probes_an_hour: most_in_an_hour(&tally.probes),
        empty_after,
    }
}

/// Asserts that few attempts close the gate, and that after their letters each one needs a probe: at most 60 an hour.
fn check_letters(tally: &Tally, on_uncertain: OnUncertain) {
    let Tally { uncertain, closing, probes, .. } = tally;
    assert!(*closing <= MAX_CLOSING, "{closing} attempts before the gate closed");
    assert!(probes.len() >= 10, "{} probes", probes.len());
    let letters_an_hour = most_in_an_hour(uncertain.get(*closing..).unwrap_or_default());
    assert!(letters_an_hour <= 60, "{letters_an_hour} letters in an hour");
    assert!(on_uncertain == OnUncertain::Park || uncertain.is_empty(), "letters of commands with `resend`");
}

fn most_in_an_hour(times: &[Instant]) -> usize {
    let within = |first: usize| times.get(first..).unwrap_or_default().partition_point(|at| *at < times[first] + HOUR);
    (0..times.len()).map(within).max().unwrap_or_default()
}

/// The worst result of all cases, each in a thread and a runtime of its own.
fn worst(scenario: Scenario) -> SimulationResult {
    let results = thread::scope(|scope| {
        let running = CASES.map(|(failure, on_uncertain)| scope.spawn(move || run(scenario, failure, on_uncertain)));
        running.map(|case| case.join().expect("the assertions of the case hold"))
    });
    results.into_iter().fold(SimulationResult::default(), |worst, result| SimulationResult {
        exhausted: worst.exhausted.max(result.exhausted),
        uncertain: worst.uncertain.max(result.uncertain),
        attempts: worst.attempts.max(result.attempts),
        probes_an_hour: worst.probes_an_hour.max(result.probes_an_hour),
        empty_after: worst.empty_after.max(result.empty_after),
    })
}

fn run(scenario: Scenario, failure: ApiFailure, on_uncertain: OnUncertain) -> SimulationResult {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let result = runtime.block_on(simulate(scenario, failure, on_uncertain));
    assert_eq!(result.exhausted, 0, "{failure:?}: an outage costs no command");
    assert!(result.probes_an_hour <= 60, "{failure:?}: {} probes in an hour", result.probes_an_hour);
    result
}

/// A day at 25 commands a second would take an hour to simulate.
fn scenarios() -> Vec<Scenario> {
    let rates = [
        (0.2, false),
        (0.2, true),
        (1.0, false),
        (1.0, true),
        (3.0, false),
        (3.0, true),
        (60.0, false),
        (1_500.0, false),
    ];
    let of_hours = |hours| rates.map(|(per_minute, is_random)| Scenario { hours, per_minute, is_random });
    let mut all = [2, 24].map(of_hours).concat();
    all.pop();
    all
}

#[test]
fn table_of_outages_is_current() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/guarantees.md");
    let page = fs::read_to_string(&file).unwrap();
    let (start, rest) = page.split_once(HEADER).expect("the table is in the page");
    let (table, end) = rest.split_once("\n\n").expect("text follows the table");
    if env::var_os("EDNA_COURIER_BLESS").is_some() {
        let rows: String = scenarios().into_iter().map(|scenario| scenario.row(worst(scenario))).collect();
        fs::write(file, [start, HEADER, &rows, "\n", end].concat()).unwrap();
        return;
    }
    assert_eq!(table.lines().count(), scenarios().len(), "rows");
    for (scenario, row) in scenarios().into_iter().zip(table.lines()) {
        assert!(row.starts_with(&scenario.label()), "{} instead of {row}", scenario.label());
        if scenario.is_short() {
            assert_eq!(row, scenario.row(worst(scenario)).trim_end(), "write it with EDNA_COURIER_BLESS=1");
        }
    }
}
