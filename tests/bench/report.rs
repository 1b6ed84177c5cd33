//! Figures as people and programs read them.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::side::Side;

/// One that was measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    /// In the JSON.
    pub(crate) name: &'static str,
    /// For people.
    pub(crate) text: &'static str,
    pub(crate) value: f64,
    /// Its ratio says something.
    pub(crate) compared: bool,
}

type Run = (Side, Vec<Figure>);

/// Lets both sides run in turn, and tells each run and the ratios.
pub(crate) async fn compare(pairs: usize, run: impl AsyncFn(Side) -> Vec<Figure>) -> Value {
    let mut all = Vec::new();
    for pair in 0..pairs {
        let mut runs = Vec::new();
        for side in Side::in_turn(pair) {
            let figures = run(side).await;
            told(side, &figures);
            runs.push((side, figures));
        }
        all.push(runs);
    }
    ratios(&all)
}

/// Tells one run in a line.
fn told(side: Side, figures: &[Figure]) {
    let told: Vec<_> = figures.iter().map(|figure| format!("{:.2} {}", figure.value, figure.text)).collect();
    eprintln!("  {:<7}{}", side.name(), told.join(", "));
}

/// Tells the ratios of the daemon to the bare loop, pair by pair, and returns everything.
fn ratios(pairs: &[Vec<Run>]) -> Value {
    let mut ratios = Map::new();
    for figure in pairs.first().map_or(&[][..], |runs| &runs[0].1).iter().filter(|figure| figure.compared) {
        let mut of_pairs: Vec<_> = pairs.iter().map(|runs| ratio(runs, figure.name)).collect();
        of_pairs.sort_by(f64::total_cmp);
        let (min, median, max) = (of_pairs[0], median(&of_pairs), of_pairs[of_pairs.len() - 1]);
        eprintln!("  daemon/bare {:<22}{median:.2} ({min:.2}..{max:.2})", figure.text);
        ratios.insert(figure.name.to_owned(), json!({"median": median, "min": min, "max": max}));
    }
    json!({"pairs": pairs.iter().map(|runs| pair(runs)).collect::<Value>(), "ratios": ratios})
}

fn ratio(runs: &[Run], name: &str) -> f64 {
    let of = |wanted: Side| {
        let (_, figures) = runs.iter().find(|(side, _)| *side == wanted).expect("both sides ran");
        figures.iter().find(|figure| figure.name == name).expect("both have the same figures").value
    };
    of(Side::Daemon) / of(Side::Bare)
}

fn median(sorted: &[f64]) -> f64 {
    f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2])
}

fn pair(runs: &[Run]) -> Value {
    let sides = runs.iter().map(|(side, figures)| {
        let named = figures.iter().map(|figure| (figure.name.to_owned(), json!(figure.value)));
        (side.name().to_owned(), Value::Object(named.collect()))
    });
    Value::Object(sides.collect())
}

#[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^52")]
pub(crate) fn number(count: impl TryInto<u64>) -> f64 {
    count.try_into().ok().expect("a count") as f64
}

pub(crate) fn mib(bytes: u64) -> f64 {
    number(bytes) / 1_048_576.0
}

pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
