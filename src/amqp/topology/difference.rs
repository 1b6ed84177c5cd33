//! How the arguments of an object differ from the table.

use super::{finding::FindingState, guarantee::policy_key, model::ArgumentValue};

const DELIVERY_LIMIT: &str = "x-delivery-limit";

/// A difference that the broker reports when an object is declared with other arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mismatch {
    pub(super) argument: String,
    /// The object's value; `None` if it has none.
    pub(super) actual: Option<ArgumentValue>,
}

impl Mismatch {
    /// Reads RabbitMQ's error text, which contains `inequivalent arg '<name>'` and ends with `but current is none` or
    /// `but current is the value '<value>' of type '<type>'`.
    pub(super) fn parse(message: &str) -> Option<Self> {
        let (_, rest) = message.split_once("inequivalent arg '")?;
        let (argument, rest) = rest.split_once('\'')?;
        let (_, current) = rest.rsplit_once("but current is ").unwrap_or_default();
        Some(Self { argument: argument.to_owned(), actual: actual_value(current) })
    }
}

/// Parses `the value '1000' of type 'long'`.
fn actual_value(current: &str) -> Option<ArgumentValue> {
    let (value, value_type) = current.strip_prefix("the value '")?.rsplit_once("' of type '")?;
    if value_type.starts_with("longstr") {
        return Some(value.into());
    }
    value.parse().ok().map(ArgumentValue::Number)
}

/// Arguments with other values than in the table.
#[derive(Debug, Default)]
pub(super) struct Differences(Vec<Difference>);

#[derive(Debug)]
struct Difference {
    argument: String,
    text: String,
    /// Fewer returns than the daemon expects make a command `poison`.
    lowers_limit: bool,
}

impl Differences {
    /// Returns whether the argument is not yet among them.
    pub(super) fn push(&mut self, expected: Option<ArgumentValue>, mismatch: Mismatch) -> bool {
        let Mismatch { argument, actual } = mismatch;
        let is_new = self.0.iter().all(|known| known.argument != argument);
        if is_new {
            let lowers_limit = argument == DELIVERY_LIMIT && is_lower(actual.as_ref(), expected.as_ref());
            let (actual, expected) = (text_of(actual.as_ref()), text_of(expected.as_ref()));
            let text = format!("{} is {actual} instead of {expected}", policy_key(&argument));
            self.0.push(Difference { argument, text, lowers_limit });
        }
        is_new
    }

    /// Adds the policies that set the actual value of the argument that was pushed last.
    pub(super) fn name_policies(&mut self, policies: &str) {
        if let Some(last) = self.0.last_mut() {
            last.text.push_str(&format!(" by policy {policies}"));
        }
    }

    /// The state of an object with these differences: a failure if one is of a guarded argument, or lowers the delivery limit.
    pub(super) fn judge(&self, guarded: &[&str]) -> (FindingState, Option<String>) {
        let is_guarded =
            |difference: &Difference| difference.lowers_limit || guarded.contains(&difference.argument.as_str());
        let state = match self.0.as_slice() {
            [] => return (FindingState::There, None),
            all if all.iter().any(is_guarded) => FindingState::WrongArguments,
            _ => FindingState::Differs,
        };
        let texts: Vec<_> = self.0.iter().map(|difference| difference.text.as_str()).collect();
        (state, Some(texts.join(", ")))
    }
}

fn is_lower(actual: Option<&ArgumentValue>, expected: Option<&ArgumentValue>) -> bool {
    matches!((actual, expected), (Some(ArgumentValue::Number(actual)), Some(ArgumentValue::Number(expected))) if actual < expected)
}

fn text_of(value: Option<&ArgumentValue>) -> String {
    value.map_or_else(|| "unset".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(argument: &str, current: &str) -> String {
        format!(
            "PRECONDITION_FAILED - inequivalent arg '{argument}' for queue 'x-overflow' in vhost '/': received the value \
             'but current is none' of type 'longstr' but current is {current}"
        )
    }

    #[test]
    fn mismatch_holds_argument_and_actual_value() {
        for (current, actual) in [
            ("none", None),
            ("the value '1000' of type 'long'", Some(ArgumentValue::Number(1_000))),
            ("the value '20' of type 'signedint'", Some(ArgumentValue::Number(20))),
            ("the value 'it's' of type 'longstr'", Some("it's".into())),
        ] {
            let parsed = Mismatch::parse(&message("x-message-ttl", current));
            assert_eq!(parsed, Some(Mismatch { argument: "x-message-ttl".to_owned(), actual }));
        }
        assert_eq!(Mismatch::parse("PRECONDITION_FAILED - anything else about 'type'"), None);
    }

    #[test]
    fn guarded_difference_is_a_failure() {
        let mut differences = Differences::default();
        assert_eq!(differences.judge(&["x-overflow"]), (FindingState::There, None));
        let limit = || Mismatch { argument: "x-delivery-limit".to_owned(), actual: None };
        assert!(differences.push(Some(ArgumentValue::Number(20)), limit()));
        assert!(!differences.push(None, limit()), "the broker reports the same again");
        let text = "delivery-limit is unset instead of 20";
        assert_eq!(differences.judge(&["x-overflow"]), (FindingState::Differs, Some(text.to_owned())));
        differences.push(None, Mismatch { argument: "x-overflow".to_owned(), actual: Some("drop-head".into()) });
        differences.name_policies("\"all\"");
        let text = format!("{text}, overflow is drop-head instead of unset by policy \"all\"");
        assert_eq!(differences.judge(&["x-overflow"]), (FindingState::WrongArguments, Some(text)));
    }
}
