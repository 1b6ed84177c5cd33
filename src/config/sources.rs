//! The sources of settings: a file and environment variables.

use std::{
    collections::HashMap,
    env,
    ffi::{OsStr, OsString},
    fmt,
    path::PathBuf,
};

/// The prefix of all environment variables.
pub(super) const PREFIX: &str = "EDNA_COURIER";
/// The variable that names the file when the command line does not.
pub(super) const FILE_VARIABLE: &str = "EDNA_COURIER_CONFIG";
/// The file that is read when none is named, if it exists.
const DEFAULT_FILE: &str = "edna-courier.toml";

/// The file to read and the environment variables. `Debug` shows no variable, because any of them may hold a secret.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file to read, if any.
    pub file: Option<PathBuf>,
    /// The environment variables that are UTF-8.
    pub environment: HashMap<String, String>,
    /// The names, converted lossily, of this program's variables whose name or value is not UTF-8.
    pub unreadable: Vec<String>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Sources {
    /// The sources of this process. The file is `file`, else the one that `EDNA_COURIER_CONFIG` names, else
    /// `edna-courier.toml` in the working directory, if it exists.
    #[must_use]
    pub fn from_process(file: Option<PathBuf>) -> Self {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
        let sources = Self::from_variables(env::vars_os());
        let named = file.or_else(|| file_in(&sources.environment));
        let file = named.or_else(|| Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists()));
        Self { file, ..sources }
    }

    fn from_variables(variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let mut sources = Self::default();
        for (name, value) in variables {
            match (name.to_str(), value.to_str()) {
                (Some(name), Some(value)) => drop(sources.environment.insert(name.to_owned(), value.to_owned())),
                _ => sources.unreadable.extend(own_variable(&name)),
            }
        }
        sources.unreadable.sort();
        sources
    }

    /// The first of these variables that is set, unless it is empty: reqwest, which reads them, goes on to the next names
    /// only then.
    pub(super) fn proxy_variable(&self, names: &[&'static str]) -> Option<(&'static str, &str)> {
        let mut set = names.iter().filter_map(|name| Some((*name, self.environment.get(*name)?.as_str())));
        set.next().filter(|(_, value)| !value.is_empty())
    }

    /// Whether `NO_COLOR` is set and not empty.
    pub(super) fn no_color(&self) -> bool {
        self.environment.get("NO_COLOR").is_some_and(|value| !value.is_empty())
    }
}

fn own_variable(name: &OsStr) -> Option<String> {
    let name = name.to_string_lossy();
    (is_setting_variable(&name) || name == FILE_VARIABLE).then(|| name.into_owned())
}

/// An empty variable counts as not set.
fn file_in(environment: &HashMap<String, String>) -> Option<PathBuf> {
    environment.get(FILE_VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from)
}

/// The environment variable of a setting.
pub(super) fn variable_name(path: &str) -> String {
    format!("{PREFIX}__{}", path.to_uppercase().replace('.', "__"))
}

/// The inverse of [`variable_name`], for any name that [`is_setting_variable`].
pub(super) fn setting_path(variable: &str) -> String {
    variable.get(PREFIX.len() + 2..).unwrap_or_default().to_lowercase().replace("__", ".")
}

/// Case-insensitive, so that a lower-case variable is reported, not ignored.
pub(super) fn is_setting_variable(name: &str) -> bool {
    let start = name.get(..PREFIX.len() + 2);
    start.is_some_and(|start| start.eq_ignore_ascii_case(&format!("{PREFIX}__")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn config_variable_empty_names_no_file() {
        let environment = |name: &str| HashMap::from([(FILE_VARIABLE.to_owned(), name.to_owned())]);
        assert_eq!(file_in(&environment("")), None);
        assert_eq!(file_in(&environment("a.toml")), Some(PathBuf::from("a.toml")));
    }

    #[test]
    fn variables_not_utf_8_are_unreadable_if_own() {
        let broken = || OsString::from_vec(b"s3cret\xff".to_vec());
        let names = ["EDNA_COURIER__API__TOKEN", "EDNA_COURIER_CONFIG", "PATH"].map(OsString::from);
        let name = OsString::from_vec(b"EDNA_COURIER__API__\xff".to_vec());
        let variables = names.into_iter().map(|name| (name, broken())).chain([(name, "x".into())]);
        let sources = Sources::from_variables(variables);
        assert_eq!(
            sources.unreadable,
            ["EDNA_COURIER_CONFIG", "EDNA_COURIER__API__TOKEN", "EDNA_COURIER__API__\u{fffd}"]
        );
        assert!(sources.environment.is_empty());
    }

    #[test]
    fn sources_debug_hides_variables() {
        let sources =
            Sources { environment: HashMap::from([("A".to_owned(), "s3cret".to_owned())]), ..Sources::default() };
        assert!(!format!("{sources:?}").contains("s3cret"));
    }
}
