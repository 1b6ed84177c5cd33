//! Compares the table with the broker's objects.

use std::collections::BTreeMap;

use lapin::Connection;

use super::{
    difference::{Differences, Mismatch},
    finding::{Finding, FindingState},
    model::{ArgumentValue, Topology},
    names::TopologyNames,
    probe::{BrokerReply, TopologyObject, TopologyProbe},
};
use crate::{amqp::error::SessionError, domain::tier::Tiers};

/// Properties that no policy can set, as the broker names them: an object that differs in one has the wrong type.
const FIXED: [&str; 7] =
    ["type", "durable", "auto_delete", "internal", "exclusive", "x-queue-type", "x-single-active-consumer"];

/// Which of the required objects exist.
#[derive(Debug, Default)]
pub(in crate::amqp) struct Inspection {
    /// By kind and name.
    pub(in crate::amqp) missing: Vec<String>,
    /// The user may not inspect some.
    pub(in crate::amqp) is_refused: bool,
}

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
            findings.push(inspect(&mut probe, &self.names, object).await?);
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
        let mut probe = TopologyProbe::new(connection);
        let Inspection { missing, .. } = Self::inspect_required(names, tiers, &mut probe).await?;
        if missing.is_empty() { Ok(()) } else { Err(SessionError::Missing(missing)) }
    }

    /// Checks as [`Self::require`].
    pub(in crate::amqp) async fn inspect_required(
        names: &TopologyNames,
        tiers: &Tiers,
        probe: &mut TopologyProbe<'_>,
    ) -> Result<Inspection, SessionError> {
        let (topology, mut inspection) = (Self::new(names, tiers, false), Inspection::default());
        for object in topology.objects().filter(|object| is_required(names, object)) {
            match probe.check_exists(object).await? {
                BrokerReply::NotFound(_) => inspection.missing.push(format!("{} {}", object.kind(), object.name())),
                BrokerReply::AccessRefused(_) => inspection.is_refused = true,
                BrokerReply::Ok | BrokerReply::Mismatch(_) => {}
            }
        }
        Ok(inspection)
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
    names: &TopologyNames,
    object: TopologyObject<'_>,
) -> Result<Finding, SessionError> {
    let (state, detail) = match probe.check_exists(object).await? {
        BrokerReply::Ok => compare(probe, names, object).await?,
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

/// Declares the object with the table's arguments, then with each value that the broker names as different, until the
/// declaration fits.
async fn compare(
    probe: &mut TopologyProbe<'_>,
    names: &TopologyNames,
    object: TopologyObject<'_>,
) -> Result<(FindingState, Option<String>), SessionError> {
    let mut arguments: BTreeMap<String, ArgumentValue> =
        object.arguments().iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    let mut differences = Differences::default();
    loop {
        let message = match probe.declare(object, &arguments).await? {
            BrokerReply::Ok => break,
            BrokerReply::AccessRefused(_) | BrokerReply::NotFound(_) => {
                let detail = "its arguments cannot be compared: the user may not declare it";
                return Ok((FindingState::There, Some(detail.to_owned())));
            }
            BrokerReply::Mismatch(message) => message,
        };
        let Some(mismatch) = Mismatch::parse(&message) else {
            return Ok((FindingState::Differs, Some(message)));
        };
        if FIXED.contains(&mismatch.argument.as_str()) {
            return Ok((FindingState::WrongType, Some(message)));
        }
        match &mismatch.actual {
            Some(value) => drop(arguments.insert(mismatch.argument.clone(), value.clone())),
            None => drop(arguments.remove(&mismatch.argument)),
        }
        let is_new = differences.push(object.expected(&mismatch.argument).cloned(), mismatch);
        if !is_new {
            break;
        }
    }
    Ok(differences.judge(object.guarded(names)))
}

#[cfg(test)]
mod tests {
    use super::*;

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
