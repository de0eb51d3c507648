//! SchemaLock at work on an answer: one lock for each text that a schema binds, whatever comes back judged by the policy.

use std::collections::BTreeMap;
use std::sync::Arc;

use clyra_schemas::{Contract, End, Lock, Mode, Outcome, RepairPolicy, Step, Violation};

use super::judge::SchemaBreach;
use crate::surface::{Channel, ResponseFacts};

/// A compiled schema that binds this exchange, under the id of the policy's entry.
#[derive(Debug, Clone)]
pub struct Binding {
    pub id: String,
    pub contract: Arc<Contract>,
}

/// The locks of one answer.
#[derive(Debug, Default)]
pub(super) struct Locks {
    bindings: Vec<Binding>,
    /// By the key of the text they bind.
    locks: BTreeMap<String, Vec<(String, Lock)>>,
    /// Bytes that each locked text has brought.
    bytes: BTreeMap<String, u64>,
    /// The model refused or called a tool instead: then an empty text breaks nothing.
    excused: bool,
}

/// What the locks said when they were all done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SchemaReport {
    /// Schema entries that were asserted.
    pub checked: Vec<String>,
    pub breach: Option<SchemaBreach>,
}

impl Locks {
    pub(super) fn new(bindings: Vec<Binding>) -> Locks {
        Locks { bindings, ..Locks::default() }
    }

    /// True if this text is held until its schema has spoken.
    pub(super) fn binds(&self, channel: Channel) -> bool {
        !self.bindings.is_empty() && channel == Channel::Content
    }

    pub(super) fn any(&self) -> bool {
        !self.bindings.is_empty()
    }

    /// Text that shows that the model did not answer in the schema's channel.
    pub(super) fn note(&mut self, channel: Channel, text: &str) {
        self.excused |= !text.is_empty() && (channel == Channel::Refusal || channel.is_tool_call());
    }

    pub(super) fn feed(&mut self, key: &str, text: &str) -> Option<SchemaBreach> {
        let locks = self
            .locks
            .entry(key.to_owned())
            .or_insert_with(|| self.bindings.iter().map(|b| (b.id.clone(), lock(&b.contract))).collect());
        *self.bytes.entry(key.to_owned()).or_default() += text.len() as u64;
        locks.iter_mut().find_map(|(id, lock)| match lock.feed(text) {
            Step::Violation(violation) => Some(breach(id, &violation)),
            _ => None,
        })
    }

    /// The answer is complete: every lock gives its verdict.
    pub(super) fn finish(&mut self, facts: &ResponseFacts) -> SchemaReport {
        let checked: Vec<String> = self.bindings.iter().map(|b| b.id.clone()).collect();
        let end = end(facts.finish_reason.as_deref());
        for (key, locks) in &mut self.locks {
            let empty = self.bytes.get(key).is_none_or(|b| *b == 0);
            if empty && (self.excused || end != End::Stop) {
                continue;
            }
            for (id, lock) in locks {
                if let Outcome::Block(violation) = lock.finish(end) {
                    return SchemaReport { checked, breach: Some(breach(id, &violation)) };
                }
            }
        }
        SchemaReport { checked, breach: None }
    }
}

impl Locks {
    /// Judges a text as it is about to leave, where redactions have changed it since its lock spoke.
    pub(super) fn recheck(&self, text: &str, facts: &ResponseFacts) -> Option<SchemaBreach> {
        let end = end(facts.finish_reason.as_deref());
        self.bindings.iter().find_map(|binding| {
            let mut lock = lock(&binding.contract);
            if let Step::Violation(violation) = lock.feed(text) {
                return Some(breach(&binding.id, &violation));
            }
            match lock.finish(end) {
                Outcome::Block(violation) => Some(breach(&binding.id, &violation)),
                _ => None,
            }
        })
    }
}

fn lock(contract: &Arc<Contract>) -> Lock {
    Lock::new(Arc::clone(contract), Mode::Buffer, RepairPolicy::NONE)
}

fn breach(id: &str, violation: &Violation) -> SchemaBreach {
    SchemaBreach {
        id: id.to_owned(),
        pointer: violation.instance_path.clone(),
        keyword: violation.keyword.unwrap_or_default().to_owned(),
        at: violation.at,
        kind: violation.kind.code().to_owned(),
    }
}

/// Why the answer ended, in SchemaLock's words.
fn end(reason: Option<&str>) -> End {
    match reason {
        Some("length" | "max_tokens" | "model_length") => End::Length,
        Some("content_filter") => End::ContentFilter,
        Some("refusal") => End::Refusal,
        Some("tool_calls" | "tool_use" | "function_call") => End::ToolCalls,
        _ => End::Stop,
    }
}
