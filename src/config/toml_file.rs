//! Reads the settings in the TOML file.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::{
    known_keys,
    layer::{Layer, is_plain_key, report_unknown},
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
    let (table, errors) = DeTable::parse_recoverable(&text);
    // Also on errors: this takes the table apart without recursion.
    let leaves = flatten(table.into_inner(), name);
    errors.first().map_or(Ok(leaves), |error| Err(not_toml(&text, error.span().map_or(0, |span| span.start))))
}

/// The position only: the parser's own message quotes the line, and a secret may stand there.
fn not_toml(text: &str, offset: usize) -> String {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    let line = before.split(|byte| *byte == b'\n').count();
    let start_of_line = before.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let (column, lines) = (String::from_utf8_lossy(start_of_line).chars().count() + 1, text.lines().count());
    format!("is not TOML at line {line}, column {column} (it has {lines} lines); check quotes, brackets and = there")
}

/// Returns the leaves by path, empty tables among them.
///
/// Iterates instead of recursing: the parser accepts 80 nested tables with 80 dotted keys each, and a recursion through
/// 6,400 levels, also in `Drop`, overflows the stack.
fn flatten(root: DeTable<'_>, origin: &str) -> Layer {
    let mut leaves = Layer::new();
    let mut pending = vec![(Vec::new(), DeValue::Table(root))];
    while let Some((path, value)) = pending.pop() {
        match value {
            DeValue::Table(table) if !table.is_empty() && path.len() < MAX_DEPTH => {
                for (key, value) in table {
                    let key = key.into_inner();
                    let key = if is_plain_key(&key) { key.into_owned() } else { format!("{key:?}") };
                    let path = path.iter().cloned().chain([key]).collect();
                    pending.push((path, value.into_inner()));
                }
            }
            value => {
                leaves.insert(path.join("."), RawValue::from_toml(&value, origin));
                drop_nested(value);
            }
        }
    }
    leaves
}

fn drop_nested(value: DeValue<'_>) {
    let mut pending = vec![value];
    while let Some(value) = pending.pop() {
        match value {
            DeValue::Table(table) => pending.extend(table.into_iter().map(|(_, value)| value.into_inner())),
            DeValue::Array(items) => pending.extend(items.into_iter().map(toml::Spanned::into_inner)),
            _ => {}
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
