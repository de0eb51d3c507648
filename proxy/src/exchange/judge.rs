//! The policy as the guard's judge: findings become facts, decisions become rulings, and every rule that fired is kept
//! for the receipt. In `observe` mode everything is decided and recorded, and nothing is touched.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use clyra_policy::{
    Action, Caller, Decision, Facts, FindingFacts, Mode, OnFailure, Phase, Policy, RequestFacts, SchemaFacts,
    StoredState, Threat, ToolFacts,
};

use super::lineage::Remembered;
use super::pins::Pins;
use crate::guard::{Block, Cause, Found, Gap, Judge, Ruling, SchemaBreach, ToolCall};
use crate::json::{Doc, Limits};
use crate::surface::{Channel, Definition, ResponseFacts};

/// Earlier findings of one direction that rules look at, and that receipts list. More of the same tells nobody anything
/// new; new ones are always judged, and the count goes on.
pub const FINDINGS_MAX: usize = 512;

/// Broken schemas that are remembered. The first is on the receipt; rules look at it as well.
const BREACHES_MAX: usize = 64;

/// A rule that fired.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fired {
    pub id: String,
    pub action: &'static str,
}

/// A finding with the identifiers of its threat.
#[derive(Debug, Clone)]
pub struct Judged {
    pub found: Found,
    pub threat: Threat,
}

/// What was decided so far, as it goes into the receipt.
#[derive(Debug, Clone)]
pub struct Decided {
    /// The strictest action, whether or not the mode applies it.
    pub action: Action,
    pub rules: BTreeSet<Fired>,
    pub exceptions: BTreeSet<String>,
    pub findings: Vec<Judged>,
    pub findings_total: u64,
    pub breaches: Vec<SchemaBreach>,
    /// The outcomes that made what the request names as kept.
    pub made_by: Vec<u64>,
}

impl Decided {
    /// Nothing has been decided.
    pub fn none() -> Decided {
        Decided {
            action: Action::Allow,
            rules: BTreeSet::new(),
            exceptions: BTreeSet::new(),
            findings: Vec::new(),
            findings_total: 0,
            breaches: Vec::new(),
            made_by: Vec::new(),
        }
    }
}

/// Everything that stays the same for all decisions of one exchange.
#[derive(Debug)]
pub struct Context {
    pub policy: Arc<Policy>,
    pub caller: Caller,
    pub request: RequestFacts,
    pub now_unix_s: i64,
    /// Requests call tools themselves, and are judged like calls.
    pub calls: bool,
    /// What providers keep of answers on record.
    pub kept: Option<Arc<Remembered>>,
    /// Tools that servers offer, and the server that is asked.
    pub pins: Option<(Arc<Pins>, Arc<str>)>,
}

/// Whether the arguments of a call are all there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arguments {
    Pending,
    Complete,
}

/// The judge of one direction of one exchange.
#[derive(Debug)]
pub struct PolicyJudge {
    context: Arc<Context>,
    answering: bool,
    status: u16,
    /// What the policy wants where the schema of this id is broken; block where nothing is said.
    on_violation: BTreeMap<String, Action>,
    /// The answer is all there, so that its schemas have spoken.
    complete: bool,
    pub decided: Decided,
}

impl PolicyJudge {
    pub fn request(context: Arc<Context>) -> Self {
        Self::new(context, false, 0, BTreeMap::new())
    }

    pub fn response(context: Arc<Context>, status: u16, on_violation: BTreeMap<String, Action>) -> Self {
        Self::new(context, true, status, on_violation)
    }

    fn new(context: Arc<Context>, answering: bool, status: u16, on_violation: BTreeMap<String, Action>) -> Self {
        Self { context, answering, status, on_violation, complete: false, decided: Decided::none() }
    }

    /// The same judge before it has decided anything, for an inspection that has to be given up.
    pub fn fresh(&self) -> Self {
        Self::new(Arc::clone(&self.context), self.answering, self.status, self.on_violation.clone())
    }

