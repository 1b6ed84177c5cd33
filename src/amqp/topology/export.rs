//! Exports the table as RabbitMQ definitions, for `rabbitmqctl import_definitions` and the management UI.
//!
//! All that a guarantee rests on is an argument. At most one policy applies to a queue, and one of the broker's owner may
//! win, so policies only hold what may change later: delivery limits and lengths. Each pattern matches one queue and its
//! partitions.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    guarantee::{is_adjustable, policy_key},
    model::{ArgumentValue, DeclareArguments, ExchangeType, Queue, Topology},
};
use crate::domain::tier::Tier;

/// Matches no name: none is empty.
const NOTHING: &str = "^$";
/// The daemon, the publisher of commands, the consumer of events.
const USERS: [&str; 3] = ["courier", "producer", "listener"];

type ArgumentsByName<'a> = BTreeMap<&'a str, &'a ArgumentValue>;

#[derive(Serialize)]
struct UserDefinition {
    name: &'static str,
    /// Empty: no login until a password is set.
    password_hash: &'static str,
    hashing_algorithm: &'static str,
    tags: &'static str,
}

#[derive(Serialize)]
struct PermissionDefinition<'a> {
    user: &'static str,
    vhost: &'a str,
    configure: &'static str,
    write: String,
    read: String,
}

#[derive(Serialize)]
struct ExchangeDefinition<'a> {
    name: &'a str,
    vhost: &'a str,
    #[serde(rename = "type")]
    exchange_type: ExchangeType,
    durable: bool,
    auto_delete: bool,
    internal: bool,
    arguments: ArgumentsByName<'a>,
}

#[derive(Serialize)]
struct QueueDefinition<'a> {
    name: &'a str,
    vhost: &'a str,
    durable: bool,
    auto_delete: bool,
    arguments: ArgumentsByName<'a>,
}

#[derive(Serialize)]
struct BindingDefinition<'a> {
    source: &'a str,
    vhost: &'a str,
    destination: &'a str,
    destination_type: &'static str,
    routing_key: &'a str,
    arguments: ArgumentsByName<'a>,
}

#[derive(Serialize)]
struct PolicyDefinition<'a> {
    vhost: &'a str,
    name: String,
    pattern: String,
    #[serde(rename = "apply-to")]
    apply_to: &'static str,
    priority: u8,
    definition: ArgumentsByName<'a>,
}

impl Topology {
    /// Returns the definitions for this vhost as JSON, one object a line. Users have no password, and only the
    /// permissions that they need.
    #[must_use]
    pub fn definitions(&self, vhost: &str) -> String {
        let sections = [
            section("about", self.about()),
            section("vhosts", [BTreeMap::from([("name", vhost)])]),
            section("users", USERS.map(user)),
            section("permissions", self.permissions(vhost)),
            section("exchanges", self.exchange_definitions(vhost)),
            section("queues", self.queue_definitions(vhost)),
            section("bindings", self.binding_definitions(vhost)),
            section("policies", self.policies(vhost)),
        ];
        format!("{{\n{}\n}}", sections.join(",\n"))
    }

    fn about(&self) -> [String; 5] {
        let [courier, producer, listener] = USERS;
        [
            format!(
                "The topology of edna-courier with the prefix {}, as edna-courier topology export prints it.",
                self.names.prefix()
            ),
            "Delivery limits and lengths are policies, which can be changed later; all else is an argument, which no policy \
             can void."
                .to_owned(),
            "Import: rabbitmqctl import_definitions definitions.json".to_owned(),
            format!(
                "The users can't log in until each has a password: rabbitmqctl change_password {courier} \
                 (prompts for it; likewise {producer} and {listener})."
            ),
            "Import before that: a later import resets the passwords and permissions of these users.".to_owned(),
        ]
    }

