//! What `apply` and `verify` tell: a line for each finding, what is wrong and what to do about it.

use serde_json::json;

use super::{Work, show::aligned};
use crate::{
    amqp::topology::{Finding, State},
    cli::{Exit, output},
};

const BINDINGS: &str =
    "cannot verify: AMQP has no question for bindings; `edna-courier topology apply` makes those that lack";

/// Tells all findings, and how the command ends with them.
pub(super) fn findings(work: Work, findings: &[Finding], json: bool) -> Exit {
    let problems = problems(findings);
    let verifies = matches!(work, Work::Verify);
    if json {
        let mut report = json!({"ok": problems.is_empty(), "findings": findings});
        if let (true, Some(report)) = (verifies, report.as_object_mut()) {
            report.insert("bindings".to_owned(), BINDINGS.into());
        }
        output::json(&report);
    } else {
        output::line(&table(findings));
        if verifies {
            output::line(&format!("\nbindings: {BINDINGS}"));
        }
    }
    problems.iter().for_each(output::problem);
    if problems.is_empty() { Exit::Done } else { Exit::Failed }
}

fn table(findings: &[Finding]) -> String {
    let rows = findings.iter().map(|Finding { kind, name, state, detail }| {
        [state.as_str().to_owned(), (*kind).to_owned(), name.clone(), detail.clone().unwrap_or_default()]
    });
    aligned(["state", "what", "name", "remark"], rows)
}

/// One for each kind of failure, with all that failed so.
fn problems(findings: &[Finding]) -> Vec<String> {
    let remedies = [
        (State::Missing, "run `edna-courier topology apply`, or import what `edna-courier topology export` prints"),
        (
            State::WrongType,
            "stop who uses it, move its messages away, delete it, then run `edna-courier topology apply`",
        ),
        (State::Refused, "apply with a user that may configure, write and read all names with this prefix"),
    ];
    let problem = |(state, remedy): (State, &str)| {
        let such = findings.iter().filter(|finding| finding.state == state);
        let such: Vec<_> = such.map(|finding| format!("{} {}", finding.kind, finding.name)).collect();
        (!such.is_empty()).then(|| format!("{}: {}; {remedy}", state.as_str(), such.join(", ")))
    };
    remedies.into_iter().filter_map(problem).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [State; 7] = [
        State::Created,
        State::There,
        State::Differs,
        State::WrongType,
        State::Missing,
        State::Refused,
        State::CannotVerify,
    ];

    fn finding(state: State) -> Finding {
        Finding { kind: "queue", name: format!("p.{}", state.as_str()), state, detail: None }
    }

    #[test]
    fn each_failure_is_named_with_a_remedy_and_nothing_else_is() {
        for state in ALL {
            let told = problems(&[finding(State::There), finding(state)]);
            assert_eq!(!told.is_empty(), state.is_failure(), "{state:?}: {told:?}");
            assert!(told.iter().all(|problem| problem.contains(&format!("queue p.{}; ", state.as_str()))), "{told:?}");
        }
    }

    #[test]
    fn failures_of_a_kind_are_told_together() {
        let told = problems(&[finding(State::Missing), finding(State::Refused), finding(State::Missing)]);
        assert_eq!(told.len(), 2);
        assert!(told.iter().any(|problem| problem.starts_with("missing: queue p.missing, queue p.missing; run")));
    }
}
