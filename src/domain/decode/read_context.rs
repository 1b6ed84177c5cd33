//! The context of one strict read: the policy for unknown fields, and the error with its path.

use std::cell::RefCell;

use serde::de::Error;
use serde_json::error::Category;

use super::{
    limits::UnknownFields,
    malformed::{FieldError, FieldProblem},
};

/// Carries the error past the parser, whose errors are text, and text that quotes values.
pub(super) struct ReadContext {
    pub(super) unknown_fields: UnknownFields,
    error: RefCell<Option<FieldError>>,
}

impl ReadContext {
    pub(super) const fn new(unknown_fields: UnknownFields) -> Self {
        Self { unknown_fields, error: RefCell::new(None) }
    }

    /// Records the error and returns the parser's error that ends the read.
    pub(super) fn fail<E: Error>(&self, error: FieldError) -> E {
        self.error.replace(Some(error));
        E::custom("see ReadContext")
    }

    /// Adds the name of the enclosing field to the error. Without a recorded error the value was of the wrong type.
    pub(super) fn add_path(&self, name: &str, expected: &'static str) {
        let mut error = self.error.borrow_mut();
        *error = Some(match error.take() {
            Some(inner) => inner.under(name),
            None => FieldError::at(name, FieldProblem::MustBe(expected)),
        });
    }

    /// Returns the error of a failed read. The parser's syntax errors contain no values and are used as they are; its
    /// data errors do and are not.
    pub(super) fn into_error(self, error: &serde_json::Error) -> FieldError {
        match error.classify() {
            Category::Data => self.error.into_inner().unwrap_or(FieldError::whole(FieldProblem::MustBe("an object"))),
            Category::Io | Category::Syntax | Category::Eof => {
                FieldError::whole(FieldProblem::NotJson(error.to_string()))
            }
        }
    }
}
