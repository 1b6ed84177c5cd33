//! Exports the table as RabbitMQ definitions, for `rabbitmqctl import_definitions` and the management UI.
//!
//! Only what no policy can set is an argument of a queue; everything else is a policy, which can be changed later. At
//! most one policy applies to an object, so each pattern matches the names of one kind of object only.

use std::collections::BTreeMap;

use serde::Serialize;

use super::model::{ArgumentValue, DeclareArguments, ExchangeType, Queue, Topology};
use crate::domain::tier::Tier;

/// Arguments that no policy can set.
const NO_POLICY: [&str; 2] = ["x-queue-type", "x-single-active-consumer"];
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
            "Only the queue type is an argument, the rest are policies, which can be changed later.".to_owned(),
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
            arguments: ArgumentsByName::new(),
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
                .filter(|(key, _)| NO_POLICY.contains(*key))
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

    /// One policy for all exchanges, which have the same arguments, and one for each queue.
    fn policies<'a>(&'a self, vhost: &'a str) -> impl Iterator<Item = PolicyDefinition<'a>> {
        let with_alternate: Vec<_> = self.exchanges.iter().filter(|exchange| !exchange.arguments.is_empty()).collect();
        let names: Vec<_> = with_alternate.iter().map(|exchange| escaped(&exchange.name)).collect();
        let exchanges = PolicyDefinition {
            vhost,
            name: format!("{}.exchanges", self.names.prefix()),
            pattern: format!("^({})$", names.join("|")),
            apply_to: "exchanges",
            priority: 0,
            definition: with_alternate
                .first()
                .map(|exchange| policy_arguments(&exchange.arguments))
                .unwrap_or_default(),
        };
        let queue = move |queue: &'a Queue| PolicyDefinition {
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
        [exchanges].into_iter().chain(self.queues.iter().map(queue))
    }
}

const fn user(name: &'static str) -> UserDefinition {
    UserDefinition { name, password_hash: "", hashing_algorithm: "rabbit_password_hashing_sha256", tags: "" }
}

/// The arguments that a policy sets, by their names in policies.
fn policy_arguments(arguments: &DeclareArguments) -> ArgumentsByName<'_> {
    let arguments = arguments.iter().filter(|(key, _)| !NO_POLICY.contains(*key));
    arguments.map(|(key, value)| (key.strip_prefix("x-").unwrap_or(key), value)).collect()
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
        assert_eq!(exported["policies"][2]["definition"]["message-ttl"], 1_500);
        for section in ["permissions", "exchanges", "queues", "bindings", "policies"] {
            assert!(exported[section].as_array().unwrap().iter().all(|object| object["vhost"] == "shop"), "{section}");
        }
    }

    /// Each value of the table is either an argument or in a policy.
    #[test]
    fn exported_policies_and_arguments_are_complete() {
        let (names, tiers) = (TopologyNames::new("edna"), Tiers::default());
        let (topology, exported) = (Topology::new(&names, &tiers, true), definitions("edna", &tiers, true, "/"));
        for (index, queue) in topology.queues.iter().enumerate() {
            let (defined, policy) = (&exported["queues"][index], &exported["policies"][index + 1]);
            assert_eq!(defined["arguments"], json!({"x-queue-type": "quorum"}), "{}", queue.name);
            assert_eq!((&defined["name"], &policy["name"]), (&json!(queue.name), &json!(queue.name)));
            let mut all = defined["arguments"].as_object().unwrap().clone();
            let set = policy["definition"].as_object().unwrap().iter();
            all.extend(set.map(|(key, value)| (format!("x-{key}"), value.clone())));
            assert_eq!(Value::Object(all), json!(queue.arguments), "{}", queue.name);
        }
    }
}
