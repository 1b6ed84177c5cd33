//! The settings of commands that work on the broker's topology alone.

use super::{Broker, Mistakes, Sources, daemon, reader::Reader};
use crate::domain::tier::Tiers;

/// Where the topology is, and what it follows from.
#[derive(Clone, Debug)]
pub struct Topology {
    /// `[broker]`
    pub broker: Broker,
    /// `delivery.tiers`
    pub tiers: Tiers,
    /// `events.default_queue`
    pub default_queue: bool,
}

impl Topology {
    /// Reads and checks these settings. The others are not read, so nothing in them can be mistaken or missing.
    ///
    /// # Errors
    /// Every mistake in these settings, and every name that is no setting.
    pub fn load(sources: &Sources) -> Result<Self, Mistakes> {
        let mut reader = Reader::new(sources);
        let topology = Self {
            broker: Broker::read(&mut reader),
            tiers: daemon::tiers(&mut reader),
            default_queue: reader.flag("events.default_queue"),
        };
        reader.finish(topology)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(variables: &[(&str, &str)]) -> Result<Topology, Mistakes> {
        let environment = variables.iter().map(|(key, value)| (format!("EDNA_COURIER__{key}"), (*value).to_owned()));
        Topology::load(&Sources { environment: environment.collect(), ..Sources::default() })
    }

    #[test]
    fn nothing_but_the_topology_is_read() {
        let topology = load(&[
            ("BROKER__PREFIX", "p"),
            ("DELIVERY__TIERS", "1s"),
            ("EVENTS__DEFAULT_QUEUE", "false"),
            ("DELIVERY__MAX_ATTEMPTS", "many"),
            ("API__TIMEOUT", "soon"),
        ]);
        let Topology { broker, tiers, default_queue } = topology.unwrap();
        assert_eq!(
            (broker.prefix.as_str(), tiers.iter().next().unwrap().name.as_str(), default_queue),
            ("p", "1s", false)
        );
        assert_eq!(load(&[]).unwrap().tiers, Tiers::default());
    }

    #[test]
    fn its_mistakes_are_told_at_once() {
        let mistakes =
            load(&[("BROKER__PREFIX", "a b"), ("DELIVERY__TIERS", "soon"), ("EVENTS__DEFAULT_QUEU", "true")]);
        let mistakes = mistakes.unwrap_err().0;
        let paths: Vec<_> = mistakes.iter().map(|mistake| mistake.path.as_str()).collect();
        assert!(["events.default_queu", "broker.prefix", "delivery.tiers"].iter().all(|path| paths.contains(path)));
    }
}
