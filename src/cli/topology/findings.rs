//! The output of `topology apply` and `verify`: a line per object, and an error with a remedy per kind of failure.

use serde_json::json;

use super::tables::aligned;
use crate::{
    amqp::topology::{Finding, FindingState},
    cli::{Exit, output},
};

const BINDINGS: &str =
    "cannot verify: AMQP has no request for bindings; `edna-courier topology apply` creates missing ones";

#[derive(Clone, Copy)]
pub(super) enum BrokerOperation {
    Apply,
    Verify,
}

/// Prints all findings and returns the exit code for them.
pub(super) fn print(operation: BrokerOperation, findings: &[Finding], as_json: bool) -> Result<Exit, Exit> {
    let errors = errors(findings);
    let verifies = matches!(operation, BrokerOperation::Verify);
    if as_json {
        let mut report = json!({"ok": errors.is_empty(), "findings": findings});
        if let (true, Some(report)) = (verifies, report.as_object_mut()) {
            report.insert("bindings".to_owned(), BINDINGS.into());
        }
        output::print_json(&report);
    } else {
        output::print(&table(findings));
        if verifies {
            output::print(&format!("\nbindings: {BINDINGS}"));
        }
    }
    errors.iter().for_each(output::print_error);
    if errors.is_empty() { Ok(Exit::Success) } else { Err(Exit::Failed) }
}

fn table(findings: &[Finding]) -> String {
    let rows = findings.iter().map(|Finding { kind, name, state, detail }| {
        [state.as_str().to_owned(), (*kind).to_owned(), name.clone(), detail.clone().unwrap_or_default()]
    });
    aligned(["state", "kind", "name", "detail"], rows)
}

/// One error per kind of failure, which names all objects that failed in this way.
fn errors(findings: &[Finding]) -> Vec<String> {
    let remedies = [
        (
            FindingState::Missing,
            "run `edna-courier topology apply`, or import the output of `edna-courier topology export`",
        ),
        (
            FindingState::WrongArguments,
            "delete it when it is empty and run `edna-courier topology apply`; if a policy sets the values, set \
             broker.management_url so that policies are read",
        ),
        (
            FindingState::WrongType,
            "stop its users, move its messages to another queue, delete it, then run `edna-courier topology apply`",
        ),
        (
            FindingState::Disabled,
            "run `rabbitmqctl enable_feature_flag stream_queue`: without it RabbitMQ 3.10 and 3.11 dead-letter at most once",
        ),
        (FindingState::Refused, "use a user that may configure, write and read all names with this prefix"),
    ];
    let error = |(state, remedy): (FindingState, &str)| {
        let failed = findings.iter().filter(|finding| finding.state == state);
        let failed: Vec<_> = failed.map(|finding| format!("{} {}", finding.kind, finding.name)).collect();
        (!failed.is_empty()).then(|| format!("{}: {}; {remedy}", state.as_str(), failed.join(", ")))
    };
    remedies.into_iter().filter_map(error).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [FindingState; 9] = [
        FindingState::Created,
        FindingState::There,
        FindingState::Differs,
        FindingState::WrongArguments,
        FindingState::WrongType,
        FindingState::Disabled,
        FindingState::Missing,
        FindingState::Refused,
        FindingState::CannotVerify,
    ];

    fn finding(state: FindingState) -> Finding {
        Finding { kind: "queue", name: format!("p.{}", state.as_str()), state, detail: None }
    }

    #[test]
    fn errors_name_each_failure_and_nothing_else() {
        for state in ALL {
            let errors = errors(&[finding(FindingState::There), finding(state)]);
            assert_eq!(!errors.is_empty(), state.is_failure(), "{state:?}: {errors:?}");
            assert!(errors.iter().all(|error| error.contains(&format!("queue p.{}; ", state.as_str()))), "{errors:?}");
        }
    }

    #[test]
    fn errors_join_failures_of_one_kind() {
        let errors =
            errors(&[finding(FindingState::Missing), finding(FindingState::Refused), finding(FindingState::Missing)]);
        assert_eq!(errors.len(), 2);
        assert!(errors.iter().any(|error| error.starts_with("missing: queue p.missing, queue p.missing; run")));
    }
}