    /// Asks the rules of one phase about the findings that `of` selects; gives the decision and, for its redactions,
    /// indices into all findings.
    fn decide(
        &mut self,
        phase: Phase,
        of: impl Fn(&Found) -> bool,
        tool: Option<(ToolFacts<'_>, Arguments)>,
        answer: &ResponseFacts,
    ) -> (Decision, Vec<usize>) {
        let chosen: Vec<usize> =
            self.decided.findings.iter().enumerate().filter(|(_, j)| of(&j.found)).map(|(i, _)| i).collect();
        let findings: Vec<FindingFacts<'_>> =
            chosen.iter().filter_map(|i| self.decided.findings.get(*i)).map(facts).collect();
        let mut facts = Facts::new(&self.context.caller, &self.context.request, self.context.now_unix_s);
        facts.findings = &findings;
        facts.tool = tool.map(|(tool, _)| tool);
        let bound = self.on_violation.keys().next().filter(|_| self.complete);
        facts.schema = match (self.decided.breaches.first(), bound) {
            (Some(breach), _) => Some(SchemaFacts { id: &breach.id, verdict: "violation" }),
            (None, Some(id)) => Some(SchemaFacts { id, verdict: "valid" }),
            (None, None) => None,
        };
        facts.tool_args_pending = matches!(tool, Some((_, Arguments::Pending)));
        facts.response = self.answering.then(|| clyra_policy::ResponseFacts {
            model: answer.model.as_deref().unwrap_or_default(),
            finish_reason: answer.finish_reason.as_deref().unwrap_or_default(),
            status: self.status,
        });
        let decision = self.context.policy.decide(phase, &facts);
        let redact = decision.redact.iter().filter_map(|i| chosen.get(*i).copied()).collect();
        self.decided.action = self.decided.action.max(decision.action);
        for rule in &decision.rules {
            self.decided.rules.insert(Fired { id: rule.id.clone(), action: rule.action.as_str() });
        }
        self.decided.exceptions.extend(decision.exceptions_used.iter().cloned());
        (decision, redact)
    }

    /// Asks the rules about what was found, and maps their redactions to it.
    fn rule(&mut self, found: &[Found], tool_results: bool, answer: &ResponseFacts) -> Ruling {
        let before = self.decided.findings.len();
        self.decided.findings_total += found.len() as u64;
        for one in found {
            let threat = self.context.policy.threat(&one.class);
            self.decided.findings.push(Judged { found: one.clone(), threat });
        }
        let first = if self.answering { Phase::Response } else { Phase::Request };
        let calls = (self.answering || self.context.calls) && self.context.policy.has_rules(Phase::ToolCall);
        // Tools that a provider or a server runs bring their results in an answer.
        let results = tool_results || self.answering && found.iter().any(|f| f.channel == Channel::ToolResult);
        let results = results && self.context.policy.has_rules(Phase::ToolResult);
        let mut ruling = Ruling::default();
        let mut take = |judge: &Self, decision: &Decision, redact: Vec<usize>| {
            if ruling.block.is_none() {
                ruling.block = judge.block(decision, found);
            }
            ruling.redact.extend(redact.into_iter().filter_map(|i| i.checked_sub(before)));
        };
        let (decision, redact) = self.decide(first, |_| true, None, answer);
        take(self, &decision, redact);
        if calls {
            let tools: BTreeSet<Option<String>> =
                found.iter().filter(|f| f.channel.is_tool_call()).map(|f| f.tool.clone()).collect();
            for tool in tools {
                let args = serde_json::Value::Null;
                let facts = tool.as_deref().map(|name| (ToolFacts { name, args: &args }, Arguments::Pending));
                let of = |f: &Found| f.channel.is_tool_call() && f.tool == tool;
                let (decision, redact) = self.decide(Phase::ToolCall, of, facts, answer);
                take(self, &decision, redact);
            }
        }
        if results {
            let of = |f: &Found| f.channel == Channel::ToolResult;
            let (decision, redact) = self.decide(Phase::ToolResult, of, None, answer);
            take(self, &decision, redact);
        }
        self.decided.findings.truncate(FINDINGS_MAX);
        ruling.redact.sort_unstable();
        ruling.redact.dedup();
        if self.enforces() { ruling } else { Ruling::default() }
    }

    fn block(&self, decision: &Decision, found: &[Found]) -> Option<Block> {
        if decision.action != Action::Block || !self.enforces() {
            return None;
        }
        let rule = decision.rules.iter().find(|r| r.action == Action::Block && r.exception.is_none());
        let detectors: BTreeSet<String> = found.iter().map(|f| f.detector.to_string()).collect();
        let reason = rule.map(|r| r.reason.clone()).filter(|r| !r.is_empty());
        Some(Block {
            cause: Cause::Policy,
            rule: rule.map(|r| r.id.clone()),
            reason: reason.unwrap_or_else(|| "the policy forbids it".into()),
            detectors: detectors.into_iter().collect(),
        })
    }
}

fn facts(judged: &Judged) -> FindingFacts<'_> {
    FindingFacts {
        detector: Cow::Borrowed(&judged.found.detector),
        class: Cow::Borrowed(&judged.found.class),
        score_ppm: judged.found.score_ppm,
        channel: Cow::Borrowed(judged.found.channel.as_str()),
        place: Cow::Borrowed(&judged.found.pointer),
        owasp: judged.threat.owasp.as_deref().map(Cow::Borrowed),
        atlas: judged.threat.atlas.as_deref().map(Cow::Borrowed),
    }
}

impl Judge for PolicyJudge {
    fn request(&mut self, found: &[Found], tool_results: bool) -> Ruling {
        let tool_results = tool_results && self.context.policy.has_rules(Phase::ToolResult);
        if found.is_empty() && !tool_results && !self.context.policy.has_rules(Phase::Request) {
            return Ruling::default();
        }
        self.rule(found, tool_results, &ResponseFacts::default())
    }

    fn findings(&mut self, found: &[Found], answer: &ResponseFacts) -> Ruling {
        self.rule(found, false, answer)
    }

    fn answer(&mut self, facts: &ResponseFacts, complete: bool) -> Option<Block> {
        self.complete = complete;
        if !self.context.policy.has_rules(Phase::Response) {
            return None;
        }
        let (decision, _) = self.decide(Phase::Response, |_| true, None, facts);
        self.block(&decision, &[])
    }

