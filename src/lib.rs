//! Takes send commands from RabbitMQ, posts them to edna Chat Center and publishes what became of each.
//!
//! # In one picture
//!
//! ```text
//! <p>.commands ──> amqp::Consumer ──> pipeline ──────────────────────────────> amqp::Publisher ──> <p>.events
//!                        ^            dispatcher: decode, whose turn it is (domain)          └──> <p>.dead
//!                        │            attempt: start it in the journal, POST (edna), verdict (domain)
//!                        └── ack ──── settle: end it in the journal, publish, await the confirm, then acknowledge
//! ```
//!
//! # One command's journey
//!
//! 1. [`amqp::Consumer`] brings a delivery while the [`gate`] is open; the prefetch bounds how many are in hand.
//! 2. The dispatcher of the [`pipeline`] decodes it. What is no command ends here, as a dead letter `malformed`. A command
//!    gets a place in [`domain::schedule`] and a task of its own.
//! 3. The task waits for its turn: those before it of the same device, the rates, the limit, an open gate.
//! 4. The [`journal`] is asked for the attempt. If it knows the end, that is told again (6). An attempt whose owner is gone
//!    is uncertain. Otherwise the attempt is on record as started, durably, before anything is sent.
//! 5. [`edna::ApiClient`] posts it once and returns *evidence*; [`domain::verdict`], the one decision table, says what that
//!    proves and what follows. Before another attempt, the journal knows that this one is accounted for. A command that must
//!    wait for long is copied to a tier, a delay queue, with all that the next attempt must know in its headers; when the
//!    copy is confirmed, the delivery is acknowledged. The broker brings it back to its place.
//! 6. An ending is durable in the journal before it is told. Then the event and the dead letter are published; when the
//!    broker has confirmed both, and only then, the delivery is acknowledged. While the broker cannot store them, or the
//!    journal cannot be written, the gate is closed and nothing new is posted.
//!
//! # Invariants
//!
//! - Only `pipeline/settle.rs` acknowledges, and only after the confirms. No path rejects or requeues a delivery.
//! - No POST without a start on record in the journal, no event without an end: durable, unless the settings chose no journal.
//! - After an answer from the API only the writing and the publishing are tried again, never the POST.
//! - Nothing copies a message's properties wholesale: [`domain::properties`] is an allow-list by construction.
//! - An acknowledgement carries its session's generation; one for an old session is dropped, as the broker has handed the
//!   delivery out again. For the same reason no attempt starts for a delivery of an old session.
//! - Only the dispatcher decides whose turn it is: one task owns the schedule and the limit, so nothing of it has a lock.
//! - [`domain`] does no I/O and asks no clock and no random_unit, so it cannot fail and needs no fakes.
//! - No log line, metric label, error, header or event holds a text, an address, an attachment URL or a secret: the types
//!   that carry them do not show them.
//! - Everything in memory is bounded: deliveries by the prefetch, lanes by the schedule, bodies and answers by their limits,
//!   publishes by the publisher's window.
//! - The client library's own recovery is never used: a session that is in doubt is dropped whole.
//!
//! # Layers
//!
//! A module imports only modules of lower layers; `tests/tidy.rs` holds everybody to it.
//!
//! | layer | modules | what they know |
//! |---|---|---|
//! | 7 | `main.rs` | nothing |
//! | 6 | [`cli`] | arguments, exit codes |
//! | 5 | [`bootstrap`] | every adapter; the one place that does |
//! | 4 | [`admin`], [`config`] | probes; settings and where they came from |
//! | 3 | [`pipeline`], [`amqp`], [`edna`], [`journal`], [`sandbox`] | the work; the broker; the API; what was started and how it ended; the API's stand-in |
//! | 2 | [`telemetry`] | log lines, metrics and health, told by one event struct each |
//! | 1 | [`ports`], [`gate`], [`files`], [`sync`] | what the pipeline needs of the world; the one switch; small files; locks |
//! | 0 | [`domain`] | what a command is, what an attempt proves, what follows |

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
pub mod pipeline;
pub mod ports;
pub mod sandbox;
pub mod sync;
pub mod telemetry;
