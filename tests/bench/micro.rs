//! Time and allocations of each step of pure code for one command, without broker and API.
//!
//! Counting adds about 10 ns to each allocation.
#![cfg(test)] // Makes clippy treat this target as test code.
#![expect(clippy::disallowed_methods, reason = "tests spawn servers, read the clock and the environment")]

use std::alloc::System;

use bytes::Bytes;
use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use edna_courier::domain::{
    command::{Command, OnUncertain},
    decode::{DecodeLimits, decode},
    event::{CommandResult, Event, EventContext, EventFormat, Response, Timing},
    evidence::{Answer, Evidence},
    message::Message,
    properties::Properties,
    request,
    verdict::{StatusLists, next},
};
use jiff::Timestamp;
use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const FIELD: &str = "clientApplicationDescriptor";
const ANSWER: &[u8] = br#"{ "id": 1, "threadId": 2, "clientId": 1, "clientExternalId": null, "agentId": 3 }"#;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for text_bytes in [150, 8_192] {
        let mut group = criterion.benchmark_group(format!("a command with a text of {text_bytes} B"));
        group.throughput(Throughput::Elements(1));
        steps(&mut group, text_bytes);
        group.finish();
    }
    criterion.final_summary();
}

fn steps(group: &mut BenchmarkGroup<'_, WallTime>, text_bytes: usize) {
    let text = "t".repeat(text_bytes);
    let wire = json!({"commandId": "c-12345", "text": text, "channelType": "WHATSAPP", "deviceAddress": "79001234567"});
    let (body, limits) = (wire.to_string().into_bytes(), DecodeLimits { max_text: 10_000, ..DecodeLimits::default() });
    let properties = Properties { content_type: Some("application/json".into()), ..Properties::default() };
    let decoded = || decode(&body, &properties, &limits, || unreachable!("the command has an id")).expect("a command");
    let (command, evidence) = (decoded(), delivered_evidence());
    let lists = StatusLists::default();

    step(group, "decode", decoded);
    step(group, "render the request", || request::render(&command, FIELD));
    step(group, "judge and choose the next step", || next(lists.classify(&evidence), 1, 8, OnUncertain::Resend));
    step(group, "parse the response", || Response::parse(ANSWER));
    step(group, "render the event", || render_event(&command, &properties));
    step(group, "all steps", || {
        let command = decoded();
        let next_step = next(lists.classify(&evidence), 1, 8, OnUncertain::Resend);
        (request::render(&command, FIELD), next_step, render_event(&command, &properties))
    });
}

fn delivered_evidence() -> Evidence {
    Evidence::Answer(Answer { status: 200, retry_after: None, body: Some(ANSWER.to_vec()) })
}

/// The event for the journal and the message for the broker, as in the pipeline.
fn render_event(command: &Command, properties: &Properties) -> (Bytes, Message) {
    let timing = Timing { waited_ms: 12, api_ms: 48, total_ms: 61 };
    let occurred_at = Timestamp::now();
    let circumstances = EventContext { replay: 0, occurred_at, attempts: 1, possible_duplicate: false, timing };
    let event = Event::of_command(command, CommandResult::Succeeded(Response::parse(ANSWER).ok()), &circumstances);
    let json = event.to_json();
    (json.clone(), event.to_message(json, EventFormat::Plain, 0, properties))
}

fn step<T>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, mut work: impl FnMut() -> T) {
    let region = Region::new(ALLOCATOR);
    drop(work());
    let counted = region.change();
    let (allocations, bytes) = (counted.allocations + counted.reallocations, counted.bytes_allocated);
    println!("{name}: {allocations} allocations, {bytes} B");
    group.bench_function(name, |bencher| bencher.iter(&mut work));
}
