//! Looks through JSON that is not ours for keys that stand twice in one object.

use std::{collections::BTreeSet, fmt};

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};

use super::{
    limits::UnknownFields,
    malformed::{Fault, Problem, told_name},
    object::{Str, Trail},
};

/// Proves that a value, already cut out of the body, is sound and has no key twice at any depth.
pub(super) fn check(json: &str) -> Result<(), Fault> {
    let trail = Trail::new(UnknownFields::Ignore);
    let mut parser = serde_json::Deserializer::from_str(json);
    let checked = Unique(&trail).deserialize(&mut parser);
    checked.map_err(|error| trail.fault(&error))
}

/// Reads any value and keeps nothing of it. The parser's own bound on depth holds. A fault is told of the whole value:
/// the path further inside is the producer's own business.
#[derive(Clone, Copy)]
pub(super) struct Unique<'t>(pub(super) &'t Trail);

impl<'de> DeserializeSeed<'de> for Unique<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut names = BTreeSet::new();
        while let Some(Str(name)) = map.next_key()? {
            if names.contains(&name) {
                let twice = Problem::KeyTwice(told_name(&name));
                return Err(self.0.stop(Fault::whole(twice)));
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
