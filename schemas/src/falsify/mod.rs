//! Tells, while a document comes, that no continuation of it can keep its schema.
//!
//! It follows members in whatever order they come, and says either that the document is refused, or nothing: only the
//! authority says that a document passes. Sound by construction: what is not modelled is never a reason to refuse, until the
//! value that it is about has ended and the authority can be asked about that value alone ([`part`]).
//!
//! Each open value has monitors: pairs of a schema that it must keep and the branch (alternative) in which it must. What a
//! monitor rules out kills its branch; when the root branch dies, the document is refused.

mod branch;
mod loops;
mod lower;
mod monitor;
mod node;
mod number;
mod part;
mod pattern;
mod text;

use std::sync::Arc;

use serde_json::Value;

pub(crate) use lower::lower;
pub(crate) use node::Nodes;

use crate::observe::{Kind, Observe, Refused, RefusedAt};
use branch::{Branches, Death};
use monitor::{Monitor, Monitors, Span};
use node::NodeId;
use text::Watches;

/// Most that the parts of one document may cost: values in it, times places in a part. Some tens of milliseconds; past it, parts
/// wait for the end.
const PARTS_WORK_MAX: u64 = 4_000_000;

/// Most that one part may cost for one value. Some milliseconds in the worst case.
const PART_WORK_MAX: u64 = 200_000;

/// Where and why a document is refused.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// Byte offset of the value that is refused, or of the name.
    pub(crate) at: usize,
    pub(crate) keyword: &'static str,
    /// JSON Pointer to the keyword in the schema.
    pub(crate) schema_path: String,
    /// The steps to the value: the bytes of a member's name with its quotes, or an index.
    pub(crate) path: Vec<Step>,
}

/// One step to a value in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Name(std::ops::Range<usize>),
    Index(u64),
}

/// Follows one document.
#[derive(Debug)]
pub(crate) struct Falsifier {
    nodes: Arc<Nodes>,
    state: State,
}

#[derive(Debug)]
struct State {
    monitors: Monitors,
    branches: Branches,
    frames: Vec<Frame>,
    /// Monitors of the member's value, or the root, that comes next.
    next: Span,
    /// The string, number or word under way.
    scalar: Option<Scalar>,
    watches: Watches,
    refusal: Option<Refusal>,
    parts_work: u64,
}

/// An open array or object.
#[derive(Debug)]
struct Frame {
    is_object: bool,
    span: Span,
    at: usize,
    /// Elements or members so far.
    count: u64,
    /// The name of the newest member, with its quotes.
    name: std::ops::Range<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Scalar {
    kind: Kind,
    span: Span,
    at: usize,
}

impl Falsifier {
    pub(crate) fn new(nodes: Arc<Nodes>, monitors_per_value: usize) -> Self {
        let watches = Watches::new(nodes.patterns.len());
        let mut state = State {
            monitors: Monitors::new(monitors_per_value, nodes.shareable),
            branches: Branches::new(),
            frames: Vec::new(),
            next: Span::default(),
            scalar: None,
            watches,
            refusal: None,
            parts_work: 0,
        };
        let mark = state.branches.mark();
        let mut span = state.monitors.open(mark, 0);
        // The schema `false` refuses any document, but there must be one.
        if let Some(death) = state.monitors.expand(&nodes, &mut state.branches, nodes.root, branch::ROOT, "false") {
            state.refuse(&nodes, death, 0, 0);
        }
        state.monitors.close(&mut span);
        state.next = span;
        Self { nodes, state }
    }

    /// Why the document is refused, once it is.
    pub(crate) fn refusal(&self) -> Option<&Refusal> {
        self.state.refusal.as_ref()
    }

    /// Whether the string under way has to be right as a whole before any of it is right.
    pub(crate) fn owes_text(&self) -> bool {
        let Some(scalar) = self.state.scalar.filter(|scalar| scalar.kind == Kind::Text) else { return false };
        !self.state.watches.is_empty() || self.state.has_part(&self.nodes, scalar.span, Kind::Text)
    }
}

impl Drop for Falsifier {
    fn drop(&mut self) {
        self.state.watches.give_back(&self.nodes);
    }
}

impl Observe for Falsifier {
    fn begin(&mut self, kind: Kind, at: usize) -> Result<(), Refused> {
        self.state.begin(&self.nodes, kind, at)
    }

    fn wants_text(&self) -> bool {
        !self.state.watches.is_empty()
    }

    fn text(&mut self, piece: &[u8]) -> Result<(), RefusedAt> {
        let State { watches, branches, scalar, .. } = &mut self.state;
        let death = watches.feed(&self.nodes, branches, piece);
        match (death, *scalar) {
            (Some((death, offset)), Some(scalar)) => {
                self.state.refuse_value(&self.nodes, death, scalar.at);
                Err(RefusedAt(offset))
            }
            _ => Ok(()),
        }
    }

    fn end(&mut self, document: &str, end: usize) -> Result<(), Refused> {
        self.state.end(&self.nodes, document, end)
    }

