//! `edna-courier journal show|stats`: what a journal knows, also while a daemon writes in it.

use std::{path::Path, time::Duration};

use clap::{Args, Subcommand};
use serde_json::{json, value::RawValue};

use super::{Exit, output, runtime};
use crate::{
    config::{self, Sources},
    domain::{
        command::CommandId,
        journal::{Record, RecordedOutcome, SendKey},
    },
    journal::{self, RedisJournal, RedisJournalSettings},
    ports::Journal,
};

/// Redis answers at once or is in trouble.
const PATIENCE: Duration = Duration::from_secs(10);

/// What `journal` takes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    question: Question,
    /// Tells it as JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Question {
    /// Shows what is on record of a command; exit code 1 if nothing is.
    Show {
        /// The command's id.
        id: String,
        /// Which replay of it.
        #[arg(long, default_value_t = 0)]
        replay: u32,
    },
    /// Shows how much is on record.
    Stats,
}

/// What is on record, and what is known besides.
struct Found {
    record: Record,
    uncertain: Option<bool>,
    at: Option<jiff::Timestamp>,
}

pub(super) fn execute(arguments: &Arguments, sources: &Sources) -> Exit {
    answer(arguments, sources).unwrap_or_else(|exit| exit)
}

fn answer(arguments: &Arguments, sources: &Sources) -> Result<Exit, Exit> {
    let settings = config::JournalSettings::load(sources).map_err(|mistakes| {
        output::problem(&mistakes);
        Exit::Configuration
    })?;
    match &arguments.question {
        Question::Show { id, replay } => {
            let Some(command_id) = CommandId::new(id.clone()) else {
                output::problem(&"a command id has 1 to 128 bytes and no control character");
                return Err(Exit::Usage);
            };
            let key = SendKey { command_id, replay: *replay };
            let found = find(&settings, &key)?;
            show(&key, found.as_ref(), arguments.json);
            Ok(if found.is_some() { Exit::Done } else { Exit::Failed })
        }
        Question::Stats => stats(&settings, arguments.json),
    }
}

fn find(settings: &config::JournalSettings, key: &SendKey) -> Result<Option<Found>, Exit> {
    match &settings.journal {
        config::Journal::File(file) => {
            let shown = journal::show(&file.dir, key).map_err(failed)?;
            Ok(shown.map(|shown| Found { record: shown.record, uncertain: Some(shown.uncertain), at: Some(shown.at) }))
        }
        config::Journal::Redis(redis) => {
            let (url, prefix) = (redis.url.clone(), settings.prefix.clone());
            let journal = RedisJournal::new(RedisJournalSettings { url, prefix, retention: redis.retention }, |_| {});
            let record = runtime()?.block_on(lookup(journal, key))?;
            Ok((record != Record::Unknown).then_some(Found { record, uncertain: None, at: None }))
        }
        config::Journal::None => Err(none()),
    }
}

/// The first answers may be that it is not connected yet.
async fn lookup(journal: RedisJournal, key: &SendKey) -> Result<Record, Exit> {
    let keeping = tokio::spawn(journal.clone().run());
    let mut problem = "no answer".to_owned();
    let looking = async {
        loop {
            match journal.lookup(key).await {
                Ok(record) => return record,
                Err(unavailable) => problem = unavailable.to_string(),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let looked = tokio::time::timeout(PATIENCE, looking).await;
    journal.close().await;
    drop(keeping);
    looked.map_err(|_| {
        output::problem(&problem);
        Exit::Unreachable
    })
}

fn show(key: &SendKey, found: Option<&Found>, as_json: bool) {
    let (id, replay) = (key.command_id.as_str(), key.replay);
    let state = found.map_or("unknown", |found| state(&found.record));
    let ended = found.and_then(|found| if let Record::Finished(ended) = &found.record { Some(ended) } else { None });
    let at = found.and_then(|found| found.at).map(|at| format!("{at:.3}"));
    let uncertain = found.and_then(|found| found.uncertain);
    if as_json {
        let event = ended.and_then(event);
        let letter_pending = ended.map(|ended| ended.letter_pending);
        return output::json(&json!({
            "commandId": id, "replay": replay, "state": state, "at": at, "uncertain": uncertain,
            "owesLetter": letter_pending, "event": event,
        }));
    }
    output::line(&format!("{id:?}, replay {replay}: {}", in_words(state)));
    if let Some(at) = at {
        output::line(&format!("recorded      {at}"));
    }
    if uncertain == Some(true) {
        output::line(&"an attempt may have reached the API without an answer");
    }
    if let Some(ended) = ended {
        output::line(&format!("event         {}", String::from_utf8_lossy(&ended.event)));
        if ended.letter_pending {
            output::line(&"its dead letter is not known to be stored");
        }
    }
}

fn event(ended: &RecordedOutcome) -> Option<Box<RawValue>> {
    serde_json::from_slice(&ended.event).ok()
}

const fn state(record: &Record) -> &'static str {
    match record {
        Record::Unknown => "unknown",
        Record::InProgress => "held",
        Record::Orphaned => "orphaned",
        Record::Waiting { .. } => "waiting",
        Record::Finished(_) => "ended",
    }
}

fn in_words(state: &str) -> &'static str {
    match state {
        "held" => "an attempt is under way",
        "orphaned" => "an attempt began, and the daemon that made it is gone",
        "waiting" => "waits for its next attempt",
        "ended" => "reached its end",
        _ => "nothing is on record: no attempt began within journal.retention",
    }
}

fn stats(settings: &config::JournalSettings, as_json: bool) -> Result<Exit, Exit> {
    let dir = match &settings.journal {
        config::Journal::File(file) => &file.dir,
        config::Journal::Redis(_) => {
            output::problem(&"only the journal file is counted; Redis tells by itself: `redis-cli info keyspace`");
            return Err(Exit::Failed);
        }
        config::Journal::None => return Err(none()),
    };
    told(dir, as_json).map_err(failed)
}

fn told(dir: &Path, as_json: bool) -> Result<Exit, journal::Unreadable> {
    let stats = journal::stats(dir)?;
    let time = |at: Option<jiff::Timestamp>| at.map(|at| format!("{at:.3}"));
    let (oldest, newest) = (time(stats.oldest), time(stats.newest));
    if as_json {
        output::json(&json!({
            "dir": dir, "entries": stats.entries, "bytes": stats.bytes, "segments": stats.segments,
            "oldest": oldest, "newest": newest,
        }));
        return Ok(Exit::Done);
    }
    output::line(&format!("directory     {}", dir.display()));
    output::line(&format!("entries       {}", stats.entries));
    output::line(&format!("bytes         {}, in {} segments", stats.bytes, stats.segments));
    output::line(&format!("oldest        {}", oldest.as_deref().unwrap_or("none")));
    output::line(&format!("newest        {}", newest.as_deref().unwrap_or("none")));
    Ok(Exit::Done)
}

fn none() -> Exit {
    output::problem(&"journal.kind is none: there is no journal to look into");
    Exit::Failed
}

fn failed(problem: impl std::fmt::Display) -> Exit {
    output::problem(&problem);
    Exit::Failed
}
