//! The account of a run: each command has exactly one outcome, each second POST is told, each doubt has a cause.

use std::{collections::BTreeSet, fmt};

use crate::{
    doubt::Effects,
    kind::Kind,
    ledger::{CommandHistory, Ledger, ReceivedEvent},
};

/// Something that the contract forbids.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// `None` if it concerns no single command.
    number: Option<u64>,
    pub(crate) problem: String,
}

/// Checks a ledger.
pub(crate) struct Account<'a> {
    ledger: &'a Ledger,
    max_attempts: u64,
}

impl<'a> Account<'a> {
    pub(crate) fn new(ledger: &'a Ledger, max_attempts: u64) -> Self {
        Self { ledger, max_attempts }
    }

    /// All findings.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        let mut findings: Vec<_> = self.ledger.strays.iter().map(|stray| general(stray.clone())).collect();
        for (body, culprit) in &self.ledger.culprits {
            if culprit.letters == 0 {
                findings.push(general(format!(
                    "{body} ({:?}, published at {}) is not in the poison queue",
                    culprit.site, culprit.published_ms
                )));
            }
        }
        for (number, command) in &self.ledger.commands {
            let check = CommandCheck { command, ledger: self.ledger };
            let problems = check.problems(self.max_attempts);
            findings.extend(problems.into_iter().map(|problem| Finding { number: Some(*number), problem }));
        }
        findings
    }

    /// The finding with the whole history of its command.
    pub(crate) fn explain(&self, finding: &Finding) -> String {
        let Some((number, command)) = finding.number.and_then(|number| self.ledger.commands.get_key_value(&number))
        else {
            return finding.problem.clone();
        };
        let mut lines = vec![format!("command {number} ({:?}): {}", command.site, finding.problem)];
        lines.push(format!("    {:?}, published {:?}: {}", command.kind, command.published_ms, command.body));
        lines.extend(
            command.posts.iter().map(|post| {
                format!("    POST at {}: status {:?}, accepted {}", post.at_ms, post.status, post.accepted)
            }),
        );
        lines.extend(command.events.iter().map(|event| format!("    event at {}: {}", event.at_ms, event.json)));
        lines.extend(command.letters.iter().map(|(at_ms, reason)| format!("    letter at {at_ms}: {reason}")));
        let (from_ms, to_ms) = command.lifetime();
        let during = self.ledger.disturbances.during(command.site, from_ms, to_ms);
        lines.extend(during.map(|disturbance| format!("    during {disturbance}")));
        lines.join("\n")
    }
}

impl fmt::Display for Account<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let commands = || self.ledger.commands.values();
        let events = || commands().flat_map(|command| &command.events);
        let count = |matches: fn(&ReceivedEvent) -> bool| events().filter(|event| matches(event)).count();
        write!(
            f,
            "{} commands, {} POSTs, {} events ({} repeated, {} possible duplicates, {} uncertain), {} dead letters, \
             {} undecodable messages",
            commands().count(),
            commands().map(|command| command.posts.len()).sum::<usize>(),
            events().count(),
            count(|event| event.repeated),
            count(|event| event.possible_duplicate),
            count(|event| event.outcome == "uncertain"),
            commands().map(|command| command.letters.len()).sum::<usize>(),
            self.ledger.culprits.len(),
        )
    }
}

fn general(problem: String) -> Finding {
    Finding { number: None, problem }
}

impl CommandHistory {
    /// From the first publish to the last message about it.
    fn lifetime(&self) -> (u64, u64) {
        let first = self.published_ms.first().copied().unwrap_or(0);
        let last = self.events.iter().map(|event| event.at_ms).chain(self.letters.iter().map(|(at_ms, _)| *at_ms));
        (first, last.max().unwrap_or(u64::MAX))
    }
}

struct CommandCheck<'a> {
    command: &'a CommandHistory,
    ledger: &'a Ledger,
}

