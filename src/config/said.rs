//! What a source says for one setting: words, each in its form.

use config::{Value, ValueKind};

/// What a setting wants, or a file gives. A text will do for all of them, as in the environment; nothing else does for
/// a text: `prefix = 007` must not become `7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Number,
    Flag,
    /// With a point or without.
    Fraction,
    /// A table, a list within a list: no setting wants it.
    Other,
}

impl Form {
    const fn name(self) -> &'static str {
        match self {
            Self::Text => "a text in quotes",
            Self::Number => "a whole number",
            Self::Flag => "true or false",
            Self::Fraction => "a number",
            Self::Other => "a table or a list within a list",
        }
    }
}

/// One word of a list, or the only one.
#[derive(Clone, Debug)]
pub(super) struct Word {
    text: String,
    form: Form,
}

impl Word {
    pub(super) const fn text(text: String) -> Self {
        Self { text, form: Form::Text }
    }

    fn of(value: Value) -> Self {
        let form = match &value.kind {
            ValueKind::String(_) => Form::Text,
            ValueKind::I64(_) | ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_) => Form::Number,
            ValueKind::Boolean(_) => Form::Flag,
            ValueKind::Float(_) => Form::Fraction,
            ValueKind::Nil | ValueKind::Table(_) | ValueKind::Array(_) => Form::Other,
        };
        // A table shows itself in any order.
        Self { text: if form == Form::Other { String::new() } else { value.to_string() }, form }
    }

    /// Its text, if it has the form.
    pub(super) fn take(&self, wanted: Form) -> Result<&str, String> {
        let is_whole = wanted == Form::Fraction && self.form == Form::Number;
        if self.form == wanted || self.form == Form::Text || is_whole {
            return Ok(&self.text);
        }
        Err(format!("is {}; write {}", self.form.name(), wanted.name()))
    }

    /// What to show of it.
    pub(super) fn shown(&self) -> Option<&str> {
        (self.form != Form::Other).then_some(self.text.as_str())
    }
}

/// All words, and who says so; nobody when it is the default.
pub(super) struct Said {
    pub(super) words: Vec<Word>,
    pub(super) is_list: bool,
    pub(super) origin: Option<String>,
}

impl Said {
    pub(super) fn new(value: Value, origin: Option<String>) -> Self {
        match value.kind {
            ValueKind::Array(values) => {
                Self { words: values.into_iter().map(Word::of).collect(), is_list: true, origin }
            }
            _ => Self { words: vec![Word::of(value)], is_list: false, origin },
        }
    }

    /// The only word.
    pub(super) fn one(&self, wanted: Form) -> Result<&str, String> {
        match self.words.as_slice() {
            [word] if !self.is_list => word.take(wanted),
            _ => Err(format!("is a list; write {}", wanted.name())),
        }
    }

    /// What to show of it.
    pub(super) fn shown(&self) -> Option<&str> {
        self.words.first().filter(|_| !self.is_list)?.shown()
    }
}

/// No value of ours has control characters: they are slips, and a terminal or a log would act on them.
pub(super) fn without_control(text: &str) -> Result<&str, String> {
    let problem = "has a control character, such as a line break; take it out";
    if text.contains(char::is_control) { Err(problem.to_owned()) } else { Ok(text) }
}
