//! Where settings come from: a file and the environment.

use std::{collections::HashMap, env, fs, path::PathBuf};

use config::{Config as Layer, Environment, File, FileFormat};

use super::report::Mistake;

/// What environment variables start with.
const PREFIX: &str = "EDNA_COURIER";
/// Names the file when the command line does not.
const FILE_VARIABLE: &str = "EDNA_COURIER_CONFIG";
/// Taken when neither names one, if it is there.
const DEFAULT_FILE: &str = "edna-courier.toml";

/// The file that was asked for, and the environment.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file to read, if any.
    pub file: Option<PathBuf>,
    /// The environment's variables.
    pub environment: HashMap<String, String>,
}

impl Sources {
    /// Of this process: the named file, else the one that the environment names, else the default one if it is there.
    /// Variables that are not UTF-8 cannot be ours.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>) -> Self {
        let variables =
            env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
        let environment: HashMap<_, _> = variables.collect();
        let named = file.or_else(|| named_by(&environment));
        let file = named.or_else(|| Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists()));
        Self { file, environment }
    }

    /// The environment as a layer.
    pub(super) fn environment_layer(&self) -> Result<Layer, Mistake> {
        let source = Environment::with_prefix(PREFIX)
            .prefix_separator("__")
            .separator("__")
            .ignore_empty(true)
            .source(Some(self.environment.clone()));
        Layer::builder().add_source(source).build().map_err(|error| unreadable("the environment", &error.to_string()))
    }

    /// The file's name and its content as a layer, if there is a file.
    pub(super) fn file_layer(&self) -> Result<Option<(String, Layer)>, Mistake> {
        let Some(path) = &self.file else { return Ok(None) };
        let name = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|error| {
            unreadable(
                &name,
                &format!("cannot be read ({error}); name a readable TOML file by --config or {FILE_VARIABLE}"),
            )
        })?;
        let source = File::from_str(&text, FileFormat::Toml);
        let layer = Layer::builder().add_source(source).build();
        layer.map(|layer| Some((name.clone(), layer))).map_err(|error| unreadable(&name, &not_toml(&text, &error)))
    }
}

/// The file that the environment names; an empty variable is none, as everywhere.
fn named_by(environment: &HashMap<String, String>) -> Option<PathBuf> {
    environment.get(FILE_VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from)
}

/// The variable that sets this path.
pub(super) fn variable(path: &str) -> String {
    format!("{PREFIX}__{}", path.to_uppercase().replace('.', "__"))
}

fn unreadable(what: &str, problem: &str) -> Mistake {
    Mistake { path: what.to_owned(), value: None, origin: None, problem: problem.to_owned() }
}

/// The library shows the line that it stumbled over, and a secret may stand there: only its number is told.
fn not_toml(text: &str, error: &config::ConfigError) -> String {
    let told = error.to_string();
    let place = told.lines().find_map(|line| Some(line.split_once("at line ")?.1.to_owned()));
    let place = place.map_or_else(String::new, |place| format!(" at line {}", place.trim_end_matches('\n')));
    let lines = text.lines().count();
    format!("is not TOML{place} (it has {lines} lines); check quotes, brackets and = there")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_names_no_file() {
        let environment = |name: &str| HashMap::from([(FILE_VARIABLE.to_owned(), name.to_owned())]);
        assert_eq!(named_by(&environment("")), None);
        assert_eq!(named_by(&environment("a.toml")), Some(PathBuf::from("a.toml")));
    }
}
