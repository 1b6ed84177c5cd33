//! Strict reading of JSON objects: every name once, unknown names refused or looked through, `null` is absent,
//! and the place of a fault is known.
//!
//! Written by hand where `derive` would do too much: a derived struct also takes an array for an object and a map for
//! an enum's word, quotes values in its errors, and skips what it ignores without looking for duplicate keys.

use std::{borrow::Cow, cell::RefCell, collections::BTreeSet, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::error::Category;

use super::{
    limits::UnknownFields,
    malformed::{Fault, Problem, nearest, told_name},
    unique::Unique,
};

/// Reads the whole of `json` as one `T`.
pub(super) fn read<'de, T: Fields<'de>>(json: &'de str, unknown: UnknownFields) -> Result<T, Fault> {
    let trail = Trail::new(unknown);
    let mut parser = serde_json::Deserializer::from_str(json);
    let read = Object::new(&trail).deserialize(&mut parser).and_then(|object| parser.end().map(|()| object));
    read.map_err(|error| trail.fault(&error))
}

/// An object whose fields are known by name.
pub(super) trait Fields<'de>: Default {
    /// The known names, for hints.
    const NAMES: &'static [&'static str];

    /// Puts the entry into the field that its name means, or says [`Entry::unknown`].
    fn read<A: MapAccess<'de>>(&mut self, entry: Entry<'_, 'de, A>) -> Result<(), A::Error>;
}

/// Leads from a failed read back to the place of the fault. The parser's errors can't carry it, as they are text, and
/// text that quotes values.
pub(super) struct Trail {
    unknown: UnknownFields,
    fault: RefCell<Option<Fault>>,
}

impl Trail {
    pub(super) const fn new(unknown: UnknownFields) -> Self {
        Self { unknown, fault: RefCell::new(None) }
    }

    /// Notes the fault and makes the error that ends the read.
    pub(super) fn stop<E: Error>(&self, fault: Fault) -> E {
        self.fault.replace(Some(fault));
        E::custom("see the trail")
    }

    /// Called on the way out of each value: extends the path, or starts it where the value was of the wrong kind.
    fn back_out(&self, name: &str, expected: &'static str) {
        let mut fault = self.fault.borrow_mut();
        *fault = Some(match fault.take() {
            Some(inner) => inner.under(name),
            None => Fault::at(name, Problem::MustBe(expected)),
        });
    }

    /// What was wrong, once the read has failed. Errors of syntax quote nothing; those about data do and are not told.
    pub(super) fn fault(self, error: &serde_json::Error) -> Fault {
        match error.classify() {
            Category::Data => self.fault.into_inner().unwrap_or(Fault::whole(Problem::MustBe("an object"))),
            Category::Io | Category::Syntax | Category::Eof => Fault::whole(Problem::NotJson(error.to_string())),
        }
    }
}

/// A field that may have been read: once at most, and `null` counts.
pub(super) struct Slot<T> {
    value: Option<T>,
    taken: bool,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { value: None, taken: false }
    }
}

impl<T> Slot<T> {
    /// The value, unless it is absent or `null`.
    pub(super) const fn value(&self) -> Option<&T> {
        self.value.as_ref()
    }

    /// As [`Slot::value`].
    pub(super) fn into_value(self) -> Option<T> {
        self.value
    }
}

/// One entry of an object: its name, and its value still to be read.
pub(super) struct Entry<'r, 'de, A> {
    name: Cow<'de, str>,
    map: &'r mut A,
    ignored: &'r mut BTreeSet<Cow<'de, str>>,
    trail: &'r Trail,
}

