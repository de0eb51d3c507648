//! What repair would have come to, where the policy only observes: a second lock that may mend, and that nothing listens to.

use std::collections::BTreeMap;

use clyra_schemas::{Edit, End, Outcome, Step};

use super::schema::TextLock;

/// Edits by kind of damage.
pub(super) type Kinds = BTreeMap<&'static str, u64>;

/// A lock beside the one that is heard.
#[derive(Debug)]
pub(super) struct Shadow {
    /// Absent once it has refused the text.
    lock: Option<Box<dyn TextLock>>,
    kinds: Kinds,
}

impl Shadow {
    pub(super) fn new(lock: Box<dyn TextLock>) -> Shadow {
        Shadow { lock: Some(lock), kinds: Kinds::new() }
    }

    pub(super) fn feed(&mut self, text: &str) {
        let Some(lock) = &mut self.lock else { return };
        if matches!(lock.feed(text), Step::Violation(_)) {
            self.lock = None;
            return;
        }
        let edits = lock.take_edits();
        self.note(edits);
    }

    /// The edits with which the text would have passed; `None` if it would not.
    pub(super) fn finish(mut self, end: End) -> Option<Kinds> {
        let mut lock = self.lock.take()?;
        let passes = lock.finish(end) == Outcome::Pass;
        self.note(lock.take_edits());
        passes.then_some(self.kinds)
    }

    fn note(&mut self, edits: Vec<Edit>) {
        for edit in edits {
            *self.kinds.entry(edit.class).or_default() += 1;
        }
    }
}

/// What the shadows of an answer have come to.
#[derive(Debug, Default)]
pub(super) struct Cure {
    kinds: Kinds,
    /// Something was refused that no repair would have helped.
    lost: bool,
}

impl Cure {
    /// What the shadows of a text say that was refused. As with locks, what not all of them want is not done.
    pub(super) fn take(&mut self, shadows: impl IntoIterator<Item = Option<Kinds>>) {
        let mut shadows = shadows.into_iter();
        let Some(first) = shadows.next() else { return };
        let Some(kinds) = first.filter(|first| shadows.all(|other| other.as_ref() == Some(first))) else {
            self.lost = true;
            return;
        };
        for (kind, count) in kinds {
            *self.kinds.entry(kind).or_default() += count;
        }
    }

    /// The edits with which the whole answer would have passed; none where it would not, or needed none.
    pub(super) fn kinds(&self) -> Kinds {
        if self.lost { Kinds::new() } else { self.kinds.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_all_of_a_text_want_would_be_done() {
        let kinds = |pairs: &[(&'static str, u64)]| -> Option<Kinds> { Some(pairs.iter().copied().collect()) };
        let mut cure = Cure::default();
        cure.take([kinds(&[("quotes", 2)]), kinds(&[("quotes", 2)])]);
        cure.take([kinds(&[("quotes", 1), ("fences", 1)])]);
        cure.take([]);
        assert_eq!(Some(cure.kinds()), kinds(&[("fences", 1), ("quotes", 3)]));
        cure.take([kinds(&[("quotes", 1)]), kinds(&[])]);
        assert!(cure.kinds().is_empty());
        let mut lost = Cure::default();
        lost.take([None]);
        lost.take([kinds(&[("quotes", 1)])]);
        assert!(lost.kinds().is_empty());
    }
}
