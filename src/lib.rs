//! Consumes send commands from RabbitMQ, posts them to edna Chat Center and publishes the outcome of each.
//!
//! # Overview
//!
//! ```text
//! <p>.commands ──> amqp::Consumer ──> pipeline ─────────────────────────────────> amqp::Publisher ──> <p>.events
//!                        ^            dispatcher: decode, schedule (domain)                      └──> <p>.dead
//!                        │            task:       one delivery, from taken to settled
//!                        │              attempt:  record the start, POST (edna), verdict (domain)
//!                        └── ack ────   settle:   record the outcome, publish it, await the confirm, then ack
//! ```
//!
//! # One command, step by step
//!
//! 1. [`amqp::Consumer`] receives a delivery while the [`gate`] is open. The prefetch bounds the number in hand.
//! 2. The dispatcher of the [`pipeline`] decodes it. A message that is not a command becomes a dead letter `malformed`. A
//!    command gets a position in [`domain::schedule`] and a task of its own.
//! 3. The task waits for a permit: for earlier commands of the same device, the rates, the concurrency limit and the gate.
//! 4. The task records the attempt in the [`journal`]. A command that the journal knows as finished is not posted again: its
//!    event is published again (step 6). An attempt by an owner that is gone is uncertain. Otherwise the start is durable
//!    before anything is sent.
//! 5. [`edna::ApiClient`] posts the command once and returns *evidence*. [`domain::verdict`], the one decision table, turns
//!    it into a verdict and a next step. Before another attempt the journal records the end of this one. For a long wait
//!    the command is copied to a tier (a delay queue), with all that the next attempt needs in its headers; once the copy
//!    is confirmed, the delivery is acknowledged, and the broker returns the copy after the delay.
//! 6. The outcome is durable in the journal before it is published. Then the event and the dead letter are published, and
//!    only after the broker has confirmed both is the delivery acknowledged. While the broker cannot store them, or the
//!    journal cannot be written, the gate is closed and nothing new is posted.
//!
//! # Invariants
//!
//! - Only `pipeline/settle.rs` acknowledges, and only after the confirms. Nothing sends `basic.reject` or `basic.nack`;
//!   *requeued* means left unacked for the broker to redeliver.
//! - No POST without a recorded start and no event without a recorded outcome; both are durable, unless `journal.kind` is
//!   `none`.
//! - After a response from the API only the journal write and the publish are retried, never the POST.
//! - No message properties are copied wholesale: [`domain::properties`] is an allow-list.
//! - An acknowledgement carries the generation of its session. One for an earlier session is dropped, because the broker
//!   has redelivered the message. For the same reason no attempt starts for a delivery of an earlier session.
//! - One task owns the schedule and the concurrency limit, so neither has a lock.
//! - [`domain`] does no I/O and reads no clock and no random numbers: they are arguments.
//! - No log line, metric label, error, header or event holds a text, an address, an attachment URL or a secret. The types
//!   that carry them do not print them.
//! - Everything in memory is bounded: deliveries by the prefetch, lanes by the schedule, bodies and responses by their
//!   limits, publishes by the publisher's window, log lines by their queue.
//! - The AMQP library's own recovery is not used: a session that fails is dropped as a whole.
//! - [`telemetry`] observes: it closes no gate and feeds no schedule.
//!
//! # Layers
//!
//! A module imports only modules of lower layers, and no two files import each other; `tests/tidy/` checks both.
//!
//! | layer | modules | content |
//! |---|---|---|
//! | 7 | `main.rs` | the entry point |
//! | 6 | [`cli`] | arguments, exit codes |
//! | 5 | [`bootstrap`] | the composition root, the only place that names every adapter |
//! | 4 | [`admin`], [`config`] | metrics, probes and control; settings and where they came from |
//! | 3 | [`pipeline`], [`amqp`], [`edna`], [`journal`], [`sandbox`] | the work on a delivery; the broker; the API; the record of attempts and outcomes; the stand-in for the API |
//! | 2 | [`telemetry`] | log lines, metrics and health, fed by one event struct each |
//! | 1 | [`ports`], [`gate`], [`files`], [`listener`] | the interfaces that the pipeline needs; the switch for taking commands; small files; limited connections |
//! | 0 | [`domain`], [`sync`], [`urls`] | commands, evidence, verdicts, schedule, events: pure functions and data; locks; credentials in URLs |

#![cfg_attr(test, expect(clippy::disallowed_methods, reason = "tests spawn servers and read the clock"))]

pub mod admin;
pub mod amqp;
pub mod bootstrap;
pub mod cli;
pub mod config;
pub mod domain;
pub mod edna;
pub mod files;
pub mod gate;
pub mod journal;
pub mod listener;
pub mod pipeline;
pub mod ports;
pub mod sandbox;
pub mod sync;
pub mod telemetry;
pub mod urls;
