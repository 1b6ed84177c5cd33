//! Comparing the table with what is there.

use lapin::Connection;

use super::{
    ask::{Answer, Asker, Object},
    model::{Queue, Topology},
    names::Names,
    report::{Finding, State},
};
use crate::{amqp::error::SessionError, domain::tier::Tiers};

/// What no policy can set: an object that differs in one of these is another one. As the broker names them.
const FIXED: [&str; 7] =
    ["type", "durable", "auto_delete", "internal", "exclusive", "x-queue-type", "x-single-active-consumer"];

impl Topology {
    /// How each exchange and each queue of the table stands. AMQP has no question for bindings, so nothing is told of
    /// them. Arguments are compared by declaring again what has just been found, with the same arguments; a thing that
    /// is deleted in this very moment would come back.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn verify(&self, connection: &Connection) -> Result<Vec<Finding>, SessionError> {
        let (mut asker, mut findings) = (Asker::new(connection), Vec::new());
        for object in self.objects() {
            findings.push(standing(&mut asker, object).await?);
        }
        Ok(findings)
    }

    /// Insists that what the daemon reads and writes is there: the exchanges of events and dead letters, the tiers, the
    /// queue of commands. Only looks.
    ///
    /// # Errors
    /// [`SessionError::Missing`] with all that are not; others when the broker does not answer. A user that may not even
    /// look (access refused) is no proof that something is missing and passes.
    pub async fn require(names: &Names, tiers: &Tiers, connection: &Connection) -> Result<(), SessionError> {
        let topology = Self::new(names, tiers, false);
        let (mut asker, mut missing) = (Asker::new(connection), Vec::new());
        for object in topology.objects().filter(|object| is_the_daemons(names, object)) {
            if let Answer::NotFound(_) = asker.is_there(object).await? {
                missing.push(format!("{} {}", object.kind(), object.name()));
            }
        }
        if missing.is_empty() { Ok(()) } else { Err(SessionError::Missing(missing)) }
    }
}

/// Whether the daemon cannot work without it.
pub(super) fn is_the_daemons(names: &Names, object: &Object<'_>) -> bool {
    match object {
        Object::Exchange(exchange) => exchange.name != names.unroutable(),
        Object::Queue(queue) => ![names.events(), names.dead(), names.unroutable()].contains(&queue.name),
    }
}

/// How an object stands. Nothing is declared unless something of its name is there.
pub(super) async fn standing(asker: &mut Asker<'_>, object: Object<'_>) -> Result<Finding, SessionError> {
    let (state, detail) = match asker.is_there(object).await? {
        Answer::Yes => compared(asker, object).await?,
        Answer::NotFound(words) => (State::Missing, Some(words)),
        Answer::AccessRefused(words) => unseen(&words),
        Answer::Mismatch(words) => (State::WrongType, Some(words)),
    };
    Ok(Finding { kind: object.kind(), name: object.name().to_owned(), state, detail })
}

/// Some versions of RabbitMQ let only those look who may declare; that proves nothing.
fn unseen(words: &str) -> (State, Option<String>) {
    (State::CannotVerify, Some(format!("the user may not look: {words}")))
}

async fn compared(asker: &mut Asker<'_>, object: Object<'_>) -> Result<(State, Option<String>), SessionError> {
    let words = match asker.declare(object).await? {
        Answer::Yes => return Ok((State::There, None)),
        Answer::AccessRefused(_) | Answer::NotFound(_) => {
            let unseen = "its arguments cannot be compared: the user may not declare it";
            return Ok((State::There, Some(unseen.to_owned())));
        }
        Answer::Mismatch(words) => words,
    };
    if is_fixed(&words) {
        return Ok((State::WrongType, Some(words)));
    }
    let bare = match object {
        Object::Exchange(_) => None,
        Object::Queue(queue) => Some(Queue { arguments: only_fixed(queue), ..queue.clone() }),
    };
    // The broker names the first difference only, and the type may be a later one.
    match bare {
        Some(bare) => match asker.declare(Object::Queue(&bare)).await? {
            Answer::Mismatch(type_differs) if is_fixed(&type_differs) => Ok((State::WrongType, Some(type_differs))),
            _ => Ok(differs(&words)),
        },
        None => Ok(differs(&words)),
    }
}

fn differs(words: &str) -> (State, Option<String>) {
    (State::Differs, Some(format!("declared with other arguments; policies may set them: {words}")))
}

fn only_fixed(queue: &Queue) -> super::Arguments {
    let fixed = queue.arguments.iter().filter(|(key, _)| FIXED.contains(*key));
    fixed.map(|(key, value)| (*key, value.clone())).collect()
}

/// Whether the broker complains of something that no policy sets: `… inequivalent arg 'x-queue-type' for queue …`.
fn is_fixed(words: &str) -> bool {
    let argument = words.split_once("inequivalent arg '").and_then(|(_, rest)| rest.split('\'').next());
    argument.is_some_and(|argument| FIXED.contains(&argument))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_policy_sets_is_told_from_what_one_may() {
        let words = |argument: &str| {
            format!("PRECONDITION_FAILED - inequivalent arg '{argument}' for queue 'x-overflow' in vhost '/': received")
        };
        for argument in FIXED {
            assert!(is_fixed(&words(argument)), "{argument}");
        }
        for argument in ["x-overflow", "alternate-exchange", "x-delivery-limit", ""] {
            assert!(!is_fixed(&words(argument)), "{argument}");
        }
        assert!(!is_fixed("PRECONDITION_FAILED - anything else about 'type'"));
    }

    #[test]
    fn who_may_not_look_has_not_found_it_missing() {
        let (state, detail) = unseen("ACCESS_REFUSED - configure access to queue");
        assert!(!state.is_failure() && detail.unwrap().starts_with("the user may not look: ACCESS_REFUSED"));
    }

    #[test]
    fn the_daemon_needs_what_it_reads_and_writes() {
        let names = Names::new("p");
        let topology = Topology::new(&names, &Tiers::default(), false);
        let needed = topology.objects().filter(|object| is_the_daemons(&names, object));
        let told: Vec<_> = needed.map(|object| format!("{} {}", object.kind(), object.name())).collect();
        let tiers = ["5s", "30s", "2m", "10m", "1h"];
        let mut wanted: Vec<_> = tiers.iter().map(|tier| format!("exchange p.retry.{tier}")).collect();
        wanted.insert(0, "exchange p.commands".to_owned());
        wanted.extend(["exchange p.events", "exchange p.dead", "queue p.commands"].map(str::to_owned));
        wanted.extend(tiers.iter().map(|tier| format!("queue p.retry.{tier}")));
        assert_eq!(told, wanted);
    }
}
