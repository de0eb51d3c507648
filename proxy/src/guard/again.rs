//! An answer that may be asked for once more: its text until then, and the second one in the shape that the client expects.

use std::fmt;

use super::whole::Answer;
use super::witness::Released;
use crate::surface::Surface;
use crate::surface::again::{self, Streamed};

/// The text of an answer that broke its schema, for the model to correct. It is content: nothing shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Invalid(String);

impl Invalid {
    pub(super) fn new(text: String) -> Invalid {
        Invalid(text)
    }

    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Invalid").field(&self.0.len()).finish()
    }
}

/// An answer that was checked whole, as a stream; `None` where it cannot be told as one.
pub fn as_stream(surface: &Surface, answer: &Answer, streamed: Streamed) -> Option<Vec<Released>> {
    let events = again::stream(surface, answer.body.bytes(), streamed)?;
    Some(events.into_iter().map(|event| Released::new(event.into())).collect())
}
