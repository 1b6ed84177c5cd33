//! Each room of `src/` imports only rooms of lower layers.

use std::collections::BTreeSet;

use crate::sources::{code_lines, none, places_of, sources};

/// The layers, lowest first. A file imports only from layers below its own; rooms of one layer do not import each other.
const LAYERS: [&[&str]; 8] = [
    &["domain", "sync", "urls"],
    &["ports", "gate", "files", "listener"],
    &["telemetry"],
    &["pipeline", "amqp", "edna", "journal", "sandbox"],
    &["admin", "config"],
    &["bootstrap"],
    &["cli"],
    &["main"],
];

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
fn imports_of_every_form_are_found() {
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
        // Would bypass the check above.
        complaints
            .extend(places_of(source, &["super::super::".to_owned()]).map(|place| format!("{place}: write crate::…")));
    }
    none("layers", complaints);
}