    fn name(&mut self, name: &[u8], at: usize, end: usize) -> Result<(), Refused> {
        self.state.name(&self.nodes, name, at, end)
    }
}

impl State {
    fn begin(&mut self, nodes: &Nodes, kind: Kind, at: usize) -> Result<(), Refused> {
        if self.refusal.is_some() {
            return Err(Refused);
        }
        if self.frames.last().is_some_and(|frame| !frame.is_object) {
            self.element(nodes, at)?;
        }
        let span = std::mem::take(&mut self.next);
        for Monitor { node: id, branch, .. } in self.monitors.of(span) {
            let Some(node) = nodes.get(*id) else { continue };
            if !node.kinds.has(kind)
                && let Some(death) = self.branches.kill(*branch, Death::of(*id, node.kinds_keyword))
            {
                return Err(self.refuse_value(nodes, death, at));
            }
        }
        match kind {
            Kind::Array | Kind::Object => {
                let is_object = kind == Kind::Object;
                self.frames.push(Frame { is_object, span, at, count: 0, name: 0..0 });
            }
            _ => {
                self.scalar = Some(Scalar { kind, span, at });
                self.watches.clear();
                if kind == Kind::Text {
                    self.watches.begin(nodes, &self.branches, self.monitors.of(span));
                }
            }
        }
        Ok(())
    }

    /// The next element of the innermost array begins.
    fn element(&mut self, nodes: &Nodes, at: usize) -> Result<(), Refused> {
        let Some(frame) = self.frames.last_mut() else { return Ok(()) };
        let (index, parents) = (frame.count, frame.span);
        frame.count += 1;
        let mut span = self.monitors.open(self.branches.mark(), self.frames.len());
        let mut death = None;
        for place in parents.from..parents.to {
            let Some(Monitor { node: id, branch, .. }) = self.monitors.get(place) else { continue };
            let Some(rules) = nodes.get(id).and_then(|node| node.array.as_deref()) else { continue };
            if !self.branches.lives(branch) {
                continue;
            }
            if rules.max.is_some_and(|max| index >= max) {
                death = death.or(self.branches.kill(branch, Death::of(id, "maxItems")));
                continue;
            }
            let first = usize::try_from(index).ok().and_then(|index| rules.first.get(index)).copied();
            if let Some(id) = first.or(rules.rest) {
                let via = if first.is_some() { "false" } else { "items" };
                death = death.or(self.monitors.expand(nodes, &mut self.branches, id, branch, via));
            }
        }
        self.monitors.close(&mut span);
        self.next = span;
        death.map_or(Ok(()), |death| Err(self.refuse_value(nodes, death, at)))
    }

    fn name(&mut self, nodes: &Nodes, name: &[u8], at: usize, end: usize) -> Result<(), Refused> {
        let Some(frame) = self.frames.last_mut() else { return Ok(()) };
        frame.count += 1;
        frame.name = at..end;
        let (count, parents) = (frame.count, frame.span);
        let mut span = self.monitors.open(self.branches.mark(), self.frames.len());
        let mut death = None;
        for place in parents.from..parents.to {
            let Some(Monitor { node: id, branch, .. }) = self.monitors.get(place) else { continue };
            let Some(rules) = nodes.get(id).and_then(|node| node.object.as_deref()) else { continue };
            if !self.branches.lives(branch) {
                continue;
            }
            if rules.max.is_some_and(|max| count > max) {
                death = death.or(self.branches.kill(branch, Death::of(id, "maxProperties")));
                continue;
            }
            if let Some(names) = rules.names
                && !self.watches.allows_name(nodes, names, name)
            {
                death = death.or(self.branches.kill(branch, Death::of(id, "propertyNames")));
                continue;
            }
            let member = rules.members.get(name).copied().unwrap_or_default();
            if member.is_required {
                self.monitors.met(place);
            }
            let mut is_known = member.node.is_some();
            if let Some(id) = member.node {
                death = death.or(self.monitors.expand(nodes, &mut self.branches, id, branch, "false"));
            }
            for &(pattern, id) in &rules.patterns {
                match self.watches.matches(nodes, pattern, name) {
                    Some(true) => {
                        is_known = true;
                        death = death.or(self.monitors.expand(nodes, &mut self.branches, id, branch, "false"));
                    }
                    Some(false) => {}
                    // It may be meant or not, so the others' schema may hold or not.
                    None => is_known = true,
                }
            }
            if let Some(id) = rules.others.filter(|_| !is_known) {
                death = death.or(self.monitors.expand(nodes, &mut self.branches, id, branch, "additionalProperties"));
            }
        }
        self.monitors.close(&mut span);
        self.next = span;
        let depth = self.frames.len().saturating_sub(1);
        death.map_or(Ok(()), |death| Err(self.refuse(nodes, death, at, depth)))
    }

