//! A message of the client: inspected as a request is. One that the policy stops is not sent, and the client is told by an
//! event; the session goes on.
//!
//! What was sent is asked of the next answer, and stands in its attempt. What was not is a part of the session by itself.

use std::sync::Arc;

use bytes::Bytes;
use clyra_receipts::Committer;
use clyra_receipts::receipt::Verdict;

use super::super::{Exchange, committer, verdict_of};
use super::end::End;
use super::{Context, Session};
use crate::exchange::answer::Reason;
use crate::exchange::inspect::InspectError;
use crate::exchange::judge::{Decided, PolicyJudge};
use crate::exchange::live::{Kind, LiveUpstream};
use crate::exchange::record::Side;
use crate::guard::{self, Block, Cause, Gap, Inspected, Report};
use crate::json::{Doc, Limits};
use crate::siem;
use crate::surface::{Address, Live, Offer, RequestFacts, Shown};
use crate::wire::websocket::Message;

/// Longest id of a client's event that is said again in an error.
const EVENT_ID_BYTES_MAX: usize = 128;

/// Names of tools that go on record. More than a session offers.
const TOOLS_MAX: usize = 1_024;

/// Outcomes that one answer goes on from. A receipt has room for fewer.
const PARENTS_MAX: usize = 64;

/// What the client has said since the last answer began, and was sent.
#[derive(Default)]
pub(super) struct Asked {
    side: Side,
    bytes: u64,
    messages: u32,
    /// Outcomes whose tool calls it answers.
    parents: Vec<u64>,
    committer: Option<Committer>,
}

/// A message of the client, and what is known of it.
struct Said {
    bytes: Bytes,
    side: Side,
    facts: RequestFacts,
    offer: Offer,
    /// The id that the client gave it, as JSON, unless something was found in it.
    id: Option<String>,
}

impl Asked {
    fn note(&mut self, exchange: &Exchange<'_>, said: Said) {
        if self.bytes == 0 {
            self.committer = committer(exchange.gateway);
        }
        if let Some(committer) = &mut self.committer {
            committer.update(&said.bytes);
        }
        self.bytes += said.bytes.len() as u64;
        self.messages = self.messages.saturating_add(said.facts.messages);
        self.parents.extend(exchange.answered(&said.facts));
        self.parents.truncate(PARENTS_MAX);
        self.side.gather(said.side.report, said.side.decided.unwrap_or_else(Decided::none));
    }

    /// An answer has begun: this is what it was asked.
    pub(super) fn ask(self, exchange: &mut Exchange<'_>) {
        exchange.record.request_body.bytes = self.bytes;
        if let Some(committer) = self.committer {
            exchange.commit_request(committer.finish());
        }
        let record = &mut exchange.record;
        (record.messages, record.parents) = (self.messages, self.parents);
        record.request = Side { inspected: true, ..self.side };
    }

    /// No answer has come to it by the end of the session, whose own record has it then.
    pub(super) fn rest(self, session: &mut Exchange<'_>) {
        let record = &mut session.record;
        record.messages = record.messages.saturating_add(self.messages);
        record.parents.extend(self.parents);
        record.request.gather(self.side.report, self.side.decided.unwrap_or_else(Decided::none));
    }
}

impl<'g> Exchange<'g> {
    pub(super) async fn asked(
        &mut self,
        session: &mut Session<'g>,
        live: &'static Live,
        message: Message,
        up: &mut dyn LiveUpstream,
    ) -> Result<(), End> {
        let (kind, bytes) = (Kind::of(&message), message.bytes().clone());
        drop(message);
        self.record.request_body.bytes += bytes.len() as u64;
        let mut said =
            Said { bytes, side: Side::default(), facts: RequestFacts::default(), offer: Offer::Nothing, id: None };
        if self.held.set(said.bytes.len()).is_err() {
            self.not_sent(session, &Reason::NoRoom, said);
            return Ok(());
        }
        let inspected = match self.inspect_message(&session.context, live, &mut said, kind).await {
            Ok(inspected) => match self.offer(session, said.offer, &said.facts).await {
                Ok(()) => Ok(inspected),
                Err(block) => Err(Refused::Block(block)),
            },
            Err(refused) => Err(refused),
        };
        let result = match inspected {
            Ok(inspected) => {
                session.guard.sent(inspected.bytes());
                self.note_asked(&said.facts);
                session.asked.note(self, said);
                up.send(inspected, kind).await.map_err(|_| End::UpstreamGone)
            }
            Err(refused) => {
                self.not_sent(session, &refused.reason(), said);
                Ok(())
            }
        };
        // It only becomes less.
        let _ = self.held.set(0);
        result
    }

