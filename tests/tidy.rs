//! The house rules that no lint knows: layers, sizes, what tests may not do, what the root shows.
#![cfg(test)] // By this attribute clippy knows that all of this is test code.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The layers, lowest first. A file imports only from layers below its own; rooms of one layer don't know each other.
const LAYERS: [&[&str]; 8] = [
    &["domain"],
    &["ports", "gate", "files", "sync"],
    &["telemetry"],
    &["pipeline", "amqp", "edna", "journal", "sandbox"],
    &["admin", "config"],
    &["bootstrap"],
    &["cli"],
    &["main"],
];

const MAX_FILE_LINES: usize = 400;
const MAX_MEDIAN_LINES: usize = 130;
const ROOT: [&str; 6] = ["Cargo.toml", "Cargo.lock", "src", "tests", "deploy", "README.md"];

/// A source file by its path from the root, with `/`.
struct Source {
    path: String,
    text: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &str) -> Vec<Source> {
    let (mut found, mut folders) = (Vec::new(), vec![root().join(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the project") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                found.push(Source { text: fs::read_to_string(&path).expect("UTF-8"), path: from_root(&path) });
            }
        }
    }
    assert!(!found.is_empty(), "no source in {folder}: this test looks in the wrong place");
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn from_root(path: &Path) -> String {
    path.strip_prefix(root()).expect("below the root").display().to_string().replace('\\', "/")
}

/// Fails with all complaints at once.
fn none(rule: &str, complaints: impl IntoIterator<Item = String>) {
    let complaints: Vec<_> = complaints.into_iter().collect();
    assert!(complaints.is_empty(), "{rule}\n  {}", complaints.join("\n  "));
}

/// Each line that is no comment, with its place.
fn code_lines(source: &Source) -> impl Iterator<Item = (String, &str)> {
    let numbered = source.text.lines().enumerate();
    let code = numbered.filter(|(_, line)| !line.trim_start().starts_with("//"));
    code.map(|(index, line)| (format!("{}:{}", source.path, index + 1), line))
}

/// The places where any of the words is written in code.
fn uses<'a>(source: &'a Source, words: &'a [String]) -> impl Iterator<Item = String> + 'a {
    code_lines(source).filter(|(_, line)| words.iter().any(|word| line.contains(word))).map(|(place, _)| place)
}

// --- Layers ---

/// The room of a file: `src/domain/retry.rs` and `src/domain.rs` are both in `domain`.
fn room(path: &str) -> &str {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs")
}

fn layer(room: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&room))
}

/// The rooms that a text names by `crate::room…` or `crate::{room…, room…}`.
fn imports(code: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for (at, path) in code.match_indices("crate::") {
        let is_word = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let rest = &code[at + path.len()..];
        match rest.strip_prefix('{') {
            _ if is_word => {}
            Some(group) => rooms.extend(group_heads(group)),
            None => rooms.extend(head(rest)),
        }
    }
    rooms
}

/// The first name of each path of a `use` group, whose opening brace has been read.
fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut start, mut heads) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        let ends_path = depth == 0 && (c == ',' || c == '}');
        if ends_path {
            heads.extend(head(group[start..at].trim_start()));
            start = at + 1;
        }
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            _ => {}
        }
    }
    heads
}

