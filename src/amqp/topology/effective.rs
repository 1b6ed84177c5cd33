//! Compares the table with the values in force: the arguments of an object together with its policies.

use serde_json::{Map, Value};

use super::{
    difference::{Differences, Mismatch},
    finding::{Finding, FindingState},
    guarantee::policy_key,
    model::{ArgumentValue, Topology},
    probe::TopologyObject,
};
use crate::amqp::management::{ManagedObject, ManagementApi, ManagementError};

/// Arguments of which the lower value applies if a policy sets one, too; of the others, the argument's value does.
const LOWER_APPLIES: [&str; 5] =
    ["x-message-ttl", "x-expires", "x-max-length", "x-max-length-bytes", "x-delivery-limit"];

impl Topology {
    /// Judges the existing objects of `findings` anew by the values in force, and adds the feature flag that dead-lettering
    /// needs, if it is disabled. Types were compared before.
    ///
    /// # Errors
    /// The management API does not answer.
    pub async fn judge_effective(
        &self,
        api: &ManagementApi,
        findings: &mut Vec<Finding>,
    ) -> Result<(), ManagementError> {
        for finding in findings.iter_mut() {
            if matches!(finding.state, FindingState::WrongType | FindingState::Missing | FindingState::Refused) {
                continue;
            }
            let is_this = |object: &TopologyObject<'_>| (object.kind(), object.name()) == (finding.kind, &finding.name);
            let Some(object) = self.objects().find(is_this) else { continue };
            let managed = match object {
                TopologyObject::Exchange(exchange) => api.exchange(&exchange.name).await?,
                TopologyObject::Queue(queue) => api.queue(&queue.name).await?,
            };
            let Some(managed) = managed else { continue };
            let (state, detail) = self.judge(object, &managed);
            // A created object stays that if it is as it should be.
            if (finding.state, state) != (FindingState::Created, FindingState::There) {
                (finding.state, finding.detail) = (state, detail);
            }
        }
        findings.extend(stream_queue_finding(api.is_stream_queue_disabled().await?));
        Ok(())
    }

    fn judge(&self, object: TopologyObject<'_>, managed: &ManagedObject) -> (FindingState, Option<String>) {
        let guarded = object.guarded(&self.names);
        let mut keys: Vec<&str> = object.arguments().keys().copied().chain(guarded.iter().copied()).collect();
        if matches!(object, TopologyObject::Queue(_)) {
            keys.extend(LOWER_APPLIES);
        }
        keys.sort_unstable();
        keys.dedup();
        let mut differences = Differences::default();
        for key in keys {
            let (actual, is_of_policy) = effective(key, managed);
            let expected = object.expected(key);
            if actual.as_ref() != expected {
                differences.push(expected.cloned(), Mismatch { argument: key.to_owned(), actual });
                if is_of_policy {
                    differences.name_policies(&format!("{:?}", managed.policy_names.join(", ")));
                }
            }
        }
        differences.judge(guarded)
    }
}

/// The finding about the feature flag `stream_queue`, unless it is enabled.
fn stream_queue_finding(is_disabled: Option<bool>) -> Option<Finding> {
    let (state, detail) = match is_disabled {
        Some(false) => return None,
        Some(true) => (FindingState::Disabled, None),
        None => {
            (FindingState::CannotVerify, Some("up to RabbitMQ 3.12 its state needs the tag administrator".to_owned()))
        }
    };
    Some(Finding { kind: "feature flag", name: "stream_queue".to_owned(), state, detail })
}

/// The value in force, and whether a policy sets it.
fn effective(key: &str, managed: &ManagedObject) -> (Option<ArgumentValue>, bool) {
    let argument = value(&managed.arguments, key);
    let policy = value(&managed.policy, policy_key(key));
    match (argument, policy) {
        (Some(ArgumentValue::Number(argument)), Some(ArgumentValue::Number(policy)))
            if LOWER_APPLIES.contains(&key) && policy < argument =>
        {
            (Some(ArgumentValue::Number(policy)), true)
        }
        (Some(argument), _) => (Some(argument), false),
        (None, policy) => {
            let is_of_policy = policy.is_some();
            (policy, is_of_policy)
        }
    }
}

