//! What is known of one exchange, from its head to its end: the single source of its receipts, events and metrics.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use clyra_detectors::{Engine, View};
use clyra_policy::{Action, Caller, Mode};
use clyra_receipts::receipt::Verdict;
use uuid::Uuid;

use super::judge::{Decided, FINDINGS_MAX, Fired, Judged};
use super::ports::RequestHead;
use crate::guard::{Gap, Report, SchemaBreach};
use crate::surface::{Channel, ResponseFacts, Usage};

/// Name of an endpoint that is not inspected, in the place of a surface.
pub const UNKNOWN_SURFACE: &str = "unknown";

/// What the client says about itself in `x-clyra-*` headers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    pub app: Option<String>,
    pub run_id: Option<String>,
    /// The run that started this one.
    pub parent_run_id: Option<String>,
    pub job_id: Option<String>,
    pub service_id: Option<String>,
    pub pipeline_id: Option<String>,
    /// Client library, from `user-agent`.
    pub sdk: Option<String>,
}

/// Longest label or name that goes on record; the receipt has room for a few dozen.
const LABEL_BYTES_MAX: usize = 128;

/// Bytes of text for one token, where nobody counts: what tokenizers of today make of English and of JSON. Other scripts have
/// more tokens than this says, code fewer.
const BYTES_PER_TOKEN: u64 = 4;

/// What stands for a name that is withheld.
const WITHHELD: &str = "*";

impl Labels {
    pub fn of(head: &RequestHead) -> Labels {
        let text = |name: &str| -> Option<String> {
            let value = head.headers.get(name)?.to_str().ok()?.trim();
            (!value.is_empty()).then(|| value.chars().take(LABEL_BYTES_MAX).collect())
        };
        // The trace id of W3C Trace Context §3.2.2 groups a run where nobody named one.
        let trace =
            || text("traceparent").and_then(|t| t.split('-').nth(1).map(str::to_owned)).filter(|t| t.len() == 32);
        Labels {
            app: text("x-clyra-app"),
            run_id: text("x-clyra-run-id").or_else(trace),
            parent_run_id: text("x-clyra-parent-run-id"),
            job_id: text("x-clyra-job-id"),
            service_id: text("x-clyra-service-id"),
            pipeline_id: text("x-clyra-pipeline-id"),
            sdk: text("user-agent"),
        }
    }
}

/// One direction of an exchange, as inspected.
#[derive(Debug, Clone, Default)]
pub struct Side {
    pub report: Report,
    pub decided: Option<Decided>,
    /// The checks that were due here did run.
    pub inspected: bool,
}

impl Side {
    /// What was seen, found and done in one more part of this direction.
    pub fn gather(&mut self, report: Report, decided: Decided) {
        self.report.redactions = self.report.redactions.saturating_add(report.redactions);
        self.report.held_bytes_max = self.report.held_bytes_max.max(report.held_bytes_max);
        let own = self.decided.get_or_insert_with(Decided::none);
        own.action = own.action.max(decided.action);
        self.add(&Side { report, decided: Some(decided), inspected: self.inspected });
    }

    fn has_findings(&self) -> bool {
        self.decided.as_ref().is_some_and(|decided| decided.findings_total > 0)
    }

    /// What holds of the whole as soon as it holds of a part.
    fn cover(&mut self, part: &Side) {
        self.report.gaps.extend(part.report.gaps.iter().copied());
        let Some(decided) = &part.decided else { return };
        let own = self.decided.get_or_insert_with(Decided::none);
        own.action = own.action.max(decided.action);
        own.rules.extend(decided.rules.iter().cloned());
        own.exceptions.extend(decided.exceptions.iter().cloned());
    }

    /// What was seen and found in another answer to the same request, of which nothing is shown.
    pub fn add(&mut self, other: &Side) {
        for (channel, bytes) in &other.report.bytes {
            *self.report.bytes.entry(*channel).or_default() += bytes;
        }
        self.report.gaps.extend(other.report.gaps.iter().copied());
        self.report.scan_us += other.report.scan_us;
        let (Some(own), Some(other)) = (&mut self.decided, &other.decided) else { return };
        own.findings_total += other.findings_total;
        own.findings.extend(other.findings.iter().cloned());
        own.findings.truncate(FINDINGS_MAX);
        own.rules.extend(other.rules.iter().cloned());
        own.exceptions.extend(other.exceptions.iter().cloned());
    }
}

/// The upstream call.
#[derive(Debug, Clone, Default)]
pub struct Called {
    pub status: Option<u16>,
    pub attempts: u32,
    pub first_byte_us: Option<u64>,
    pub total_us: Option<u64>,
    pub request_id: Option<String>,
    pub error: Option<&'static str>,
}

/// Bytes that passed, and what commits to them.
#[derive(Debug, Clone, Default)]
pub struct Passed {
    pub bytes: u64,
    pub commit: Option<clyra_receipts::Commitment>,
}

