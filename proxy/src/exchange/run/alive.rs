//! Signs of life: while the guard holds the rest of a stream that has begun, the client is sent a comment from time to time,
//! so that nobody between takes the connection for dead.
//!
//! The comment is one line ahead of the next event (WHATWG HTML §9.2.6 ignores it): a comment with an empty line behind it makes
//! some SDKs read an event without data. Before anything of an answer has left there is none, because a block is a real HTTP
//! error only as long as no head has left; nor where the provider itself is silent.

use std::time::{Duration, Instant};

use clyra_receipts::EventTree;

use super::{Exchange, Stop};
use crate::exchange::ports::Downstream;
use crate::guard::{self, Released};
use crate::surface::{Dialect, Surface};
use crate::wire::Framing;

/// When something was last sent of a stream, and the comments that its next event begins with.
pub(super) struct Alive {
    every: Option<Duration>,
    sent: Instant,
    comments: Vec<u8>,
}

impl Alive {
    pub(super) fn new(surface: &Surface, every: Duration) -> Self {
        // Google's SDK for JavaScript drops an event that does not begin with its data.
        let reads_comments = surface.framing == Framing::Sse && surface.dialect != Dialect::Gemini;
        let every = Some(every).filter(|every| reads_comments && !every.is_zero());
        Self { every, sent: Instant::now(), comments: Vec::new() }
    }

    /// How long it may still be quiet, where something is held.
    pub(super) fn patience(&self, started: bool, held: bool) -> Option<Duration> {
        let every = self.every.filter(|_| started && held)?;
        Some(every.saturating_sub(self.sent.elapsed()))
    }

    /// Events leave: each is a leaf of the tree, the comments ahead of it included.
    pub(super) fn leaves(&mut self, parts: &[Released], events: &mut EventTree) {
        for part in parts {
            if self.comments.is_empty() {
                events.push(part.bytes());
            } else {
                let mut leaf = std::mem::take(&mut self.comments);
                leaf.extend_from_slice(part.bytes());
                events.push(&leaf);
            }
            self.sent = Instant::now();
        }
    }
}

impl Exchange<'_> {
    /// Sends a comment if it has been quiet for too long.
    pub(super) async fn show_life(
        &mut self,
        alive: &mut Alive,
        held: bool,
        down: &mut dyn Downstream,
    ) -> Result<(), Stop> {
        if alive.patience(self.started, held).is_none_or(|patience| !patience.is_zero()) {
            return Ok(());
        }
        let comment = guard::comment();
        alive.sent = Instant::now();
        alive.comments.extend_from_slice(comment.bytes());
        self.note_released(std::slice::from_ref(&comment));
        Ok(down.write(comment).await?)
    }
}
