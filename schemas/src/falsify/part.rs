//! What a schema demands that is not modelled, compiled by itself, so that the authority can judge a nested value as soon as
//! it ends.

use jsonschema::Validator;
use serde_json::{Map, Value};

use super::loops;
use super::node::Kinds;
use crate::analysis;
use crate::contract::{ContractSource, Dialect};
use crate::limits::Limits;
use crate::observe::Kind;

/// Parts of one schema. A schema with more leaves the others to the end.
const PARTS_MAX: usize = 512;

/// Values in all parts together, with the definitions that they refer to: bounds what compiling them can cost.
const PARTS_VALUES_MAX: usize = 40_000;

/// Keywords that are not modelled, and the kinds of values that they say something of.
const UNMODELLED: &[(&str, Kinds)] = &[
    ("not", Kinds::ALL),
    ("if", Kinds::ALL),
    ("oneOf", Kinds::ALL),
    ("format", Kinds::TEXT),
    ("contentEncoding", Kinds::TEXT),
    ("contentMediaType", Kinds::TEXT),
    ("multipleOf", Kinds::NUMBER),
    ("contains", Kinds::ARRAY),
    ("uniqueItems", Kinds::ARRAY),
    ("unevaluatedItems", Kinds::ARRAY),
    ("dependencies", Kinds::OBJECT),
    ("dependentRequired", Kinds::OBJECT),
    ("dependentSchemas", Kinds::OBJECT),
    ("propertyNames", Kinds::OBJECT),
    ("unevaluatedProperties", Kinds::OBJECT),
];

/// Keywords that only mean something beside another.
const COMPANIONS: &[(&str, &[&str])] = &[("if", &["then", "else"]), ("contains", &["minContains", "maxContains"])];

/// Keywords that depend on everything beside them.
const WHOLE: &[&str] = &["unevaluatedItems", "unevaluatedProperties"];

/// A compiled part.
#[derive(Debug)]
pub(crate) struct Part {
    validator: Validator,
    pub(crate) kinds: Kinds,
    /// Places in it with its references followed: what one value in a document can cost.
    pub(crate) places: u64,
    /// Its keyword, or the first of them.
    keyword: &'static str,
    /// Whether asking which of its keywords refused a value costs no more than asking whether one did.
    can_explain: bool,
}

/// Makes the parts of one schema.
pub(crate) struct Parts<'a> {
    root: &'a Value,
    dialect: &'a Dialect,
    limits: &'a Limits,
    values: usize,
    /// Somewhere the schema leads back to itself without a step into the document. What that means depends on where one comes
    /// from, so no part of it means the same by itself.
    loops: bool,
    pub(crate) made: Vec<Part>,
}

impl<'a> Parts<'a> {
    pub(crate) fn new(root: &'a Value, dialect: &'a Dialect, limits: &'a Limits) -> Self {
        Self { root, dialect, limits, values: 0, loops: loops::has_loop(root), made: Vec::new() }
    }

    /// The part of a schema that is not modelled; `more` are further keywords of it that are not. None if there is nothing, or
    /// if it cannot be cut out: then it is left to the end.
    pub(crate) fn of(&mut self, schema: &Map<String, Value>, more: &[(&'static str, Kinds)]) -> Option<u32> {
        let mut kinds = Kinds::NONE;
        let mut keywords = Vec::new();
        let mut part = Map::new();
        for &(keyword, of) in UNMODELLED.iter().chain(more) {
            let Some(value) = schema.get(keyword) else { continue };
            if keyword == "uniqueItems" && value == &Value::Bool(false) || keyword == "format" && !self.dialect.formats
            {
                continue;
            }
            kinds = kinds.or(of);
            keywords.push(keyword);
            part.insert(keyword.to_owned(), value.clone());
            let beside = COMPANIONS.iter().find(|(of, _)| *of == keyword).map_or(&[][..], |(_, beside)| beside);
            for beside in beside {
                if let Some(value) = schema.get(*beside) {
                    part.insert((*beside).to_owned(), value.clone());
                }
            }
        }
        if kinds.is_empty() || self.loops || self.made.len() >= PARTS_MAX {
            return None;
        }
        if WHOLE.iter().any(|keyword| schema.contains_key(*keyword)) {
            part.clone_from(schema);
        }
        let mut part = Value::Object(part);
        self.bring_along(&mut part)?;
        self.values += count(&part);
        if self.values > PARTS_VALUES_MAX {
            return None;
        }
        let cost = analysis::analyse(&part, ContractSource::Policy, self.limits).ok()?.cost;
        let validator = self.dialect.options(self.limits).build(&part).ok()?;
        let keyword = keywords.first().copied()?;
        // Errors of alternatives are made for each alternative at each level of recursion.
        let can_explain = keywords.len() > 1 && cost.alternatives == 0 && cost.recursions == 0;
        self.made.push(Part { validator, kinds, places: cost.places, keyword, can_explain });
        u32::try_from(self.made.len() - 1).ok()
    }

    /// Copies what the part refers to, under the address that it has in the whole.
    fn bring_along(&self, part: &mut Value) -> Option<()> {
        let mut tops: Vec<String> = Vec::new();
        let mut look = vec![&*part];
        let mut at = 0;
        // What is brought refers to more.
        while let Some(value) = look.get(at).copied() {
            at += 1;
            match value {
                Value::Object(members) => {
                    // Only plain pointers mean the same in another document.
                    let moves = ["$id", "id", "$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveRef", "$schema"];
                    if moves.iter().any(|keyword| members.get(*keyword).is_some_and(Value::is_string)) {
                        return None;
                    }
                    if let Some(Value::String(reference)) = members.get("$ref") {
                        let top = reference.strip_prefix("#/")?.split('/').next()?;
                        if top.contains(['%', '~']) {
                            return None;
                        }
                        if !tops.iter().any(|known| known == top) {
                            tops.push(top.to_owned());
                            look.push(self.root.get(top)?);
                        }
                    }
                    look.extend(members.values());
                }
                Value::Array(items) => look.extend(items),
                _ => {}
            }
        }
        let Value::Object(members) = part else { return None };
        for top in tops {
            let value = self.root.get(&top)?.clone();
            // A keyword that is judged cannot be a shelf of definitions as well.
            if members.contains_key(&top) || !matches!(&*top, "$defs" | "definitions" | "components") {
                return None;
            }
            members.insert(top, value);
        }
        Some(())
    }
}

impl Part {
    pub(crate) fn concerns(&self, kind: Kind) -> bool {
        self.kinds.has(kind)
    }

    /// The keyword that refuses the value; none if it is accepted.
    pub(crate) fn refuses(&self, value: &Value) -> Option<&'static str> {
        if self.validator.is_valid(value) {
            return None;
        }
        let error = if self.can_explain { self.validator.validate(value).err() } else { None };
        Some(error.as_ref().map_or(self.keyword, crate::explain::keyword))
    }
}

fn count(value: &Value) -> usize {
    match value {
        Value::Object(members) => 1 + members.values().map(count).sum::<usize>(),
        Value::Array(items) => 1 + items.iter().map(count).sum::<usize>(),
        _ => 1,
    }
}