impl CommandCheck<'_> {
    fn problems(&self, max_attempts: u64) -> Vec<String> {
        if self.command.events.is_empty() {
            return vec!["no outcome".to_owned()];
        }
        let mut problems = Vec::new();
        problems.extend(self.forbidden_outcome(max_attempts));
        problems.extend(self.second_outcome());
        problems.extend(self.second_telling());
        problems.extend(self.forbidden_post());
        problems.extend(self.false_doubt());
        problems.extend(self.letters());
        problems
    }

    /// Whether a disturbance with this effect overlaps the time from the first publish.
    fn is_disturbed(&self, until_ms: u64, effect: fn(Effects) -> bool) -> bool {
        let from_ms = self.command.lifetime().0;
        self.ledger.disturbances.explain(self.command.site, (from_ms, until_ms), effect)
    }

    fn is_generated(&self) -> bool {
        self.command.kind == Kind::GeneratedId
    }

    fn forbidden_outcome(&self, max_attempts: u64) -> Option<String> {
        let is_allowed = |event: &ReceivedEvent| {
            let own = (event.outcome.as_str(), event.reason.as_deref());
            self.command.kind.outcomes().contains(&own) && event.attempts <= max_attempts
        };
        let event = self.command.events.iter().find(|event| !is_allowed(event))?;
        Some(format!("outcome {} ({:?}), attempts {}", event.outcome, event.reason, event.attempts))
    }

    fn second_outcome(&self) -> Option<String> {
        let ids: BTreeSet<_> = self.command.events.iter().map(|event| &event.id).collect();
        let last_ms = self.command.lifetime().1;
        // By a generated id no record can be found.
        let is_without_record = self.is_generated()
            && (self.command.published_ms.len() > 1 || self.is_disturbed(last_ms, |effects| effects.redelivery));
        let is_explained = is_without_record || self.is_disturbed(last_ms, |effects| effects.lost_records);
        (ids.len() > 1 && !is_explained).then(|| format!("{} outcomes", ids.len()))
    }

    /// Of several tellings, one is the first; the others say `repeated`, unless the first is not known to be stored.
    fn second_telling(&self) -> Option<String> {
        let first_times = self.command.events.iter().filter(|event| !event.repeated);
        let Some(first_ms) = first_times.clone().map(|event| event.at_ms).min() else {
            return Some("only repeated events".to_owned());
        };
        let is_copy = self.is_generated() && self.command.published_ms.len() > 1;
        let is_explained =
            |event: &&ReceivedEvent| is_copy || self.is_disturbed(event.at_ms, |effects| effects.redelivery);
        let unexplained = first_times.skip(1).find(|event| !is_explained(event))?;
        Some(format!("told at {first_ms}, and again at {} without `repeated`", unexplained.at_ms))
    }

    fn forbidden_post(&self) -> Option<String> {
        let posts = &self.command.posts;
        if !self.command.kind.is_posted() {
            return (!posts.is_empty()).then(|| "posted".to_owned());
        }
        let first = posts.iter().position(|post| post.may_have_sent())?;
        if first + 1 == posts.len() || self.is_generated() && self.command.published_ms.len() > 1 {
            return None;
        }
        if self.command.kind.is_parked() {
            return Some("posted again although the policy is `park`".to_owned());
        }
        let is_told = self.command.events.iter().any(|event| event.possible_duplicate);
        (!is_told).then(|| format!("posted {} times, and no event tells it", posts.len()))
    }

    fn false_doubt(&self) -> Option<String> {
        let has_evidence = self.command.posts.iter().any(|post| post.is_uncertain());
        let is_explained = |event: &ReceivedEvent| {
            has_evidence
                || self.is_disturbed(event.occurred_ms, |effects| effects.doubt)
                || self.is_generated() && self.is_disturbed(event.occurred_ms, |effects| effects.redelivery)
        };
        let event = self.command.events.iter().find(|event| event.possible_duplicate && !is_explained(event))?;
        Some(format!("possibleDuplicate at {} without a cause", event.occurred_ms))
    }

    fn letters(&self) -> Option<String> {
        let letters: BTreeSet<_> = self.command.letters.iter().map(|(_, reason)| reason.as_str()).collect();
        let expected: BTreeSet<_> = self.command.events.iter().filter_map(|event| event.reason.as_deref()).collect();
        if letters != expected {
            return Some(format!("dead letters {letters:?} instead of {expected:?}"));
        }
        let (count, last_ms) = (self.command.letters.len(), self.command.lifetime().1);
        let is_explained = count <= expected.len() || self.is_disturbed(last_ms, |effects| effects.redelivery);
        (!is_explained).then(|| format!("{count} dead letters"))
    }
}
