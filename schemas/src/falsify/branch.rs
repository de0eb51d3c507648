//! Which alternatives of `anyOf` and `oneOf` can still come true.
//!
//! A branch is one alternative; a group is the alternatives of one keyword for one value. When the last branch of a group dies,
//! the branch that the group stands in dies with it.

use super::node::NodeId;

/// Index of a branch.
pub(crate) type BranchId = u32;

/// The branch that everything stands in.
pub(crate) const ROOT: BranchId = 0;

#[derive(Debug)]
struct Branch {
    /// Index of its group; none for the root.
    group: u32,
    lives: bool,
}

#[derive(Debug)]
struct Group {
    parent: BranchId,
    living: u32,
    node: NodeId,
    keyword: &'static str,
}

/// Why the root branch died.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Death {
    pub(crate) node: NodeId,
    pub(crate) keyword: &'static str,
}

/// All branches of the values that are open.
#[derive(Debug)]
pub(crate) struct Branches {
    branches: Vec<Branch>,
    groups: Vec<Group>,
}

/// Where the branches of a value begin.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mark {
    branches: usize,
    groups: usize,
}

impl Branches {
    pub(crate) fn new() -> Self {
        Self { branches: vec![Branch { group: u32::MAX, lives: true }], groups: Vec::new() }
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { branches: self.branches.len(), groups: self.groups.len() }
    }

    /// Forgets what began after the mark. A group that still lives has been kept.
    pub(crate) fn forget(&mut self, mark: Mark) {
        self.branches.truncate(mark.branches);
        self.groups.truncate(mark.groups);
    }

    /// Opens a group of `size` branches in `parent`; the first of them, the others follow it.
    pub(crate) fn open(&mut self, parent: BranchId, size: usize, node: NodeId, keyword: &'static str) -> BranchId {
        let first = self.branches.len() as BranchId;
        let group = self.groups.len() as u32;
        self.groups.push(Group { parent, living: size as u32, node, keyword });
        self.branches.extend(std::iter::repeat_with(|| Branch { group, lives: true }).take(size));
        first
    }

    pub(crate) fn lives(&self, mut branch: BranchId) -> bool {
        while branch != ROOT {
            let Some(one) = self.branches.get(branch as usize) else { return false };
            let Some(group) = self.groups.get(one.group as usize).filter(|_| one.lives) else { return false };
            branch = group.parent;
        }
        self.branches.first().is_some_and(|root| root.lives)
    }

    /// Whether `branch` is `above` or stands in it.
    pub(crate) fn is_within(&self, mut branch: BranchId, above: BranchId) -> bool {
        loop {
            if branch == above {
                return true;
            }
            let group = self.branches.get(branch as usize).and_then(|one| self.groups.get(one.group as usize));
            let Some(group) = group else { return false };
            branch = group.parent;
        }
    }

    /// Ends a branch, because of a keyword of a node. Tells if that was the root's end.
    pub(crate) fn kill(&mut self, mut branch: BranchId, mut death: Death) -> Option<Death> {
        loop {
            let one = self.branches.get_mut(branch as usize)?;
            if !std::mem::replace(&mut one.lives, false) {
                return None;
            }
            if branch == ROOT {
                return Some(death);
            }
            let group = self.groups.get_mut(one.group as usize)?;
            group.living = group.living.saturating_sub(1);
            if group.living > 0 {
                return None;
            }
            death = Death { node: group.node, keyword: group.keyword };
            branch = group.parent;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_dies_with_its_last_branch() {
        let why = |node| Death { node, keyword: "type" };
        let mut branches = Branches::new();
        let outer = branches.open(ROOT, 2, 7, "anyOf");
        let mark = branches.mark();
        let inner = branches.open(outer, 2, 8, "oneOf");
        assert!(
            branches.is_within(inner, outer) && branches.is_within(inner, ROOT) && !branches.is_within(outer, inner)
        );
        assert!(branches.kill(inner, why(1)).is_none());
        assert!(!branches.lives(inner) && branches.lives(inner + 1) && branches.lives(outer));
        assert!(branches.kill(inner + 1, why(2)).is_none());
        assert!(!branches.lives(outer) && branches.lives(outer + 1));
        branches.forget(mark);
        let inner = branches.open(outer + 1, 1, 9, "anyOf");
        let death = branches.kill(inner, why(3)).unwrap();
        assert_eq!((death.node, death.keyword), (7, "anyOf"));
        assert!(!branches.lives(ROOT));
    }
}
