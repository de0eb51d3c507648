//! A receipt before the log has placed it: the caller's members already written out, so that the serial part of the log
//! only joins them with its own.
//!
//! A draft always fits. What is too long is shortened in fixed steps, the same for the same entry, and `ext.truncated`
//! counts what was left out: a receipt is never lost because of its size.

use std::collections::BTreeMap;

use serde::Serialize;
use uuid::Uuid;

use super::BODY_MAX_BYTES;
use super::entry::{Entry, Kind, LifeEntry, RunRef};
use super::record::Ext;
use crate::canonical::{self, Limits, Value};

/// Bytes kept free in a body for the members that the log adds: its origin and the run's id (128 and 255 at most, six
/// times that when every character is escaped), digests, times and names. Measured maximum: 3.1 KiB.
const LOG_MEMBERS_MAX_BYTES: usize = 4 * 1024;

/// Longest sum of a draft's members.
pub(crate) const DRAFT_MAX_BYTES: usize = BODY_MAX_BYTES - LOG_MEMBERS_MAX_BYTES;

/// Steps of shortening: longest string in bytes, longest list in entries. The first that makes the draft fit is taken.
/// No string is cut below 64 bytes, the length of a hexadecimal digest, so digests always stay whole; at the last step
/// nothing is left but single strings, of which a receipt has fewer than 60.
const STEPS: [(usize, usize); 6] = [(1024, 128), (256, 64), (128, 64), (64, 32), (64, 8), (64, 0)];

/// One member of a body: its name and its canonical value.
pub(crate) type Member = (&'static str, Vec<u8>);

/// The caller's part of a receipt.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) run: Option<RunRef>,
    /// In the order of their names.
    pub(crate) members: Vec<Member>,
}

impl Draft {
    pub(crate) fn new(entry: &Entry) -> Self {
        let mut draft = Members::default();
        let mut run = None;
        let mut ext = &Ext::default();
        match entry {
            Entry::Attempt(attempt) => {
                draft.exchange(entry.kind(), attempt.id);
                draft.add("caller", &attempt.caller);
                draft.add("checks", &attempt.checks);
                draft.add("coverage", &attempt.coverage);
                draft.add("findings", &attempt.findings);
                draft.add("policy", &attempt.policy);
                draft.add("request", &attempt.request);
                run = attempt.run.as_ref();
                ext = &attempt.ext;
            }
            Entry::Outcome(outcome) => {
                draft.exchange(entry.kind(), outcome.id);
                draft.add("attempt_seq", &outcome.attempt_seq.to_string());
                draft.add("caller", &outcome.caller);
                draft.add("checks", &outcome.checks);
                draft.add("coverage", &outcome.coverage);
                draft.add("findings", &outcome.findings);
                draft.add("policy", &outcome.policy);
                draft.add_some("request", outcome.request.as_ref());
                draft.add_some("response", outcome.response.as_ref());
                draft.add_some("schema", outcome.schema.as_ref());
                draft.add_some("stream", outcome.stream.as_ref());
                draft.add_some("upstream", outcome.upstream.as_ref());
                draft.add("verdict", &outcome.verdict);
                run = outcome.run.as_ref();
                ext = &outcome.ext;
            }
            Entry::Bypass(bypass) => {
                draft.exchange(entry.kind(), bypass.id);
                draft.add("caller", &bypass.caller);
                draft.add("coverage", &bypass.coverage);
                draft.add("policy", &bypass.policy);
                draft.add("request", &bypass.request);
                draft.add_some("response", bypass.response.as_ref());
                draft.add_some("upstream", bypass.upstream.as_ref());
                draft.add_some("verdict", bypass.verdict.as_ref());
                run = bypass.run.as_ref();
                ext = &bypass.ext;
            }
            Entry::PolicyChange(change) => draft.event(entry.kind(), change),
            Entry::Degraded(degraded) => draft.event(entry.kind(), degraded),
            Entry::Gap(gap) => draft.event(entry.kind(), gap),
            Entry::Seal(seal) => draft.event(entry.kind(), seal),
        }
        if !ext.is_empty() {
            draft.add("ext", ext);
        }
        draft.finish(run)
    }

