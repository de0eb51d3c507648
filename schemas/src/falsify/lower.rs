//! Lowers a JSON Schema into [`Nodes`], for drafts 4 to 2020-12.
//!
//! Sound by construction: a node never demands more than its schema. Where a reference or a keyword could mean something that
//! is not followed here (another base URI, an anchor, a dynamic reference), nothing is demanded.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Number, Value};

use super::node::{
    ArrayRules, Group, Kinds, Node, NodeId, Nodes, NumberRules, ObjectRules, PatternId, TextRules, Values,
};
use super::part::Parts;
use super::pattern::Pattern;
use crate::contract::{Dialect, Draft};
use crate::limits::Limits;
use crate::observe::Kind;

/// Whether a part of a schema is a document of its own, in which references mean something else. A fragment names a place
/// without that.
fn is_resource(schema: &Value) -> bool {
    let mut ids = ["$id", "id"].into_iter().filter_map(|keyword| schema.get(keyword)?.as_str());
    ids.any(|id| !id.starts_with('#'))
}

/// Where a schema stands.
#[derive(Clone, Copy)]
struct Place<'p> {
    /// JSON Pointer to it.
    pointer: &'p str,
    /// Within a document of its own, whose references are not followed.
    is_apart: bool,
}

impl<'p> Place<'p> {
    fn at(self, pointer: &'p str) -> Self {
        Self { pointer, ..self }
    }
}

/// Lowers `root`, which is a valid schema within the limits of the analysis.
pub(crate) fn lower(root: &Value, dialect: &Dialect, limits: &Limits) -> Nodes {
    let mut lower = Lower {
        root,
        dialect,
        limits,
        nodes: Vec::new(),
        known: HashMap::new(),
        patterns: Vec::new(),
        known_patterns: HashMap::new(),
        parts: Parts::new(root, dialect, limits),
    };
    let root = lower.node(root, Place { pointer: "", is_apart: false });
    let Lower { mut nodes, patterns, parts, .. } = lower;
    let shareable = number_shareable(&mut nodes);
    Nodes { nodes, root, patterns, parts: parts.made, shareable }
}

struct Lower<'a> {
    root: &'a Value,
    dialect: &'a Dialect,
    limits: &'a Limits,
    nodes: Vec<Node>,
    /// By the address of the schema.
    known: HashMap<*const Value, NodeId>,
    patterns: Vec<Pattern>,
    known_patterns: HashMap<&'a str, Option<PatternId>>,
    parts: Parts<'a>,
}

impl<'a> Lower<'a> {
    fn node(&mut self, schema: &'a Value, place: Place<'_>) -> NodeId {
        let key = std::ptr::from_ref(schema);
        if let Some(&id) = self.known.get(&key) {
            return id;
        }
        let id = NodeId::try_from(self.nodes.len()).unwrap_or(NodeId::MAX);
        self.nodes.push(Node::anything(place.pointer));
        self.known.insert(key, id);
        let mut node = Node::anything(place.pointer);
        match schema {
            Value::Bool(false) => {
                node.never = true;
                node.kinds = Kinds::NONE;
            }
            Value::Object(members) => {
                let is_root = std::ptr::eq(schema, self.root);
                let is_apart = place.is_apart || !is_root && is_resource(schema);
                // Another draft means something else by the same words.
                let is_foreign = !is_root
                    && members.contains_key("$schema")
                    && Draft::of(schema).is_ok_and(|draft| draft != self.dialect.draft);
                if !is_foreign {
                    self.schema(members, is_root, Place { is_apart, ..place }, &mut node);
                }
            }
            _ => {}
        }
        if let Some(place) = self.nodes.get_mut(id as usize) {
            *place = node;
        }
        id
    }

    fn under(&mut self, schema: &'a Value, place: Place<'_>, keyword: &str, token: Option<&str>) -> NodeId {
        let pointer = match token {
            Some(token) => format!("{}/{keyword}/{}", place.pointer, token.replace('~', "~0").replace('/', "~1")),
            None => format!("{}/{keyword}", place.pointer),
        };
        self.node(schema, place.at(&pointer))
    }

    fn list(&mut self, schemas: &'a [Value], place: Place<'_>, keyword: &str) -> Vec<NodeId> {
        let schemas = schemas.iter().enumerate();
        schemas.map(|(index, schema)| self.under(schema, place, keyword, Some(&index.to_string()))).collect()
    }