    fn enforces(&self) -> bool {
        self.context.policy.mode() == Mode::Enforce
    }

    fn wants_tool_calls(&self) -> bool {
        (self.answering || self.context.calls) && self.context.policy.has_rules(Phase::ToolCall)
    }

    fn tool_call(&mut self, call: &ToolCall, facts: &ResponseFacts) -> Option<Block> {
        // Arguments that are no strict JSON (a member twice, say, of which a tool may take the other one) are null to the
        // rules: one that reads a member of them has no answer then, and fails the way `on_error` says.
        let strict = Doc::parse(call.arguments.as_bytes(), Limits::default()).is_ok();
        let args =
            Some(&call.arguments).filter(|_| strict).and_then(|a| serde_json::from_str(a).ok()).unwrap_or_default();
        let of = |f: &Found| f.channel.is_tool_call() && f.tool.as_deref() == Some(call.name.as_str());
        let earlier = self.decided.rules.clone();
        let (decision, _) = self.decide(
            Phase::ToolCall,
            of,
            Some((ToolFacts { name: &call.name, args: &args }, Arguments::Complete)),
            facts,
        );
        if let Some(block) = self.block(&decision, &[]) {
            return Some(block);
        }
        // A redaction that depends on the arguments comes too late to be cut out safely: then the call does not leave.
        let late = decision.rules.iter().find(|r| {
            let known = earlier.contains(&Fired { id: r.id.clone(), action: r.action.as_str() });
            r.action == Action::Redact && r.exception.is_none() && !known
        });
        late.filter(|_| self.enforces()).map(|rule| Block {
            cause: Cause::Policy,
            rule: Some(rule.id.clone()),
            reason: "a tool call must be redacted because of its arguments as a whole, which cannot be done in place"
                .into(),
            detectors: Vec::new(),
        })
    }

    fn gap(&mut self, gap: Gap, side: Cause) -> Option<Block> {
        let defaults = self.context.policy.defaults();
        let on = if gap == Gap::DetectorTimeout { defaults.on_timeout } else { defaults.on_error };
        if on == OnFailure::Allow || !self.enforces() {
            return None;
        }
        self.decided.action = Action::Block;
        let reason = match gap {
            Gap::Encoded => "the content coding of the body cannot be inspected",
            Gap::Unreadable => "the body or event is not strict JSON and cannot be inspected",
            Gap::Oversize => "the body is too large to be inspected",
            Gap::DetectorTimeout => "inspection ran out of its time",
            _ => "inspection failed",
        };
        Some(Block { cause: side, rule: None, reason: reason.into(), detectors: Vec::new() })
    }

    fn stored(&mut self, ids: &[String]) -> Result<bool, Block> {
        let policy = self.context.policy.defaults().stored_state;
        let Some(kept) = &self.context.kept else { return Ok(false) };
        let made: Vec<Option<u64>> = ids.iter().map(|id| kept.maker(&self.context.caller.id, id)).collect();
        let unknown = made.iter().any(Option::is_none);
        self.decided.made_by.extend(made.into_iter().flatten());
        let (cause, reason) = match policy {
            StoredState::Forbid => {
                (Cause::Policy, "the request names something that the provider keeps, which the policy forbids")
            }
            StoredState::Bind if unknown && kept.is_recalling() => (
                Cause::Unavailable,
                "the request names something that the provider keeps, and what earlier answers made is still being read",
            ),
            StoredState::Bind if unknown => (
                Cause::Policy,
                "the request names something that the provider keeps and that no answer on record made for this caller",
            ),
            StoredState::Allow | StoredState::Bind => return Ok(!unknown),
        };
        self.decided.action = Action::Block;
        if !self.enforces() {
            return Ok(false);
        }
        Err(Block { cause, rule: None, reason: reason.into(), detectors: Vec::new() })
    }

    fn definitions(&mut self, tools: &[Definition]) -> Vec<Found> {
        let Some((pins, server)) = &self.context.pins else { return Vec::new() };
        pins.compare(server, tools)
    }

    fn share(&mut self, of: &Self) {
        let room = BREACHES_MAX.saturating_sub(self.decided.breaches.len());
        self.decided.breaches.extend(of.decided.breaches.iter().take(room).cloned());
        self.decided.action = self.decided.action.max(of.decided.action);
    }

    fn schema(&mut self, breach: &SchemaBreach) -> Option<Block> {
        if self.decided.breaches.len() < BREACHES_MAX {
            self.decided.breaches.push(breach.clone());
        }
        if self.on_violation.get(&breach.id) == Some(&Action::Allow) {
            return None;
        }
        self.decided.action = Action::Block;
        self.enforces().then(|| Block {
            cause: Cause::Schema,
            rule: Some(breach.id.clone()),
            reason: format!(
                "the answer breaks schema '{}': {} {} at '{}', byte {}",
                breach.id, breach.kind, breach.keyword, breach.pointer, breach.at
            ),
            detectors: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests;
