//! What one source says, by setting.
//!
//! The library reads the texts, but nothing here lets it take a key for a path: in its paths `x[9999999999]` is an index,
//! and a list of that length. Names that are no settings end here, as mistakes.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    thread,
};

use config::{Environment, File, FileFormat, Map, Source, Value, ValueKind};

use super::{
    known,
    report::Mistake,
    sources::{FILE_VARIABLE, PREFIX, Sources, variable},
};
use crate::files;

/// A configuration is much smaller.
const MAX_FILE_BYTES: u32 = 1 << 20;
/// Taken only as far as it is used.
const STACK_BYTES: usize = 64 << 20;
/// Names deeper than this are told as far as that.
const MAX_DEPTH: usize = 8;
/// More unknown names than these are counted.
const MAX_TOLD: usize = 50;

/// Values by path; each path is a setting's or its twin's.
pub(super) type Layer = BTreeMap<String, Value>;

/// What the environment says. An empty variable is none.
pub(super) fn of_environment(sources: &Sources, mistakes: &mut Vec<Mistake>) -> Layer {
    for name in &sources.unreadable {
        mistakes.push(Mistake::new(name, "is not UTF-8; write it, and its value, in UTF-8"));
    }
    let known: HashMap<String, String> = known::paths().map(|path| (variable(&path), path)).collect();
    let ours = sources.environment.iter().filter(|(name, value)| is_ours(name) && !value.is_empty());
    let (settings, unknown): (BTreeMap<_, _>, BTreeMap<_, _>) = ours.partition(|(name, _)| known.contains_key(*name));
    tell(mistakes, "the environment", unknown.into_keys().map(|name| unknown_variable(name)));

    let settings: Map<String, String> =
        settings.into_iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let source = Environment::with_prefix(PREFIX).prefix_separator("__").separator("__").source(Some(settings));
    match source.collect() {
        Ok(values) => values.into_iter().collect(),
        Err(_) => {
            mistakes.push(Mistake::new("the environment", "cannot be read"));
            Layer::new()
        }
    }
}

/// In any case of letters: who writes a variable in small ones means us, and must be told.
pub(super) fn is_ours(name: &str) -> bool {
    let start = name.get(..PREFIX.len() + 2);
    start.is_some_and(|start| start.eq_ignore_ascii_case(&format!("{PREFIX}__")))
}

fn unknown_variable(name: &str) -> Mistake {
    let path = name.get(PREFIX.len() + 2..).unwrap_or_default().to_lowercase().replace("__", ".");
    let is_plain = path.split('.').all(is_plain);
    let problem = if known::paths().any(|known| known == path) {
        format!("is not written like that; write {}", variable(&path))
    } else if let Some(example) = in_section(&path) {
        format!("is a section, not a setting; set what is in it, such as {}", variable(&example))
    } else {
        known::not_a_setting(&path)
    };
    Mistake::new(if is_plain { &path } else { name }, problem).from(format!("environment variable {name}"))
}

/// What the file says, if it can be read.
pub(super) fn of_file(path: &Path, mistakes: &mut Vec<Mistake>) -> Layer {
    let name = path.display().to_string();
    let leaves = match with_room(|| leaves(path)) {
        Ok(leaves) => leaves,
        Err(problem) => {
            mistakes.push(Mistake::new(&name, problem));
            return Layer::new();
        }
    };
    let (known, unknown) = leaves.into_iter().partition(|(path, _)| known::paths().any(|known| known == *path));
    let unknown: Layer = unknown;
    tell(mistakes, &name, unknown.iter().filter_map(|(path, value)| unknown_key(path, value, &name)));
    known
}

/// The library takes a nesting of some thousands and follows it by recursion: more than a thread's usual stack can hold.
fn with_room<T: Send>(read: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
    thread::scope(|scope| {
        let reader = thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, read);
        let reader = reader.map_err(|error| format!("cannot be read: no thread for it ({error}); free some memory"))?;
        reader.join().unwrap_or_else(|_| Err("cannot be read: the TOML parser failed; simplify the file".to_owned()))
    })
}

