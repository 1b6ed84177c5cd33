//! Reads one setting after the other and keeps the mistakes; a mistaken setting reads as its default, so that the
//! reading goes on and finds them all.

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
    known::{self, is_secret, twin},
    layer::{self, Layer},
    parse,
    report::{Mistake, Mistakes},
    said::{Form, Said, Word, without_control},
    sources::{self, Sources},
};
use crate::files;

/// Files that hold secrets or certificates are small.
const MAX_FILE_BYTES: u32 = 1 << 20;
/// No list of ours is near it.
const MAX_WORDS: usize = 256;

/// Both layers, and what was wrong so far.
pub(super) struct Reader {
    environment: Layer,
    /// With its name.
    file: Option<(String, Layer)>,
    mistakes: Vec<Mistake>,
}

impl Reader {
    pub(super) fn new(sources: &Sources) -> Self {
        let mut mistakes = Vec::new();
        let read = |path: &PathBuf| (path.display().to_string(), layer::of_file(path, &mut mistakes));
        let file = sources.file.as_ref().map(read);
        let environment = layer::of_environment(sources, &mut mistakes);
        Self { environment, file, mistakes }
    }

    /// The configuration, if nothing was wrong.
    pub(super) fn finish<T>(self, config: T) -> Result<T, Mistakes> {
        if self.mistakes.is_empty() { Ok(config) } else { Err(Mistakes(self.mistakes)) }
    }

    /// A mistake that is not one value's.
    pub(super) fn mistake(&mut self, path: &str, problem: impl Into<String>) {
        let origin = self.said(path).and_then(|said| said.origin);
        self.mistaken(path, None, origin, &problem.into());
    }

    pub(super) fn is_mistaken(&self, path: &str) -> bool {
        self.mistakes.iter().any(|mistake| mistake.path == path)
    }

    pub(super) fn is_set(&self, path: &str) -> bool {
        self.said(path).is_some_and(|said| said.origin.is_some())
    }

    /// A value by its own parser; `None` when it is not set or mistaken and there is no default.
    pub(super) fn value<T>(&mut self, path: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        self.value_of(Form::Text, path, parse)
    }

    fn value_of<T>(&mut self, wanted: Form, path: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let said = self.said(path)?;
        // What is secret is shown nowhere, and may be anything.
        let check = |text| if is_secret(path) { Ok(text) } else { without_control(text) };
        match said.one(wanted).and_then(check).and_then(&parse) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.mistaken(path, said.shown(), said.origin.clone(), &problem);
                parse(known::default(path)?).ok()
            }
        }
    }

    pub(super) fn text(&mut self, path: &str) -> Option<String> {
        self.value(path, |text| if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(text.to_owned()) })
    }

    pub(super) fn flag(&mut self, path: &str) -> bool {
        self.value_of(Form::Flag, path, parse::flag).unwrap_or_default()
    }

    pub(super) fn duration(&mut self, path: &str, range: RangeInclusive<Duration>) -> Option<Duration> {
        self.value(path, |text| parse::duration(text, &range))
    }

    pub(super) fn whole<T>(&mut self, path: &str, range: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + std::fmt::Display + Default,
    {
        self.value_of(Form::Number, path, |text| parse::whole(text, &range)).unwrap_or_default()
    }

    /// So many a second.
    pub(super) fn rate(&mut self, path: &str) -> Option<f64> {
        self.value_of(Form::Fraction, path, parse::rate)
    }

    pub(super) fn address(&mut self, path: &str) -> Option<SocketAddr> {
        self.value(path, |text| {
            text.parse().map_err(|_| "must be an address and a port, as in 0.0.0.0:9464".to_owned())
        })
    }

    /// One of an enum's words.
    pub(super) fn choice<T: DeserializeOwned>(&mut self, path: &str) -> Option<T> {
        let kind = known::setting(path).map(|setting| setting.kind).unwrap_or_default();
        let parse = |text: &str| serde_json::from_value(text.into()).map_err(|_| format!("must be {kind}"));
        self.value(path, parse)
    }

    /// A list of texts; a text with commas is one too, as in the environment.
    pub(super) fn list<T>(&mut self, path: &str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        self.list_of(Form::Text, path, parse)
    }

    /// A list of whole numbers.
    pub(super) fn numbers<T>(&mut self, path: &str, range: &RangeInclusive<T>) -> Vec<T>
    where
        T: FromStr + PartialOrd + std::fmt::Display,
    {
        self.list_of(Form::Number, path, |word| parse::whole(word, range))
    }

    fn list_of<T>(&mut self, wanted: Form, path: &str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let Some(said) = self.said(path) else { return Vec::new() };
        let split = |word: &Word| match word.take(wanted) {
            Ok(text) => text.split(',').map(|text| Ok(text.trim().to_owned())).collect(),
            Err(problem) => vec![Err((word.shown().map(str::to_owned), problem))],
        };
        let words =
            said.words.iter().flat_map(split).filter(|word| word.as_ref().map_or(true, |text| !text.is_empty()));
        let words: Vec<Result<String, _>> = words.take(MAX_WORDS + 1).collect();
        if words.len() > MAX_WORDS {
            self.mistaken(path, None, said.origin, &format!("lists more than {MAX_WORDS}; write a shorter list"));
            return Vec::new();
        }
        let mut list = Vec::new();
        for word in words {
            let parsed = word.and_then(|text| {
                without_control(&text).and_then(&parse).map_err(|problem| (Some(text.clone()), problem))
            });
            match parsed {
                Ok(value) => list.push(value),
                Err((text, problem)) => self.mistaken(path, text.as_deref(), said.origin.clone(), &problem),
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
            let text = files::read_small_file(Path::new(name), MAX_FILE_BYTES)
                .map_err(|error| format!("cannot be read ({error}); name a readable text file"))?;
            check(&text).map(|()| text)
        })
    }

    /// The environment wins over the file, the file over the default.
    fn said(&self, path: &str) -> Option<Said> {
        if let Some(value) = self.environment.get(path) {
            return Some(Said::new(value.clone(), Some(format!("environment variable {}", sources::variable(path)))));
        }
        if let Some((name, layer)) = &self.file
            && let Some(value) = layer.get(path)
        {
            return Some(Said::new(value.clone(), Some(name.clone())));
        }
        let word = Word::text(known::default(path)?.to_owned());
        Some(Said { words: vec![word], is_list: false, origin: None })
    }

    fn mistaken(&mut self, path: &str, word: Option<&str>, origin: Option<String>, problem: &str) {
        let mut mistake = Mistake::new(path, problem);
        // A user and a password can stand before an @ in any URL, a token behind a question mark or an equals sign.
        if let Some(word) = word.filter(|word| !is_secret(path) && !word.contains(['@', '?', '='])) {
            mistake = mistake.with_value(word);
        }
        self.mistakes.push(match origin {
            Some(origin) => mistake.from(origin),
            None => mistake,
        });
    }
}
