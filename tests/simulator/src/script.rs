//! Scripted responses: exactly these bytes in exactly these writes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::transmission::Step;

/// The request header that picks a script registered with a key.
pub const SCRIPT_HEADER: &str = "x-sim-script";

/// A response given byte by byte, in place of anything the simulator would have made.
#[derive(Debug, Clone)]
pub struct Scripted {
    /// The status code; what is no status code becomes 500.
    pub status: u16,
    /// The headers, `content-type` among them; the simulator's own header is added. With a `content-length`
    /// the body is sent as it is, otherwise in the chunked coding, one HTTP chunk per write.
    pub headers: Vec<(String, String)>,
    /// The body; each element is one write and is flushed before the next.
    pub chunks: Vec<Bytes>,
    /// Wait before every chunk but the first.
    pub delay: Duration,
    /// How many further requests get the same response: 0 answers one request, `usize::MAX` every one.
    pub repeat: usize,
    /// What follows the last chunk.
    pub end: ScriptEnd,
}

/// What follows the last chunk of a script.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ScriptEnd {
    /// The end of the HTTP message.
    #[default]
    Finish,
    /// Silence until the client leaves.
    Stall,
    /// The connection is closed with the message unfinished.
    Cut,
}

impl Default for Scripted {
    fn default() -> Self {
        Self { status: 200, headers: vec![], chunks: vec![], delay: Duration::ZERO, repeat: 0, end: ScriptEnd::Finish }
    }
}

impl Scripted {
    /// A streamed answer in these writes.
    #[must_use]
    pub fn sse(chunks: Vec<Bytes>) -> Self {
        let headers = vec![("content-type".into(), "text/event-stream; charset=utf-8".into())];
        Self { headers, chunks, ..Self::default() }
    }

    /// A plain JSON answer in one write.
    #[must_use]
    pub fn json(status: u16, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let headers =
            vec![("content-type".into(), "application/json".into()), ("content-length".into(), body.len().to_string())];
        Self { status, headers, chunks: vec![body], ..Self::default() }
    }

    pub(crate) fn steps(&self) -> VecDeque<Step> {
        let mut steps = VecDeque::with_capacity(self.chunks.len() + 1);
        for (index, chunk) in self.chunks.iter().enumerate() {
            if index > 0 && !self.delay.is_zero() {
                steps.push_back(Step::Wait(self.delay));
            }
            steps.push_back(Step::Write(chunk.clone()));
        }
        match self.end {
            ScriptEnd::Finish => {}
            ScriptEnd::Stall => steps.push_back(Step::Stall),
            ScriptEnd::Cut => steps.push_back(Step::Cut),
        }
        steps
    }
}

/// The scripts still to be played, first in, first out, per key.
#[derive(Debug, Default)]
pub(crate) struct Scripts {
    queues: Mutex<HashMap<Option<String>, VecDeque<Scripted>>>,
}

impl Scripts {
    pub(crate) fn add(&self, key: Option<String>, scripted: Scripted) {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.entry(key).or_default().push_back(scripted);
    }

    pub(crate) fn take(&self, key: Option<&str>) -> Option<Scripted> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = queues.get_mut(&key.map(str::to_owned))?;
        let first = queue.front_mut()?;
        if let Some(fewer) = first.repeat.checked_sub(1) {
            if first.repeat != usize::MAX {
                first.repeat = fewer;
            }
            return Some(first.clone());
        }
        queue.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_played_in_order_and_as_often_as_said() {
        let scripts = Scripts::default();
        let with = |status, repeat| Scripted { status, repeat, ..Scripted::default() };
        scripts.add(None, with(201, 1));
        scripts.add(None, with(202, 0));
        scripts.add(Some("k".into()), with(203, usize::MAX));
        let mut played = vec![];
        while let Some(script) = scripts.take(None) {
            played.push(script.status);
        }
        assert_eq!(played, [201, 201, 202]);
        for _ in 0..3 {
            assert_eq!(scripts.take(Some("k")).map(|script| script.status), Some(203));
        }
        assert!(scripts.take(Some("other")).is_none());
    }
}
