//! Strict reading of JSON objects: no duplicate names, unknown names rejected or skipped, `null` is absent, and errors
//! with the path of their field.
//!
//! Written by hand because a derived `Deserialize` also reads an array as a struct and a map as an enum, quotes values
//! in its errors, and skips ignored fields without a check for duplicate keys.

use std::{borrow::Cow, collections::BTreeSet, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};

use super::{
    limits::UnknownFields,
    malformed::{FieldError, FieldProblem, nearest_name, unknown_name},
    read_context::ReadContext,
    string::JsonStr,
    unique_keys::UniqueKeys,
};

/// Reads the whole of `json` as one object.
pub(super) fn read<'de, T: ObjectFields<'de>>(json: &'de str, unknown_fields: UnknownFields) -> Result<T, FieldError> {
    let context = ReadContext::new(unknown_fields);
    let mut parser = serde_json::Deserializer::from_str(json);
    let object = ObjectSeed::new(&context).deserialize(&mut parser);
    let object = object.and_then(|object| parser.end().map(|()| object));
    object.map_err(|error| context.into_error(&error))
}

/// The fields of an object, each read by its name.
pub(super) trait ObjectFields<'de>: Default {
    /// The known names, for suggestions.
    const NAMES: &'static [&'static str];

    /// Reads the entry into the field with its name, or calls [`ObjectEntry::unknown`].
    fn read<A: MapAccess<'de>>(&mut self, entry: ObjectEntry<'_, 'de, A>) -> Result<(), A::Error>;
}

/// A field's value, and whether the field has been read: also `null` may appear only once.
pub(super) struct FieldSlot<T> {
    value: Option<T>,
    is_read: bool,
}

impl<T> Default for FieldSlot<T> {
    fn default() -> Self {
        Self { value: None, is_read: false }
    }
}

impl<T> FieldSlot<T> {
    /// Returns the value unless the field is absent or `null`.
    pub(super) const fn value(&self) -> Option<&T> {
        self.value.as_ref()
    }

    /// As [`Self::value`].
    pub(super) fn into_value(self) -> Option<T> {
        self.value
    }
}

/// An entry of an object: its name, and its value, which is still to be read.
pub(super) struct ObjectEntry<'r, 'de, A> {
    name: Cow<'de, str>,
    map: &'r mut A,
    ignored: &'r mut BTreeSet<Cow<'de, str>>,
    context: &'r ReadContext,
}

impl<'de, A: MapAccess<'de>> ObjectEntry<'_, 'de, A> {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Reads a plain value; `expected` completes "must be …".
    pub(super) fn read_value<T: Deserialize<'de>>(
        self,
        slot: &mut FieldSlot<T>,
        expected: &'static str,
    ) -> Result<(), A::Error> {
        self.read_seed(slot, PhantomData, expected)
    }

    /// Reads an object.
    pub(super) fn read_object<T: ObjectFields<'de>>(self, slot: &mut FieldSlot<T>) -> Result<(), A::Error> {
        let context = self.context;
        self.read_seed(slot, ObjectSeed::new(context), "an object")
    }

    /// Reads an array of objects.
    pub(super) fn read_array<T: ObjectFields<'de>>(self, slot: &mut FieldSlot<Vec<T>>) -> Result<(), A::Error> {
        let context = self.context;
        self.read_seed(slot, ArraySeed { context, item: PhantomData }, "an array of objects")
    }

    fn read_seed<S>(self, slot: &mut FieldSlot<S::Value>, seed: S, expected: &'static str) -> Result<(), A::Error>
    where
        S: DeserializeSeed<'de>,
    {
        if slot.is_read {
            return Err(self.context.fail(FieldError::at(self.name, FieldProblem::Duplicate)));
        }
        slot.is_read = true;
        let value = self.map.next_value_seed(NullableSeed(seed));
        slot.value = value.inspect_err(|_| self.context.add_path(&self.name, expected))?;
        Ok(())
    }

    /// Rejects or skips an unknown field, as configured.
    pub(super) fn unknown<T: ObjectFields<'de>>(self) -> Result<(), A::Error> {
        match self.context.unknown_fields {
            UnknownFields::Ignore => self.skip(),
            UnknownFields::Reject => {
                let problem = FieldProblem::Unknown(nearest_name(&self.name, T::NAMES));
                Err(self.context.fail(FieldError::at(unknown_name(&self.name), problem)))
            }
        }
    }

    /// Skips a field, which must be valid JSON without duplicate keys all the same.
    pub(super) fn skip(self) -> Result<(), A::Error> {
        let name = unknown_name(&self.name);
        if !self.ignored.insert(self.name) {
            return Err(self.context.fail(FieldError::at(name, FieldProblem::Duplicate)));
        }
        let skipped = self.map.next_value_seed(UniqueKeys(self.context));
        skipped.inspect_err(|_| self.context.add_path(&name, "a JSON value"))
    }
}

/// Reads one object.
struct ObjectSeed<'c, T> {
    context: &'c ReadContext,
    object: PhantomData<T>,
}

impl<'c, T> ObjectSeed<'c, T> {
    const fn new(context: &'c ReadContext) -> Self {
        Self { context, object: PhantomData }
    }
}

impl<'de, T: ObjectFields<'de>> DeserializeSeed<'de> for ObjectSeed<'_, T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: ObjectFields<'de>> Visitor<'de> for ObjectSeed<'_, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut object = T::default();
        let mut ignored = BTreeSet::new();
        while let Some(JsonStr(name)) = map.next_key()? {
            object.read(ObjectEntry { name, map: &mut map, ignored: &mut ignored, context: self.context })?;
        }
        Ok(object)
    }
}

/// Reads an array of objects.
struct ArraySeed<'c, T> {
    context: &'c ReadContext,
    item: PhantomData<T>,
}

impl<'de, T: ObjectFields<'de>> DeserializeSeed<'de> for ArraySeed<'_, T> {
    type Value = Vec<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<T>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: ObjectFields<'de>> Visitor<'de> for ArraySeed<'_, T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
        let mut array = Vec::new();
        let next = |array: &Vec<T>, items: &mut A| {
            items
                .next_element_seed(ObjectSeed::new(self.context))
                .inspect_err(|_| self.context.add_path(&format!("[{}]", array.len()), "an object"))
        };
        while let Some(item) = next(&array, &mut items)? {
            array.push(item);
        }
        Ok(array)
    }
}

/// Reads a value or `null`.
struct NullableSeed<S>(S);

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for NullableSeed<S> {
    type Value = Option<S::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de, S: DeserializeSeed<'de>> Visitor<'de> for NullableSeed<S> {
    type Value = Option<S::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or null")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        self.0.deserialize(deserializer).map(Some)
    }
}