/// What of a conversation an exchange is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Whole,
    /// A session, of which what belongs together is an exchange of its own.
    Session,
    /// A part of the session with this id.
    Of(Uuid),
}

/// The whole story of one exchange.
#[derive(Debug)]
pub struct Record {
    pub id: Uuid,
    pub part: Part,
    pub started: Instant,
    pub labels: Labels,
    pub caller: Caller,
    /// Whether the caller was known by its key.
    pub known_caller: bool,
    pub method: String,
    pub route: String,
    pub surface: &'static str,
    pub model: String,
    pub stream: bool,
    pub messages: u32,
    pub tools: Vec<String>,
    /// Outcomes whose tool calls the request answers.
    pub parents: Vec<u64>,
    pub upstream: Option<Arc<str>>,
    pub mode: Mode,
    pub policy_hash: String,
    pub request_body: Passed,
    pub request: Side,
    /// The question that quotes a broken answer, where the model was to be asked once more. It is a request as well, made
    /// after the attempt was on record.
    pub question: Side,
    pub response: Side,
    pub facts: ResponseFacts,
    pub called: Called,
    pub received: Passed,
    pub released: Passed,
    pub events: Option<(u64, String)>,
    pub verdict: Verdict,
    /// Stable code where Clyra answered instead of the provider.
    pub code: Option<&'static str>,
    pub rule: Option<String>,
    /// HTTP status that the client saw.
    pub status: Option<u16>,
    pub first_release_us: Option<u64>,
}

impl Record {
    /// Ids of what the answer made, which can be named later: its own, and those of its items. What is only asked about was made
    /// before.
    pub fn made(&self) -> impl Iterator<Item = &str> {
        let made = matches!(self.verdict, Verdict::Executed | Verdict::Redacted | Verdict::Repaired);
        let ids = self.facts.id.iter().chain(&self.facts.items).map(String::as_str);
        ids.filter(move |_| made && self.method == "POST")
    }

    /// Of an exchange that begins now, and of which nothing is known but this.
    pub fn begun(
        (id, part): (Uuid, Part),
        caller: Caller,
        surface: &'static str,
        (mode, policy_hash): (Mode, &str),
    ) -> Record {
        Record {
            id,
            part,
            started: Instant::now(),
            labels: Labels::default(),
            known_caller: false,
            caller,
            method: String::new(),
            route: String::new(),
            surface,
            model: String::new(),
            stream: false,
            messages: 0,
            tools: Vec::new(),
            parents: Vec::new(),
            upstream: None,
            mode,
            policy_hash: policy_hash.to_owned(),
            request_body: Passed::default(),
            request: Side::default(),
            question: Side::default(),
            response: Side::default(),
            facts: ResponseFacts::default(),
            called: Called::default(),
            received: Passed::default(),
            released: Passed::default(),
            events: None,
            verdict: Verdict::Errored,
            code: None,
            rule: None,
            status: None,
            first_release_us: None,
        }
    }

    /// The record of a part of this session that begins now.
    pub fn part(&self) -> Record {
        let place = (Uuid::now_v7(), Part::Of(self.id));
        Record {
            labels: self.labels.clone(),
            known_caller: self.known_caller,
            method: self.method.clone(),
            route: self.route.clone(),
            model: self.model.clone(),
            stream: self.stream,
            tools: self.tools.clone(),
            upstream: self.upstream.clone(),
            ..Record::begun(place, self.caller.clone(), self.surface, (self.mode, &self.policy_hash))
        }
    }

    /// The session that this is a part of.
    pub fn session(&self) -> Option<Uuid> {
        match self.part {
            Part::Of(session) => Some(session),
            Part::Whole | Part::Session => None,
        }
    }

    /// What held in a part of the session held in the session: what was not inspected, what was decided and by which rules.
    /// What can be counted is counted in the part only.
    pub fn cover(&mut self, part: &Record) {
        self.request.cover(&part.request);
        self.response.cover(&part.response);
    }

    /// Takes out of the names what must not go on record: those that something is found in, and the ends of long ones.
    pub fn withhold(&mut self, engine: &Arc<Engine>) {
        let of_request = [&mut self.model].into_iter().chain(&mut self.tools);
        let of_answer = [&mut self.facts.model, &mut self.facts.finish_reason].into_iter().flatten();
        // The names in a session's parts may be of a document that was inspected in another part.
        let anywhere = self.part != Part::Whole;
        withhold(anywhere || self.request.has_findings(), of_request, engine);
        withhold(anywhere || self.response.has_findings(), of_answer, engine);
    }

    /// The strictest action that was decided in either direction, applied or not.
    pub fn decided(&self) -> Action {
        let of = |side: &Side| side.decided.as_ref().map_or(Action::Allow, |d| d.action);
        self.sides().map(|(_, side)| of(side)).into_iter().max().unwrap_or(Action::Allow)
    }

