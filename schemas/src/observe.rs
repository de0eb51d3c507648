//! What the strict reader tells of a document as it reads it.

/// The kinds of JSON values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Boolean,
    Number,
    Text,
    Array,
    Object,
}

/// The document goes on in a way that its schema forbids. What and where, the observer remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused;

/// The same, at a byte of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RefusedAt(pub(crate) usize);

/// Follows a document while it is read. Offsets are bytes of the document; `document` is what has been fed of it, up to and
/// beyond the place that is told of.
pub(crate) trait Observe {
    /// The next element of the innermost array, or a member's value, or the root, begins at `at`.
    fn begin(&mut self, kind: Kind, at: usize) -> Result<(), Refused>;

    /// Whether the text of the string that has just begun matters; if not, [`Observe::text`] is not called for it.
    fn wants_text(&self) -> bool;

    /// The next piece of a string value, unescaped; refused at one of its bytes, whichever way the text was cut.
    fn text(&mut self, piece: &[u8]) -> Result<(), RefusedAt>;

    /// The value under way has ended before `end`; an array or object with its bracket.
    fn end(&mut self, document: &str, end: usize) -> Result<(), Refused>;

    /// The name of the innermost object's next member, which begins at `at` with its quote and has ended before `end`.
    fn name(&mut self, name: &[u8], at: usize, end: usize) -> Result<(), Refused>;
}

/// Nothing is followed: any document will do.
impl Observe for () {
    fn begin(&mut self, _: Kind, _: usize) -> Result<(), Refused> {
        Ok(())
    }

    fn wants_text(&self) -> bool {
        false
    }

    fn text(&mut self, _: &[u8]) -> Result<(), RefusedAt> {
        Ok(())
    }

    fn end(&mut self, _: &str, _: usize) -> Result<(), Refused> {
        Ok(())
    }

    fn name(&mut self, _: &[u8], _: usize, _: usize) -> Result<(), Refused> {
        Ok(())
    }
}
