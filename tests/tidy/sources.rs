//! The source files and their code lines.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A source file. Its path starts at the root and is written with `/`.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    /// Whether the whole file is test code.
    pub(crate) fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    /// The text without comment lines and without an inline test module at its end.
    pub(crate) fn code(&self) -> String {
        let text = self.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
    }
}

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn sources(folder: &str) -> Vec<Source> {
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
pub(crate) fn none(rule: &str, complaints: impl IntoIterator<Item = String>) {
    let complaints: Vec<_> = complaints.into_iter().collect();
    assert!(complaints.is_empty(), "{rule}\n  {}", complaints.join("\n  "));
}

/// Each line that is not a comment, with its place.
pub(crate) fn code_lines(source: &Source) -> impl Iterator<Item = (String, &str)> {
    let numbered = source.text.lines().enumerate();
    let code = numbered.filter(|(_, line)| !line.trim_start().starts_with("//"));
    code.map(|(index, line)| (format!("{}:{}", source.path, index + 1), line))
}

/// The places where code holds one of the words.
pub(crate) fn places_of<'a>(source: &'a Source, words: &'a [String]) -> impl Iterator<Item = String> + 'a {
    code_lines(source).filter(|(_, line)| words.iter().any(|word| line.contains(word))).map(|(place, _)| place)
}
