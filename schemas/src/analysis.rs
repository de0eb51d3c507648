//! Looks at a schema before it is compiled: is it within the limits, and what can checking a document against it cost?
//!
//! The authority keeps the result of each `$ref` per object or array, so recursion costs it no more than the document
//! is large. What it does not keep is references that merely fan out, and errors: their cost is bounded here.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use crate::contract::{ContractError, ContractSource};
use crate::limits::{Limits, SCHEMA_DEPTH_MAX, SCHEMA_EXPANSION_MAX, SCHEMA_NESTING_MAX};

/// What is known about a schema without compiling it.
#[derive(Clone, Debug)]
pub(crate) struct Analysis {
    pub(crate) cost: Cost,
    /// Every member name that the schema mentions.
    pub(crate) names: HashSet<Box<str>>,
}

/// The size of a schema once each `$ref` is replaced by what it names, except where that leads back to itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// Subschemas.
    pub(crate) places: u64,
    /// Longest way from the root to a subschema.
    pub(crate) nesting: usize,
    /// Alternatives in `anyOf` and `oneOf`, which is where errors multiply.
    pub(crate) alternatives: u64,
    /// References that lead back.
    pub(crate) recursions: u64,
}

impl Cost {
    fn add(&mut self, other: Self) {
        self.places = self.places.saturating_add(other.places);
        self.nesting = self.nesting.max(other.nesting);
        self.alternatives = self.alternatives.saturating_add(other.alternatives);
        self.recursions = self.recursions.saturating_add(other.recursions);
    }
}

/// Keywords whose values are values, not schemas.
const PLAIN: &[&str] = &["enum", "const", "default", "examples", "example", "required", "type", "dependentRequired"];

/// Keywords whose values are schemas by name.
const NAMED: &[&str] = &["properties", "patternProperties", "dependentSchemas", "dependencies"];

/// Keywords whose values are schemas that apply only where they are referred to.
const DEFINITIONS: &[&str] = &["$defs", "definitions"];

/// Keywords by which a part of a schema gets an address, or refers to one, other than a JSON Pointer from the root.
const ADDRESSES: &[&str] =
    &["$id", "id", "$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveRef", "$recursiveAnchor"];

pub(crate) fn analyse(schema: &Value, source: ContractSource, limits: &Limits) -> Result<Analysis, ContractError> {
    let mut measure = Measure { nodes: limits.nodes, bytes: limits.schema_bytes, limits, names: HashSet::new() };
    measure.value(schema, 0)?;
    let names = measure.names;

    let mut walk = Walk {
        root: schema,
        trusted: source == ContractSource::Policy,
        known: HashMap::new(),
        under_way: HashSet::new(),
    };
    let cost = walk.unit(schema, 0)?;
    // What only recursion leads to is counted once more for each place that it leads back to.
    let all = walk.known.values().fold(Cost::default(), |mut all, &one| {
        all.add(one);
        all
    });
    let recursions = walk.known.values().map(|cost| cost.recursions).max().unwrap_or(0);
    let places = if recursions == 0 { cost.places } else { all.places };
    let alternatives = if recursions == 0 { cost.alternatives } else { all.alternatives };
    if places > SCHEMA_EXPANSION_MAX {
        return Err(ContractError::TooComplex { limit: SCHEMA_EXPANSION_MAX });
    }
    Ok(Analysis { cost: Cost { places, alternatives, recursions, nesting: all.nesting }, names })
}

struct Measure<'a> {
    /// What may still come.
    nodes: usize,
    bytes: usize,
    limits: &'a Limits,
    names: HashSet<Box<str>>,
}

impl Measure<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), ContractError> {
        if depth > SCHEMA_DEPTH_MAX {
            return Err(ContractError::TooDeep { limit: SCHEMA_DEPTH_MAX });
        }
        self.nodes = self.nodes.checked_sub(1).ok_or(ContractError::TooManyNodes { limit: self.limits.nodes })?;
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    self.text(name.len())?;
                    if !self.names.contains(name.as_str()) {
                        self.names.insert(name.as_str().into());
                    }
                    self.value(value, depth + 1)?;
                    if let ("required", Value::Array(required)) = (name.as_str(), value) {
                        self.names.extend(required.iter().filter_map(Value::as_str).map(Box::from));
                    }
                }
                Ok(())
            }
            Value::Array(items) => items.iter().try_for_each(|item| self.value(item, depth + 1)),
            Value::String(text) => self.text(text.len()),
            _ => self.text(8),
        }
    }

    fn text(&mut self, bytes: usize) -> Result<(), ContractError> {
        let left = self.bytes.checked_sub(bytes);
        self.bytes = left.ok_or(ContractError::TooLarge { limit: self.limits.schema_bytes })?;
        Ok(())
    }
}