impl<'de, A: MapAccess<'de>> Entry<'_, 'de, A> {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Reads a plain value; `expected` completes "must be …".
    pub(super) fn put<T: Deserialize<'de>>(self, slot: &mut Slot<T>, expected: &'static str) -> Result<(), A::Error> {
        self.put_seed(slot, PhantomData, expected)
    }

    /// Reads an object.
    pub(super) fn put_object<T: Fields<'de>>(self, slot: &mut Slot<T>) -> Result<(), A::Error> {
        let trail = self.trail;
        self.put_seed(slot, Object::new(trail), "an object")
    }

    /// Reads an array of objects.
    pub(super) fn put_list<T: Fields<'de>>(self, slot: &mut Slot<Vec<T>>) -> Result<(), A::Error> {
        let trail = self.trail;
        self.put_seed(slot, List { trail, item: PhantomData }, "an array of objects")
    }

    fn put_seed<S>(self, slot: &mut Slot<S::Value>, seed: S, expected: &'static str) -> Result<(), A::Error>
    where
        S: DeserializeSeed<'de>,
    {
        if slot.taken {
            return Err(self.trail.stop(Fault::at(self.name, Problem::Twice)));
        }
        slot.taken = true;
        let value = self.map.next_value_seed(Nullable(seed));
        slot.value = value.inspect_err(|_| self.trail.back_out(&self.name, expected))?;
        Ok(())
    }

    /// Refuses the entry, or looks through it, as the settings say.
    pub(super) fn unknown<T: Fields<'de>>(self) -> Result<(), A::Error> {
        match self.trail.unknown {
            UnknownFields::Ignore => self.ignore(),
            UnknownFields::Reject => {
                let hint = nearest(&self.name, T::NAMES);
                Err(self.trail.stop(Fault::at(told_name(&self.name), Problem::Unknown(hint))))
            }
        }
    }

    /// Looks through the entry: what is ignored must be sound JSON all the same.
    pub(super) fn ignore(self) -> Result<(), A::Error> {
        let told = told_name(&self.name);
        if !self.ignored.insert(self.name) {
            return Err(self.trail.stop(Fault::at(told, Problem::Twice)));
        }
        self.map.next_value_seed(Unique(self.trail)).inspect_err(|_| self.trail.back_out(&told, "a JSON value"))
    }
}

/// Reads one object.
struct Object<'t, T> {
    trail: &'t Trail,
    object: PhantomData<T>,
}

impl<'t, T> Object<'t, T> {
    const fn new(trail: &'t Trail) -> Self {
        Self { trail, object: PhantomData }
    }
}

impl<'de, T: Fields<'de>> DeserializeSeed<'de> for Object<'_, T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Fields<'de>> Visitor<'de> for Object<'_, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut object = T::default();
        let mut ignored = BTreeSet::new();
        while let Some(Str(name)) = map.next_key()? {
            object.read(Entry { name, map: &mut map, ignored: &mut ignored, trail: self.trail })?;
        }
        Ok(object)
    }
}

/// Reads an array of objects.
struct List<'t, T> {
    trail: &'t Trail,
    item: PhantomData<T>,
}

impl<'de, T: Fields<'de>> DeserializeSeed<'de> for List<'_, T> {
    type Value = Vec<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<T>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: Fields<'de>> Visitor<'de> for List<'_, T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        let next = |list: &Vec<T>, items: &mut A| {
            items
                .next_element_seed(Object::new(self.trail))
                .inspect_err(|_| self.trail.back_out(&format!("[{}]", list.len()), "an object"))
        };
        while let Some(item) = next(&list, &mut items)? {
            list.push(item);
        }
        Ok(list)
    }
}

/// Reads a value or `null`.
struct Nullable<S>(S);

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Nullable<S> {
    type Value = Option<S::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de, S: DeserializeSeed<'de>> Visitor<'de> for Nullable<S> {
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

/// A string, borrowed from the input unless it holds escapes (`Cow` itself always copies).
pub(super) struct Str<'de>(pub(super) Cow<'de, str>);

impl<'de> Deserialize<'de> for Str<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(StrVisitor).map(Self)
    }
}

struct StrVisitor;

impl<'de> Visitor<'de> for StrVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}
