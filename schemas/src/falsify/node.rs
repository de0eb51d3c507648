//! A schema as the falsifier reads it: nodes that say what cannot be, by index.

use foldhash::HashMap;
use serde_json::Number;

use super::part::Part;
use super::pattern::Pattern;
use crate::observe::Kind;

/// Index of a node in [`Nodes`].
pub(crate) type NodeId = u32;

/// A lowered schema.
#[derive(Debug)]
pub(crate) struct Nodes {
    pub(crate) nodes: Vec<Node>,
    pub(crate) root: NodeId,
    pub(crate) patterns: Vec<Pattern>,
    pub(crate) parts: Vec<Part>,
    /// How many nodes can be shared.
    pub(crate) shareable: usize,
}

impl Nodes {
    pub(crate) fn get(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id as usize)
    }

    pub(crate) fn pattern(&self, id: PatternId) -> Option<&Pattern> {
        self.patterns.get(id as usize)
    }
}

/// Index of a pattern in [`Nodes`].
pub(crate) type PatternId = u32;

/// Index of a part in [`Nodes`].
pub(crate) type PartId = u32;

/// A set of [`Kind`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kinds(u8);

impl Kinds {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const ALL: Self = Self(0x3F);
    pub(crate) const NUMBER: Self = Self(1 << Kind::Number as u8);
    pub(crate) const TEXT: Self = Self(1 << Kind::Text as u8);
    pub(crate) const ARRAY: Self = Self(1 << Kind::Array as u8);
    pub(crate) const OBJECT: Self = Self(1 << Kind::Object as u8);

    pub(crate) fn of(kind: Kind) -> Self {
        Self(1 << kind as u8)
    }

    pub(crate) fn has(self, kind: Kind) -> bool {
        self.0 & Self::of(kind).0 != 0
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What one schema demands of a value. Whatever is not here is left to the authority.
#[derive(Debug)]
pub(crate) struct Node {
    /// JSON Pointer to it in the schema.
    pub(crate) pointer: Box<str>,
    /// The schema `false`.
    pub(crate) never: bool,
    /// `type`, and the kinds that `enum` and `const` leave.
    pub(crate) kinds: Kinds,
    /// Which keyword narrowed `kinds` below `type`.
    pub(crate) kinds_keyword: &'static str,
    pub(crate) values: Option<Box<Values>>,
    pub(crate) text: Option<Box<TextRules>>,
    pub(crate) number: Option<Box<NumberRules>>,
    pub(crate) object: Option<Box<ObjectRules>>,
    pub(crate) array: Option<Box<ArrayRules>>,
    /// Schemas that the same value must keep, too: `$ref`, `allOf`.
    pub(crate) all: Vec<NodeId>,
    /// Groups of which the same value must keep one.
    pub(crate) any: Vec<Group>,
    /// What is not modelled, for the authority to judge when the value ends.
    pub(crate) part: Option<PartId>,
    /// Its number among the nodes against which one value is followed once, however many ways lead there: those with
    /// alternatives, which would multiply.
    pub(crate) share: Option<u32>,
}

impl Node {
    pub(crate) fn anything(pointer: &str) -> Self {
        Self {
            pointer: pointer.into(),
            never: false,
            kinds: Kinds::ALL,
            kinds_keyword: "type",
            values: None,
            text: None,
            number: None,
            object: None,
            array: None,
            all: Vec::new(),
            any: Vec::new(),
            part: None,
            share: None,
        }
    }
}

/// `anyOf` or `oneOf`.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) keyword: &'static str,
    pub(crate) nodes: Vec<NodeId>,
}

/// `enum` and `const`.
#[derive(Debug)]
pub(crate) struct Values {
    pub(crate) keyword: &'static str,
    /// Sorted, without repetition.
    pub(crate) texts: Vec<Box<[u8]>>,
    pub(crate) numbers: Vec<Number>,
    pub(crate) has_true: bool,
    pub(crate) has_false: bool,
}

/// Of strings.
#[derive(Debug, Default)]
pub(crate) struct TextRules {
    pub(crate) min: u64,
    pub(crate) max: Option<u64>,
    pub(crate) pattern: Option<PatternId>,
}

/// Of numbers.
#[derive(Debug, Default)]
pub(crate) struct NumberRules {
    pub(crate) is_integer: bool,
    pub(crate) minimum: Option<Number>,
    pub(crate) maximum: Option<Number>,
    pub(crate) above: Option<Number>,
    pub(crate) below: Option<Number>,
}

/// Of objects.
#[derive(Debug, Default)]
pub(crate) struct ObjectRules {
    pub(crate) members: HashMap<Box<[u8]>, Member>,
    pub(crate) patterns: Vec<(PatternId, NodeId)>,
    /// For members that neither names nor patterns meet.
    pub(crate) others: Option<NodeId>,
    /// What the names themselves must keep.
    pub(crate) names: Option<NodeId>,
    /// Names in `required`, each counted once.
    pub(crate) required: u32,
    pub(crate) min: u64,
    pub(crate) max: Option<u64>,
}

/// What is known of one name.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Member {
    pub(crate) node: Option<NodeId>,
    pub(crate) is_required: bool,
}

/// Of arrays.
#[derive(Debug, Default)]
pub(crate) struct ArrayRules {
    pub(crate) first: Vec<NodeId>,
    pub(crate) rest: Option<NodeId>,
    pub(crate) min: u64,
    pub(crate) max: Option<u64>,
}
