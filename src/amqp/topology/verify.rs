//! Compares the table with the broker's objects.

use lapin::Connection;

use super::{
    finding::{Finding, FindingState},
    model::{DeclareArguments, Queue, Topology},
    names::TopologyNames,
    probe::{BrokerReply, TopologyObject, TopologyProbe},
};
use crate::{amqp::error::SessionError, domain::tier::Tiers};

/// Properties that no policy can set, as the broker names them: an object that differs in one has the wrong type.
const FIXED: [&str; 7] =
    ["type", "durable", "auto_delete", "internal", "exclusive", "x-queue-type", "x-single-active-consumer"];

impl Topology {
    /// Returns the state of each exchange and queue. AMQP has no method to read bindings, so they are left out.
    ///
    /// Arguments are compared by declaring an object that exists, with the same arguments; an object that is deleted
    /// just before that is created again.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn verify(&self, connection: &Connection) -> Result<Vec<Finding>, SessionError> {
        let (mut probe, mut findings) = (TopologyProbe::new(connection), Vec::new());
        for object in self.objects() {
            findings.push(inspect(&mut probe, object).await?);
        }
        Ok(findings)
    }

    /// Checks that the objects exist that the daemon reads and writes: the exchanges of events and dead letters, the
    /// tiers, the command queue. Changes nothing.
    ///
    /// # Errors
    /// [`SessionError::Missing`] with all that do not exist; others when the broker does not answer. Refused access is
    /// no proof that an object is missing, and passes.
    pub async fn require(names: &TopologyNames, tiers: &Tiers, connection: &Connection) -> Result<(), SessionError> {
        let topology = Self::new(names, tiers, false);
        let (mut probe, mut missing) = (TopologyProbe::new(connection), Vec::new());
        for object in topology.objects().filter(|object| is_required(names, object)) {
            if let BrokerReply::NotFound(_) = probe.check_exists(object).await? {
                missing.push(format!("{} {}", object.kind(), object.name()));
            }
        }
        if missing.is_empty() { Ok(()) } else { Err(SessionError::Missing(missing)) }
    }
}

/// Whether the daemon cannot work without the object.
pub(super) fn is_required(names: &TopologyNames, object: &TopologyObject<'_>) -> bool {
    match object {
        TopologyObject::Exchange(exchange) => exchange.name != names.unroutable(),
        TopologyObject::Queue(queue) => ![names.events(), names.dead(), names.unroutable()].contains(&queue.name),
    }
}

/// Returns the state of an object. Declares it only if an object of its name exists.
pub(super) async fn inspect(
    probe: &mut TopologyProbe<'_>,
    object: TopologyObject<'_>,
) -> Result<Finding, SessionError> {
    let (state, detail) = match probe.check_exists(object).await? {
        BrokerReply::Ok => compare(probe, object).await?,
        BrokerReply::NotFound(message) => (FindingState::Missing, Some(message)),
        BrokerReply::AccessRefused(message) => cannot_verify(&message),
        BrokerReply::Mismatch(message) => (FindingState::WrongType, Some(message)),
    };
    Ok(Finding { kind: object.kind(), name: object.name().to_owned(), state, detail })
}

/// Some versions of RabbitMQ require the right to declare for a passive declaration, too.
fn cannot_verify(message: &str) -> (FindingState, Option<String>) {
    (FindingState::CannotVerify, Some(format!("the user may not inspect it: {message}")))
}

async fn compare(
    probe: &mut TopologyProbe<'_>,
    object: TopologyObject<'_>,
) -> Result<(FindingState, Option<String>), SessionError> {
    let message = match probe.declare(object).await? {
        BrokerReply::Ok => return Ok((FindingState::There, None)),
        BrokerReply::AccessRefused(_) | BrokerReply::NotFound(_) => {
            let detail = "its arguments cannot be compared: the user may not declare it";
            return Ok((FindingState::There, Some(detail.to_owned())));
        }
        BrokerReply::Mismatch(message) => message,
    };
    if names_fixed_property(&message) {
        return Ok((FindingState::WrongType, Some(message)));
    }
    // The broker names only the first difference; a later one may be of the type.
    if let TopologyObject::Queue(queue) = object {
        let bare = Queue { arguments: fixed_arguments(queue), ..queue.clone() };
        if let BrokerReply::Mismatch(message) = probe.declare(TopologyObject::Queue(&bare)).await?
            && names_fixed_property(&message)
        {
            return Ok((FindingState::WrongType, Some(message)));
        }
    }
    Ok((FindingState::Differs, Some(format!("declared with other arguments; policies may set them: {message}"))))
}

fn fixed_arguments(queue: &Queue) -> DeclareArguments {
    let fixed = queue.arguments.iter().filter(|(key, _)| FIXED.contains(*key));
    fixed.map(|(key, value)| (*key, value.clone())).collect()
}

/// Whether the broker reports a property that no policy sets: `… inequivalent arg 'x-queue-type' for queue …`.
fn names_fixed_property(message: &str) -> bool {
    let property = message.split_once("inequivalent arg '").and_then(|(_, rest)| rest.split('\'').next());
    property.is_some_and(|property| FIXED.contains(&property))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_property_in_broker_message_is_recognized() {
        let message = |property: &str| {
            format!("PRECONDITION_FAILED - inequivalent arg '{property}' for queue 'x-overflow' in vhost '/': received")
        };
        for property in FIXED {
            assert!(names_fixed_property(&message(property)), "{property}");
        }
        for property in ["x-overflow", "alternate-exchange", "x-delivery-limit", ""] {
            assert!(!names_fixed_property(&message(property)), "{property}");
        }
        assert!(!names_fixed_property("PRECONDITION_FAILED - anything else about 'type'"));
    }

    #[test]
    fn refused_access_is_no_failure() {
        let (state, detail) = cannot_verify("ACCESS_REFUSED - configure access to queue");
        assert!(!state.is_failure() && detail.unwrap().starts_with("the user may not inspect it: ACCESS_REFUSED"));
    }

    #[test]
    fn required_objects_are_those_read_and_written() {
        let names = TopologyNames::new("p");
        let topology = Topology::new(&names, &Tiers::default(), false);
        let required = topology.objects().filter(|object| is_required(&names, object));
        let required: Vec<_> = required.map(|object| format!("{} {}", object.kind(), object.name())).collect();
        let tiers = ["5s", "30s", "2m", "10m", "1h"];
        let mut expected: Vec<_> = tiers.iter().map(|tier| format!("exchange p.retry.{tier}")).collect();
        expected.insert(0, "exchange p.commands".to_owned());
        expected.extend(["exchange p.events", "exchange p.dead", "queue p.commands"].map(str::to_owned));
        expected.extend(tiers.iter().map(|tier| format!("queue p.retry.{tier}")));
        assert_eq!(required, expected);
    }
}
