//! What the embedded journal costs: `cargo run --release --example journal -- fill DIR [COMMANDS] [IN_FLIGHT]` writes a start and
//! an end a command and tells CPU, pace and batches; `… -- open DIR` tells how long opening takes, the memory after it, and
//! what looking up costs.

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
    journal::{FileJournal, FileJournalSettings, Notice},
    ports::Journal,
};
use jiff::Timestamp;

type Failure = Box<dyn std::error::Error>;

/// About what an event is.
const EVENT_BYTES: usize = 420;
const LOOKS: u64 = 20_000;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match *words.as_slice() {
        ["fill", dir] => runtime.block_on(fill(dir, 100_000, 500)),
        ["fill", dir, commands] => runtime.block_on(fill(dir, commands.parse()?, 500)),
        ["fill", dir, commands, in_flight] => runtime.block_on(fill(dir, commands.parse()?, in_flight.parse()?)),
        ["open", dir] => runtime.block_on(open(dir)),
        _ => Err("usage: fill DIR [COMMANDS] [IN_FLIGHT] | open DIR".into()),
    }
}

fn journal(dir: &str, writes: &Arc<AtomicU64>) -> Result<FileJournal, Failure> {
    let settings =
        FileJournalSettings { dir: PathBuf::from(dir), retention: Duration::from_hours(72), max_bytes: 64 << 30 };
    let writes = Arc::clone(writes);
    let tell = move |notice: Notice<'_>| match notice {
        Notice::Wrote { .. } => drop(writes.fetch_add(1, Ordering::Relaxed)),
        Notice::Holds { .. } => {}
        other => tell(&format!("{other:?}")),
    };
    Ok(FileJournal::open(&settings, Timestamp::now, tell)?)
}

async fn fill(dir: &str, commands: u64, in_flight: usize) -> Result<(), Failure> {
    let writes = Arc::default();
    let journal = journal(dir, &writes)?;
    let (next, started, cpu_before) = (Arc::default(), Instant::now(), cpu()?);
    let workers: Vec<_> =
        (0..in_flight).map(|_| tokio::spawn(work(journal.clone(), Arc::clone(&next), commands))).collect();
    for worker in workers {
        worker.await?.map_err(|error| format!("the journal: {error}"))?;
    }
    let (took, used) = (started.elapsed(), cpu()?.saturating_sub(cpu_before));
    let batches = writes.load(Ordering::Relaxed);
    tell(&format!(
        "{commands} commands in {took:.1?}: {:.0} a second, {:.1} µs CPU a command, {batches} batches of {:.0} records, {}",
        per(commands, took.as_secs_f64()),
        used.as_secs_f64() * 1e6 / per(commands, 1.0),
        per(2 * commands, per(batches, 1.0)),
        memory()?
    ));
    journal.close().await;
    Ok(())
}

async fn work(
    journal: FileJournal,
    next: Arc<AtomicU64>,
    commands: u64,
) -> Result<(), edna_courier::ports::JournalUnavailable> {
    let event = "x".repeat(EVENT_BYTES);
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let Some(key) = key(number).filter(|_| number < commands) else { return Ok(()) };
        journal.start_attempt(&key).await?;
        journal.record_outcome(&key, RecordedOutcome { event: event.clone().into(), letter_pending: false }).await?;
    }
}

async fn open(dir: &str) -> Result<(), Failure> {
    let started = Instant::now();
    let journal = journal(dir, &Arc::default())?;
    tell(&format!("open in {:.1?}, {}", started.elapsed(), memory()?));
    for (what, first) in [("known", 0), ("unknown", u64::MAX / 2)] {
        let (started, cpu_before) = (Instant::now(), cpu()?);
        let keys = (0..LOOKS).filter_map(|number| key(first + number * 37));
        let looks: Vec<_> = keys.collect();
        for looks in looks.chunks(500) {
            let all = looks.iter().map(|key| journal.lookup(key));
            futures_util::future::try_join_all(all).await.map_err(|error| format!("the journal: {error}"))?;
        }
        let used = cpu()?.saturating_sub(cpu_before);
        tell(&format!(
            "{LOOKS} looks at {what} sends: {:.1?}, {:.1} µs CPU each",
            started.elapsed(),
            used.as_secs_f64() * 1e6 / per(LOOKS, 1.0)
        ));
    }
    tell(&memory()?);
    journal.close().await;
    Ok(())
}

fn key(number: u64) -> Option<SendKey> {
    Some(SendKey { command_id: CommandId::new(format!("order-{number:020}-ready"))?, replay: 0 })
}

/// User and system time of the process.
fn cpu() -> io::Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let ticks = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    // USER_HZ is 100 on every Linux that matters.
    Ok(Duration::from_millis(ticks * 10))
}

fn memory() -> io::Result<String> {
    let status = fs::read_to_string("/proc/self/status")?;
    let lines = status.lines().filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM"));
    Ok(lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(", "))
}

#[expect(clippy::cast_precision_loss, reason = "a figure to read")]
fn per(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}

#[expect(clippy::print_stdout, reason = "a benchmark's result")]
fn tell(line: &str) {
    println!("{line}");
}
