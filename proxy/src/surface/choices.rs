//! Answers with several choices, of which one can be ended alone.

use serde_json::Value as Json;

/// Where a surface has its choices, and how one of them ends where Clyra ends it.
#[derive(Debug)]
pub struct Choices {
    /// The member of an answer, or of an event, that lists them. Each has its number as `index`, else that of its place.
    pub list: &'static str,
    /// A member that makes an event worth sending without any choice: what was used.
    pub usage: &'static str,
    /// The end of the choice of this number in a stream; `begun` says that a client was shown something of it.
    pub in_stream: fn(index: u64, begun: bool, reason: &str) -> Json,
    /// What stands for it in a whole answer.
    pub whole: fn(index: u64, reason: &str) -> Json,
}

impl Choices {
    /// Whether the member at this JSON Pointer belongs to a choice.
    pub fn holds(&self, pointer: &str) -> bool {
        pointer
            .strip_prefix('/')
            .and_then(|rest| rest.strip_prefix(self.list))
            .is_some_and(|rest| rest.starts_with('/'))
    }
}
