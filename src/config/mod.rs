//! The settings: one TOML file under environment variables `EDNA_COURIER__SECTION__KEY`.
//!
//! Everything is checked here, at once, and reported in one go; what comes out needs no further check. A value's default
//! stands in [`reference()`] and nowhere else.

mod api;
mod broker;
mod daemon;
mod journal;
mod known;
mod layer;
mod parse;
mod pem;
mod reader;
mod reference;
mod report;
mod said;
mod sources;
#[cfg(test)]
mod tests;
mod topology;

use self::reader::Reader;
pub use self::{
    api::Api,
    broker::Broker,
    daemon::{Admin, Delivery, Events, Limits, Log},
    journal::{FileJournal, Journal, JournalSettings, RedisJournal},
    reference::{Setting, reference},
    report::{Mistake, Mistakes},
    sources::Sources,
    topology::Topology,
};

/// All settings, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// How to reach the broker, and what belongs to us there.
    pub broker: Broker,
    /// How to reach the API.
    pub api: Api,
    /// What a command may look like and how often it is attempted.
    pub delivery: Delivery,
    /// How much may be under way at once.
    pub limits: Limits,
    /// Where what was started and how it ended is remembered.
    pub journal: Journal,
    /// What is told of an outcome, and where.
    pub events: Events,
    /// The server for probes and metrics.
    pub admin: Admin,
    /// How to log.
    pub log: Log,
}

impl Config {
    /// Reads and checks all settings.
    ///
    /// # Errors
    /// Every mistake that was found, not only the first.
    pub fn load(sources: &Sources) -> Result<Self, Mistakes> {
        let mut reader = Reader::new(sources);
        let config = Self {
            broker: Broker::read(&mut reader),
            api: Api::read(&mut reader),
            delivery: Delivery::read(&mut reader),
            limits: Limits::read(&mut reader),
            journal: Journal::read(&mut reader),
            events: Events::read(&mut reader),
            admin: Admin::read(&mut reader),
            log: Log::read(&mut reader),
        };
        reader.finish(config)
    }

    /// These settings with what the sources say of the surroundings: `[broker]`, and of `[admin]` and `[log]` what is set
    /// there. Their other sections are not read, so nothing in them can be mistaken.
    ///
    /// # Errors
    /// Every mistake in these sections, and every name that is no setting.
    pub fn in_surroundings_of(self, sources: &Sources) -> Result<Self, Mistakes> {
        let mut reader = Reader::new(sources);
        let (broker, admin, log) = (Broker::read(&mut reader), Admin::read(&mut reader), Log::read(&mut reader));
        let listen = if reader.is_set("admin.listen") { admin.listen } else { self.admin.listen };
        let level = if reader.is_set("log.level") { log.level } else { self.log.level };
        let format = if reader.is_set("log.format") { log.format } else { self.log.format };
        let admin = Admin { listen, ..admin };
        reader.finish(Self { broker, admin, log: Log { level, format }, ..self })
    }
}
