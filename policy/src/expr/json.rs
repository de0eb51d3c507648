//! JSON (a tool call's arguments) as values of the expression language: left where it is, made into values when looked at, and
//! charging for that.

use std::sync::OnceLock;

use cel::ExecutionError;
use cel::common::traits::{Container, Indexer, Iterable, Iterator as Elements, Sizer};
use cel::common::types::{CelBool, CelDouble, CelInt, CelNull, CelString, CelUInt, Kind, LIST_TYPE, MAP_TYPE, Type};
use cel::common::value::{CowVal, Val};
use serde_json::Value as Json;

use super::functions::wrong_type;
use super::value::{Cost, ELEMENT_COST, MEMBER_COST, field_name, missing, out_of_bounds, position, text_cost};

/// A JSON value as a value of the language; objects and arrays stay where they are.
pub(super) fn json<'v>(value: &'v Json, cost: &'v Cost) -> Result<Box<dyn Val + 'v>, ExecutionError> {
    Ok(match value {
        Json::Null => Box::new(CelNull),
        Json::Bool(value) => Box::new(CelBool::from(*value)),
        Json::Number(number) => {
            if let Some(value) = number.as_i64() {
                Box::new(CelInt::from(value))
            } else if let Some(value) = number.as_u64() {
                Box::new(CelUInt::from(value))
            } else {
                Box::new(CelDouble::from(number.as_f64().ok_or_else(wrong_type)?))
            }
        }
        Json::String(value) => {
            cost.charge_text(value)?;
            Box::new(CelString::from(value.as_str()))
        }
        Json::Array(_) | Json::Object(_) => Box::new(JsonValue { value, cost, elements: OnceLock::new() }),
    })
}

/// An object or array inside `tool.args`.
#[derive(Debug)]
struct JsonValue<'v> {
    value: &'v Json,
    cost: &'v Cost,
    /// The array's elements or the object's keys, made when they are first iterated over.
    elements: OnceLock<Vec<Element<'v>>>,
}

#[derive(Debug)]
struct Element<'v> {
    value: Box<dyn Val + 'v>,
    cost: u64,
}

impl<'r> JsonValue<'r> {
    fn elements(&self) -> &[Element<'r>] {
        self.elements.get_or_init(|| match self.value {
            Json::Array(items) => items.iter().map_while(|item| self.element(item)).collect(),
            Json::Object(members) => members
                .keys()
                .map_while(|key| {
                    self.cost.charge(ELEMENT_COST).ok()?;
                    Some(Element {
                        value: Box::new(CelString::from(key.as_str())) as Box<dyn Val + 'r>,
                        cost: ELEMENT_COST + text_cost(key),
                    })
                })
                .collect(),
            _ => Vec::new(),
        })
    }

    fn element(&self, item: &'r Json) -> Option<Element<'r>> {
        // As in `FindingElements::next`: a short list is discarded together with the evaluation.
        self.cost.charge(ELEMENT_COST).ok()?;
        let text_units = match item {
            Json::String(text) => text_cost(text),
            _ => 0,
        };
        Some(Element { value: json(item, self.cost).ok()?, cost: ELEMENT_COST + text_units })
    }
}

impl Val for JsonValue<'_> {
    fn get_type(&self) -> &Type {
        if self.value.is_array() { &LIST_TYPE } else { &MAP_TYPE }
    }

    fn cel_type() -> &'static Type {
        &MAP_TYPE
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_iterable<'b, 'v>(&'b self) -> Option<&'b (dyn Iterable + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn as_sizer(&self) -> Option<&dyn Sizer> {
        Some(self)
    }

    fn equals(&self, other: &dyn Val) -> bool {
        if self.get_type().kind() != other.get_type().kind() {
            return false;
        }
        let (Some(sizer), Some(indexer)) = (other.as_sizer(), other.as_indexer()) else {
            return false;
        };
        if *sizer.size().inner() != *self.size().inner() {
            return false;
        }
        let is_list = self.get_type().kind() == Kind::List;
        self.elements().iter().enumerate().all(|(index, element)| {
            if self.cost.charge(element.cost).is_err() {
                return false;
            }
            if is_list {
                let index = CelInt::from(i64::try_from(index).unwrap_or(i64::MAX));
                indexer.get(&index).is_ok_and(|theirs| element.value.equals(theirs.as_ref()))
            } else {
                let (Ok(ours), Ok(theirs)) = (self.get(element.value.as_ref()), indexer.get(element.value.as_ref()))
                else {
                    return false;
                };
                ours.equals(theirs.as_ref())
            }
        })
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(Self { value: self.value, cost: self.cost, elements: OnceLock::new() })
    }
}

impl Sizer for JsonValue<'_> {
    fn size(&self) -> CelInt {
        let size = match self.value {
            Json::Array(items) => items.len(),
            Json::Object(members) => members.len(),
            _ => 0,
        };
        CelInt::from(i64::try_from(size).unwrap_or(i64::MAX))
    }
}

impl Container for JsonValue<'_> {
    fn contains(&self, value: &dyn Val) -> Result<bool, ExecutionError> {
        if let Json::Object(members) = self.value {
            self.cost.charge(MEMBER_COST)?;
            return Ok(members.contains_key(field_name(value)?));
        }
        for element in self.elements() {
            self.cost.charge(element.cost)?;
            if element.value.equals(value) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Indexer for JsonValue<'_> {
    fn get<'b, 'v>(&'b self, key: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.cost.charge(MEMBER_COST)?;
        let found = match self.value {
            Json::Object(members) => members.get(field_name(key)?).ok_or_else(missing)?,
            Json::Array(items) => position(key).and_then(|index| items.get(index)).ok_or_else(out_of_bounds)?,
            _ => return Err(wrong_type()),
        };
        json(found, self.cost).map(|value| CowVal::Owned(value as Box<dyn Val + 'v>))
    }

    fn steal<'v>(self: Box<Self>, key: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(key).map(CowVal::into_owned)
    }
}

impl Iterable for JsonValue<'_> {
    fn iter<'b, 'v>(&'b self) -> Box<dyn Elements<'b, 'v> + 'b>
    where
        Self: 'v,
    {
        Box::new(JsonElements { items: self.elements().iter(), cost: self.cost })
    }
}

struct JsonElements<'i, 'r> {
    items: std::slice::Iter<'i, Element<'r>>,
    cost: &'i Cost,
}

impl<'b, 'v, 'i: 'b, 'r: 'v> Elements<'b, 'v> for JsonElements<'i, 'r>
where
    'r: 'b,
{
    fn next(&mut self) -> Option<&'b (dyn Val + 'v)> {
        let element = self.items.next()?;
        self.cost.charge(element.cost).ok()?;
        Some(element.value.as_ref())
    }
}
