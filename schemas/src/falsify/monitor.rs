//! The monitors of all open values, in one stack.

use super::branch::{BranchId, Branches, Death, Mark, ROOT};
use super::node::{NodeId, Nodes};

/// A schema that a value must keep if its branch is to live.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Monitor {
    pub(crate) node: NodeId,
    pub(crate) branch: BranchId,
    /// Required members that have come.
    pub(crate) met: u32,
}

/// The monitors of one value.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Span {
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// Where its branches begin.
    pub(crate) mark: Mark,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Monitors {
    stack: Vec<Monitor>,
    /// Where the value begins whose monitors are being added.
    from: usize,
    /// How deep in the document it is.
    depth: usize,
    per_value: usize,
    /// The number of that value, and for each shareable node the last value that is followed against it, with the branch that it
    /// is followed in.
    value: u64,
    shared: Vec<(u64, BranchId)>,
}

impl Monitors {
    pub(crate) fn new(per_value: usize, shareable: usize) -> Self {
        Self { stack: Vec::new(), from: 0, depth: 0, per_value, value: 0, shared: vec![(0, ROOT); shareable] }
    }

    /// Begins to add the monitors of a value within so many arrays and objects.
    pub(crate) fn open(&mut self, mark: Mark, depth: usize) -> Span {
        self.depth = depth;
        self.from = self.stack.len();
        self.value += 1;
        Span { from: self.from, to: self.from, mark }
    }

    /// Ends what [`Monitors::open`] began.
    pub(crate) fn close(&mut self, span: &mut Span) {
        span.to = self.stack.len();
    }

    pub(crate) fn of(&self, span: Span) -> &[Monitor] {
        self.stack.get(span.from..span.to).unwrap_or_default()
    }

    pub(crate) fn get(&self, place: usize) -> Option<Monitor> {
        self.stack.get(place).copied()
    }

    /// A required member has come.
    pub(crate) fn met(&mut self, place: usize) {
        if let Some(monitor) = self.stack.get_mut(place) {
            monitor.met += 1;
        }
    }

    /// The value has ended.
    pub(crate) fn forget(&mut self, span: Span) {
        self.stack.truncate(span.from);
    }

    /// Adds a monitor for a node, and for all that its value must keep with it. `via` is the keyword that led here, in case that
    /// nothing may. Past the most that one value may have, nothing is added, which refuses nothing.
    pub(crate) fn expand(
        &mut self,
        nodes: &Nodes,
        branches: &mut Branches,
        id: NodeId,
        branch: BranchId,
        via: &'static str,
    ) -> Option<Death> {
        let node = nodes.get(id)?;
        if node.never {
            return branches.kill(branch, Death::of(id, via));
        }
        if self.stack.len() - self.from >= self.per_value {
            return None;
        }
        let mut branch = branch;
        if let Some(entry) = node.share.and_then(|share| self.shared.get_mut(share as usize)) {
            match *entry {
                (value, known) if value == self.value => {
                    let death = Death::of(id, via);
                    return branches.share(known, branch, death);
                }
                _ if branch == ROOT => {}
                _ => branch = branches.open_shared(branch),
            }
            *entry = (self.value, branch);
        }
        self.stack.push(Monitor { node: id, branch, met: 0 });
        for &below in &node.all {
            if let Some(death) = self.expand(nodes, branches, below, branch, "false") {
                return Some(death);
            }
        }
        for group in &node.any {
            if self.stack.len() - self.from + group.nodes.len() > self.per_value {
                continue;
            }
            let first = branches.open(branch, group.nodes.len(), (id, group.keyword), self.depth);
            for (below, own) in group.nodes.iter().zip(first..) {
                if let Some(death) = self.expand(nodes, branches, *below, own, "false") {
                    return Some(death);
                }
            }
        }
        None
    }
}
