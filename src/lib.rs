//! Takes send commands from RabbitMQ, posts them to edna Chat Center and publishes what became of each.
//!
//! # In one picture
//!
//! ```text
//! <p>.commands ──> amqp::Consumer ──> pipeline ──────────────────────────────> amqp::Publisher ──> <p>.events
//!                        ^            intake: take in hand, decode (domain)                  └──> <p>.dead
//!                        │            attempt: gate, slot, POST (edna), verdict (domain)
//!                        └── ack ──── settle: publish, await the confirm, then acknowledge
//! ```
//!
//! # One command's journey
//!
//! 1. [`amqp::Consumer`] brings a delivery while the [`gate`] is open; the prefetch bounds how many are in hand.
//! 2. [`pipeline`] decodes it. What is no command ends here, as a dead letter `malformed`.
//! 3. It waits for an open gate and a free slot, then [`edna::Client`] posts it once and returns *evidence*.
//! 4. [`domain::verdict`], the one decision table, says what the evidence proves and what follows.
//! 5. A command that must wait for long is copied to a tier, a delay queue, with all that the next attempt must know in
//!    its headers; when the copy is confirmed, the delivery is acknowledged. The broker brings it back.
//! 6. With an ending, the event and the dead letter are published; when the broker has confirmed both, and only then,
//!    the delivery is acknowledged. While the broker cannot store them, the gate is closed and nothing new is posted.
//!
//! # Invariants
//!
//! - Only `pipeline/settle.rs` acknowledges, and only after the confirms. No path rejects or requeues a delivery.
//! - After an answer from the API only the publishing is tried again, never the POST.
//! - Nothing copies a message's properties wholesale: [`domain::properties`] is an allow-list by construction.
//! - An acknowledgement carries its session's generation; one for an old session is dropped, as the broker has handed the
//!   delivery out again. For the same reason no attempt starts for a delivery of an old session.
//! - [`domain`] does no I/O and asks no clock and no dice, so it cannot fail and needs no fakes.
//! - No log line, metric label, error, header or event holds a text, an address, an attachment URL or a secret: the types
//!   that carry them do not show them.
//! - Everything in memory is bounded: deliveries by the prefetch, bodies and answers by their limits, publishes by the
//!   publisher's window.
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
//! | 3 | [`pipeline`], [`amqp`], [`edna`], [`journal`], [`sandbox`] | the work; the broker; the API; what was started; the API's stand-in |
//! | 2 | [`telemetry`] | log lines, metrics and health, told by one event struct each |
//! | 1 | [`ports`], [`gate`] | what the pipeline needs of the world; the one switch |
//! | 0 | [`domain`] | what a command is, what an attempt proves, what follows |

pub mod admin;
pub mod amqp;
pub mod bootstrap;
pub mod cli;
pub mod config;
pub mod domain;
pub mod edna;
pub mod gate;
pub mod journal;
pub mod pipeline;
pub mod ports;
pub mod sandbox;
pub mod telemetry;
