//! Where settings come from: a file and the environment.

use std::{
    collections::HashMap,
    env,
    ffi::{OsStr, OsString},
    fmt,
    path::PathBuf,
};

use super::layer::is_ours;

/// What environment variables start with.
pub(super) const PREFIX: &str = "EDNA_COURIER";
/// Names the file when the command line does not.
pub(super) const FILE_VARIABLE: &str = "EDNA_COURIER_CONFIG";
/// Taken when neither names one, if it is there.
const DEFAULT_FILE: &str = "edna-courier.toml";

/// The file that was asked for, and the environment. `Debug` shows no variable: their values may be anybody's secrets.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file to read, if any.
    pub file: Option<PathBuf>,
    /// The environment's variables.
    pub environment: HashMap<String, String>,
    /// Names of variables of ours that are not UTF-8, or whose value is not, as far as they can be shown.
    pub unreadable: Vec<String>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Sources {
    /// Of this process: the named file, else the one that the environment names, else the default one if it is there.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>) -> Self {
        let sources = Self::of_variables(env::vars_os());
        let named = file.or_else(|| named_by(&sources.environment));
        let file = named.or_else(|| Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists()));
        Self { file, ..sources }
    }

    fn of_variables(variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let mut sources = Self::default();
        for (name, value) in variables {
            match (name.to_str(), value.to_str()) {
                (Some(name), Some(value)) => drop(sources.environment.insert(name.to_owned(), value.to_owned())),
                _ => sources.unreadable.extend(ours(&name)),
            }
        }
        sources.unreadable.sort();
        sources
    }
}

/// The name, if it is one of ours.
fn ours(name: &OsStr) -> Option<String> {
    let name = name.to_string_lossy();
    (is_ours(&name) || name == FILE_VARIABLE).then(|| name.into_owned())
}

/// The file that the environment names; an empty variable is none, as everywhere.
fn named_by(environment: &HashMap<String, String>) -> Option<PathBuf> {
    environment.get(FILE_VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from)
}

/// The variable that sets this path.
pub(super) fn variable(path: &str) -> String {
    format!("{PREFIX}__{}", path.to_uppercase().replace('.', "__"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn an_empty_variable_names_no_file() {
        let environment = |name: &str| HashMap::from([(FILE_VARIABLE.to_owned(), name.to_owned())]);
        assert_eq!(named_by(&environment("")), None);
        assert_eq!(named_by(&environment("a.toml")), Some(PathBuf::from("a.toml")));
    }

    #[test]
    fn variables_of_ours_that_are_not_utf_8_are_kept_in_mind_and_those_of_others_are_not() {
        let broken = || OsString::from_vec(b"s3cret\xff".to_vec());
        let names = ["EDNA_COURIER__API__TOKEN", "EDNA_COURIER_CONFIG", "PATH"].map(OsString::from);
        let name = OsString::from_vec(b"EDNA_COURIER__API__\xff".to_vec());
        let variables = names.into_iter().map(|name| (name, broken())).chain([(name, "x".into())]);
        let sources = Sources::of_variables(variables);
        assert_eq!(
            sources.unreadable,
            ["EDNA_COURIER_CONFIG", "EDNA_COURIER__API__TOKEN", "EDNA_COURIER__API__\u{fffd}"]
        );
        assert!(sources.environment.is_empty());
    }

    #[test]
    fn debug_shows_no_variable() {
        let sources =
            Sources { environment: HashMap::from([("A".to_owned(), "s3cret".to_owned())]), ..Sources::default() };
        assert!(!format!("{sources:?}").contains("s3cret"));
    }
}
