//! Shortening: a record as a value with bounds on its strings and lists, and the count of what was left out.
//!
//! Works straight from the record: what is beyond a bound is counted and never copied, so that a record of any size costs
//! about as much as the short form of it.

use std::collections::BTreeMap;

use serde::ser::{self, Serialize};

use crate::canonical::{INTEGER_MAX, Value};

/// Bounds of one step, and what they left out.
#[derive(Debug)]
pub(super) struct Cut {
    string_max: usize,
    list_max: usize,
    counts: BTreeMap<String, usize>,
    /// Name of the list that is being written: `findings`, `policy.rules`, …
    path: Vec<&'static str>,
}

impl Cut {
    pub(super) fn new(string_max: usize, list_max: usize) -> Self {
        Self { string_max, list_max, counts: BTreeMap::new(), path: Vec::new() }
    }

    /// The record within the bounds.
    pub(super) fn value<T: Serialize>(&mut self, name: &'static str, record: &T) -> Value {
        self.path = vec![name];
        // Our records serialize without fail; were one not to, its member would be null rather than the receipt lost.
        record.serialize(Capped(self)).unwrap_or(Value::Null)
    }

    pub(super) fn count(&mut self, what: &str, number: usize) {
        if number > 0 {
            *self.counts.entry(what.to_owned()).or_default() += number;
        }
    }

    /// Names and counts, for `ext.truncated`.
    pub(super) fn report(&self) -> Value {
        let counts = self.counts.iter().map(|(name, number)| {
            let number = i64::try_from(*number).unwrap_or(INTEGER_MAX).min(INTEGER_MAX);
            (name.clone(), Value::Integer(number))
        });
        Value::Object(counts.collect())
    }

    fn text(&mut self, text: &str) -> Value {
        let kept = text.floor_char_boundary(self.string_max);
        match text.get(..kept) {
            Some(short) if kept < text.len() => {
                self.count("strings", 1);
                Value::from(short)
            }
            _ => Value::from(text),
        }
    }
}

/// No record fails to serialize into a value; what serde could ask for and no record has is refused with this.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unsupported(String);

impl ser::Error for Unsupported {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

struct Capped<'c>(&'c mut Cut);

struct List<'c> {
    cut: &'c mut Cut,
    items: Vec<Value>,
    dropped: usize,
}

struct Members<'c> {
    cut: &'c mut Cut,
    members: BTreeMap<String, Value>,
    name: String,
}

macro_rules! integers {
    ($($method:ident $type:ty),*) => {$(
        fn $method(self, number: $type) -> Result<Value, Unsupported> {
            let number = i64::try_from(number).unwrap_or(INTEGER_MAX);
            Ok(Value::Integer(number.clamp(-INTEGER_MAX, INTEGER_MAX)))
        }
    )*};
}

impl<'c> ser::Serializer for Capped<'c> {
    type Ok = Value;
    type Error = Unsupported;
    type SerializeSeq = List<'c>;
    type SerializeTuple = ser::Impossible<Value, Unsupported>;
    type SerializeTupleStruct = ser::Impossible<Value, Unsupported>;
    type SerializeTupleVariant = ser::Impossible<Value, Unsupported>;
    type SerializeMap = Members<'c>;
    type SerializeStruct = Members<'c>;
    type SerializeStructVariant = ser::Impossible<Value, Unsupported>;

    integers!(
        serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64,
        serialize_u8 u8, serialize_u16 u16, serialize_u32 u32, serialize_u64 u64
    );

    fn serialize_bool(self, flag: bool) -> Result<Value, Unsupported> {
        Ok(Value::Bool(flag))
    }

    fn serialize_str(self, text: &str) -> Result<Value, Unsupported> {
        Ok(self.0.text(text))
    }

    fn serialize_char(self, character: char) -> Result<Value, Unsupported> {
        Ok(Value::String(character.to_string()))
    }

    fn serialize_none(self) -> Result<Value, Unsupported> {
        Ok(Value::Null)
    }

    fn serialize_unit(self) -> Result<Value, Unsupported> {
        Ok(Value::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, Unsupported> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<Value, Unsupported> {
        value.serialize(self)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<Value, Unsupported> {
        Ok(Value::from(variant))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<List<'c>, Unsupported> {
        Ok(List { cut: self.0, items: Vec::new(), dropped: 0 })
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Members<'c>, Unsupported> {
        Ok(Members { cut: self.0, members: BTreeMap::new(), name: String::new() })
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Members<'c>, Unsupported> {
        self.serialize_map(None)
    }

    fn serialize_f32(self, _: f32) -> Result<Value, Unsupported> {
        Err(Unsupported("a fraction".to_owned()))
    }

    fn serialize_f64(self, _: f64) -> Result<Value, Unsupported> {
        Err(Unsupported("a fraction".to_owned()))
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<Value, Unsupported> {
        Err(Unsupported("bytes".to_owned()))
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<Value, Unsupported> {
        Err(Unsupported(name.to_owned()))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Value, Unsupported> {
        Err(Unsupported(name.to_owned()))
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Unsupported> {
        Err(Unsupported("a tuple".to_owned()))
    }

    fn serialize_tuple_struct(self, name: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Unsupported> {
        Err(Unsupported(name.to_owned()))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Unsupported> {
        Err(Unsupported(name.to_owned()))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Unsupported> {
        Err(Unsupported(name.to_owned()))
    }
}

impl ser::SerializeSeq for List<'_> {
    type Ok = Value;
    type Error = Unsupported;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Unsupported> {
        if self.items.len() < self.cut.list_max {
            self.items.push(item.serialize(Capped(self.cut))?);
        } else {
            self.dropped += 1;
        }
        Ok(())
    }

    fn end(self) -> Result<Value, Unsupported> {
        let list = self.cut.path.join(".");
        self.cut.count(&list, self.dropped);
        Ok(Value::Array(self.items))
    }
}

impl ser::SerializeStruct for Members<'_> {
    type Ok = Value;
    type Error = Unsupported;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Unsupported> {
        self.cut.path.push(name);
        let value = value.serialize(Capped(self.cut))?;
        self.cut.path.pop();
        self.members.insert(name.to_owned(), value);
        Ok(())
    }

    fn end(self) -> Result<Value, Unsupported> {
        Ok(Value::Object(self.members))
    }
}

impl ser::SerializeMap for Members<'_> {
    type Ok = Value;
    type Error = Unsupported;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, name: &T) -> Result<(), Unsupported> {
        match name.serialize(Capped(self.cut))? {
            Value::String(name) => self.name = name,
            _ => return Err(Unsupported("a member name that is not a text".to_owned())),
        }
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unsupported> {
        let value = value.serialize(Capped(self.cut))?;
        self.members.insert(std::mem::take(&mut self.name), value);
        Ok(())
    }

    fn end(self) -> Result<Value, Unsupported> {
        Ok(Value::Object(self.members))
    }
}