fn head(path: &str) -> Option<String> {
    let name: String = path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

/// Why a file of one room may not import another, if it may not.
fn objection(from: &str, to: &str) -> Option<String> {
    if from == to {
        return None;
    }
    match (layer(from), layer(to)) {
        (Some(own), Some(other)) if other < own => None,
        (Some(own), Some(other)) if other == own => Some(format!("{to} is its neighbour: meet in a layer below")),
        (Some(_), Some(_)) => Some(format!("{to} is above it: turn the dependency around")),
        (None, _) => Some(format!("{from} has no layer: give it one in tests/tidy.rs")),
        (_, None) => Some(format!("{to} is no room: import the item by the room that owns it")),
    }
}

#[test]
fn imports_are_found_in_every_form() {
    let code =
        "use crate::gate::Gate;\nuse crate::{\n    domain::{a::B, c},\n    ports,\n};\nlet x = crate::edna::y();";
    assert_eq!(imports(code).into_iter().collect::<Vec<_>>(), ["domain", "edna", "gate", "ports"]);
    assert!(imports("my_crate::other::x; use krate::y;").is_empty());
    assert_eq!(room("src/domain/retry.rs"), room("src/domain.rs"));
    for (from, to, fine) in [
        ("cli", "domain", true),
        ("bootstrap", "config", true),
        ("config", "bootstrap", false),
        ("edna", "amqp", false),
        ("domain", "gate", false),
        ("attic", "domain", false),
    ] {
        assert_eq!(objection(from, to).is_none(), fine, "{from} imports {to}");
    }
}

#[test]
fn each_layer_imports_only_layers_below() {
    let mut complaints = Vec::new();
    for source in sources("src").iter().filter(|source| source.path != "src/lib.rs") {
        let code: Vec<_> = code_lines(source).map(|(_, line)| line).collect();
        for to in imports(&code.join("\n")) {
            complaints.extend(objection(room(&source.path), &to).map(|why| format!("{}: {why}", source.path)));
        }
        // A way around the check above, and hard to read.
        complaints.extend(uses(source, &["super::super::".to_owned()]).map(|place| format!("{place}: write crate::…")));
    }
    none("layers", complaints);
}

// --- Sizes; functions are clippy's (too_many_lines) ---

#[test]
fn files_are_short() {
    let lines = |source: &Source| source.text.lines().count();
    let all = sources("src").into_iter().chain(sources("tests"));
    let long = all.filter(|source| lines(source) > MAX_FILE_LINES);
    none("at most 400 lines a file", long.map(|source| format!("{}: {}", source.path, lines(&source))));

    let mut sizes: Vec<_> = sources("src").iter().map(lines).collect();
    sizes.sort_unstable();
    let median = sizes[sizes.len() / 2];
    println!("median {median}, longest {} lines", sizes[sizes.len() - 1]);
    assert!(median <= MAX_MEDIAN_LINES, "the median file has {median} lines, which is more than {MAX_MEDIAN_LINES}");
}

// --- What code and tests may not do ---

#[test]
fn nothing_is_left_for_later() {
    let words = ["#[ign", "tod", "unimpl"].iter().zip(["ore", "o!", "emented!"]).map(|(a, b)| format!("{a}{b}"));
    let words: Vec<_> = words.collect();
    let all: Vec<_> = sources("src").into_iter().chain(sources("tests")).collect();
    none("no ignored test, nothing left to do", all.iter().flat_map(|source| uses(source, &words)));
}

#[test]
fn tests_never_sleep_but_wait_for_conditions() {
    let words = [format!("sle{}", "ep("), format!("sle{}", "ep_until(")];
    none("use eventually!", sources("tests").iter().flat_map(|source| uses(source, &words)));
}

#[test]
fn lines_are_clean() {
    let mut complaints = Vec::new();
    for source in sources("src").iter().chain(&sources("tests")) {
        for (index, line) in source.text.lines().enumerate() {
            if line.contains('\t') || line.ends_with(' ') {
                complaints.push(format!("{}:{}", source.path, index + 1));
            }
        }
    }
    none("no tabs, no blanks at the end of a line", complaints);
}

#[test]
fn every_module_says_what_it_is_for() {
    let is_test = |path: &str| path.ends_with("/tests.rs") || path.contains("/tests/");
    let bare = sources("src").into_iter().filter(|source| !source.text.starts_with("//!"));
    let bare = bare.filter(|source| source.path != "src/main.rs" && !is_test(&source.path));
    none("a file starts with //! and its purpose", bare.map(|source| source.path));
}

// --- What the root shows ---

#[test]
fn the_root_shows_only_what_a_visitor_needs() {
    let shown = root_entries().into_iter().filter(|name| !name.starts_with('.') && !ROOT.contains(&name.as_str()));
    none("other things belong below src, tests or deploy, or into a dotfile", shown);
}

/// What git keeps in the root; without git (a source archive), what lies there, but for the build's output.
fn root_entries() -> BTreeSet<String> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output();
    let listed = listed.ok().filter(|listed| listed.status.success() && !listed.stdout.is_empty());
    if let Some(listed) = listed {
        let paths = String::from_utf8(listed.stdout).expect("UTF-8 names");
        return paths.split_terminator('\0').filter_map(|path| path.split('/').next()).map(str::to_owned).collect();
    }
    let entries = fs::read_dir(root()).expect("the root").filter_map(Result::ok);
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).filter(|name| name != "target").collect()
}

// --- What the README documents: each setting and each metric family; its checks belong here ---