    pub(crate) fn life(entry: &LifeEntry) -> Self {
        let mut draft = Members::default();
        match entry {
            LifeEntry::Genesis(genesis) => draft.event(Kind::Genesis, genesis),
            LifeEntry::Boot(boot) => draft.event(Kind::Boot, boot),
            LifeEntry::Shutdown(shutdown) => draft.event(Kind::Shutdown, shutdown),
        }
        draft.finish(None)
    }

    /// Bytes of the members, for the bounds of the queue.
    pub(crate) fn size(&self) -> usize {
        self.members.iter().map(|(name, value)| name.len() + value.len() + 4).sum()
    }
}

#[derive(Default)]
struct Members(Vec<Member>);

impl Members {
    fn add<T: Serialize>(&mut self, name: &'static str, record: &T) {
        let mut value = Vec::with_capacity(128);
        canonical::write_record(record, &mut value);
        self.0.push((name, value));
    }

    fn add_some<T: Serialize>(&mut self, name: &'static str, record: Option<&T>) {
        if let Some(record) = record {
            self.add(name, record);
        }
    }

    fn exchange(&mut self, kind: Kind, id: Uuid) {
        self.add("id", &id);
        self.add("kind", &kind.name());
    }

    /// A receipt of the log's own life: no exchange, so an id of its own, and all it says in `event`.
    fn event<T: Serialize>(&mut self, kind: Kind, record: &T) {
        self.exchange(kind, Uuid::now_v7());
        self.add("event", record);
    }

    fn finish(self, run: Option<&RunRef>) -> Draft {
        // Built again through `new` because the fields of an entry are public: an id that is too long never gets in.
        let run = run.map(|run| RunRef::new(&run.id));
        let mut draft = Draft { run, members: self.0 };
        if draft.size() > DRAFT_MAX_BYTES {
            draft.shorten();
        }
        draft.members.sort_unstable_by_key(|(name, _)| *name);
        draft
    }
}

impl Draft {
    fn shorten(&mut self) {
        // Our own bytes, so their length is no reason to refuse them; nesting was bounded when they were built.
        let limits = Limits { bytes_max: usize::MAX, depth_max: canonical::DEPTH_MAX + 8, values_max: usize::MAX };
        let full: Vec<(&'static str, Value)> = self
            .members
            .iter()
            .map(|(name, value)| (*name, canonical::parse(value, limits).unwrap_or(Value::Null)))
            .collect();
        for (string_max, list_max) in STEPS {
            let mut cut = Cut { string_max, list_max, counts: BTreeMap::new() };
            let mut members: Vec<Member> = Vec::with_capacity(full.len() + 1);
            for (name, value) in &full {
                if *name == "ext" {
                    let dropped = value.as_object().map_or(0, BTreeMap::len);
                    cut.count("ext", dropped);
                    continue;
                }
                let mut shorter = value.clone();
                cut.apply(name, &mut shorter);
                members.push((name, canonical::to_vec(&shorter)));
            }
            members.push(("ext", canonical::to_vec(&Value::from([(Ext::TRUNCATED, cut.report())]))));
            self.members = members;
            if self.size() <= DRAFT_MAX_BYTES {
                return;
            }
        }
    }
}

/// One step of shortening, and the count of what it left out.
struct Cut {
    string_max: usize,
    list_max: usize,
    counts: BTreeMap<String, usize>,
}

impl Cut {
    fn count(&mut self, what: &str, number: usize) {
        if number > 0 {
            *self.counts.entry(what.to_owned()).or_default() += number;
        }
    }

    /// `path` names the list: `findings`, `policy.rules`, …
    fn apply(&mut self, path: &str, value: &mut Value) {
        match value {
            Value::String(text) if text.len() > self.string_max => {
                let mut end = self.string_max;
                while !text.is_char_boundary(end) {
                    end -= 1;
                }
                text.truncate(end);
                self.count("strings", 1);
            }
            Value::Array(items) => {
                self.count(path, items.len().saturating_sub(self.list_max));
                items.truncate(self.list_max);
                for item in items {
                    self.apply(path, item);
                }
            }
            Value::Object(members) => {
                for (name, member) in members {
                    self.apply(&format!("{path}.{name}"), member);
                }
            }
            _ => {}
        }
    }

    fn report(&self) -> Value {
        let counts = self.counts.iter().map(|(name, number)| {
            let number = i64::try_from(*number).unwrap_or(canonical::INTEGER_MAX).min(canonical::INTEGER_MAX);
            (name.clone(), Value::Integer(number))
        });
        Value::Object(counts.collect())
    }
}
