//! Reads settings one by one and collects the mistakes.
//!
//! A mistaken setting reads as its default, so that one start reports all mistakes.

use std::{
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use secrecy::SecretString;
use serde::de::DeserializeOwned;

use super::{
    environment,
    known_keys::{self, file_variant, is_secret},
    layer::Layer,
    parse,
    raw::{RawValue, Scalar, ValueKind, without_control},
    report::{Mistake, Mistakes},
    sources::Sources,
    toml_file,
};
use crate::files;

/// For files with secrets or certificates.
const MAX_FILE_BYTES: u32 = 1 << 20;
const MAX_LIST_ITEMS: usize = 256;

/// The settings of all sources, and the mistakes found so far.
pub(super) struct Reader {
    environment: Layer,
    file: Layer,
    mistakes: Vec<Mistake>,
}

impl Reader {
    pub(super) fn new(sources: &Sources) -> Self {
        let mut mistakes = Vec::new();
        let read = |path: &PathBuf| toml_file::read(path, &mut mistakes);
        let file = sources.file.as_ref().map(read).unwrap_or_default();
        let environment = environment::read(sources, &mut mistakes);
        Self { environment, file, mistakes }
    }

    /// Returns the configuration if there was no mistake.
    pub(super) fn finish<T>(self, config: T) -> Result<T, Mistakes> {
        if self.mistakes.is_empty() { Ok(config) } else { Err(Mistakes(self.mistakes)) }
    }

    /// Records a mistake that concerns more than the value of one setting.
    pub(super) fn mistake(&mut self, path: &str, problem: impl Into<String>) {
        let origin = self.find(path).and_then(|raw| raw.origin);
        self.push_mistake(path, None, origin, &problem.into());
    }

    pub(super) fn is_mistaken(&self, path: &str) -> bool {
        self.mistakes.iter().any(|mistake| mistake.path == path)
    }

    pub(super) fn is_set(&self, path: &str) -> bool {
        self.find(path).is_some_and(|raw| raw.origin.is_some())
    }

    /// Reads a text and parses it. `None` if the setting has no value, or a mistaken one and no default.
    pub(super) fn value<T>(&mut self, path: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        self.value_of_kind(ValueKind::Text, path, parse)
    }

    fn value_of_kind<T>(
        &mut self,
        wanted: ValueKind,
        path: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let raw = self.find(path)?;
        // A secret is never printed and may hold any character.
        let check = |text| if is_secret(path) { Ok(text) } else { without_control(text) };
        match raw.as_kind(wanted).and_then(check).and_then(&parse) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.push_mistake(path, raw.displayed(), raw.origin.clone(), &problem);
                parse(known_keys::default(path)?).ok()
            }
        }
    }

    pub(super) fn text(&mut self, path: &str) -> Option<String> {
        self.value(path, |text| if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(text.to_owned()) })
    }

    pub(super) fn flag(&mut self, path: &str) -> bool {
        self.value_of_kind(ValueKind::Boolean, path, parse::flag).unwrap_or_default()
    }

    pub(super) fn duration(&mut self, path: &str, range: RangeInclusive<Duration>) -> Option<Duration> {
        self.value(path, |text| parse::duration(text, &range))
    }

    pub(super) fn whole<T>(&mut self, path: &str, range: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + std::fmt::Display + Default,
    {
        self.value_of_kind(ValueKind::Integer, path, |text| parse::whole(text, &range)).unwrap_or_default()
    }

    /// Reads a rate per second.
    pub(super) fn rate(&mut self, path: &str) -> Option<f64> {
        self.value_of_kind(ValueKind::Number, path, parse::rate)
    }

    pub(super) fn address(&mut self, path: &str) -> Option<SocketAddr> {
        self.value(path, |text| {
            text.parse().map_err(|_| "must be an IP address and a port, as in 0.0.0.0:9464".to_owned())
        })
    }

    /// Reads a variant of an enum, by its serde name.
    pub(super) fn choice<T: DeserializeOwned>(&mut self, path: &str) -> Option<T> {
        let kind = known_keys::setting(path).map(|setting| setting.kind).unwrap_or_default();
        let parse = |text: &str| serde_json::from_value(text.into()).map_err(|_| format!("must be {kind}"));
        self.value(path, parse)
    }

    /// Reads a list of texts. A single text is split at commas, as in an environment variable.
    pub(super) fn list<T>(&mut self, path: &str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        self.list_of_kind(ValueKind::Text, path, parse)
    }

    /// Reads a list of whole numbers.
    pub(super) fn numbers<T>(&mut self, path: &str, range: &RangeInclusive<T>) -> Vec<T>
    where
        T: FromStr + PartialOrd + std::fmt::Display,
    {
        self.list_of_kind(ValueKind::Integer, path, |text| parse::whole(text, range))
    }

    fn list_of_kind<T>(&mut self, wanted: ValueKind, path: &str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let Some(raw) = self.find(path) else { return Vec::new() };
        let items: Vec<_> =
            raw.scalars.iter().flat_map(|scalar| split(scalar, wanted)).take(MAX_LIST_ITEMS + 1).collect();
        if items.len() > MAX_LIST_ITEMS {
            self.push_mistake(
                path,
                None,
                raw.origin,
                &format!("lists more than {MAX_LIST_ITEMS} items; shorten the list"),
            );
            return Vec::new();
        }
        let mut list = Vec::new();
        for item in items {
            let parsed = item.and_then(|text| {
                without_control(&text).and_then(&parse).map_err(|problem| (Some(text.clone()), problem))
            });
            match parsed {
                Ok(value) => list.push(value),
                Err((text, problem)) => self.push_mistake(path, text.as_deref(), raw.origin.clone(), &problem),
            }
        }
        list
    }

    /// Reads a secret, from the setting itself or from the file that `<path>_file` names.
    pub(super) fn secret(&mut self, path: &str) -> Option<SecretString> {
        self.secret_value(path, |text| Ok(text.into()))
    }

    /// Reads a secret and parses it. The parser's errors must not quote the secret.
    pub(super) fn secret_value<T>(&mut self, path: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let file_path = file_variant(path);
        if self.is_set(path) && self.is_set(&file_path) {
            self.mistake(path, format!("is set, and so is {file_path}; keep one"));
        }
        let (place, text) = if self.is_set(&file_path) {
            (file_path.as_str(), self.file(&file_path, |_| Ok(()))?)
        } else {
            (path, self.text(path)?)
        };
        let text = text.trim_end_matches(['\n', '\r']);
        let parsed = if text.trim().is_empty() {
            Err("holds only white space; write the secret there".to_owned())
        } else {
            parse(text)
        };
        parsed.map_err(|problem| self.mistake(place, problem)).ok()
    }

    /// Reads the content of the file that a setting names, if `check` accepts it.
    pub(super) fn file(&mut self, path: &str, check: impl Fn(&str) -> Result<(), String>) -> Option<String> {
        self.value(path, |name| {
            let text = files::read_small_file(Path::new(name), MAX_FILE_BYTES)
                .map_err(|error| format!("cannot be read ({error}); name a readable text file"))?;
            check(&text).map(|()| text)
        })
    }

    /// The environment takes precedence over the file, the file over the default.
    fn find(&self, path: &str) -> Option<RawValue> {
        let set = self.environment.get(path).or_else(|| self.file.get(path)).cloned();
        set.or_else(|| Some(RawValue::text(known_keys::default(path)?.to_owned(), None)))
    }

    fn push_mistake(&mut self, path: &str, value: Option<&str>, origin: Option<String>, problem: &str) {
        let mut mistake = Mistake::new(path, problem);
        // Any URL may hold a password before `@`, and a token after `?` or `=`.
        if let Some(value) = value.filter(|value| !is_secret(path) && !value.contains(['@', '?', '='])) {
            mistake = mistake.with_value(value);
        }
        self.mistakes.push(match origin {
            Some(origin) => mistake.from(origin),
            None => mistake,
        });
    }
}

/// An item of a list, or the value to show and what is wrong with it.
type Item = Result<String, (Option<String>, String)>;

/// Splits at commas and skips empty items.
fn split(scalar: &Scalar, wanted: ValueKind) -> Vec<Item> {
    match scalar.as_kind(wanted) {
        Ok(text) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            items.take(MAX_LIST_ITEMS + 1).map(|item| Ok(item.to_owned())).collect()
        }
        Err(problem) => vec![Err((scalar.displayed().map(str::to_owned), problem))],
    }
}