/// Follows references. A unit is the root or what a reference names, by its address in memory.
struct Walk<'a> {
    root: &'a Value,
    trusted: bool,
    known: HashMap<*const Value, Cost>,
    under_way: HashSet<*const Value>,
}

impl<'a> Walk<'a> {
    fn unit(&mut self, value: &'a Value, depth: usize) -> Result<Cost, ContractError> {
        let key = std::ptr::from_ref(value);
        if self.under_way.contains(&key) {
            return Ok(Cost { places: 1, nesting: 1, alternatives: 0, recursions: 1 });
        }
        let cost = match self.known.get(&key) {
            Some(&cost) => cost,
            None => {
                self.under_way.insert(key);
                let cost = self.schema(value, depth)?;
                self.under_way.remove(&key);
                self.known.insert(key, cost);
                cost
            }
        };
        if depth + cost.nesting > SCHEMA_NESTING_MAX {
            return Err(ContractError::TooDeep { limit: SCHEMA_NESTING_MAX });
        }
        Ok(cost)
    }

    fn schema(&mut self, value: &'a Value, depth: usize) -> Result<Cost, ContractError> {
        if depth > SCHEMA_NESTING_MAX {
            return Err(ContractError::TooDeep { limit: SCHEMA_NESTING_MAX });
        }
        let mut cost = Cost { places: 1, ..Cost::default() };
        if let Value::Object(members) = value {
            for (keyword, value) in members {
                self.keyword(keyword, value, depth, &mut cost)?;
            }
            self.addresses(value, members)?;
        }
        cost.nesting += 1;
        Ok(cost)
    }

    fn keyword(&mut self, keyword: &str, value: &'a Value, depth: usize, cost: &mut Cost) -> Result<(), ContractError> {
        match value {
            _ if PLAIN.contains(&keyword) || DEFINITIONS.contains(&keyword) => {}
            Value::String(reference) if keyword == "$ref" => match self.resolve(reference) {
                Some(target) => cost.add(self.unit(target, depth + 1)?),
                None if self.trusted => {}
                None => return Err(ContractError::Reference { keyword: "$ref" }),
            },
            Value::Object(members) if NAMED.contains(&keyword) => {
                for schema in members.values() {
                    cost.add(self.schema(schema, depth + 1)?);
                }
            }
            Value::Array(schemas) => {
                if matches!(keyword, "anyOf" | "oneOf") {
                    cost.alternatives = cost.alternatives.saturating_add(schemas.len() as u64);
                }
                for schema in schemas.iter().filter(|schema| schema.is_object()) {
                    cost.add(self.schema(schema, depth + 1)?);
                }
            }
            Value::Object(_) => cost.add(self.schema(value, depth + 1)?),
            _ => {}
        }
        Ok(())
    }

    /// A schema that is not ours must be one that this walk understands wholly.
    fn addresses(&self, value: &Value, members: &Map<String, Value>) -> Result<(), ContractError> {
        if self.trusted {
            return Ok(());
        }
        let is_root = std::ptr::eq(value, self.root);
        let other = ADDRESSES.iter().find(|&&keyword| {
            members.get(keyword).is_some_and(Value::is_string) && !(is_root && matches!(keyword, "$id" | "id"))
        });
        other.map_or(Ok(()), |keyword| Err(ContractError::Reference { keyword }))
    }

    fn resolve(&self, reference: &str) -> Option<&'a Value> {
        let pointer = reference.strip_prefix('#')?;
        // A percent-encoded pointer is decoded by the authority; none is needed to write `#/$defs/name`.
        if pointer.contains('%') { None } else { self.root.pointer(pointer) }
    }
}
