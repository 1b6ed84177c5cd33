//! The settings of `edna-courier topology`.

use super::{BrokerSettings, Mistakes, Sources, delivery, reader::Reader};
use crate::domain::tier::Tiers;

/// The broker, and the settings that determine its exchanges and queues.
#[derive(Clone, Debug)]
pub struct TopologySettings {
    /// `[broker]`
    pub broker: BrokerSettings,
    /// `delivery.tiers`
    pub tiers: Tiers,
    /// `events.default_queue`
    pub default_queue: bool,
}

impl TopologySettings {
    /// Reads and checks these settings alone; other settings may be missing or mistaken.
    ///
    /// # Errors
    /// All mistakes in these settings, and all unknown names.
    pub fn load(sources: &Sources) -> Result<Self, Mistakes> {
        let mut reader = Reader::new(sources);
        let topology = Self {
            broker: BrokerSettings::read(&mut reader),
            tiers: delivery::read_tiers(&mut reader),
            default_queue: reader.flag("events.default_queue"),
        };
        reader.finish(topology)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(variables: &[(&str, &str)]) -> Result<TopologySettings, Mistakes> {
        let environment = variables.iter().map(|(key, value)| (format!("EDNA_COURIER__{key}"), (*value).to_owned()));
        TopologySettings::load(&Sources { environment: environment.collect(), ..Sources::default() })
    }

    #[test]
    fn topology_load_ignores_mistakes_elsewhere() {
        let topology = load(&[
            ("BROKER__PREFIX", "p"),
            ("DELIVERY__TIERS", "1s"),
            ("EVENTS__DEFAULT_QUEUE", "false"),
            ("DELIVERY__MAX_ATTEMPTS", "many"),
            ("API__TIMEOUT", "soon"),
        ]);
        let TopologySettings { broker, tiers, default_queue } = topology.unwrap();
        assert_eq!(
            (broker.prefix.as_str(), tiers.iter().next().unwrap().name.as_str(), default_queue),
            ("p", "1s", false)
        );
        assert_eq!(load(&[]).unwrap().tiers, Tiers::default());
    }

    #[test]
    fn topology_load_reports_all_its_mistakes() {
        let mistakes =
            load(&[("BROKER__PREFIX", "a b"), ("DELIVERY__TIERS", "soon"), ("EVENTS__DEFAULT_QUEU", "true")]);
        let mistakes = mistakes.unwrap_err().0;
        let paths: Vec<_> = mistakes.iter().map(|mistake| mistake.path.as_str()).collect();
        assert!(["events.default_queu", "broker.prefix", "delivery.tiers"].iter().all(|path| paths.contains(path)));
    }
}