    fn schema(&mut self, members: &'a Map<String, Value>, is_root: bool, place: Place<'_>, node: &mut Node) {
        if let Some(Value::String(reference)) = members.get("$ref") {
            if !place.is_apart
                && let Some((target, address)) = self.resolve(reference)
            {
                node.all.push(self.node(target, Place { pointer: &address, is_apart: false }));
            }
            if self.dialect.draft <= Draft::Draft7 {
                return;
            }
        }
        // What a node cannot express although its keyword is modelled.
        let mut more: Vec<(&'static str, Kinds)> = Vec::new();
        self.kinds(members, node, &mut more);
        self.text(members, node, &mut more);
        self.number(members, node);
        self.object(members, place, node);
        self.array(members, place, node);
        for keyword in ["allOf", "anyOf", "oneOf"] {
            let Some(Value::Array(schemas)) = members.get(keyword) else { continue };
            let nodes = self.list(schemas, place, keyword);
            match keyword {
                "allOf" => node.all.extend(nodes),
                "anyOf" => node.any.push(Group { keyword: "anyOf", nodes }),
                _ => node.any.push(Group { keyword: "oneOf", nodes }),
            }
        }
        // At the root the whole authority speaks in any case.
        if !is_root {
            node.part = self.parts.of(members, &more);
        }
    }

    fn kinds(&mut self, members: &'a Map<String, Value>, node: &mut Node, more: &mut Vec<(&'static str, Kinds)>) {
        let mut kinds = Kinds::NONE;
        let (mut integer, mut number) = (false, false);
        let mut add = |name: &str| {
            kinds = kinds.or(match name {
                "null" => Kinds::of(Kind::Null),
                "boolean" => Kinds::of(Kind::Boolean),
                "string" => Kinds::TEXT,
                "array" => Kinds::ARRAY,
                "object" => Kinds::OBJECT,
                _ => Kinds::NUMBER,
            });
            integer |= name == "integer";
            number |= name == "number";
        };
        match members.get("type") {
            Some(Value::String(name)) => add(name),
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).for_each(add),
            _ => kinds = Kinds::ALL,
        }
        node.kinds = kinds;
        if integer && !number {
            node.number.get_or_insert_default().is_integer = true;
        }
        let constant = members.get("const").filter(|_| self.dialect.draft > Draft::Draft4);
        let (keyword, values) = match (constant, members.get("enum")) {
            (Some(value), _) => ("const", std::slice::from_ref(value)),
            (None, Some(Value::Array(values))) => ("enum", values.as_slice()),
            _ => return,
        };
        let mut only = Values { keyword, texts: Vec::new(), numbers: Vec::new(), has_true: false, has_false: false };
        let mut kinds = Kinds::NONE;
        for value in values {
            kinds = kinds.or(Kinds::of(match value {
                Value::Null => Kind::Null,
                Value::Bool(value) => {
                    only.has_true |= value;
                    only.has_false |= !value;
                    Kind::Boolean
                }
                Value::Number(number) => {
                    only.numbers.push(number.clone());
                    Kind::Number
                }
                Value::String(text) => {
                    only.texts.push(text.as_bytes().into());
                    Kind::Text
                }
                Value::Array(_) => Kind::Array,
                Value::Object(_) => Kind::Object,
            }));
        }
        only.texts.sort_unstable();
        only.texts.dedup();
        if kinds.has(Kind::Array) || kinds.has(Kind::Object) {
            more.push((keyword, Kinds::ARRAY.or(Kinds::OBJECT)));
        }
        if node.kinds != node.kinds.and(kinds) {
            node.kinds = node.kinds.and(kinds);
            node.kinds_keyword = keyword;
        }
        node.values = Some(Box::new(only));
    }

    fn text(&mut self, members: &'a Map<String, Value>, node: &mut Node, more: &mut Vec<(&'static str, Kinds)>) {
        let mut rules =
            TextRules { min: size(members, "minLength").unwrap_or(0), max: size(members, "maxLength"), pattern: None };
        if let Some(Value::String(pattern)) = members.get("pattern") {
            rules.pattern = self.pattern(pattern);
            if rules.pattern.is_none() {
                more.push(("pattern", Kinds::TEXT));
            }
        }
        if rules.min > 0 || rules.max.is_some() || rules.pattern.is_some() {
            node.text = Some(Box::new(rules));
        }
    }

    fn number(&self, members: &Map<String, Value>, node: &mut Node) {
        let bound = |keyword: &str| match members.get(keyword) {
            Some(Value::Number(number)) => Some(number.clone()),
            _ => None,
        };
        let mut rules = NumberRules {
            is_integer: false,
            minimum: bound("minimum"),
            maximum: bound("maximum"),
            above: bound("exclusiveMinimum"),
            below: bound("exclusiveMaximum"),
        };
        if self.dialect.draft == Draft::Draft4 {
            let exclusive = |keyword: &str| members.get(keyword) == Some(&Value::Bool(true));
            rules.above = if exclusive("exclusiveMinimum") { rules.minimum.take() } else { None };
            rules.below = if exclusive("exclusiveMaximum") { rules.maximum.take() } else { None };
        }
        let any = [&rules.minimum, &rules.maximum, &rules.above, &rules.below].into_iter().any(Option::is_some);
        if any {
            rules.is_integer = node.number.as_ref().is_some_and(|number| number.is_integer);
            node.number = Some(Box::new(rules));
        }
    }

    fn object(&mut self, members: &'a Map<String, Value>, place: Place<'_>, node: &mut Node) {
        let mut rules = ObjectRules {
            min: size(members, "minProperties").unwrap_or(0),
            max: size(members, "maxProperties"),
            ..ObjectRules::default()
        };
        if let Some(Value::Object(properties)) = members.get("properties") {
            for (name, schema) in properties {
                let id = self.under(schema, place, "properties", Some(name));
                rules.members.entry(name.as_bytes().into()).or_default().node = Some(id);
            }
        }
        if let Some(Value::Array(names)) = members.get("required") {
            let names: HashSet<&str> = names.iter().filter_map(Value::as_str).collect();
            rules.required = u32::try_from(names.len()).unwrap_or(0);
            // More names than can be counted are left to the authority.
            for name in names.into_iter().filter(|_| rules.required > 0) {
                rules.members.entry(name.as_bytes().into()).or_default().is_required = true;
            }
        }
        let mut knows_patterns = true;
        if let Some(Value::Object(patterns)) = members.get("patternProperties") {
            for (pattern, schema) in patterns {
                let id = self.under(schema, place, "patternProperties", Some(pattern));
                match self.pattern(pattern) {
                    Some(pattern) => rules.patterns.push((pattern, id)),
                    None => knows_patterns = false,
                }
            }
        }
        if let Some(others) = members.get("additionalProperties").filter(|others| knows_patterns && matters(others)) {
            rules.others = Some(self.under(others, place, "additionalProperties", None));
        }
        if self.dialect.draft > Draft::Draft4
            && let Some(names) = members.get("propertyNames").filter(|names| matters(names))
        {
            rules.names = Some(self.under(names, place, "propertyNames", None));
        }
        let any = !rules.members.is_empty()
            || !rules.patterns.is_empty()
            || rules.others.is_some()
            || rules.names.is_some()
            || rules.min > 0
            || rules.max.is_some();
        if any {
            node.object = Some(Box::new(rules));
        }
    }

    fn array(&mut self, members: &'a Map<String, Value>, place: Place<'_>, node: &mut Node) {
        let mut rules = ArrayRules {
            min: size(members, "minItems").unwrap_or(0),
            max: size(members, "maxItems"),
            ..ArrayRules::default()
        };
        let (first, rest) = if self.dialect.draft == Draft::Draft202012 {
            ("prefixItems", "items")
        } else {
            ("items", if members.get("items").is_some_and(Value::is_array) { "additionalItems" } else { "items" })
        };
        if let Some(Value::Array(schemas)) = members.get(first) {
            rules.first = self.list(schemas, place, first);
        }
        if let Some(schema) = members.get(rest).filter(|schema| !schema.is_array() && matters(schema)) {
            rules.rest = Some(self.under(schema, place, rest, None));
        }
        if !rules.first.is_empty() || rules.rest.is_some() || rules.min > 0 || rules.max.is_some() {
            node.array = Some(Box::new(rules));
        }
    }

    fn pattern(&mut self, pattern: &'a str) -> Option<PatternId> {
        if let Some(&known) = self.known_patterns.get(pattern) {
            return known;
        }
        let made = Pattern::new(pattern, self.limits.pattern_bytes).and_then(|made| {
            self.patterns.push(made);
            PatternId::try_from(self.patterns.len() - 1).ok()
        });
        self.known_patterns.insert(pattern, made);
        made
    }

    /// What a reference names and its address, if that is a plain pointer within this one document.
    fn resolve(&self, reference: &str) -> Option<(&'a Value, String)> {
        let pointer = reference.strip_prefix('#')?;
        if pointer.contains('%') || !(pointer.is_empty() || pointer.starts_with('/')) {
            return None;
        }
        let mut here = self.root;
        for token in pointer.split('/').skip(1) {
            if is_resource(here) && !std::ptr::eq(here, self.root) {
                return None;
            }
            let token = token.replace("~1", "/").replace("~0", "~");
            here = match here {
                Value::Array(items) => items.get(token.parse::<usize>().ok()?)?,
                other => other.get(&token)?,
            };
        }
        Some((here, pointer.to_owned()))
    }
}

/// Whether a schema demands anything at all.
fn matters(schema: &Value) -> bool {
    match schema {
        Value::Bool(value) => !value,
        Value::Object(members) => !members.is_empty(),
        _ => false,
    }
}

/// A number of things: a whole number, however it is spelled.
fn size(members: &Map<String, Value>, keyword: &str) -> Option<u64> {
    let number: &Number = members.get(keyword)?.as_number()?;
    number.as_u64().or_else(|| {
        let float = number.as_f64()?;
        (float.fract() == 0.0 && (0.0..9e15).contains(&float)).then_some(float as u64)
    })
}

/// Numbers the nodes that are shared: every way that leads back to a node without a step into the document leads through a
/// reference, and a node that is met twice at one value counts once.
fn number_shareable(nodes: &mut [Node]) -> usize {
    let mut count = 0;
    for node in nodes.iter_mut().filter(|node| !node.any.is_empty() || !node.all.is_empty()) {
        node.share = Some(count);
        count += 1;
    }
    count as usize
}
