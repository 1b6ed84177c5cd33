//! Lookups in the table of settings.

use super::reference::{Setting, reference};

/// Longer names are cut to this length before they are compared.
const MAX_COMPARED_CHARS: usize = 64;

pub(super) fn setting(path: &str) -> Option<&'static Setting> {
    reference().iter().find(|setting| setting.path == path)
}

pub(super) fn default(path: &str) -> Option<&'static str> {
    setting(path)?.default
}

/// Whether the value of this path must not be shown. True for `_file` variants too: they may hold a secret by mistake.
pub(super) fn is_secret(path: &str) -> bool {
    reference().iter().any(|setting| setting.secret && (setting.path == path || file_variant(setting.path) == path))
}

/// The setting that names the file with the secret.
pub(super) fn file_variant(path: &str) -> String {
    format!("{path}_file")
}

/// Every path that may be set, `_file` variants included.
pub(super) fn paths() -> impl Iterator<Item = String> {
    let variants = reference().iter().filter(|setting| setting.secret).map(|setting| file_variant(setting.path));
    reference().iter().map(|setting| setting.path.to_owned()).chain(variants)
}

/// The settings that may be TOML tables.
pub(super) fn tables() -> impl Iterator<Item = &'static str> {
    reference().iter().filter(|setting| setting.kind.starts_with("table")).map(|setting| setting.path)
}

/// The error for an unknown name, with the most similar setting.
pub(super) fn not_a_setting(name: &str) -> String {
    let name: String = name.chars().take(MAX_COMPARED_CHARS).collect();
    let similarity = |path: &str| strsim::jaro_winkler(&name, path);
    let nearest = paths().max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
    nearest.map_or_else(String::new, |nearest| format!("is not a setting; the nearest is {nearest}"))
}

/// The first setting of this section; `None` if there is no such section.
pub(super) fn example_in_section(name: &str) -> Option<String> {
    paths().find(|path| path.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

/// The names of all sections, joined for an error message.
pub(super) fn section_names() -> String {
    let mut sections: Vec<_> = reference().iter().filter_map(|setting| Some(setting.path.split_once('.')?.0)).collect();
    sections.dedup();
    sections.join(", ")
}
