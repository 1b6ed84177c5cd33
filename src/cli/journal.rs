//! `edna-courier journal show|stats`: reads a journal, also while a daemon uses it.

use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{json, value::RawValue};

use super::{Exit, exit::failed, output, runtime};
use crate::{
    config::{JournalChoice, Sources},
    domain::{
        command::CommandId,
        journal::{Record, RecordedOutcome, SendKey},
    },
    journal::{self, FileJournalSettings, InspectError, OpenError, RedisJournal, RedisJournalSettings},
    ports::Journal,
};

/// Includes connecting to Redis.
const REDIS_TIMEOUT: Duration = Duration::from_secs(10);
const REDIS_POLL: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub(super) struct JournalArgs {
    #[command(subcommand)]
    command: JournalCommand,
    /// Prints the result as JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum JournalCommand {
    /// Prints the record of a command. Exits with 1 if there is none.
    Show {
        /// Id of the command.
        id: String,
        /// Number of the replay (the header courier-replay); 0 is the original command.
        #[arg(long, default_value_t = 0)]
        replay: u32,
    },
    /// Prints the size and the age of the journal `file`.
    Stats,
}

/// A record and its metadata, which only the journal `file` has.
struct FoundRecord {
    record: Record,
    uncertain: Option<bool>,
    at: Option<Timestamp>,
}

pub(super) fn execute(args: &JournalArgs, sources: &Sources) -> Result<Exit, Exit> {
    let settings = JournalChoice::load(sources).map_err(|mistakes| Exit::Configuration.because(mistakes))?;
    match &args.command {
        JournalCommand::Show { id, replay } => {
            let command_id = CommandId::new(id.clone()).ok_or_else(|| {
                Exit::Usage.because("ID must have 1 to 128 bytes and no control character; see journal show --help")
            })?;
            let key = SendKey { command_id, replay: *replay };
            let found = find(settings, &key)?;
            print_record(&key, found.as_ref(), args.json);
            Ok(if found.is_some() { Exit::Success } else { Exit::Failed })
        }
        JournalCommand::Stats => match settings {
            JournalChoice::File(file) => print_stats(&file, args.json),
            JournalChoice::Redis(_) => {
                Err(failed("journal stats reads the journal file only; for Redis use `redis-cli info keyspace`"))
            }
            JournalChoice::None => Err(no_journal()),
        },
    }
}

fn find(settings: JournalChoice, key: &SendKey) -> Result<Option<FoundRecord>, Exit> {
    match settings {
        JournalChoice::File(file) => {
            let inspected = journal::inspect_record(&file.dir, key).map_err(inspect_failed)?;
            Ok(inspected.map(|inspected| FoundRecord {
                record: inspected.record,
                uncertain: Some(inspected.uncertain),
                at: Some(inspected.at),
            }))
        }
        JournalChoice::Redis(redis) => {
            let record = runtime::block_on(lookup_in_redis(redis, key))?;
            Ok((record != Record::Unknown).then_some(FoundRecord { record, uncertain: None, at: None }))
        }
        JournalChoice::None => Err(no_journal()),
    }
}

/// Retries until the journal is connected.
async fn lookup_in_redis(settings: RedisJournalSettings, key: &SendKey) -> Result<Record, Exit> {
    let journal = RedisJournal::new(settings, |_| {});
    let mut connection = tokio::task::JoinSet::new();
    connection.spawn(journal.clone().run());
    let mut problem = "no answer".to_owned();
    let lookup = async {
        loop {
            match journal.lookup(key).await {
                Ok(record) => return record,
                Err(unavailable) => problem = unavailable.to_string(),
            }
            tokio::time::sleep(REDIS_POLL).await;
        }
    };
    let record = tokio::time::timeout(REDIS_TIMEOUT, lookup).await;
    journal.close().await;
    drop(connection);
    record.map_err(|_| Exit::Unreachable.because(&problem))
}

