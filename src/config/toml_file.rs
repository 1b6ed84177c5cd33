//! Reads the settings in the TOML file.

use std::path::Path;

use config::{ConfigError, File, FileFormat, Map, Source, Value};

use super::{
    known_keys,
    layer::{Layer, is_plain_key, report_unknown},
    nesting,
    raw::RawValue,
    report::Mistake,
    sources::FILE_VARIABLE,
};
use crate::files;

/// Far more than a configuration needs.
const MAX_FILE_BYTES: u32 = 1 << 20;
/// Deeper keys are reported by the path down to this level.
const MAX_DEPTH: usize = 8;

pub(super) fn read(path: &Path, mistakes: &mut Vec<Mistake>) -> Layer {
    let name = path.display().to_string();
    let mut leaves = match parse(path, &name) {
        Ok(leaves) => leaves,
        Err(problem) => {
            mistakes.push(Mistake::new(&name, problem));
            return Layer::new();
        }
    };
    known_keys::tables().for_each(|table| table_to_list(table, &name, &mut leaves));
    let (known, unknown) = leaves.into_iter().partition(|(path, _)| known_keys::paths().any(|known| known == *path));
    let unknown: Layer = unknown;
    report_unknown(mistakes, &name, unknown.iter().filter_map(|(path, value)| unknown_key(path, value, &name)));
    known
}

fn parse(path: &Path, name: &str) -> Result<Layer, String> {
    let text = files::read_small_file(path, MAX_FILE_BYTES).map_err(|error| {
        format!("cannot be read ({error}); name a readable TOML file by --config or {FILE_VARIABLE}")
    })?;
    if nesting::is_too_deep(&text) {
        return Err("nests deeper than any setting; check the brackets, and the dots in keys".to_owned());
    }
    let table = File::from_str(&text, FileFormat::Toml).collect().map_err(|error| not_toml(&text, &error))?;
    let mut leaves = Layer::new();
    flatten(table, &[], name, &mut leaves);
    Ok(leaves)
}

/// The position only: the library's own message quotes the line, and a secret may stand there.
fn not_toml(text: &str, error: &ConfigError) -> String {
    let error = error.to_string();
    let position = error.strip_prefix("TOML parse error at line ").and_then(|rest| {
        let (line, column) = rest.lines().next()?.split_once(", column ")?;
        Some((line.parse::<u32>().ok()?, column.parse::<u32>().ok()?))
    });
    // The library converts numbers after it has parsed the text, and forgets their positions.
    position.map_or_else(
        || "has a number that is too large; no setting accepts it".to_owned(),
        |(line, column)| {
            let lines = text.lines().count();
            let remedy = "check quotes, brackets and = there";
            format!("is not TOML at line {line}, column {column} (it has {lines} lines); {remedy}")
        },
    )
}

/// Collects the leaves by path, empty tables among them.
fn flatten(table: Map<String, Value>, parents: &[String], origin: &str, leaves: &mut Layer) {
    for (key, value) in table {
        let key = if is_plain_key(&key) { key } else { format!("{key:?}") };
        let path = [parents, &[key]].concat();
        match value.kind {
            config::ValueKind::Table(table) if !table.is_empty() && path.len() < MAX_DEPTH => {
                flatten(table, &path, origin, leaves);
            }
            _ => drop(leaves.insert(path.join("."), RawValue::new(value, origin.to_owned()))),
        }
    }
}

/// Turns the entries of a table into the list `key=value` that the environment uses for the same setting.
fn table_to_list(table: &str, origin: &str, leaves: &mut Layer) {
    let key = |path: &str| Some(path.strip_prefix(table)?.strip_prefix('.')?.to_owned());
    let entries: Vec<_> = leaves.extract_if(.., |path, _| key(path).is_some()).collect();
    if entries.is_empty() {
        return;
    }
    let entry = |(path, value): &(String, RawValue)| {
        format!("{}={}", key(path).unwrap_or_default(), value.displayed().unwrap_or_default())
    };
    leaves.insert(table.to_owned(), RawValue::list(entries.iter().map(entry), origin.to_owned()));
}

/// `None` for an empty table with the name of a section.
fn unknown_key(path: &str, value: &RawValue, file: &str) -> Option<Mistake> {
    let problem = match known_keys::example_in_section(path) {
        Some(_) if value.is_table() => return None,
        Some(_) => format!("is a section, not a setting; write [{path}] on a line of its own and its settings below"),
        None if value.is_table() && !path.contains('.') => {
            format!("is not a section; the sections are {}", known_keys::section_names())
        }
        None => known_keys::not_a_setting(path),
    };
    Some(Mistake::new(path, problem).from(file))
}