fn leaves(path: &Path) -> Result<Layer, String> {
    let mut leaves = Layer::new();
    flatten(parsed(path)?, &mut Vec::new(), &mut leaves);
    known::tables().for_each(|table| fold(table, &mut leaves));
    Ok(leaves)
}

/// A setting that is a table says the same as a list of its entries, `key=value`, as in the environment.
fn fold(table: &str, leaves: &mut Layer) {
    let key = |path: &str| Some(path.strip_prefix(table)?.strip_prefix('.')?.to_owned());
    let entries: Vec<_> = leaves.extract_if(.., |path, _| key(path).is_some()).collect();
    if !entries.is_empty() {
        let word = |(path, value): (String, Value)| Value::from(format!("{}={value}", key(&path).unwrap_or_default()));
        leaves.insert(table.to_owned(), entries.into_iter().map(word).collect::<Vec<_>>().into());
    }
}

fn parsed(path: &Path) -> Result<Map<String, Value>, String> {
    let text = files::read_small_file(path, MAX_FILE_BYTES).map_err(|error| {
        format!("cannot be read ({error}); name a readable TOML file by --config or {FILE_VARIABLE}")
    })?;
    File::from_str(&text, FileFormat::Toml).collect().map_err(|error| not_toml(&text, &error))
}

/// The library shows the line that it stumbled over, and a secret may stand there: only its number is told.
fn not_toml(text: &str, error: &config::ConfigError) -> String {
    let place = error.to_string().lines().find_map(|line| {
        let (line, column) = line.split_once("at line ")?.1.split_once(", column ")?;
        Some((line.parse::<u32>().ok()?, column.trim().parse::<u32>().ok()?))
    });
    let lines = text.lines().count();
    match place {
        Some((line, column)) => {
            format!(
                "is not TOML at line {line}, column {column} (it has {lines} lines); check quotes, brackets and = there"
            )
        }
        None => "holds a number that is too large; no setting takes such a one".to_owned(),
    }
}

/// The leaves of a table, an empty table among them.
fn flatten(table: Map<String, Value>, above: &mut Vec<String>, leaves: &mut Layer) {
    for (key, value) in table {
        above.push(if is_plain(&key) { key } else { format!("{key:?}") });
        match value.kind {
            ValueKind::Table(table) if !table.is_empty() && above.len() < MAX_DEPTH => flatten(table, above, leaves),
            _ => drop(leaves.insert(above.join("."), shallow(value))),
        }
        above.pop();
    }
}

/// What no setting wants is emptied: it may be deep.
fn shallow(value: Value) -> Value {
    let nothing = || Value::from(Map::<String, Value>::new());
    match value.kind {
        ValueKind::Table(_) => nothing(),
        ValueKind::Array(values) => {
            let flat = |value: Value| {
                if matches!(value.kind, ValueKind::Table(_) | ValueKind::Array(_)) { nothing() } else { value }
            };
            values.into_iter().map(flat).collect::<Vec<_>>().into()
        }
        _ => value,
    }
}

/// Whether it can be shown, and joined by dots, as it is.
fn is_plain(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
}

/// `None` for a section that says nothing.
fn unknown_key(path: &str, value: &Value, file: &str) -> Option<Mistake> {
    let is_table = matches!(value.kind, ValueKind::Table(_));
    let problem = match in_section(path) {
        Some(_) if is_table => return None,
        Some(_) => format!("is a section, not a setting; write [{path}] on a line of its own and its settings below"),
        None if is_table && !path.contains('.') => format!("is not a section; there are {}", known::sections()),
        None => known::not_a_setting(path),
    };
    Some(Mistake::new(path, problem).from(file))
}

/// A setting in the section of this name, if there is such a section.
fn in_section(name: &str) -> Option<String> {
    known::paths().find(|path| path.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

fn tell(mistakes: &mut Vec<Mistake>, origin: &str, mut unknown: impl Iterator<Item = Mistake>) {
    mistakes.extend(unknown.by_ref().take(MAX_TOLD));
    let more = unknown.count();
    if more > 0 {
        mistakes.push(Mistake::new(origin, format!("has {more} more names that are no settings")));
    }
}