    async fn inspect_message(
        &mut self,
        context: &Arc<Context>,
        live: &'static Live,
        said: &mut Said,
        kind: Kind,
    ) -> Result<Inspected, Refused> {
        let bytes = said.bytes.clone();
        let doc = match kind {
            Kind::Text => Doc::parse(&bytes, Limits::default()).ok(),
            Kind::Binary => None,
        };
        let Some(doc) = doc else {
            return pass_message(context, said, Gap::Unreadable, Cause::BadRequest);
        };
        let root = doc.root(&bytes);
        said.offer = (live.offer)(root);
        said.facts = (self.surface.request_facts)(root, Address { path: "", query: None });
        let id = root.get("event_id").and_then(|id| id.as_str()).filter(|id| id.len() <= EVENT_ID_BYTES_MAX);
        let id = id.map(|id| serde_json::Value::from(id.into_owned()).to_string());
        let (surface, engine) = (self.surface, Arc::clone(&self.gateway.engine));
        let (job, in_job) = (Arc::clone(context), bytes.clone());
        let outcome = self.gateway.inspect.run(bytes.len(), move || {
            let (mut judge, mut report) = (PolicyJudge::request(job), Report::default());
            let result = guard::request(surface, &engine, (&in_job, &doc), &mut judge, &mut report);
            (result, judge.decided, report)
        });
        let (result, decided, report) = match outcome.await {
            Ok(done) => done,
            Err(InspectError::Overloaded) => return Err(Refused::Overloaded),
            Err(error) => {
                let gap = if error == InspectError::Timeout { Gap::DetectorTimeout } else { Gap::DetectorError };
                return pass_message(context, said, gap, Cause::Unavailable);
            }
        };
        // An id in which something was found is not said again.
        said.id = id.filter(|_| !names_the_event(&decided));
        said.side = Side { report, decided: Some(decided), inspected: true };
        result.map_err(Refused::Block)
    }

    /// The session's model and tools, as the client names them.
    fn note_asked(&mut self, facts: &RequestFacts) {
        let record = &mut self.record;
        if record.model.is_empty() {
            record.model.clone_from(&facts.model);
        }
        let room = TOOLS_MAX.saturating_sub(record.tools.len());
        let new: Vec<String> = facts.tools.iter().filter(|name| !record.tools.contains(name)).cloned().collect();
        record.tools.extend(new.into_iter().take(room));
    }

    /// Tells the client that its event went nowhere, once that is on record, and everybody else at once.
    fn not_sent(&mut self, session: &mut Session<'g>, reason: &Reason<'_>, said: Said) {
        let mut part = self.part();
        part.note_request(&said.bytes);
        part.record.request = said.side;
        (part.record.messages, part.record.parents) = (said.facts.messages, self.answered(&said.facts));
        part.record.code = Some(reason.code());
        if let Reason::Block(block) = reason {
            part.record.rule.clone_from(&block.rule);
        }
        part.record.verdict = match reason {
            Reason::Block(block) => verdict_of(block),
            _ => Verdict::Errored,
        };
        part.open();
        self.gateway.events.send(siem::notice_line("event_not_sent", &self.id));
        let mut shown = Shown::default();
        shown.rpc_id.clone_from(&said.id);
        let event = reason.event(self.surface, &shown, &part.id);
        session.outbox.refuse(event, part);
    }
}

/// A message that was not inspected, if the policy lets such messages pass.
fn pass_message(context: &Arc<Context>, said: &mut Said, gap: Gap, cause: Cause) -> Result<Inspected, Refused> {
    let (mut judge, mut report) = (PolicyJudge::request(Arc::clone(context)), Report::default());
    let result = guard::bypass(said.bytes.clone(), gap, cause, &mut judge, &mut report);
    said.side = Side { report, decided: Some(judge.decided), inspected: false };
    result.map_err(Refused::Block)
}

/// Why a message is not sent.
enum Refused {
    Block(Block),
    Overloaded,
}

impl Refused {
    fn reason(&self) -> Reason<'_> {
        match self {
            Self::Block(block) => Reason::Block(block),
            Self::Overloaded => Reason::Overloaded,
        }
    }
}

fn names_the_event(decided: &Decided) -> bool {
    decided.findings_total as usize > decided.findings.len()
        || decided.findings.iter().any(|judged| judged.found.pointer == "/event_id")
}
