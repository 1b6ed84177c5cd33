//! The table as RabbitMQ's definitions: for `rabbitmqctl import_definitions` and the management UI.
//!
//! Only what no policy can set is an argument of a queue, everything else a policy of its own, changeable later. At most
//! one policy applies to an object, so each pattern fits the names of one kind of object alone.

use std::collections::BTreeMap;

use serde::Serialize;

use super::model::{Argument, Arguments, Kind, Queue, Topology};
use crate::domain::tier::Tier;

/// Arguments that stay arguments.
const NO_POLICY: [&str; 2] = ["x-queue-type", "x-single-active-consumer"];
/// Matches nothing: no object has an empty name.
const NOTHING: &str = "^$";
/// Of the daemon, of who publishes commands, of who reads events.
const USERS: [&str; 3] = ["courier", "producer", "listener"];

type Definition<'a> = BTreeMap<&'a str, &'a Argument>;

#[derive(Serialize)]
struct User {
    name: &'static str,
    /// None yet: nobody can log in with it.
    password_hash: &'static str,
    hashing_algorithm: &'static str,
    tags: &'static str,
}

#[derive(Serialize)]
struct Permission<'a> {
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
    kind: Kind,
    durable: bool,
    auto_delete: bool,
    internal: bool,
    arguments: Definition<'a>,
}

#[derive(Serialize)]
struct QueueDefinition<'a> {
    name: &'a str,
    vhost: &'a str,
    durable: bool,
    auto_delete: bool,
    arguments: Definition<'a>,
}

#[derive(Serialize)]
struct BindingDefinition<'a> {
    source: &'a str,
    vhost: &'a str,
    destination: &'a str,
    destination_type: &'static str,
    routing_key: &'a str,
    arguments: Definition<'a>,
}

#[derive(Serialize)]
struct Policy<'a> {
    vhost: &'a str,
    name: String,
    pattern: String,
    #[serde(rename = "apply-to")]
    apply_to: &'static str,
    priority: u8,
    definition: Definition<'a>,
}

impl Topology {
    /// The definitions for this vhost: JSON, one object a line. Users have no password yet, and only the rights that
    /// they need.
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
            "Only the queue type is an argument, the rest are policies, changeable later.".to_owned(),
            "Import: rabbitmqctl import_definitions definitions.json".to_owned(),
            format!(
                "The users can't log in until each has a password: rabbitmqctl change_password {courier} \
                 (it asks; {producer} and {listener}, too)."
            ),
            "Import before that: a later import takes the passwords away again, and the rights of users of these names."
                .to_owned(),
        ]
    }

    fn permissions<'a>(&self, vhost: &'a str) -> [Permission<'a>; 3] {
        let [courier, producer, listener] = USERS;
        let (prefix, tiers): (_, Vec<&Tier>) = (escaped(self.names.prefix()), self.tiers.iter().collect());
        let tiers: Vec<_> = tiers.iter().map(|tier| tier.name.as_str()).collect();
        let outbound = format!(r"^{prefix}\.(retry\.({})|events|dead)$", tiers.join("|"));
        let right = |user, write: String, read: String| Permission { user, vhost, configure: NOTHING, write, read };
        [
            right(courier, outbound, self.commands_pattern()),
            right(producer, exactly(&self.names.commands()), NOTHING.to_owned()),
            right(listener, NOTHING.to_owned(), exactly(&self.names.events())),
        ]
    }

    /// The queue of commands, and those that hold a share of them each.
    fn commands_pattern(&self) -> String {
        format!(r"^{}(\.p[0-9]+)?$", escaped(&self.names.commands()))
    }

    fn exchange_definitions<'a>(&'a self, vhost: &'a str) -> impl Iterator<Item = ExchangeDefinition<'a>> {
        self.exchanges.iter().map(move |exchange| ExchangeDefinition {
            name: &exchange.name,
            vhost,
            kind: exchange.kind,
            durable: true,
            auto_delete: false,
            internal: false,
            arguments: Definition::new(),
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
            arguments: Definition::new(),
        })
    }

    /// One for the exchanges, which are alike, and one for each queue.
    fn policies<'a>(&'a self, vhost: &'a str) -> impl Iterator<Item = Policy<'a>> {
        let caught: Vec<_> = self.exchanges.iter().filter(|exchange| !exchange.arguments.is_empty()).collect();
        let names: Vec<_> = caught.iter().map(|exchange| escaped(&exchange.name)).collect();
        let exchanges = Policy {
            vhost,
            name: format!("{}.exchanges", self.names.prefix()),
            pattern: format!("^({})$", names.join("|")),
            apply_to: "exchanges",
            priority: 0,
            definition: caught.first().map(|exchange| tunable(&exchange.arguments)).unwrap_or_default(),
        };
        let queue = move |queue: &'a Queue| Policy {
            vhost,
            name: queue.name.clone(),
            pattern: if queue.name == self.names.commands() { self.commands_pattern() } else { exactly(&queue.name) },
            apply_to: "queues",
            priority: 0,
            definition: tunable(&queue.arguments),
        };
        [exchanges].into_iter().chain(self.queues.iter().map(queue))
    }
}

