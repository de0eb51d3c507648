//! Values of the wrong kind that can only mean one other value: `"42"` where a number must stand, `"true"` where a boolean
//! must, one scalar where a list must.
//!
//! A scalar that is refused at its first byte is held until it is whole. Then each coercion that is allowed is tried in its
//! place; if exactly one of them is accepted there, it stands, as an edit like any other. Where two are, nothing is guessed.

use crate::number::Number;

/// A change of a scalar's kind. [`Coercion::name`] is its name in policies and receipts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Coercion {
    /// A string that is spelled like a JSON number becomes that number.
    Numbers,
    /// `"true"` and `"false"` become booleans.
    Booleans,
    /// A scalar becomes a list of itself.
    SingleToList,
}

impl Coercion {
    /// Every coercion.
    pub const ALL: [Self; 3] = [Self::Numbers, Self::Booleans, Self::SingleToList];

    /// The stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Numbers => "numbers",
            Self::Booleans => "booleans",
            Self::SingleToList => "single_to_list",
        }
    }

    /// The coercion of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|coercion| coercion.name() == name)
    }

    /// What a scalar becomes; none if it has no such meaning.
    pub(crate) fn of(self, scalar: &str) -> Option<String> {
        let inside = scalar.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        match self {
            Self::Numbers => inside.filter(|inside| is_number(inside)).map(str::to_owned),
            Self::Booleans => inside.filter(|inside| matches!(*inside, "true" | "false")).map(str::to_owned),
            Self::SingleToList => Some(format!("[{scalar}]")),
        }
    }
}

fn is_number(text: &str) -> bool {
    let mut bytes = text.bytes();
    let first = bytes.next().and_then(Number::begin);
    let last = first.and_then(|first| bytes.try_fold(first, Number::next));
    last.is_some_and(Number::is_whole)
}

/// Where a scalar ends that may have to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// It ends before this offset.
    Ends(usize),
    /// It goes on.
    Open,
    /// No scalar stands there.
    NoScalar,
}

/// A scalar that has begun, looked through once however it comes.
#[derive(Debug)]
pub(crate) struct Scalar {
    /// Where it begins in the document.
    pub(crate) at: usize,
    /// Up to where it has been looked through, and whether a backslash stands before that.
    seen: usize,
    escaped: bool,
}

impl Scalar {
    pub(crate) fn new(at: usize) -> Self {
        Self { at, seen: at, escaped: false }
    }

    /// Looks on to its end in a document that has grown; if that `is_whole`, the scalar may end with it.
    pub(crate) fn extent(&mut self, document: &str, is_whole: bool) -> Extent {
        let bytes = document.as_bytes();
        let is_text = match bytes.get(self.at) {
            Some(b'"') => true,
            Some(b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => false,
            Some(_) => return Extent::NoScalar,
            None => return Extent::Open,
        };
        self.seen = self.seen.max(self.at + 1);
        while let Some(&byte) = bytes.get(self.seen) {
            if is_text {
                let ends = byte == b'"' && !self.escaped;
                self.escaped = byte == b'\\' && !self.escaped;
                self.seen += 1;
                if ends {
                    return Extent::Ends(self.seen);
                }
            } else {
                if matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\r' | b'\n') {
                    return Extent::Ends(self.seen);
                }
                self.seen += 1;
            }
        }
        if is_whole && !is_text { Extent::Ends(bytes.len()) } else { Extent::Open }
    }
}

/// Scalars that have changed, to find the way back to the text before.
#[derive(Debug, Default)]
pub(crate) struct Shifts {
    /// Where each begins, and how long it is and was, in order.
    shifts: Vec<(usize, usize, usize)>,
}

impl Shifts {
    pub(crate) fn len(&self) -> usize {
        self.shifts.len()
    }

    /// The scalar at `at`, behind all others that have changed, is `is` bytes long, and was `was`.
    pub(crate) fn push(&mut self, at: usize, is: usize, was: usize) {
        self.shifts.push((at, is, was));
    }

    /// The offset before the changes; of a byte within one, its beginning.
    pub(crate) fn before(&self, offset: u64) -> u64 {
        let mut before = offset;
        for &(at, is, was) in &self.shifts {
            let (at, is, was) = (at as u64, is as u64, was as u64);
            if at + is <= offset {
                before = before + was - is;
            } else if at < offset {
                before -= offset - at;
            }
        }
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_have_other_meanings_or_none() {
        for (coercion, scalar, expected) in [
            (Coercion::Numbers, "\"-4.5e3\"", Some("-4.5e3")),
            (Coercion::Numbers, "\" 4\"", None),
            (Coercion::Numbers, "\"04\"", None),
            (Coercion::Numbers, "\"\"", None),
            (Coercion::Numbers, "4", None),
            (Coercion::Booleans, "\"true\"", Some("true")),
            (Coercion::Booleans, "\"True\"", None),
            (Coercion::Booleans, "1", None),
            (Coercion::SingleToList, "\"a\"", Some("[\"a\"]")),
        ] {
            assert_eq!(coercion.of(scalar).as_deref(), expected, "{scalar}");
        }
    }

    #[test]
    fn the_extent_of_a_scalar_is_known_when_it_has_ended() {
        let extent = |document: &str, at: usize, is_whole: bool| {
            let at_once = Scalar::new(at).extent(document, is_whole);
            // The same if it comes byte by byte; the documents are ASCII.
            let mut scalar = Scalar::new(at);
            let mut grown = (0..document.len()).map(|end| document.get(..end).unwrap_or_default());
            let found =
                grown.find_map(|part| Some(scalar.extent(part, false)).filter(|extent| *extent != Extent::Open));
            assert_eq!(found.unwrap_or_else(|| scalar.extent(document, is_whole)), at_once, "{document}");
            at_once
        };
        assert_eq!(extent(r#"["a\"b", 1]"#, 1, false), Extent::Ends(7));
        assert_eq!(extent(r#"["a\""#, 1, true), Extent::Open);
        assert_eq!(extent("[12,", 1, false), Extent::Ends(3));
        assert_eq!(extent("12", 0, false), Extent::Open);
        assert_eq!(extent("12", 0, true), Extent::Ends(2));
        assert_eq!(extent("[{}]", 1, false), Extent::NoScalar);
    }

    #[test]
    fn offsets_are_led_back_over_changes() {
        let mut shifts = Shifts::default();
        // `["42", "7"]` is `[42, [7]]` now.
        shifts.push(1, 2, 4);
        shifts.push(5, 3, 3);
        let back: Vec<u64> = (0..10).map(|offset| shifts.before(offset)).collect();
        assert_eq!(back, [0, 1, 1, 5, 6, 7, 7, 7, 10, 11]);
    }
}
