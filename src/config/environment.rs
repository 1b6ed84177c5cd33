//! Reads the settings in environment variables.

use std::collections::{BTreeMap, HashSet};

use config::{Environment, Map, Source, Value};

use super::{
    known_keys,
    layer::{Layer, is_plain_key, report_unknown},
    raw::RawValue,
    report::Mistake,
    sources::{PREFIX, Sources, is_setting_variable, setting_path, variable_name},
};

/// An empty variable counts as not set.
pub(super) fn read(sources: &Sources, mistakes: &mut Vec<Mistake>) -> Layer {
    for name in &sources.unreadable {
        mistakes.push(Mistake::new(name, "is not UTF-8; write the name and the value in UTF-8"));
    }
    let names: HashSet<String> = known_keys::paths().map(|path| variable_name(&path)).collect();
    let variables = sources.environment.clone().into_iter();
    let variables = variables.filter(|(name, value)| is_setting_variable(name) && !value.is_empty());
    let (known, unknown): (BTreeMap<_, _>, BTreeMap<_, _>) = variables.partition(|(name, _)| names.contains(name));
    report_unknown(mistakes, "the environment", unknown.keys().map(|name| unknown_variable(name)));
    let source = Environment::with_prefix(PREFIX).prefix_separator("__").separator("__");
    let values = source.source(Some(known.into_iter().collect())).collect().unwrap_or_else(|_| {
        mistakes.push(Mistake::new("the environment", "cannot be read; write names and values in UTF-8"));
        Map::new()
    });
    let raw = |(path, value): (String, Value)| {
        let origin = format!("environment variable {}", variable_name(&path));
        (path, RawValue::new(value, origin))
    };
    values.into_iter().map(raw).collect()
}

fn unknown_variable(name: &str) -> Mistake {
    let path = setting_path(name);
    let is_plain = path.split('.').all(is_plain_key);
    let problem = if known_keys::paths().any(|known| known == path) {
        format!("must be in upper case; write {}", variable_name(&path))
    } else if let Some(example) = known_keys::example_in_section(&path) {
        format!("is a section, not a setting; set one of its settings, such as {}", variable_name(&example))
    } else {
        known_keys::not_a_setting(&path)
    };
    Mistake::new(if is_plain { &path } else { name }, problem).from(format!("environment variable {name}"))
}
