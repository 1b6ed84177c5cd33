//! Which names are settings, and what is known of each.

use super::reference::{Setting, reference};

/// Of a longer name only so much is compared.
const MAX_COMPARED_CHARS: usize = 64;

pub(super) fn setting(path: &str) -> Option<&'static Setting> {
    reference().iter().find(|setting| setting.path == path)
}

pub(super) fn default(path: &str) -> Option<&'static str> {
    setting(path)?.default
}

/// A twin counts too: people put the secret itself there.
pub(super) fn is_secret(path: &str) -> bool {
    reference().iter().any(|setting| setting.secret && (setting.path == path || twin(setting.path) == path))
}

/// The setting that names the file which holds the secret.
pub(super) fn twin(path: &str) -> String {
    format!("{path}_file")
}

/// Every path that may be set, the twins of secrets included.
pub(super) fn paths() -> impl Iterator<Item = String> {
    let twins = reference().iter().filter(|setting| setting.secret).map(|setting| twin(setting.path));
    reference().iter().map(|setting| setting.path.to_owned()).chain(twins)
}

/// The settings that are tables.
pub(super) fn tables() -> impl Iterator<Item = &'static str> {
    reference().iter().filter(|setting| setting.kind.starts_with("table")).map(|setting| setting.path)
}

/// The problem with a name that is none of them.
pub(super) fn not_a_setting(name: &str) -> String {
    let name: String = name.chars().take(MAX_COMPARED_CHARS).collect();
    let alike = |path: &str| strsim::jaro_winkler(&name, path);
    let nearest = paths().max_by(|a, b| alike(a).total_cmp(&alike(b)));
    nearest.map_or_else(String::new, |nearest| format!("is not a setting; the nearest is {nearest}"))
}

/// The names of all sections.
pub(super) fn sections() -> String {
    let mut sections: Vec<_> = reference().iter().filter_map(|setting| Some(setting.path.split_once('.')?.0)).collect();
    sections.dedup();
    sections.join(", ")
}
