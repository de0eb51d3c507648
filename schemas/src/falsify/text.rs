//! What is demanded of a string, while its text comes: length, pattern, and the values of `enum` and `const`.

use regex_automata::hybrid::dfa::Cache;

use super::branch::{BranchId, Branches, Death};
use super::monitor::Monitor;
use super::node::{NodeId, Nodes, PatternId, TextRules, Values};
use super::pattern::Progress;
use crate::observe::Kind;

/// Schemas within schemas that are followed for a member's name.
const NAME_DEPTH_MAX: usize = 16;

/// Watches over the string under way.
#[derive(Debug)]
pub(crate) struct Watches {
    watches: Vec<Watch>,
    chars: u64,
    bytes: usize,
    /// What a piece rules out, and at which byte of it.
    ends: Vec<(usize, BranchId, Death)>,
    /// By pattern; made when first needed.
    caches: Vec<Option<Cache>>,
}

#[derive(Debug)]
struct Watch {
    node: NodeId,
    branch: BranchId,
    what: What,
}

#[derive(Debug)]
enum What {
    Length,
    Pattern(PatternId, Progress),
    /// The texts, by their places in order, that begin like what has come.
    Values(usize, usize),
}

impl Watches {
    pub(crate) fn new(patterns: usize) -> Self {
        let caches = std::iter::repeat_with(|| None).take(patterns).collect();
        Self { watches: Vec::new(), chars: 0, bytes: 0, ends: Vec::new(), caches }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.watches.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.watches.clear();
    }

    /// The document is done with: what was worked out of its patterns serves the next.
    pub(crate) fn give_back(&mut self, nodes: &Nodes) {
        for (pattern, cache) in nodes.patterns.iter().zip(&mut self.caches) {
            if let Some(cache) = cache.take() {
                pattern.give_back(cache);
            }
        }
    }

    /// A string begins.
    pub(crate) fn begin(&mut self, nodes: &Nodes, branches: &Branches, monitors: &[Monitor]) {
        self.chars = 0;
        self.bytes = 0;
        for &Monitor { node: id, branch, .. } in monitors {
            let Some(node) = nodes.get(id).filter(|node| node.text.is_some() || node.values.is_some()) else {
                continue;
            };
            if !node.kinds.has(Kind::Text) || !branches.lives(branch) {
                continue;
            }
            if let Some(values) = node.values.as_deref() {
                self.watches.push(Watch { node: id, branch, what: What::Values(0, values.texts.len()) });
            }
            let Some(rules) = node.text.as_deref() else { continue };
            if rules.min > 0 || rules.max.is_some() {
                self.watches.push(Watch { node: id, branch, what: What::Length });
            }
            if let Some(pattern) = rules.pattern {
                let progress = self.start(nodes, pattern);
                self.watches.push(Watch { node: id, branch, what: What::Pattern(pattern, progress) });
            }
        }
    }

    /// The next piece of the string. If it is refused, the byte of the piece that rules out the last alternative is told.
    pub(crate) fn feed(&mut self, nodes: &Nodes, branches: &mut Branches, piece: &[u8]) -> Option<(Death, usize)> {
        let before = (self.chars, self.bytes);
        self.chars += chars(piece).count() as u64;
        self.bytes += piece.len();
        self.ends.clear();
        for Watch { node: id, branch, what } in &mut self.watches {
            let Some(node) = nodes.get(*id) else { continue };
            let end = match what {
                What::Length => {
                    let max = node.text.as_deref().and_then(|rules| rules.max).filter(|max| self.chars > *max);
                    let over = max.and_then(|max| usize::try_from(max.saturating_sub(before.0)).ok());
                    over.and_then(|over| chars(piece).nth(over)).map(|at| (at, "maxLength"))
                }
                What::Pattern(pattern, progress) => {
                    let (Some(automaton), Some(Some(cache))) =
                        (nodes.pattern(*pattern), self.caches.get_mut(*pattern as usize))
                    else {
                        continue;
                    };
                    let (next, read) = automaton.feed(cache, *progress, piece);
                    let ends = next == Progress::Impossible && *progress != next;
                    *progress = next;
                    ends.then_some((read.saturating_sub(1), "pattern"))
                }
                What::Values(from, to) => {
                    if from >= to {
                        continue;
                    }
                    let Some(values) = node.values.as_deref() else { continue };
                    let begun = (*from, *to);
                    (*from, *to) = narrow(values, begun, before.1, piece);
                    // The first byte after which no text is left.
                    let more = |at: usize| {
                        let (from, to) = narrow(values, begun, before.1, piece.get(..=at).unwrap_or_default());
                        from < to
                    };
                    (from >= to).then(|| ((0..piece.len()).find(|&at| !more(at)).unwrap_or(0), values.keyword))
                }
            };
            self.ends.extend(end.map(|(at, keyword)| (at, *branch, Death::of(*id, keyword))));
        }
        // In the order of the text, so that it does not matter how it was cut.
        self.ends.sort_by_key(|(at, ..)| *at);
        self.ends.iter().find_map(|&(at, branch, death)| Some((branches.kill(branch, death)?, at)))
    }

