//! House rules that no lint checks: layers, import circles, type names, sizes, what tests may not do, what the root shows.
#![cfg(test)] // By this attribute clippy knows that all of this is test code.

mod imports;
mod layers;
mod names;
mod sources;

use std::{collections::BTreeSet, fs, process::Command};

use sources::{Source, code_lines, none, places_of, root, sources};

const MAX_FILE_LINES: usize = 400;
const MAX_MEDIAN_LINES: usize = 120;
const MAX_TEST_NAME: usize = 60;
const ROOT: [&str; 6] = ["Cargo.toml", "Cargo.lock", "src", "tests", "deploy", "README.md"];

/// Functions are limited by clippy's `too_many_lines`.
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

#[test]
fn no_stub_and_no_ignored_test() {
    let words = ["#[ign", "tod", "unimpl"].iter().zip(["ore", "o!", "emented!"]).map(|(a, b)| format!("{a}{b}"));
    let words: Vec<_> = words.collect();
    let all: Vec<_> = sources("src").into_iter().chain(sources("tests")).collect();
    none("no ignored test, no stub", all.iter().flat_map(|source| places_of(source, &words)));
}

#[test]
fn tests_wait_for_conditions_instead_of_sleeping() {
    let words = [format!("sle{}", "ep("), format!("sle{}", "ep_until(")];
    none("use eventually!", sources("tests").iter().flat_map(|source| places_of(source, &words)));
}

#[test]
fn test_names_are_short() {
    let mut long = Vec::new();
    for source in sources("src").iter().chain(&sources("tests")) {
        let mut is_test = false;
        for (place, line) in code_lines(source) {
            let line = line.trim_start();
            let name = line.trim_start_matches("async ").strip_prefix("fn ").and_then(|rest| rest.split('(').next());
            if let Some(name) = name.filter(|name| is_test && name.len() > MAX_TEST_NAME) {
                long.push(format!("{place}: {name}"));
            }
            is_test = line.starts_with("#[") && (is_test || line.contains("test"));
        }
    }
    none("a test's name has at most 60 characters: subject_condition_result", long);
}

/// Telemetry observes: only the gate's owner, the pipeline and the adapters close it.
#[test]
fn telemetry_closes_no_gate() {
    let words = ["GateHold".to_owned(), "gate.close(".to_owned()];
    let telemetry = sources("src/telemetry");
    let code = telemetry.iter().filter(|source| !source.is_test());
    none("telemetry closes no gate", code.flat_map(|source| places_of(source, &words)));
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
fn every_module_has_a_doc_comment() {
    let bare = sources("src").into_iter().filter(|source| !source.text.starts_with("//!"));
    let bare = bare.filter(|source| source.path != "src/main.rs" && !source.is_test());
    none("a file starts with //! and its purpose", bare.map(|source| source.path));
}

#[test]
fn root_shows_only_what_a_visitor_needs() {
    let shown = root_entries().into_iter().filter(|name| !name.starts_with('.') && !ROOT.contains(&name.as_str()));
    none("other things belong below src, tests or deploy, or into a dotfile", shown);
}

/// What git tracks in the root; without git (a source archive), the folder's entries, except the build's output.
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
