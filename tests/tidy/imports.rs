//! No import circle between the files of `src/`.
//!
//! An import counts for the file that defines the item: a re-export (`pub use`) is followed to its target and is not an
//! import of its own. Tests do not count.

use std::collections::{BTreeMap, BTreeSet};

use crate::sources::{Source, none, sources};

/// A module path without `crate`, by its segments.
type ModulePath = Vec<String>;

/// One `use` declaration: where from, and the absolute path.
struct Import {
    path: ModulePath,
    is_reexport: bool,
}

struct Graph {
    files: BTreeMap<ModulePath, Vec<Import>>,
}

fn module_path(source: &Source) -> ModulePath {
    let path = source.path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').map(str::to_owned).collect()
}

/// The paths of a `use` tree.
fn paths(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((prefix, group)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap_or(tree).trim().to_owned()];
    };
    let group = group.rsplit_once('}').map_or(group, |(group, _)| group);
    let (mut depth, mut start, mut members) = (0, 0, Vec::new());
    for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
        match c {
            ',' if depth == 0 => {
                members.push(&group[start..at]);
                start = (at + 1).min(group.len());
            }
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    let members = members.into_iter().filter(|member| !member.trim().is_empty());
    members.flat_map(|member| paths(&format!("{}{}", prefix.trim(), member.trim()))).collect()
}

/// The absolute path, if it leads into this crate.
fn absolute(module: &ModulePath, path: &str, files: &BTreeSet<ModulePath>) -> Option<ModulePath> {
    let mut segments = path.split("::").map(str::to_owned);
    let first = segments.next()?;
    let (base, rest) = match first.as_str() {
        "crate" => (Vec::new(), segments.collect::<Vec<_>>()),
        "self" => (module.clone(), segments.collect()),
        "super" => (module[..module.len() - 1].to_vec(), segments.collect()),
        _ => {
            let child = [module.clone(), vec![first.clone()]].concat();
            files.contains(&child).then_some((child, segments.collect()))?
        }
    };
    Some([base, rest].concat())
}

/// The `use` declarations and inline `crate::…` paths of a file.
fn imports(module: &ModulePath, code: &str, files: &BTreeSet<ModulePath>) -> Vec<Import> {
    let mut imports = Vec::new();
    for statement in code.split(';') {
        let Some(at) =
            statement.rfind("use ").filter(|at| statement[..*at].ends_with(|c: char| c.is_whitespace()) || *at == 0)
        else {
            continue;
        };
        let line_start = statement[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let is_reexport = statement[line_start..at].trim_start().starts_with("pub");
        let found = paths(&statement[at + 4..]);
        let found = found.iter().filter_map(|path| absolute(module, path, files));
        imports.extend(found.map(|path| Import { path, is_reexport }));
    }
    for (at, prefix) in code.match_indices("crate::") {
        let path: String =
            code[at + prefix.len()..].chars().take_while(|c| c.is_alphanumeric() || "_:".contains(*c)).collect();
        let path: ModulePath = path.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
        if path.len() > 1 {
            imports.push(Import { path, is_reexport: false });
        }
    }
    imports
}

impl Graph {
    fn of(sources: &[Source]) -> Self {
        let entry = |source: &Source| matches!(source.path.as_str(), "src/lib.rs" | "src/main.rs");
        let code: Vec<_> = sources.iter().filter(|source| !source.is_test() && !entry(source)).collect();
        let names: BTreeSet<_> = code.iter().map(|source| module_path(source)).collect();
        let files = code.iter().map(|source| {
            let module = module_path(source);
            let imports = imports(&module, &source.code(), &names);
            (module, imports)
        });
        Self { files: files.collect() }
    }

    /// The file that defines the item at `path`.
    fn defining(&self, path: &[String]) -> Option<&ModulePath> {
        let length = (1..=path.len()).rev().find(|length| self.files.contains_key(&path[..*length]))?;
        let (module, imports) = self.files.get_key_value(&path[..length])?;
        let reexport = path
            .get(length)
            .and_then(|item| imports.iter().find(|import| import.is_reexport && import.path.last() == Some(item)));
        match reexport {
            Some(import) if import.path.as_slice() != path => self.defining(&import.path),
            _ => Some(module),
        }
    }

    fn edges(&self, module: &ModulePath) -> BTreeSet<&ModulePath> {
        let imports = self.files.get(module).into_iter().flatten().filter(|import| !import.is_reexport);
        imports.filter_map(|import| self.defining(&import.path)).filter(|target| *target != module).collect()
    }

    fn reachable<'a>(&'a self, from: &ModulePath) -> BTreeSet<&'a ModulePath> {
        let (mut found, mut open) = (BTreeSet::new(), self.edges(from));
        while let Some(module) = open.pop_first() {
            if found.insert(module) {
                open.extend(self.edges(module));
            }
        }
        found
    }

    /// The imports that are part of a circle.
    fn circles(&self) -> Vec<String> {
        let mut circles = Vec::new();
        for module in self.files.keys().filter(|module| self.reachable(module).contains(module)) {
            let back = |target: &&ModulePath| self.reachable(target).contains(module);
            let targets = self.edges(module).into_iter().filter(back);
            circles.extend(targets.map(|target| format!("{} imports {}", module.join("::"), target.join("::"))));
        }
        circles
    }
}

fn graph(files: &[(&str, &str)]) -> Graph {
    let source = |(path, text): &(&str, &str)| Source { path: format!("src/{path}"), text: (*text).to_owned() };
    Graph::of(&files.iter().map(source).collect::<Vec<_>>())
}

#[test]
fn circle_is_found_also_through_a_reexport() {
    let child = ("a/b.rs", "use super::T;\n");
    assert_eq!(graph(&[("a/mod.rs", "mod b;\nuse self::b::X;\nstruct T;\n"), child]).circles().len(), 2);
    assert_eq!(graph(&[("a.rs", "mod b;\nuse b::{X, Y as Z};\nstruct T;\n"), child]).circles().len(), 2);
    let others = [("x.rs", "use crate::{\n    y::{self, Y},\n    z,\n};\n"), ("y.rs", "fn f() { crate::x::g() }\n")];
    assert_eq!(graph(&others).circles(), ["x imports y", "y imports x"]);
    let reexport = [("a/mod.rs", "pub use self::b::X;\nstruct T;\n"), child];
    assert!(graph(&reexport).circles().is_empty(), "a re-export is not an import");
    let followed = [("a/mod.rs", "pub use b::X;\n"), ("a/b.rs", "use super::c::C;\n"), ("a/c.rs", "use super::X;\n")];
    assert_eq!(graph(&followed).circles(), ["a::b imports a::c", "a::c imports a::b"]);
}

#[test]
fn no_import_circle_between_files() {
    none("move the shared item below both files", Graph::of(&sources("src")).circles());
}
