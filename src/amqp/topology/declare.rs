//! Declares missing objects.

use lapin::Connection;
use tracing::warn;

use super::{
    finding::{Finding, FindingState},
    model::{Binding, Topology},
    names::TopologyNames,
    probe::{BrokerReply, TopologyObject, TopologyProbe},
    verify::{inspect, is_required},
};
use crate::amqp::error::SessionError;

impl Topology {
    /// Declares missing objects, adds all bindings and returns the state of each afterwards. Existing objects stay
    /// unchanged, even if they differ. A refusal does not stop it.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn apply(&self, connection: &Connection) -> Result<Vec<Finding>, SessionError> {
        let (mut probe, mut findings) = (TopologyProbe::new(connection), Vec::new());
        for object in self.objects() {
            findings.push(create_missing(&mut probe, &self.names, object).await?);
        }
        for queue in &self.queues {
            for binding in &queue.bindings {
                findings.push(bind(&mut probe, &queue.name, binding).await?);
            }
        }
        Ok(findings)
    }

    /// As [`Self::apply`], for a program: a refusal is an error, and so is a wrong type of an object that the daemon
    /// requires; other differences are logged.
    ///
    /// # Errors
    /// [`SessionError::DeclareRefused`] with the broker's message, [`SessionError::WrongType`] with all such objects;
    /// others when the broker does not answer.
    pub async fn declare(&self, names: &TopologyNames, connection: &Connection) -> Result<(), SessionError> {
        let is_required = |kind, name: &str| {
            let mut required = self.objects().filter(|object| is_required(names, object));
            required.any(|object| (object.kind(), object.name()) == (kind, name))
        };
        let mut wrong = Vec::new();
        for Finding { kind, name, state, detail } in self.apply(connection).await? {
            let detail = detail.unwrap_or_default();
            match state {
                FindingState::Created | FindingState::There => {}
                FindingState::WrongType if is_required(kind, &name) => wrong.push(format!("{kind} {name}")),
                FindingState::Differs | FindingState::WrongArguments | FindingState::WrongType => {
                    warn!(name, "{kind} {name} exists, differs from the declaration and stays unchanged: {detail}");
                }
                FindingState::Disabled | FindingState::Missing | FindingState::Refused | FindingState::CannotVerify => {
                    return Err(SessionError::DeclareRefused(format!("{kind} {name}: {detail}")));
                }
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(SessionError::WrongType(wrong)) }
    }
}

async fn create_missing(
    probe: &mut TopologyProbe<'_>,
    names: &TopologyNames,
    object: TopologyObject<'_>,
) -> Result<Finding, SessionError> {
    let finding = inspect(probe, names, object).await?;
    if !matches!(finding.state, FindingState::Missing | FindingState::CannotVerify) {
        return Ok(finding);
    }
    let (state, detail) = state_after(probe.declare(object, object.arguments()).await?, FindingState::Created);
    Ok(Finding { state, detail, ..finding })
}

async fn bind(probe: &mut TopologyProbe<'_>, queue: &str, binding: &Binding) -> Result<Finding, SessionError> {
    let (state, detail) = state_after(probe.bind(queue, binding).await?, FindingState::There);
    let Binding { exchange, key } = binding;
    Ok(Finding { kind: "binding", name: format!("{exchange} -> {queue}, key {key:?}"), state, detail })
}

fn state_after(reply: BrokerReply, success: FindingState) -> (FindingState, Option<String>) {
    match reply {
        BrokerReply::Ok => (success, None),
        BrokerReply::NotFound(message) | BrokerReply::AccessRefused(message) | BrokerReply::Mismatch(message) => {
            (FindingState::Refused, Some(message))
        }
    }
}
