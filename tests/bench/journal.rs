//! Measures the file journal.
//!
//! `cargo run --release --example journal -- fill DIR [COMMANDS] [IN_FLIGHT]` records a start and an outcome for each
//! command and prints CPU, rate and batches; `… -- open DIR` prints the duration of opening, the memory after it, and the
//! cost of lookups.
#![expect(clippy::disallowed_methods, reason = "tests spawn servers, read the clock and the environment")]

use std::{
    env, fs, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use edna_courier::{
    domain::{
        command::CommandId,
        journal::{RecordedOutcome, SendKey},
    },
    journal::{FileJournal, FileJournalSettings, JournalEvent},
    ports::{Journal, JournalUnavailable},
};
use jiff::Timestamp;

type BenchError = Box<dyn std::error::Error>;

/// The typical size of an event.
const EVENT_BYTES: usize = 420;
const LOOKUPS: u64 = 20_000;

fn main() -> Result<(), BenchError> {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match *args.as_slice() {
        ["fill", dir] => runtime.block_on(fill(dir, 100_000, 500)),
        ["fill", dir, commands] => runtime.block_on(fill(dir, commands.parse()?, 500)),
        ["fill", dir, commands, in_flight] => runtime.block_on(fill(dir, commands.parse()?, in_flight.parse()?)),
        ["open", dir] => runtime.block_on(open(dir)),
        _ => Err("usage: fill DIR [COMMANDS] [IN_FLIGHT] | open DIR".into()),
    }
}

fn open_journal(dir: &str, commits: &Arc<AtomicU64>) -> Result<FileJournal, BenchError> {
    let settings =
        FileJournalSettings { dir: PathBuf::from(dir), retention: Duration::from_hours(72), max_bytes: 64 << 30 };
    let commits = Arc::clone(commits);
    let listener = move |event: JournalEvent<'_>| match event {
        JournalEvent::Committed { .. } => drop(commits.fetch_add(1, Ordering::Relaxed)),
        JournalEvent::Size { .. } => {}
        other => print_line(&format!("{other:?}")),
    };
    Ok(FileJournal::open(&settings, Timestamp::now, listener)?)
}

async fn fill(dir: &str, commands: u64, in_flight: usize) -> Result<(), BenchError> {
    let commits = Arc::default();
    let journal = open_journal(dir, &commits)?;
    let (next, started, cpu_before) = (Arc::default(), Instant::now(), cpu_time()?);
    let workers: Vec<_> =
        (0..in_flight).map(|_| tokio::spawn(record_commands(journal.clone(), Arc::clone(&next), commands))).collect();
    for worker in workers {
        worker.await??;
    }
    let (duration, used) = (started.elapsed(), cpu_time()?.saturating_sub(cpu_before));
    let batches = commits.load(Ordering::Relaxed);
    print_line(&format!(
        "{commands} commands in {duration:.1?}: {:.0} a second, {:.1} µs CPU a command, {batches} batches of {:.0} records, {}",
        per(commands, duration.as_secs_f64()),
        used.as_secs_f64() * 1e6 / per(commands, 1.0),
        per(2 * commands, per(batches, 1.0)),
        memory()?
    ));
    journal.close().await;
    Ok(())
}

async fn record_commands(journal: FileJournal, next: Arc<AtomicU64>, commands: u64) -> Result<(), JournalUnavailable> {
    let event = "x".repeat(EVENT_BYTES);
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let Some(key) = key(number).filter(|_| number < commands) else { return Ok(()) };
        journal.start_attempt(&key).await?;
        let outcome = RecordedOutcome { event: event.clone().into(), letter_pending: false, published: false };
        journal.record_outcome(&key, outcome).await?;
    }
}

async fn open(dir: &str) -> Result<(), BenchError> {
    let started = Instant::now();
    let journal = open_journal(dir, &Arc::default())?;
    print_line(&format!("open in {:.1?}, {}", started.elapsed(), memory()?));
    for (kind, first) in [("known", 0), ("unknown", u64::MAX / 2)] {
        let (started, cpu_before) = (Instant::now(), cpu_time()?);
        let keys: Vec<_> = (0..LOOKUPS).filter_map(|number| key(first + number * 37)).collect();
        for keys in keys.chunks(500) {
            futures_util::future::try_join_all(keys.iter().map(|key| journal.lookup(key))).await?;
        }
        let used = cpu_time()?.saturating_sub(cpu_before);
        print_line(&format!(
            "{LOOKUPS} lookups of {kind} sends: {:.1?}, {:.1} µs CPU each",
            started.elapsed(),
            used.as_secs_f64() * 1e6 / per(LOOKUPS, 1.0)
        ));
    }
    print_line(&memory()?);
    journal.close().await;
    Ok(())
}

fn key(number: u64) -> Option<SendKey> {
    Some(SendKey { command_id: CommandId::new(format!("order-{number:020}-ready"))?, replay: 0 })
}

/// User and system time of the process.
fn cpu_time() -> io::Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let ticks = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    // USER_HZ is 100 on Linux.
    Ok(Duration::from_millis(ticks * 10))
}

fn memory() -> io::Result<String> {
    let status = fs::read_to_string("/proc/self/status")?;
    let lines = status.lines().filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM"));
    Ok(lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(", "))
}

#[expect(clippy::cast_precision_loss, reason = "a printed figure")]
fn per(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}

#[expect(clippy::print_stdout, reason = "a benchmark's result")]
fn print_line(line: &str) {
    println!("{line}");
}