const fn user(name: &'static str) -> User {
    User { name, password_hash: "", hashing_algorithm: "rabbit_password_hashing_sha256", tags: "" }
}

/// What a policy sets, by the names that policies have for it.
fn tunable(arguments: &Arguments) -> Definition<'_> {
    let tunable = arguments.iter().filter(|(key, _)| !NO_POLICY.contains(*key));
    tunable.map(|(key, value)| (key.strip_prefix("x-").unwrap_or(key), value)).collect()
}

fn exactly(name: &str) -> String {
    format!("^{}$", escaped(name))
}

/// Of all that a name may hold, only the dot means something in a pattern.
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
    use crate::{amqp::topology::Names, domain::tier::Tiers};

    fn definitions(prefix: &str, tiers: &Tiers, default_events_queue: bool, vhost: &str) -> Value {
        let topology = Topology::new(&Names::new(prefix), tiers, default_events_queue);
        serde_json::from_str(&topology.definitions(vhost)).unwrap()
    }

    #[test]
    fn the_file_of_the_deployment_is_what_the_defaults_export() {
        let exported = Topology::new(&Names::new("edna"), &Tiers::default(), true).definitions("/") + "\n";
        let file = include_str!("../../../deploy/rabbitmq/definitions.json");
        assert!(exported == file, "write it anew: edna-courier topology export > deploy/rabbitmq/definitions.json");
    }

    #[test]
    fn prefix_tiers_and_vhost_are_those_of_the_settings() {
        let tier = Tier { length: Duration::from_millis(1_500), name: "1500ms".to_owned() };
        let made = definitions("a.b-c", &Tiers::new(vec![tier]).unwrap(), false, "shop");
        assert_eq!(made["vhosts"], json!([{"name": "shop"}]));
        let courier = &made["permissions"][0];
        assert_eq!(courier["write"], r"^a\.b-c\.(retry\.(1500ms)|events|dead)$");
        assert_eq!(courier["read"], r"^a\.b-c\.commands(\.p[0-9]+)?$");
        assert_eq!(courier["configure"], "^$");
        let names = |section: &str| {
            let objects = made[section].as_array().unwrap().iter();
            objects.map(|object| object["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names("queues"), ["a.b-c.commands", "a.b-c.retry.1500ms", "a.b-c.dead", "a.b-c.unroutable"]);
        assert_eq!(made["policies"][2]["definition"]["message-ttl"], 1_500);
        for section in ["permissions", "exchanges", "queues", "bindings", "policies"] {
            assert!(made[section].as_array().unwrap().iter().all(|object| object["vhost"] == "shop"), "{section}");
        }
    }

    /// Policies and arguments together are the table, each value in exactly one of them.
    #[test]
    fn what_is_no_argument_is_a_policy() {
        let (names, tiers) = (Names::new("edna"), Tiers::default());
        let (topology, made) = (Topology::new(&names, &tiers, true), definitions("edna", &tiers, true, "/"));
        for (index, queue) in topology.queues.iter().enumerate() {
            let (defined, policy) = (&made["queues"][index], &made["policies"][index + 1]);
            assert_eq!(defined["arguments"], json!({"x-queue-type": "quorum"}), "{}", queue.name);
            assert_eq!((&defined["name"], &policy["name"]), (&json!(queue.name), &json!(queue.name)));
            let mut all = defined["arguments"].as_object().unwrap().clone();
            let set = policy["definition"].as_object().unwrap().iter();
            all.extend(set.map(|(key, value)| (format!("x-{key}"), value.clone())));
            assert_eq!(Value::Object(all), json!(queue.arguments), "{}", queue.name);
        }
    }
}
