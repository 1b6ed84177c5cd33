//! Reads one setting after the other and keeps the mistakes; a mistaken setting reads as its default, so that the
//! reading goes on and finds them all.

use std::{collections::BTreeSet, fs, net::SocketAddr, ops::RangeInclusive, str::FromStr, time::Duration};

use config::{Config as Layer, Value, ValueKind};
use secrecy::SecretString;
use serde::de::DeserializeOwned;

use super::{
    parse,
    reference::{Setting, reference},
    report::{Mistake, Mistakes},
    sources::{self, Sources},
};

/// Files that hold secrets or certificates are small.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Both layers, and what was wrong so far.
pub(super) struct Reader {
    environment: Layer,
    file: Option<(String, Layer)>,
    mistakes: Vec<Mistake>,
}

/// What a setting says, and who says so.
struct Said {
    words: Vec<String>,
    origin: Option<String>,
}

impl Reader {
    pub(super) fn new(sources: &Sources) -> Result<Self, Mistakes> {
        let environment = sources.environment_layer().map_err(|mistake| Mistakes(vec![mistake]))?;
        let (file, mistakes) = match sources.file_layer() {
            Ok(file) => (file, Vec::new()),
            Err(mistake) => (None, vec![mistake]),
        };
        let mut reader = Self { environment, file, mistakes };
        reader.refuse_unknown();
        Ok(reader)
    }

    /// The configuration, if nothing was wrong.
    pub(super) fn finish<T>(self, config: T) -> Result<T, Mistakes> {
        if self.mistakes.is_empty() { Ok(config) } else { Err(Mistakes(self.mistakes)) }
    }

    /// A mistake that is not one value's.
    pub(super) fn mistake(&mut self, path: &str, problem: impl Into<String>) {
        let origin = self.said(path).and_then(|said| said.origin);
        self.mistakes.push(Mistake { path: path.to_owned(), value: None, origin, problem: problem.into() });
    }

    pub(super) fn is_mistaken(&self, path: &str) -> bool {
        self.mistakes.iter().any(|mistake| mistake.path == path)
    }

    pub(super) fn is_set(&self, path: &str) -> bool {
        self.said(path).is_some_and(|said| said.origin.is_some())
    }

