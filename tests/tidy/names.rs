//! One name, one idea: no type name stands twice in `src/`.

use std::collections::BTreeMap;

use crate::sources::{none, sources};

/// Names that two files may define, with the reason.
const ALLOWED_TWICE: [(&str, &str); 0] = [];

/// The name of a type that this line of code defines.
fn defined(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = line.strip_prefix("pub").map_or(line, |rest| match rest.strip_prefix('(') {
        Some(scope) => scope.split_once(") ").map_or("", |(_, rest)| rest),
        None => rest.trim_start(),
    });
    let name = ["struct ", "enum ", "trait "].iter().find_map(|kind| line.strip_prefix(kind))?;
    name.split(|c: char| !c.is_alphanumeric() && c != '_').next().filter(|name| !name.is_empty())
}

#[test]
fn type_definitions_of_every_form_are_found() {
    for line in ["struct A;", "    pub(super) enum A<T> {", "pub trait A: Send {", "pub(in crate::x) struct A(u64);"] {
        assert_eq!(defined(line), Some("A"), "{line}");
    }
    for line in ["let structure = 1;", "fn struct_of() {}", "pub use a::A;"] {
        assert_eq!(defined(line), None, "{line}");
    }
}

#[test]
fn no_type_name_is_defined_twice() {
    let mut places = BTreeMap::<String, Vec<String>>::new();
    for source in sources("src").iter().filter(|source| !source.is_test()) {
        for name in source.code().lines().filter_map(defined) {
            places.entry(name.to_owned()).or_default().push(source.path.clone());
        }
    }
    places.retain(|name, places| places.len() > 1 && !ALLOWED_TWICE.iter().any(|(allowed, _)| allowed == name));
    let twice = places.into_iter().map(|(name, places)| format!("{name}: {}", places.join(", ")));
    none("say of what it is the state, the settings, the error …", twice);
}
