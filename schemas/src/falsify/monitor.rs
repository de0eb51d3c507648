//! The monitors of all open values, in one stack.

use super::branch::{BranchId, Branches, Death, Mark};
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
    per_value: usize,
}

impl Monitors {
    pub(crate) fn new(per_value: usize) -> Self {
        Self { stack: Vec::new(), from: 0, per_value }
    }

    /// Begins to add the monitors of a value.
    pub(crate) fn open(&mut self, mark: Mark) -> Span {
        self.from = self.stack.len();
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
            return branches.kill(branch, Death { node: id, keyword: via });
        }
        if self.stack.len() - self.from >= self.per_value || node.looping && self.has(branches, id, branch) {
            return None;
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
            let first = branches.open(branch, group.nodes.len(), id, group.keyword);
            for (below, own) in group.nodes.iter().zip(first..) {
                if let Some(death) = self.expand(nodes, branches, *below, own, "false") {
                    return Some(death);
                }
            }
        }
        None
    }

    /// Whether the value must keep this node already if the branch lives.
    fn has(&self, branches: &Branches, id: NodeId, branch: BranchId) -> bool {
        let own = self.stack.get(self.from..).unwrap_or_default();
        own.iter().any(|monitor| monitor.node == id && branches.is_within(branch, monitor.branch))
    }
}