    /// A value by its own parser; `None` when it is not set or mistaken and there is no default.
    pub(super) fn value<T>(&mut self, path: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let said = self.said(path)?;
        let word = said.words.join(",");
        match parse(&word) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.mistaken(path, &word, said.origin, problem);
                parse(default(path)?).ok()
            }
        }
    }

    pub(super) fn text(&mut self, path: &str) -> Option<String> {
        self.value(path, |text| if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(text.to_owned()) })
    }

    pub(super) fn flag(&mut self, path: &str) -> bool {
        self.value(path, parse::flag).unwrap_or_default()
    }

    pub(super) fn duration(&mut self, path: &str, range: RangeInclusive<Duration>) -> Option<Duration> {
        self.value(path, |text| parse::duration(text, &range))
    }

    pub(super) fn whole<T>(&mut self, path: &str, range: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + std::fmt::Display + Default,
    {
        self.value(path, |text| parse::whole(text, &range)).unwrap_or_default()
    }

    pub(super) fn address(&mut self, path: &str) -> Option<SocketAddr> {
        self.value(path, |text| {
            text.parse().map_err(|_| "must be an address and a port, as in 0.0.0.0:9464".to_owned())
        })
    }

    /// One of an enum's words.
    pub(super) fn choice<T: DeserializeOwned>(&mut self, path: &str) -> Option<T> {
        let kind = setting(path).map(|setting| setting.kind).unwrap_or_default();
        let parse = |text: &str| serde_json::from_value(text.into()).map_err(|_| format!("must be {kind}"));
        self.value(path, parse)
    }

    /// A list; a text with commas is one too, as in the environment.
    pub(super) fn list<T>(&mut self, path: &str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let Some(said) = self.said(path) else { return Vec::new() };
        let words = said.words.iter().flat_map(|word| word.split(',')).map(str::trim).filter(|word| !word.is_empty());
        let mut list = Vec::new();
        for word in words {
            match parse(word) {
                Ok(value) => list.push(value),
                Err(problem) => self.mistaken(path, word, said.origin.clone(), problem),
            }
        }
        list
    }

    /// A secret, from the setting itself or from the file that its twin `<path>_file` names.
    pub(super) fn secret(&mut self, path: &str) -> Option<SecretString> {
        self.secret_value(path, |text| Ok(text.into()))
    }

    /// A secret by its own parser, whose problems must not repeat it.
    pub(super) fn secret_value<T>(&mut self, path: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let twin = twin(path);
        if self.is_set(path) && self.is_set(&twin) {
            self.mistake(path, format!("is set, and so is {twin}; keep one"));
        }
        let (place, text) =
            if self.is_set(&twin) { (twin.as_str(), self.file(&twin, |_| Ok(()))?) } else { (path, self.text(path)?) };
        let text = text.trim_end_matches(['\n', '\r']);
        let parsed = if text.trim().is_empty() {
            Err("there is nothing but white space; put the secret there".to_owned())
        } else {
            parse(text)
        };
        parsed.map_err(|problem| self.mistake(place, problem)).ok()
    }

    /// The content of the file that a setting names, if it passes the check.
    pub(super) fn file(&mut self, path: &str, check: impl Fn(&str) -> Result<(), String>) -> Option<String> {
        self.value(path, |name| {
            let size =
                fs::metadata(name).map_err(|error| format!("cannot be read ({error}); name a readable file"))?.len();
            if size > MAX_FILE_BYTES {
                return Err(format!("is larger than {MAX_FILE_BYTES} bytes; name the right file"));
            }
            let text = fs::read_to_string(name)
                .map_err(|error| format!("cannot be read ({error}); name a readable text file"))?;
            check(&text).map(|()| text)
        })
    }

    /// The environment wins over the file, the file over the default.
    fn said(&self, path: &str) -> Option<Said> {
        let in_environment = words(&self.environment, path);
        if let Some(words) = in_environment {
            return Some(Said { words, origin: Some(format!("environment variable {}", sources::variable(path))) });
        }
        if let Some((name, layer)) = &self.file
            && let Some(words) = words(layer, path)
        {
            return Some(Said { words, origin: Some(name.clone()) });
        }
        default(path).map(|default| Said { words: vec![default.to_owned()], origin: None })
    }

    fn mistaken(&mut self, path: &str, word: &str, origin: Option<String>, problem: String) {
        // A user and a password can stand before an @ in any URL, a token behind a question mark.
        let value = (!is_secret(path) && !word.contains(['@', '?'])).then(|| word.to_owned());
        self.mistakes.push(Mistake { path: path.to_owned(), value, origin, problem });
    }

    fn refuse_unknown(&mut self) {
        let known: BTreeSet<String> = paths().collect();
        let in_file = self.file.iter().flat_map(|(name, layer)| keys(layer).map(move |key| (key, name.clone())));
        let in_environment = keys(&self.environment).map(|key| {
            let variable = format!("environment variable {}", sources::variable(&key));
            (key, variable)
        });
        let unknown = in_file.chain(in_environment).filter(|(key, _)| !known.contains(key));
        let mistakes = unknown.map(|(path, origin)| Mistake {
            problem: format!("is not a setting; {}", nearest(&path, &known)),
            value: None,
            origin: Some(origin),
            path,
        });
        let mistakes: Vec<_> = mistakes.collect();
        self.mistakes.extend(mistakes);
    }
}

fn nearest(path: &str, known: &BTreeSet<String>) -> String {
    let nearest = known.iter().max_by(|a, b| strsim::jaro_winkler(path, a).total_cmp(&strsim::jaro_winkler(path, b)));
    nearest.map_or_else(String::new, |nearest| format!("the nearest is {nearest}"))
}

fn setting(path: &str) -> Option<&'static Setting> {
    reference().iter().find(|setting| setting.path == path)
}

fn default(path: &str) -> Option<&'static str> {
    setting(path)?.default
}

/// A twin counts too: people put the secret itself there.
fn is_secret(path: &str) -> bool {
    reference().iter().any(|setting| setting.secret && (setting.path == path || twin(setting.path) == path))
}

/// The setting that names the file which holds the secret.
fn twin(path: &str) -> String {
    format!("{path}_file")
}

/// Every path that may be set, the twins of secrets included.
fn paths() -> impl Iterator<Item = String> {
    let twins = reference().iter().filter(|setting| setting.secret).map(|setting| twin(setting.path));
    reference().iter().map(|setting| setting.path.to_owned()).chain(twins)
}

/// What a layer says for a path: a list as it is, anything else as one word.
fn words(layer: &Layer, path: &str) -> Option<Vec<String>> {
    let value = layer.get::<Value>(path).ok()?;
    match value.kind {
        ValueKind::Nil => None,
        ValueKind::Array(values) => Some(values.into_iter().map(|value| value.to_string()).collect()),
        _ => Some(vec![value.to_string()]),
    }
}

/// The paths of all leaves of a layer.
fn keys(layer: &Layer) -> impl Iterator<Item = String> + use<> {
    let mut keys = Vec::new();
    collect(&layer.cache, "", &mut keys);
    keys.into_iter()
}

fn collect(value: &Value, path: &str, keys: &mut Vec<String>) {
    match &value.kind {
        ValueKind::Table(table) => {
            for (key, value) in table {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                collect(value, &path, keys);
            }
        }
        _ => keys.push(path.to_owned()),
    }
}
