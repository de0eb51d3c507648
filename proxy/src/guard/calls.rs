//! Tool calls in the making: names and arguments come apart and belong together by their indices.

use std::collections::BTreeMap;

use super::judge::{Found, ToolCall};
use crate::surface::{Channel, Segment};

/// Most tool calls of one answer that are followed; the recorded maximum is far below. More count as one unnamed call.
const CALLS_MAX: usize = 256;

/// Collects the names of calls by their place.
#[derive(Debug, Default)]
pub(super) struct Calls {
    names: BTreeMap<String, String>,
}

impl Calls {
    pub(super) fn note_name(&mut self, segment: &Segment, name: &str) {
        let known = self.names.contains_key(&segment.path_index);
        if segment.channel == Channel::ToolName && (known || self.names.len() < CALLS_MAX) {
            // A name that comes in fragments is put together.
            self.names.entry(segment.path_index.clone()).or_default().push_str(name);
        }
    }

    /// Says which tool the findings of a call's text belong to.
    pub(super) fn name(&self, place: &str, found: &mut [Found]) {
        for found in found.iter_mut().filter(|f| f.channel.is_tool_call()) {
            found.tool = self.names.get(place).cloned();
        }
    }

    /// The call whose arguments stand at `place`.
    pub(super) fn call(&self, place: &str, arguments: &str) -> ToolCall {
        ToolCall { name: self.names.get(place).cloned().unwrap_or_default(), arguments: arguments.to_owned() }
    }
}
