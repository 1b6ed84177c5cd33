//! A check for duplicate keys, at any depth, in JSON that is skipped or copied.

use std::{collections::BTreeSet, fmt};

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};

use super::{
    limits::UnknownFields,
    malformed::{FieldError, FieldProblem, unknown_name},
    read_context::ReadContext,
    string::JsonStr,
};

/// Checks that a value from the body is valid JSON without duplicate keys.
pub(super) fn check(json: &str) -> Result<(), FieldError> {
    let context = ReadContext::new(UnknownFields::Ignore);
    let mut parser = serde_json::Deserializer::from_str(json);
    let checked = UniqueKeys(&context).deserialize(&mut parser);
    checked.map_err(|error| context.into_error(&error))
}

/// Reads any value and keeps nothing. The parser limits the depth. An error names the whole value, not the path inside
/// it, which the contract does not define.
#[derive(Clone, Copy)]
pub(super) struct UniqueKeys<'c>(pub(super) &'c ReadContext);

impl<'de> DeserializeSeed<'de> for UniqueKeys<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UniqueKeys<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut names = BTreeSet::new();
        while let Some(JsonStr(name)) = map.next_key()? {
            if names.contains(&name) {
                let duplicate = FieldProblem::DuplicateKey(unknown_name(&name));
                return Err(self.0.fail(FieldError::whole(duplicate)));
            }
            names.insert(name);
            map.next_value_seed(self)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}
