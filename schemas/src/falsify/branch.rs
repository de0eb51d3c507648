//! Which alternatives of `anyOf` and `oneOf` can still come true.
//!
//! A branch is one alternative; a group is the alternatives of one keyword for one value. When the last branch of a group dies,
//! the branch that the group stands in dies with it. Where several branches ask the same of one value, they share a branch for
//! it, and all of them die with it: however often a schema is referred to, a value is followed against it once.

use super::node::NodeId;

/// Index of a branch.
pub(crate) type BranchId = u32;

/// The branch that everything stands in.
pub(crate) const ROOT: BranchId = 0;

/// The end of a list of parents.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Branch {
    above: Above,
    lives: bool,
}

#[derive(Clone, Copy, Debug)]
enum Above {
    Nothing,
    Group(u32),
    /// The newest entry in `parents`.
    Shared(u32),
}

#[derive(Debug)]
struct Group {
    parent: BranchId,
    living: u32,
    node: NodeId,
    keyword: &'static str,
    /// How deep in the document its value is.
    depth: usize,
}

/// Why a branch died.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Death {
    pub(crate) node: NodeId,
    pub(crate) keyword: &'static str,
    /// How deep in the document the value is that has no alternative left; none for the value under way.
    pub(crate) depth: Option<usize>,
}

impl Death {
    /// The value under way is refused.
    pub(crate) fn of(node: NodeId, keyword: &'static str) -> Self {
        Self { node, keyword, depth: None }
    }
}

/// All branches of the values that are open.
#[derive(Debug)]
pub(crate) struct Branches {
    branches: Vec<Branch>,
    groups: Vec<Group>,
    /// Branches that share one, with the next entry of the same list.
    parents: Vec<(BranchId, u32)>,
    /// Branches that are about to die.
    dying: Vec<(BranchId, Death)>,
}

/// Where the branches of a value begin.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mark {
    branches: usize,
    groups: usize,
    parents: usize,
}

impl Branches {
    pub(crate) fn new() -> Self {
        let root = Branch { above: Above::Nothing, lives: true };
        Self { branches: vec![root], groups: Vec::new(), parents: Vec::new(), dying: Vec::new() }
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { branches: self.branches.len(), groups: self.groups.len(), parents: self.parents.len() }
    }

    /// Forgets what began after the mark. A group that still lives has been kept.
    pub(crate) fn forget(&mut self, mark: Mark) {
        self.branches.truncate(mark.branches);
        self.groups.truncate(mark.groups);
        self.parents.truncate(mark.parents);
    }