    fn end(&mut self, nodes: &Nodes, document: &str, end: usize) -> Result<(), Refused> {
        let (kind, span, at, death) = match self.scalar.take() {
            Some(Scalar { kind, span, at }) => {
                let text = document.get(at..end).unwrap_or_default();
                (kind, span, at, self.scalar_end(nodes, kind, span, text))
            }
            None => {
                let Some(frame) = self.frames.pop() else { return Ok(()) };
                let kind = if frame.is_object { Kind::Object } else { Kind::Array };
                (kind, frame.span, frame.at, self.frame_end(nodes, &frame))
            }
        };
        // At the root the whole authority speaks next.
        let death = match death {
            None if !self.frames.is_empty() => self.parts(nodes, kind, span, document.get(at..end).unwrap_or_default()),
            death => death,
        };
        if let Some(death) = death {
            return Err(self.refuse_value(nodes, death, at));
        }
        self.monitors.forget(span);
        self.branches.forget(span.mark);
        Ok(())
    }

    fn scalar_end(&mut self, nodes: &Nodes, kind: Kind, span: Span, text: &str) -> Option<Death> {
        match kind {
            Kind::Text => return self.watches.end(nodes, &mut self.branches),
            Kind::Number => {
                return number::check(nodes, &mut self.branches, self.monitors.of(span), text);
            }
            Kind::Boolean => {
                for Monitor { node: id, branch, .. } in self.monitors.of(span) {
                    let Some(values) = nodes.get(*id).and_then(|node| node.values.as_deref()) else { continue };
                    let allowed = if text == "true" { values.has_true } else { values.has_false };
                    if !allowed && let Some(death) = self.branches.kill(*branch, Death::of(*id, values.keyword)) {
                        return Some(death);
                    }
                }
            }
            Kind::Null | Kind::Array | Kind::Object => {}
        }
        None
    }

    fn frame_end(&mut self, nodes: &Nodes, frame: &Frame) -> Option<Death> {
        for Monitor { node: id, branch, met } in self.monitors.of(frame.span) {
            let Some(node) = nodes.get(*id) else { continue };
            let keyword = if frame.is_object {
                node.object.as_deref().and_then(|rules| match () {
                    () if *met < rules.required => Some("required"),
                    () if frame.count < rules.min => Some("minProperties"),
                    () => None,
                })
            } else {
                node.array.as_deref().filter(|rules| frame.count < rules.min).map(|_| "minItems")
            };
            if let Some(keyword) = keyword
                && let Some(death) = self.branches.kill(*branch, Death::of(*id, keyword))
            {
                return Some(death);
            }
        }
        None
    }

    fn has_part(&self, nodes: &Nodes, span: Span, kind: Kind) -> bool {
        self.monitors.of(span).iter().any(|monitor| {
            let part = nodes.get(monitor.node).and_then(|node| nodes.parts.get(node.part? as usize));
            part.is_some_and(|part| part.concerns(kind)) && self.branches.lives(monitor.branch)
        })
    }

    /// Asks the authority about a value that has ended, as far as its schemas are not modelled.
    fn parts(&mut self, nodes: &Nodes, kind: Kind, span: Span, text: &str) -> Option<Death> {
        let mut value: Option<Value> = None;
        for Monitor { node: id, branch, .. } in self.monitors.of(span) {
            let part = nodes.get(*id).and_then(|node| nodes.parts.get(node.part? as usize));
            let Some(part) = part.filter(|part| part.concerns(kind)) else { continue };
            // A value takes two bytes or more, and reading it is work as well.
            let work = (text.len() as u64 / 2 + 1).saturating_mul(part.places);
            if work > PART_WORK_MAX || self.parts_work > PARTS_WORK_MAX || !self.branches.lives(*branch) {
                continue;
            }
            self.parts_work += work;
            if value.is_none() {
                value = Some(serde_json::from_str(text).ok()?);
            }
            if let Some(keyword) = value.as_ref().and_then(|value| part.refuses(value))
                && let Some(death) = self.branches.kill(*branch, Death::of(*id, keyword))
            {
                return Some(death);
            }
        }
        None
    }

    /// The value that began at `at` is refused; all frames are on the way to it.
    fn refuse_value(&mut self, nodes: &Nodes, death: Death, at: usize) -> Refused {
        let depth = self.frames.len();
        self.refuse(nodes, death, at, depth)
    }

    fn refuse(&mut self, nodes: &Nodes, death: Death, at: usize, depth: usize) -> Refused {
        // What has no alternative left may be a value around the one that ended the last.
        let outer = death.depth.and_then(|depth| Some((self.frames.get(depth)?.at, depth)));
        let (at, depth) = outer.unwrap_or((at, depth));
        let way = self.frames.iter().take(depth);
        let path = way.map(|frame| match frame.is_object {
            true => Step::Name(frame.name.clone()),
            false => Step::Index(frame.count.saturating_sub(1)),
        });
        self.refusal.get_or_insert(Refusal {
            at,
            keyword: death.keyword,
            schema_path: schema_path(nodes, death.node, death.keyword),
            path: path.collect(),
        });
        Refused
    }
}

fn schema_path(nodes: &Nodes, id: NodeId, keyword: &str) -> String {
    match nodes.get(id) {
        Some(node) if node.never => node.pointer.to_string(),
        Some(node) => format!("{}/{keyword}", node.pointer),
        None => String::new(),
    }
}
