//! Settings: a TOML file, overridden by environment variables `EDNA_COURIER__SECTION__KEY`.
//!
//! [`Config::load`] checks everything and reports all mistakes at once; its result needs no further checks. Defaults
//! are in [`reference()`] only.

mod admin;
mod api;
mod broker;
mod delivery;
mod environment;
mod events;
mod journal;
mod known_keys;
mod layer;
mod limits;
mod log;
mod nesting;
mod parse;
mod pem;
mod raw;
mod reader;
mod reference;
mod report;
mod sources;
#[cfg(test)]
mod tests;
mod toml_file;
mod topology;

use self::reader::Reader;
pub use self::{
    admin::AdminSettings,
    api::ApiConfig,
    broker::BrokerSettings,
    delivery::DeliverySettings,
    events::EventsSettings,
    journal::JournalChoice,
    limits::LimitsSettings,
    log::LogSettings,
    reference::{Section, Setting, reference, sections},
    report::{Mistake, Mistakes},
    sources::Sources,
    topology::TopologySettings,
};

/// All settings, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[broker]`
    pub broker: BrokerSettings,
    /// `[api]`
    pub api: ApiConfig,
    /// `[delivery]`
    pub delivery: DeliverySettings,
    /// `[limits]`
    pub limits: LimitsSettings,
    /// `[journal]`
    pub journal: JournalChoice,
    /// `[events]`
    pub events: EventsSettings,
    /// `[admin]`
    pub admin: AdminSettings,
    /// `[log]`
    pub log: LogSettings,
}

impl Config {
    /// Reads and checks all settings.
    ///
    /// # Errors
    /// All mistakes, not only the first.
    pub fn load(sources: &Sources) -> Result<Self, Mistakes> {
        let mut reader = Reader::new(sources);
        let broker = BrokerSettings::read(&mut reader);
        let config = Self {
            api: ApiConfig::read(&mut reader, sources),
            delivery: DeliverySettings::read(&mut reader),
            limits: LimitsSettings::read(&mut reader),
            journal: JournalChoice::read(&mut reader, &broker.prefix),
            events: EventsSettings::read(&mut reader),
            admin: AdminSettings::read(&mut reader),
            log: LogSettings::read(&mut reader, sources.no_color()),
            broker,
        };
        reader.finish(config)
    }

    /// Replaces `[broker]`, and those settings of `[admin]` and `[log]` that `sources` sets. Does not read the other
    /// sections of `sources`.
    ///
    /// # Errors
    /// All mistakes in these three sections, and all unknown names.
    pub fn with_overrides(self, sources: &Sources) -> Result<Self, Mistakes> {
        let mut reader = Reader::new(sources);
        let broker = BrokerSettings::read(&mut reader);
        let (admin, log) = (AdminSettings::read(&mut reader), LogSettings::read(&mut reader, sources.no_color()));
        let listen = if reader.is_set("admin.listen") { admin.listen } else { self.admin.listen };
        let level = if reader.is_set("log.level") { log.level } else { self.log.level };
        let format = if reader.is_set("log.format") { log.format } else { self.log.format };
        let admin = AdminSettings { listen, ..admin };
        reader.finish(Self { broker, admin, log: LogSettings { level, format, ..log }, ..self })
    }
}