fn value(values: &Map<String, Value>, key: &str) -> Option<ArgumentValue> {
    match values.get(key)? {
        Value::String(text) => Some(text.as_str().into()),
        number => number.as_i64().map(ArgumentValue::Number),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{amqp::topology::TopologyNames, domain::tier::Tiers};

    /// Judges an object of the table with these arguments and these policies.
    fn judge(name: &str, arguments: Value, policy: Value) -> (FindingState, String) {
        let topology = Topology::new(&TopologyNames::new("p"), &Tiers::default(), true);
        let object = topology.objects().filter(|object| object.name() == name).last().unwrap();
        let map = |value: Value| value.as_object().unwrap().clone();
        let managed = ManagedObject {
            arguments: map(arguments),
            policy: map(policy),
            policy_names: vec!["all".to_owned()],
            messages: None,
        };
        let (state, detail) = topology.judge(object, &managed);
        (state, detail.unwrap_or_default())
    }

    fn arguments(name: &str) -> Value {
        let topology = Topology::new(&TopologyNames::new("p"), &Tiers::default(), true);
        json!(topology.queues.iter().find(|queue| queue.name == name).unwrap().arguments)
    }

    #[test]
    fn policy_may_give_what_an_argument_lacks() {
        let bare = json!({"x-queue-type": "quorum"});
        let policy = json!({
            "message-ttl": 5_000, "dead-letter-exchange": "p.commands", "dead-letter-strategy": "at-least-once",
            "overflow": "reject-publish",
        });
        assert_eq!(judge("p.retry.5s", bare.clone(), policy), (FindingState::There, String::new()));
        let (state, detail) = judge("p.retry.5s", bare, json!({}));
        assert_eq!(state, FindingState::WrongArguments);
        for missing in ["message-ttl is unset instead of 5000", "dead-letter-strategy is unset", "overflow is unset"] {
            assert!(detail.contains(missing), "{detail}");
        }
    }

    #[test]
    fn policy_that_voids_a_guarantee_is_named() {
        for (queue, policy, problem) in [
            ("p.commands", json!({"message-ttl": 60_000}), "message-ttl is 60000 instead of unset by policy \"all\""),
            ("p.retry.5s", json!({"message-ttl": 1}), "message-ttl is 1 instead of 5000 by policy \"all\""),
            ("p.retry.1h", json!({"expires": 1}), "expires is 1 instead of unset by policy \"all\""),
            (
                "p.retry.2m",
                json!({"dead-letter-routing-key": "x"}),
                "dead-letter-routing-key is x instead of unset by policy \"all\"",
            ),
        ] {
            assert_eq!(judge(queue, arguments(queue), policy), (FindingState::WrongArguments, problem.to_owned()));
        }
    }

    #[test]
    fn policy_for_lengths_is_named_and_passes() {
        let length = "max-length is 10 instead of unset by policy \"all\"".to_owned();
        let judged = judge("p.retry.5s", arguments("p.retry.5s"), json!({"max-length": 10}));
        assert_eq!(judged, (FindingState::Differs, length));
    }

    #[test]
    fn lower_delivery_limit_of_commands_is_a_failure() {
        let low = "delivery-limit is 5 instead of 20 by policy \"all\"".to_owned();
        let judged = judge("p.commands", arguments("p.commands"), json!({"delivery-limit": 5}));
        assert_eq!(judged, (FindingState::WrongArguments, low), "a command becomes poison before it is copied");
        let mut higher = arguments("p.commands");
        higher["x-delivery-limit"] = json!(50);
        assert_eq!(judge("p.commands", higher, json!({})).0, FindingState::Differs);
        assert_eq!(judge("p.retry.5s", arguments("p.retry.5s"), json!({"delivery-limit": 5})).0, FindingState::Differs);
    }

    #[test]
    fn unreadable_feature_flag_is_no_failure() {
        let state = |is_disabled| stream_queue_finding(is_disabled).map(|finding| finding.state);
        assert_eq!(state(Some(false)), None);
        assert_eq!(state(Some(true)), Some(FindingState::Disabled));
        assert_eq!(state(None), Some(FindingState::CannotVerify));
    }

    #[test]
    fn argument_wins_over_policy_for_names_and_strategies() {
        let policy = json!({"overflow": "drop-head", "dead-letter-strategy": "at-most-once", "message-ttl": 9_999_999});
        assert_eq!(judge("p.retry.5s", arguments("p.retry.5s"), policy), (FindingState::There, String::new()));
    }
}
