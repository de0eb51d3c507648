//! A message of the client: inspected as a request is. One that the policy stops is not sent, and the client is told by an
//! event; the session goes on.

use std::sync::Arc;

use bytes::Bytes;

use super::super::Exchange;
use super::end::End;
use super::{Context, Session};
use crate::exchange::answer::Reason;
use crate::exchange::inspect::InspectError;
use crate::exchange::judge::{Decided, PolicyJudge};
use crate::exchange::live::{Kind, LiveDownstream, LiveUpstream};
use crate::guard::{self, Block, Cause, Gap, Inspected, Report};
use crate::json::{Doc, Limits};
use crate::siem;
use crate::surface::{Address, Shown};
use crate::wire::websocket::Message;

/// Longest id of a client's event that is said again in an error.
const EVENT_ID_BYTES_MAX: usize = 128;

/// Names of tools that go on record. More than a session offers.
const TOOLS_MAX: usize = 1_024;

impl Exchange<'_> {
    pub(super) async fn asked(
        &mut self,
        session: &mut Session,
        message: Message,
        down: &mut dyn LiveDownstream,
        up: &mut dyn LiveUpstream,
    ) -> Result<(), End> {
        let (kind, bytes) = (Kind::of(&message), message.bytes().clone());
        drop(message);
        if self.held.set(bytes.len()).is_err() {
            return self.not_sent(Reason::NoRoom, None, down).await;
        }
        self.record.request_body.bytes += bytes.len() as u64;
        let inspected = self.inspect_message(&session.context, &bytes, kind).await;
        let result = match inspected {
            Ok(inspected) => up.send(inspected, kind).await.map_err(|_| End::UpstreamGone),
            Err(Refused::Overloaded) => self.not_sent(Reason::Overloaded, None, down).await,
            Err(Refused::Block(block, id)) => self.not_sent(Reason::Block(&block), id, down).await,
        };
        // It only becomes less.
        let _ = self.held.set(0);
        result
    }

    async fn inspect_message(
        &mut self,
        context: &Arc<Context>,
        bytes: &Bytes,
        kind: Kind,
    ) -> Result<Inspected, Refused> {
        let doc = match kind {
            Kind::Text => Doc::parse(bytes, Limits::default()).ok(),
            Kind::Binary => None,
        };
        let Some(doc) = doc else {
            return self.pass_message(context, bytes, Gap::Unreadable, Cause::BadRequest).map_err(Refused::of);
        };
        let root = doc.root(bytes);
        let facts = (self.surface.request_facts)(root, Address { path: "", query: None });
        self.note_asked(&facts);
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
                return self.pass_message(context, bytes, gap, Cause::Unavailable).map_err(Refused::of);
            }
        };
        // An id in which something was found is not said again.
        let id = id.filter(|_| !names_the_event(&decided));
        self.record.request.gather(report, decided);
        result.map_err(|block| Refused::Block(block, id))
    }

    /// A message that was not inspected, if the policy lets such messages pass.
    fn pass_message(
        &mut self,
        context: &Arc<Context>,
        bytes: &Bytes,
        gap: Gap,
        cause: Cause,
    ) -> Result<Inspected, Block> {
        let (mut judge, mut report) = (PolicyJudge::request(Arc::clone(context)), Report::default());
        let result = guard::bypass(bytes.clone(), gap, cause, &mut judge, &mut report);
        self.record.request.gather(report, judge.decided);
        result
    }

    fn note_asked(&mut self, facts: &crate::surface::RequestFacts) {
        let record = &mut self.record;
        record.messages = record.messages.saturating_add(facts.messages);
        if record.model.is_empty() {
            record.model.clone_from(&facts.model);
        }
        let room = TOOLS_MAX.saturating_sub(record.tools.len());
        let new: Vec<String> = facts.tools.iter().filter(|name| !record.tools.contains(name)).cloned().collect();
        record.tools.extend(new.into_iter().take(room));
    }

    /// Tells the client that its event went nowhere, and everybody else as well.
    async fn not_sent(
        &mut self,
        reason: Reason<'_>,
        about: Option<String>,
        down: &mut dyn LiveDownstream,
    ) -> Result<(), End> {
        self.stopped_event = true;
        self.record.code = Some(reason.code());
        if let Reason::Block(block) = reason {
            self.record.rule.clone_from(&block.rule);
        }
        self.gateway.events.send(siem::notice_line("event_not_sent", &self.id));
        let mut shown = Shown::default();
        shown.rpc_id.clone_from(&about);
        let event = reason.event(self.surface, &shown, &self.id);
        down.send(event, Kind::Text).await.map_err(|_| End::ClientGone)
    }
}

/// Why a message is not sent.
enum Refused {
    /// With the id of the event, as JSON.
    Block(Block, Option<String>),
    Overloaded,
}

impl Refused {
    fn of(block: Block) -> Refused {
        Refused::Block(block, None)
    }
}

fn names_the_event(decided: &Decided) -> bool {
    decided.findings_total as usize > decided.findings.len()
        || decided.findings.iter().any(|judged| judged.found.pointer == "/event_id")
}
