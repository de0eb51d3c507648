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

/// Where a scalar lies that may have to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// It ends before this offset.
    Ends(usize),
    /// It goes on.
    Open,
    /// No scalar stands there.
    NoScalar,
}

/// The extent of the scalar that begins at `at`; if the text `is_whole`, it may end with it.
pub(crate) fn extent(document: &str, at: usize, is_whole: bool) -> Extent {
    let rest = document.as_bytes().get(at..).unwrap_or_default();
    match rest.first() {
        Some(b'"') => {
            let mut escaped = false;
            let end = rest.iter().skip(1).position(|&byte| {
                let ends = byte == b'"' && !escaped;
                escaped = byte == b'\\' && !escaped;
                ends
            });
            end.map_or(Extent::Open, |end| Extent::Ends(at + end + 2))
        }
        Some(b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
            let end = rest.iter().position(|byte| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\r' | b'\n'));
            match end {
                Some(end) => Extent::Ends(at + end),
                None if is_whole => Extent::Ends(document.len()),
                None => Extent::Open,
            }
        }
        Some(_) => Extent::NoScalar,
        None => Extent::Open,
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