    /// Opens a group of `size` branches in `parent`, for a value so deep; the first of them, the others follow it.
    pub(crate) fn open(
        &mut self,
        parent: BranchId,
        size: usize,
        (node, keyword): (NodeId, &'static str),
        depth: usize,
    ) -> BranchId {
        let first = self.branches.len() as BranchId;
        let above = Above::Group(self.groups.len() as u32);
        self.groups.push(Group { parent, living: size as u32, node, keyword, depth });
        self.branches.extend(std::iter::repeat_with(|| Branch { above, lives: true }).take(size));
        first
    }

    /// A branch that stands in `parent`, and may come to stand in others as well.
    pub(crate) fn open_shared(&mut self, parent: BranchId) -> BranchId {
        let above = Above::Shared(self.parents.len() as u32);
        self.parents.push((parent, NONE));
        self.branches.push(Branch { above, lives: true });
        (self.branches.len() - 1) as BranchId
    }

    /// `parent` shares the branch from now on. Tells if that ends the root.
    pub(crate) fn share(&mut self, branch: BranchId, parent: BranchId, death: Death) -> Option<Death> {
        let newest = self.parents.len() as u32;
        let one = self.branches.get_mut(branch as usize)?;
        let Above::Shared(next) = one.above else { return None };
        if !one.lives {
            return self.kill(parent, death);
        }
        one.above = Above::Shared(newest);
        self.parents.push((parent, next));
        None
    }

    /// Whether the branch can still matter, as far as that is seen without following every way up.
    pub(crate) fn lives(&self, mut branch: BranchId) -> bool {
        loop {
            let Some(one) = self.branches.get(branch as usize).filter(|one| one.lives) else { return false };
            branch = match one.above {
                Above::Nothing => return true,
                Above::Group(group) => match self.groups.get(group as usize) {
                    Some(group) => group.parent,
                    None => return false,
                },
                Above::Shared(first) => match self.parents.get(first as usize) {
                    Some((parent, NONE)) => *parent,
                    _ => return true,
                },
            };
        }
    }

    /// Ends a branch, because of a keyword of a node. Tells if that was the root's end.
    pub(crate) fn kill(&mut self, branch: BranchId, death: Death) -> Option<Death> {
        self.dying.clear();
        self.dying.push((branch, death));
        while let Some((branch, death)) = self.dying.pop() {
            let Some(one) = self.branches.get_mut(branch as usize) else { continue };
            if !std::mem::replace(&mut one.lives, false) {
                continue;
            }
            match one.above {
                Above::Nothing => return Some(death),
                Above::Group(group) => {
                    let Some(group) = self.groups.get_mut(group as usize) else { continue };
                    group.living = group.living.saturating_sub(1);
                    if group.living == 0 {
                        self.dying.push((
                            group.parent,
                            Death { node: group.node, keyword: group.keyword, depth: Some(group.depth) },
                        ));
                    }
                }
                Above::Shared(first) => {
                    let mut next = first;
                    while let Some(&(parent, after)) = self.parents.get(next as usize) {
                        self.dying.push((parent, death));
                        next = after;
                    }
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(node: NodeId) -> Death {
        Death::of(node, "type")
    }

    #[test]
    fn a_parent_dies_with_its_last_branch() {
        let mut branches = Branches::new();
        let outer = branches.open(ROOT, 2, (7, "anyOf"), 1);
        let mark = branches.mark();
        let inner = branches.open(outer, 2, (8, "oneOf"), 1);
        assert!(branches.kill(inner, why(1)).is_none());
        assert!(!branches.lives(inner) && branches.lives(inner + 1) && branches.lives(outer));
        assert!(branches.kill(inner + 1, why(2)).is_none());
        assert!(!branches.lives(outer) && branches.lives(outer + 1));
        branches.forget(mark);
        let inner = branches.open(outer + 1, 1, (9, "anyOf"), 1);
        let death = branches.kill(inner, why(3)).unwrap();
        assert_eq!((death.node, death.keyword), (7, "anyOf"));
        assert!(!branches.lives(ROOT));
    }

    #[test]
    fn all_that_share_a_branch_die_with_it() {
        let mut branches = Branches::new();
        let first = branches.open(ROOT, 3, (7, "anyOf"), 1);
        let shared = branches.open_shared(first);
        assert!(branches.share(shared, first + 1, why(1)).is_none());
        let inner = branches.open(shared, 1, (8, "anyOf"), 1);
        assert!(branches.lives(inner));
        assert!(branches.kill(inner, why(2)).is_none());
        assert!(!branches.lives(first) && !branches.lives(first + 1) && branches.lives(first + 2));
        let death = branches.share(shared, first + 2, why(3)).unwrap();
        assert_eq!((death.node, death.keyword), (7, "anyOf"), "what shares a dead branch is dead");
    }

    #[test]
    fn a_branch_may_share_what_it_stands_in() {
        let mut branches = Branches::new();
        let shared = branches.open_shared(ROOT);
        let inner = branches.open(shared, 2, (8, "anyOf"), 1);
        assert!(branches.share(shared, inner, why(1)).is_none());
        assert!(branches.kill(inner + 1, why(2)).is_none());
        assert!(branches.kill(inner, why(3)).is_some());
    }
}