    /// What was done, in the words of `x-clyra-decision`.
    pub fn decision(&self) -> &'static str {
        match self.verdict {
            Verdict::Blocked | Verdict::Denied => "block",
            // Of a session, it is its parts that say more.
            Verdict::Redacted => "redact",
            Verdict::Repaired => "repair",
            _ if self.surface == UNKNOWN_SURFACE => "bypass",
            _ if self.takes_out() => "redact",
            _ if self.response.report.schema.repairs.any() => "repair",
            _ => "allow",
        }
    }

    /// Something was taken out: texts in either direction, or choices of the answer.
    pub fn takes_out(&self) -> bool {
        self.redactions() > 0 || !self.response.report.schema.ended.is_empty()
    }

    pub fn redactions(&self) -> u32 {
        self.sides().iter().fold(0, |sum, (_, side)| sum.saturating_add(side.report.redactions))
    }

    /// All that was inspected, and the direction in which it travels.
    pub fn sides(&self) -> [(&'static str, &Side); 3] {
        [("request", &self.request), ("request", &self.question), ("response", &self.response)]
    }

    fn all_decided(&self) -> impl Iterator<Item = &Decided> {
        self.sides().into_iter().filter_map(|(_, side)| side.decided.as_ref())
    }

    /// The first schema that the answer broke.
    pub fn breach(&self) -> Option<&SchemaBreach> {
        self.response.decided.as_ref()?.breaches.first()
    }

    /// What the answer's schemas said in one word, and the entry of the policy and the digest of the schema that it is about;
    /// nothing where none has spoken.
    pub fn schema_verdict(&self) -> Option<(&'static str, &str, &str)> {
        let schema = &self.response.report.schema;
        fn of<'r>(word: &'static str, (id, digest): &'r (String, String)) -> (&'static str, &'r str, &'r str) {
            (word, id, digest)
        }
        if let Some(breach) = self.breach() {
            return Some(("invalid", &breach.id, &breach.digest));
        }
        match (&schema.repairs.by, schema.checked.first()) {
            _ if !schema.finished => None,
            (Some(by), _) => Some(of("repaired", by)),
            (None, first) => Some(of("valid", first?)),
        }
    }

    /// Tokens as the provider counted them; where it did not say, an estimate of input and output, and true.
    pub fn usage(&self) -> (Usage, bool) {
        let counted = self.facts.usage;
        let answered = self.called.status.is_some_and(|status| (200..300).contains(&status));
        let text = |side: &Side, counts: fn(Channel) -> bool| {
            let bytes = side.report.bytes.iter().filter(|(channel, _)| counts(**channel));
            bytes.map(|(_, bytes)| *bytes).sum::<u64>().div_ceil(BYTES_PER_TOKEN)
        };
        let read = self.request.inspected && self.response.inspected;
        if counted.input.is_some() || counted.output.is_some() || !answered || !read {
            return (counted, false);
        }
        let input = |side: &Side| text(side, |channel| channel != Channel::Metadata);
        let asked_again = self.question.decided.as_ref().is_some_and(|decided| decided.action != Action::Block);
        let input = input(&self.request) + if asked_again { input(&self.question) } else { 0 };
        let output = text(&self.response, |channel| !matches!(channel, Channel::Metadata | Channel::Logprobs));
        (Usage { input: Some(input), output: Some(output), ..counted }, true)
    }

    pub fn rules(&self) -> BTreeSet<Fired> {
        self.all_decided().flat_map(|d| d.rules.iter().cloned()).collect()
    }

    pub fn exceptions(&self) -> BTreeSet<String> {
        self.all_decided().flat_map(|d| d.exceptions.iter().cloned()).collect()
    }

    pub fn findings(side: &Side) -> impl Iterator<Item = &Judged> {
        side.decided.iter().flat_map(|d| d.findings.iter())
    }

    pub fn findings_total(&self) -> u64 {
        self.all_decided().map(|d| d.findings_total).sum()
    }

    pub fn gaps(&self) -> BTreeSet<Gap> {
        self.sides().into_iter().flat_map(|(_, side)| side.report.gaps.iter().copied()).collect()
    }

    pub fn elapsed_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }
}

/// Names are of the document that was inspected: only where something was found can they hold it.
fn withhold<'n>(found_any: bool, names: impl Iterator<Item = &'n mut String>, engine: &Arc<Engine>) {
    for name in names {
        let mut found = Vec::new();
        if found_any {
            let mut stream = engine.stream(View::Plain);
            stream.feed(name, &mut found);
            stream.finish(&mut found);
        }
        if found.is_empty() {
            name.truncate(name.floor_char_boundary(LABEL_BYTES_MAX));
        } else {
            WITHHELD.clone_into(name);
        }
    }
}
