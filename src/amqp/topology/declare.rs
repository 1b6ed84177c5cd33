//! Making what lacks.

use lapin::Connection;
use tracing::warn;

use super::{
    ask::{Answer, Asker, Object},
    model::{Binding, Topology},
    names::Names,
    report::{Finding, State},
    verify::{is_the_daemons, standing},
};
use crate::amqp::error::SessionError;

impl Topology {
    /// Declares what is missing and binds everything; tells of each how it stands then. What is there stays as it is,
    /// also when it differs: its owner may have set by policies what we set by arguments. A refusal does not stop it.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn apply(&self, connection: &Connection) -> Result<Vec<Finding>, SessionError> {
        let (mut asker, mut findings) = (Asker::new(connection), Vec::new());
        for object in self.objects() {
            findings.push(applied(&mut asker, object).await?);
        }
        for queue in &self.queues {
            for binding in &queue.bindings {
                findings.push(bound(&mut asker, &queue.name, binding).await?);
            }
        }
        Ok(findings)
    }

    /// [`Self::apply`] for a program: a refusal is an error, and so is another type of what the daemon needs; other
    /// differences are logged.
    ///
    /// # Errors
    /// [`SessionError::Refused`] with the broker's words; [`SessionError::WrongType`] with all that are of another; others when
    /// the broker does not answer.
    pub async fn declare(&self, names: &Names, connection: &Connection) -> Result<(), SessionError> {
        let needed = |kind, name: &str| {
            let is_it = |object: &Object<'_>| (object.kind(), object.name()) == (kind, name);
            self.objects().any(|object| is_it(&object) && is_the_daemons(names, &object))
        };
        let mut wrong = Vec::new();
        for Finding { kind, name, state, detail } in self.apply(connection).await? {
            let detail = detail.unwrap_or_default();
            match state {
                State::Created | State::There => {}
                State::WrongType if needed(kind, &name) => wrong.push(format!("{kind} {name}")),
                State::Differs | State::WrongType => {
                    warn!(name, "{kind} {name} is there already, not as we declare it, and stays as it is: {detail}");
                }
                State::Missing | State::Refused | State::CannotVerify => {
                    return Err(SessionError::Refused(format!("{kind} {name}: {detail}")));
                }
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(SessionError::WrongType(wrong)) }
    }
}

async fn applied(asker: &mut Asker<'_>, object: Object<'_>) -> Result<Finding, SessionError> {
    let found = standing(asker, object).await?;
    if !matches!(found.state, State::Missing | State::CannotVerify) {
        return Ok(found);
    }
    let (state, detail) = made(asker.declare(object).await?, State::Created);
    Ok(Finding { state, detail, ..found })
}

async fn bound(asker: &mut Asker<'_>, queue: &str, binding: &Binding) -> Result<Finding, SessionError> {
    let (state, detail) = made(asker.bind(queue, binding).await?, State::There);
    let Binding { exchange, key } = binding;
    Ok(Finding { kind: "binding", name: format!("{exchange} -> {queue}, key {key:?}"), state, detail })
}

fn made(answer: Answer, state: State) -> (State, Option<String>) {
    match answer {
        Answer::Yes => (state, None),
        Answer::NotFound(words) | Answer::AccessRefused(words) | Answer::Mismatch(words) => {
            (State::Refused, Some(words))
        }
    }
}
