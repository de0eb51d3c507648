//! Canonical JSON as evidence uses it: one value, one spelling, no two parsers that disagree.
//!
//! RFC 8785 (JCS) with four restrictions, each of which removes a difference that real parsers show:
//! integers only, within ±(2^53 − 1); ASCII member names, so that byte order and UTF-16 order are the same; a repeated
//! member name is an error; an unpaired surrogate is an error. Strings are not normalised (no NFC).

mod parse;
mod write;

use std::collections::BTreeMap;

pub use parse::{JsonFault, Limits, ParseError, parse};
pub(crate) use write::write_record;
pub use write::{is_canonical, to_vec, write};

/// Largest magnitude of an integer: beyond it, parsers that read numbers as doubles silently round.
pub const INTEGER_MAX: i64 = (1 << 53) - 1;

/// A JSON value of the subset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    String(String),
    Array(Vec<Value>),
    Object(BTreeMap<String, Value>),
}

/// Why a value is outside the subset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutsideSubset {
    #[error("an integer beyond ±(2^53 − 1); write it as a decimal string")]
    Integer,
    #[error("a member name that is not ASCII")]
    MemberName,
    #[error("values nested deeper than {DEPTH_MAX}")]
    Depth,
}

/// Deepest nesting of arrays and objects. Receipts need 8; the rest is room for `ext`.
pub const DEPTH_MAX: usize = 32;

impl Value {
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }

    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    pub fn as_object(&self) -> Option<&BTreeMap<String, Value>> {
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    /// The member of that name, if this is an object that has one.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.as_object()?.get(name)
    }

    /// Checks that a value built in memory (not parsed) has a canonical spelling.
    pub fn check(&self) -> Result<(), OutsideSubset> {
        self.check_at(0)
    }

    fn check_at(&self, depth: usize) -> Result<(), OutsideSubset> {
        match self {
            Self::Integer(number) if number.unsigned_abs() > INTEGER_MAX.unsigned_abs() => Err(OutsideSubset::Integer),
            Self::Array(_) | Self::Object(_) if depth >= DEPTH_MAX => Err(OutsideSubset::Depth),
            Self::Array(items) => items.iter().try_for_each(|item| item.check_at(depth + 1)),
            Self::Object(members) => members.iter().try_for_each(|(name, value)| {
                if !name.is_ascii() {
                    return Err(OutsideSubset::MemberName);
                }
                value.check_at(depth + 1)
            }),
            _ => Ok(()),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Integer(i64::from(number))
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Self::Array(items)
    }
}

impl<const N: usize> From<[(&str, Value); N]> for Value {
    fn from(members: [(&str, Value); N]) -> Self {
        Self::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

impl serde::Serialize for Value {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(flag) => serializer.serialize_bool(*flag),
            Self::Integer(number) => serializer.serialize_i64(*number),
            Self::String(text) => serializer.serialize_str(text),
            Self::Array(items) => serializer.collect_seq(items),
            Self::Object(members) => serializer.collect_map(members),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Value {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Visitor)
    }
}

struct Visitor;

impl<'de> serde::de::Visitor<'de> for Visitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a JSON value without fractions, exponents or repeated member names")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Value, E> {
        let value = Value::Integer(number);
        value.check().map_err(E::custom)?;
        Ok(value)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Value, E> {
        i64::try_from(number).map_err(E::custom).and_then(|number| self.visit_i64(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            if !name.is_ascii() {
                return Err(serde::de::Error::custom(OutsideSubset::MemberName));
            }
            if members.insert(name, value).is_some() {
                return Err(serde::de::Error::custom("a member name is repeated"));
            }
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests;