fn print_record(key: &SendKey, found: Option<&FoundRecord>, as_json: bool) {
    let (id, replay) = (key.command_id.as_str(), key.replay);
    let state = found.map_or("unknown", |found| state(&found.record));
    let outcome = found.and_then(|found| match &found.record {
        Record::Finished(outcome) => Some(outcome),
        _ => None,
    });
    let at = found.and_then(|found| found.at).map(|at| format!("{at:.3}"));
    let uncertain = found.and_then(|found| found.uncertain);
    let attempts = found.and_then(|found| attempts(&found.record));
    if as_json {
        return output::print_json(&json!({
            "commandId": id, "replay": replay, "state": state, "at": at, "uncertain": uncertain, "attempts": attempts,
            "letterPending": outcome.map(|outcome| outcome.letter_pending), "published": outcome.map(|outcome| outcome.published),
            "event": outcome.and_then(event),
        }));
    }
    output::print(&format!("{id:?}, replay {replay}: {}", describe(state)));
    if let Some(at) = at {
        output::print(&format!("recorded      {at}"));
    }
    if uncertain == Some(true) {
        output::print(&"uncertain     an attempt may have reached the API; its answer was not received");
    }
    if let Some(attempts) = attempts {
        output::print(&format!("attempts      {attempts} counted"));
    }
    if let Some(outcome) = outcome {
        output::print(&format!("event         {}", String::from_utf8_lossy(&outcome.event)));
        if !outcome.published {
            output::print(&"published     not confirmed by the broker yet, as far as is known");
        }
        if outcome.letter_pending {
            output::print(&"dead letter   not confirmed by the broker yet");
        }
    }
}

fn event(outcome: &RecordedOutcome) -> Option<Box<RawValue>> {
    serde_json::from_slice(&outcome.event).ok()
}

/// Attempts that counted so far; `None` where the event has them.
const fn attempts(record: &Record) -> Option<u32> {
    match record {
        Record::Orphaned { counted } => Some(*counted),
        Record::Waiting(history) => Some(history.counted),
        Record::Unknown | Record::InProgress | Record::Finished(_) => None,
    }
}

/// The state in the JSON output.
const fn state(record: &Record) -> &'static str {
    match record {
        Record::Unknown => "unknown",
        Record::InProgress => "held",
        Record::Orphaned { .. } => "orphaned",
        Record::Waiting(_) => "waiting",
        Record::Finished(_) => "ended",
    }
}

fn describe(state: &str) -> &'static str {
    match state {
        "held" => "an attempt is in progress",
        "orphaned" => "an attempt started, and its daemon stopped before it finished",
        "waiting" => "waiting for the next attempt",
        "ended" => "finished",
        _ => "nothing is on record: no attempt started within journal.retention",
    }
}

fn print_stats(settings: &FileJournalSettings, as_json: bool) -> Result<Exit, Exit> {
    let dir = &settings.dir;
    let stats = journal::inspect_stats(dir).map_err(inspect_failed)?;
    let time = |at: Option<Timestamp>| at.map(|at| format!("{at:.3}"));
    let (oldest, newest) = (time(stats.oldest), time(stats.newest));
    if as_json {
        output::print_json(&json!({
            "dir": dir, "entries": stats.entries, "bytes": stats.bytes, "segments": stats.segments,
            "oldest": oldest, "newest": newest,
        }));
        return Ok(Exit::Success);
    }
    output::print(&format!("directory     {}", dir.display()));
    output::print(&format!("entries       {}", stats.entries));
    output::print(&format!("bytes         {}, in {} segments", stats.bytes, stats.segments));
    output::print(&format!("oldest        {}", oldest.as_deref().unwrap_or("none")));
    output::print(&format!("newest        {}", newest.as_deref().unwrap_or("none")));
    Ok(Exit::Success)
}

fn inspect_failed(error: InspectError) -> Exit {
    match error {
        InspectError::Open(OpenError::NewerVersion { .. }) => Exit::Configuration.because(error),
        other => failed(other),
    }
}

fn no_journal() -> Exit {
    failed("journal.kind is \"none\", so there is no journal to read; check the configuration file that is used")
}