    /// The string ends.
    pub(crate) fn end(&mut self, nodes: &Nodes, branches: &mut Branches) -> Option<Death> {
        for Watch { node: id, branch, what } in self.watches.drain(..) {
            let Some(node) = nodes.get(id) else { continue };
            let keyword = match what {
                What::Length => {
                    let min = node.text.as_deref().map_or(0, |rules| rules.min);
                    (self.chars < min).then_some("minLength")
                }
                What::Pattern(pattern, progress) => {
                    let end = match (nodes.pattern(pattern), self.caches.get_mut(pattern as usize)) {
                        (Some(automaton), Some(Some(cache))) => automaton.end(cache, progress),
                        _ => Progress::Unknown,
                    };
                    (end == Progress::Impossible).then_some("pattern")
                }
                What::Values(from, to) => {
                    let Some(values) = node.values.as_deref() else { continue };
                    let whole = values.texts.get(from).filter(|_| from < to);
                    whole.is_none_or(|text| text.len() != self.bytes).then_some(values.keyword)
                }
            };
            if let Some(keyword) = keyword
                && let Some(death) = branches.kill(branch, Death::of(id, keyword))
            {
                return Some(death);
            }
        }
        None
    }

    /// Whether a name has a match of a pattern; none if that is left to the authority.
    pub(crate) fn matches(&mut self, nodes: &Nodes, pattern: PatternId, name: &[u8]) -> Option<bool> {
        let automaton = nodes.pattern(pattern)?;
        let cache = self.caches.get_mut(pattern as usize)?.get_or_insert_with(|| automaton.cache());
        automaton.matches(cache, name)
    }

    /// Whether a member may have this name under `propertyNames`, as far as that is modelled.
    pub(crate) fn allows_name(&mut self, nodes: &Nodes, names: NodeId, name: &[u8]) -> bool {
        self.allows(nodes, names, name, NAME_DEPTH_MAX)
    }

    fn allows(&mut self, nodes: &Nodes, id: NodeId, name: &[u8], depth: usize) -> bool {
        let (Some(node), Some(depth)) = (nodes.get(id), depth.checked_sub(1)) else { return true };
        if node.never || !node.kinds.has(Kind::Text) {
            return false;
        }
        if let Some(values) = node.values.as_deref()
            && values.texts.binary_search_by(|text| (**text).cmp(name)).is_err()
        {
            return false;
        }
        if let Some(TextRules { min, max, pattern }) = node.text.as_deref() {
            let chars = chars(name).count() as u64;
            if chars < *min || max.is_some_and(|max| chars > max) {
                return false;
            }
            if let Some(pattern) = pattern
                && self.matches(nodes, *pattern, name) == Some(false)
            {
                return false;
            }
        }
        node.all.iter().all(|&below| self.allows(nodes, below, name, depth))
            && node.any.iter().all(|group| group.nodes.iter().any(|&below| self.allows(nodes, below, name, depth)))
    }

    fn start(&mut self, nodes: &Nodes, pattern: PatternId) -> Progress {
        let (Some(automaton), Some(cache)) = (nodes.pattern(pattern), self.caches.get_mut(pattern as usize)) else {
            return Progress::Unknown;
        };
        automaton.begin(cache.get_or_insert_with(|| automaton.cache()))
    }
}

/// Where each character begins that begins in this piece of UTF-8: at every byte but a continuation.
fn chars(piece: &[u8]) -> impl Iterator<Item = usize> {
    piece.iter().enumerate().filter(|(_, byte)| **byte & 0xC0 != 0x80).map(|(at, _)| at)
}

/// Of the texts from one place to another, which all begin with the same `depth` bytes, those that go on with `piece`.
fn narrow(values: &Values, (from, to): (usize, usize), depth: usize, piece: &[u8]) -> (usize, usize) {
    let texts = values.texts.get(from..to).unwrap_or_default();
    let after = |text: &[u8]| -> std::cmp::Ordering {
        let rest = text.get(depth..).unwrap_or_default();
        rest.get(..piece.len()).unwrap_or(rest).cmp(piece)
    };
    let first = texts.partition_point(|text| after(text).is_lt());
    let last = texts.partition_point(|text| after(text).is_le());
    (from + first, from + last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_narrow_down_to_those_that_begin_alike() {
        let texts: Vec<Box<[u8]>> = ["a", "ab", "abc", "abd", "b"].iter().map(|text| text.as_bytes().into()).collect();
        let values = Values { keyword: "enum", texts, numbers: Vec::new(), has_true: false, has_false: false };
        assert_eq!(narrow(&values, (0, 5), 0, b"a"), (0, 4));
        assert_eq!(narrow(&values, (0, 4), 1, b"b"), (1, 4));
        assert_eq!(narrow(&values, (0, 5), 0, b"abd"), (3, 4));
        assert_eq!(narrow(&values, (1, 4), 2, b"x"), (4, 4));
        assert_eq!(narrow(&values, (4, 5), 1, b"c"), (5, 5));
    }
}