    fn permissions<'a>(&self, vhost: &'a str) -> [PermissionDefinition<'a>; 3] {
        let [courier, producer, listener] = USERS;
        let (prefix, tiers): (_, Vec<&Tier>) = (escaped(self.names.prefix()), self.tiers.iter().collect());
        let tiers: Vec<_> = tiers.iter().map(|tier| tier.name.as_str()).collect();
        let outbound = format!(r"^{prefix}\.(retry\.({})|events|dead)$", tiers.join("|"));
        let permission =
            |user, write: String, read: String| PermissionDefinition { user, vhost, configure: NOTHING, write, read };
        [
            permission(courier, outbound, self.commands_pattern()),
            permission(producer, exact_pattern(&self.names.commands()), NOTHING.to_owned()),
            permission(listener, NOTHING.to_owned(), exact_pattern(&self.names.events())),
        ]
    }

    /// Matches the command queue and its partitions.
    fn commands_pattern(&self) -> String {
        format!(r"^{}(\.p[0-9]+)?$", escaped(&self.names.commands()))
    }

    fn exchange_definitions<'a>(&'a self, vhost: &'a str) -> impl Iterator<Item = ExchangeDefinition<'a>> {
        self.exchanges.iter().map(move |exchange| ExchangeDefinition {
            name: &exchange.name,
            vhost,
            exchange_type: exchange.exchange_type,
            durable: true,
            auto_delete: false,
            internal: false,
            arguments: exchange.arguments.iter().map(|(key, value)| (*key, value)).collect(),
        })
    }

    fn queue_definitions<'a>(&'a self, vhost: &'a str) -> impl Iterator<Item = QueueDefinition<'a>> {
        self.queues.iter().map(move |queue| QueueDefinition {
            name: &queue.name,
            vhost,
            durable: true,
            auto_delete: false,
            arguments: queue
                .arguments
                .iter()
                .filter(|(key, _)| !is_adjustable(key))
                .map(|(key, value)| (*key, value))
                .collect(),
        })
    }

    fn binding_definitions<'a>(&'a self, vhost: &'a str) -> impl Iterator<Item = BindingDefinition<'a>> {
        let bindings = self.queues.iter().flat_map(|queue| queue.bindings.iter().map(move |binding| (queue, binding)));
        bindings.map(move |(queue, binding)| BindingDefinition {
            source: &binding.exchange,
            vhost,
            destination: &queue.name,
            destination_type: "queue",
            routing_key: &binding.key,
            arguments: ArgumentsByName::new(),
        })
    }

    /// One for each queue with an adjustable argument.
    fn policies<'a>(&'a self, vhost: &'a str) -> impl Iterator<Item = PolicyDefinition<'a>> {
        let policy = move |queue: &'a Queue| PolicyDefinition {
            vhost,
            name: queue.name.clone(),
            pattern: if queue.name == self.names.commands() {
                self.commands_pattern()
            } else {
                exact_pattern(&queue.name)
            },
            apply_to: "queues",
            priority: 0,
            definition: policy_arguments(&queue.arguments),
        };
        self.queues.iter().map(policy).filter(|policy| !policy.definition.is_empty())
    }
}

const fn user(name: &'static str) -> UserDefinition {
    UserDefinition { name, password_hash: "", hashing_algorithm: "rabbit_password_hashing_sha256", tags: "" }
}

/// The arguments that a policy sets, by their names in policies.
fn policy_arguments(arguments: &DeclareArguments) -> ArgumentsByName<'_> {
    let arguments = arguments.iter().filter(|(key, _)| is_adjustable(key));
    arguments.map(|(key, value)| (policy_key(key), value)).collect()
}

fn exact_pattern(name: &str) -> String {
    format!("^{}$", escaped(name))
}

/// The dot is the only character of a name with a meaning in patterns.
fn escaped(name: &str) -> String {
    name.replace('.', r"\.")
}

