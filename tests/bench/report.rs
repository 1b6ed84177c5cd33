//! The measured figures as text and JSON.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{args::BenchArgs, program::Program};

/// One measured figure of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    /// The key in the JSON.
    pub(crate) name: &'static str,
    /// The unit or label in the text.
    pub(crate) text: &'static str,
    pub(crate) value: f64,
    /// Its ratio is reported.
    pub(crate) compared: bool,
}

type Run = (Program, Vec<Figure>);

/// Runs the programs in turn, prints the figures of each run and the ratios, and returns everything as JSON.
pub(crate) async fn compare(args: &BenchArgs, run: impl AsyncFn(Program) -> Vec<Figure>) -> Value {
    let mut rounds = Vec::new();
    for round in 0..args.pairs {
        let mut runs = Vec::new();
        for program in Program::in_turn(round, args) {
            let figures = run(program).await;
            print_run(program, &figures);
            runs.push((program, figures));
        }
        rounds.push(runs);
    }
    let pairs: Value = rounds.iter().map(|runs| runs_json(runs)).collect();
    let mut report = json!({"pairs": pairs, "ratios": ratios(&rounds, Program::Bare)});
    if args.bare_lto.is_some() {
        report["ratios_to_bare_lto"] = ratios(&rounds, Program::BareLto);
    }
    report
}

/// Prints one run in a line.
fn print_run(program: Program, figures: &[Figure]) {
    let figures: Vec<_> = figures.iter().map(|figure| format!("{:.2} {}", figure.value, figure.text)).collect();
    eprintln!("  {:<9}{}", program.name(), figures.join(", "));
}

/// Prints and returns the ratios of the daemon to the baseline: median, minimum and maximum over the rounds.
fn ratios(rounds: &[Vec<Run>], baseline: Program) -> Value {
    let mut ratios = Map::new();
    for figure in rounds.first().map_or(&[][..], |runs| &runs[0].1).iter().filter(|figure| figure.compared) {
        let mut sorted: Vec<_> = rounds.iter().map(|runs| ratio(runs, baseline, figure.name)).collect();
        sorted.sort_by(f64::total_cmp);
        let (min, median, max) = (sorted[0], median(&sorted), sorted[sorted.len() - 1]);
        eprintln!("  daemon/{:<9}{:<22}{median:.2} ({min:.2}..{max:.2})", baseline.name(), figure.text);
        ratios.insert(figure.name.to_owned(), json!({"median": median, "min": min, "max": max}));
    }
    ratios.into()
}

fn ratio(runs: &[Run], baseline: Program, name: &str) -> f64 {
    let value = |wanted: Program| {
        let (_, figures) = runs.iter().find(|(program, _)| *program == wanted).expect("each program ran");
        figures.iter().find(|figure| figure.name == name).expect("the same figures in each run").value
    };
    value(Program::Daemon) / value(baseline)
}

fn median(sorted: &[f64]) -> f64 {
    f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2])
}

fn runs_json(runs: &[Run]) -> Value {
    let programs = runs.iter().map(|(program, figures)| {
        let figures = figures.iter().map(|figure| (figure.name.to_owned(), json!(figure.value)));
        (program.name().to_owned(), Value::Object(figures.collect()))
    });
    Value::Object(programs.collect())
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub(crate) fn number(count: impl TryInto<u64>) -> f64 {
    count.try_into().ok().expect("a count") as f64
}

pub(crate) fn mib(bytes: u64) -> f64 {
    number(bytes) / 1_048_576.0
}

pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