fn section<T: Serialize>(name: &str, items: impl IntoIterator<Item = T>) -> String {
    let lines: Vec<_> = items.into_iter().filter_map(|item| serde_json::to_string(&item).ok()).collect();
    format!("  \"{name}\": [\n    {}\n  ]", lines.join(",\n    "))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::{amqp::topology::TopologyNames, domain::tier::Tiers};

    fn definitions(prefix: &str, tiers: &Tiers, default_events_queue: bool, vhost: &str) -> Value {
        let topology = Topology::new(&TopologyNames::new(prefix), tiers, default_events_queue);
        serde_json::from_str(&topology.definitions(vhost)).unwrap()
    }

    #[test]
    fn exported_defaults_match_the_deployed_file() {
        let exported = Topology::new(&TopologyNames::new("edna"), &Tiers::default(), true).definitions("/") + "\n";
        let file = include_str!("../../../deploy/rabbitmq/definitions.json");
        assert!(exported == file, "outdated: run edna-courier topology export > deploy/rabbitmq/definitions.json");
    }

    #[test]
    fn exported_prefix_tiers_and_vhost_follow_the_settings() {
        let tier = Tier { length: Duration::from_millis(1_500), name: "1500ms".to_owned() };
        let exported = definitions("a.b-c", &Tiers::new(vec![tier]).unwrap(), false, "shop");
        assert_eq!(exported["vhosts"], json!([{"name": "shop"}]));
        let courier = &exported["permissions"][0];
        assert_eq!(courier["write"], r"^a\.b-c\.(retry\.(1500ms)|events|dead)$");
        assert_eq!(courier["read"], r"^a\.b-c\.commands(\.p[0-9]+)?$");
        assert_eq!(courier["configure"], "^$");
        let names = |section: &str| {
            let objects = exported[section].as_array().unwrap().iter();
            objects.map(|object| object["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names("queues"), ["a.b-c.commands", "a.b-c.retry.1500ms", "a.b-c.dead", "a.b-c.unroutable"]);
        assert_eq!(exported["queues"][1]["arguments"]["x-message-ttl"], 1_500);
        for section in ["permissions", "exchanges", "queues", "bindings", "policies"] {
            assert!(exported[section].as_array().unwrap().iter().all(|object| object["vhost"] == "shop"), "{section}");
        }
    }

    /// Each value of the table is either an argument or in a policy, and only what may change later is in a policy.
    #[test]
    fn exported_policies_and_arguments_are_complete() {
        let (names, tiers) = (TopologyNames::new("edna"), Tiers::default());
        let (topology, exported) = (Topology::new(&names, &tiers, true), definitions("edna", &tiers, true, "/"));
        let policies = exported["policies"].as_array().unwrap();
        for (index, queue) in topology.queues.iter().enumerate() {
            let mut all = exported["queues"][index]["arguments"].as_object().unwrap().clone();
            let policy = policies.iter().find(|policy| policy["name"] == queue.name);
            for (key, value) in policy.iter().flat_map(|policy| policy["definition"].as_object().unwrap()) {
                assert!(["delivery-limit", "max-length"].contains(&key.as_str()), "{}: {key}", queue.name);
                assert!(all.insert(format!("x-{key}"), value.clone()).is_none(), "{}: {key}", queue.name);
            }
            assert_eq!(Value::Object(all), json!(queue.arguments), "{}", queue.name);
        }
        for (index, exchange) in topology.exchanges.iter().enumerate() {
            assert_eq!(exported["exchanges"][index]["arguments"], json!(exchange.arguments), "{}", exchange.name);
        }
    }

    /// The arguments of quorum queues that RabbitMQ 3.10 to 4.3 know; later ones refuse others, such as
    /// `x-max-priority` or `x-queue-mode`.
    #[test]
    fn exported_arguments_are_known_to_every_version() {
        let known = [
            "x-dead-letter-exchange",
            "x-dead-letter-routing-key",
            "x-dead-letter-strategy",
            "x-delivery-limit",
            "x-max-length",
            "x-message-ttl",
            "x-overflow",
            "x-queue-type",
        ];
        let topology = Topology::new(&TopologyNames::new("edna"), &Tiers::default(), true);
        for queue in &topology.queues {
            assert!(queue.arguments.keys().all(|key| known.contains(key)), "{queue:?}");
        }
    }
}
