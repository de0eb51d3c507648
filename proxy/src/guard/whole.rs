//! The guard of whole messages: a request on its way out, an answer that does not stream, and Clyra's own words.

use std::sync::Arc;

use bytes::Bytes;
use clyra_detectors::Engine;

use super::document::{Direction, Subject, cannot_redact, check, rule_on_apart, scan_whole};
use super::judge::{Block, Cause, Gap, Judge, Report};
use super::locks::Locks;
use super::schema::Binding;
use super::witness::{Inspected, Released};
use crate::json::{Doc, Kind, Limits};
use crate::surface::{Dialect, Form, Refusal, ResponseFacts, Segment, Shown, Soft, Surface};

/// Inspects a request that was read as `doc`.
pub fn request(
    surface: &Surface,
    engine: &Arc<Engine>,
    (body, doc): (&Bytes, &Doc),
    judge: &mut dyn Judge,
    report: &mut Report,
) -> Result<Inspected, Block> {
    let facts = ResponseFacts::default();
    let subject = Subject {
        table: (surface.request)(),
        document: body,
        doc,
        facts: &facts,
        choices: None,
        direction: Direction::Request,
    };
    let checked = check(engine, subject, Locks::default(), judge, report)?;
    Ok(Inspected::new(checked.bytes))
}

/// A request that is sent although it could not be inspected, because the policy says so for this gap.
pub fn bypass(
    body: Bytes,
    gap: Gap,
    cause: Cause,
    judge: &mut dyn Judge,
    report: &mut Report,
) -> Result<Inspected, Block> {
    report.gaps.insert(gap);
    match judge.gap(gap, cause) {
        Some(block) => Err(block),
        None => Ok(Inspected::new(body)),
    }
}

/// An answer that may be shown.
#[derive(Debug)]
pub struct Answer {
    pub body: Released,
}

/// Inspects an answer that came as a whole. `facts` become what it says of itself, whatever is decided.
pub fn answer(
    surface: &Surface,
    engine: &Arc<Engine>,
    body: Bytes,
    bindings: Vec<Binding>,
    judge: &mut dyn Judge,
    (report, facts): (&mut Report, &mut ResponseFacts),
) -> Result<Answer, Block> {
    if body.is_empty() {
        // Nothing to be shown: a note was taken, something was deleted.
        return judge.answer(facts, true).map_or_else(|| Ok(Answer { body: Released::new(body) }), Err);
    }
    let doc = match Doc::parse(&body, Limits::default()) {
        Ok(doc) => doc,
        Err(_) => return plain(engine, body, judge, report),
    };
    (surface.note_response)(doc.root(&body), facts);
    let offered = (surface.definitions)(doc.root(&body));
    if !offered.is_empty() {
        let found = judge.definitions(&offered);
        rule_on_apart(&found, false, facts, judge, report)?;
    }
    // In the pieces of a stream as one array a choice has no place of its own.
    let choices = surface.choices.as_ref().filter(|_| doc.root(&body).kind() == Kind::Object);
    let direction = Direction::Answer;
    let subject = Subject { table: (surface.response)(), document: &body, doc: &doc, facts, choices, direction };
    let locks = Locks::new(bindings, judge.enforces()).with_choices(choices.is_some());
    let checked = check(engine, subject, locks, judge, report)?;
    if let Some(block) = judge.answer(facts, true) {
        return Err(block);
    }
    Ok(Answer { body: Released::new(checked.bytes) })
}

/// An answer that must be an error page or the like: no JSON, so it is looked at as plain text, and can be stopped but
/// not rewritten. An answer of success that is no JSON is a gap as well.
fn plain(engine: &Arc<Engine>, body: Bytes, judge: &mut dyn Judge, report: &mut Report) -> Result<Answer, Block> {
    report.gaps.insert(Gap::Unreadable);
    if let Some(block) = judge.gap(Gap::Unreadable, Cause::BadAnswer) {
        return Err(block);
    }
    text(engine, &String::from_utf8_lossy(&body), judge, report)?;
    Ok(Answer { body: Released::new(body) })
}

/// A provider's error, forwarded byte for byte unless something in it is forbidden. Errors come in many shapes (JSON,
/// HTML, plain text), so the bytes are looked at as text of no particular form.
pub fn error(engine: &Arc<Engine>, body: Bytes, judge: &mut dyn Judge, report: &mut Report) -> Result<Answer, Block> {
    text(engine, &String::from_utf8_lossy(&body), judge, report)?;
    Ok(Answer { body: Released::new(body) })
}

fn text(engine: &Arc<Engine>, text: &str, judge: &mut dyn Judge, report: &mut Report) -> Result<(), Block> {
    let segment = Segment::loose(Form::JsonValue);
    let (found, failed) = scan_whole(engine, &segment, text, report);
    if failed {
        report.gaps.insert(Gap::DetectorError);
        if let Some(block) = judge.gap(Gap::DetectorError, Cause::Unavailable) {
            return Err(block);
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    let ruling = judge.findings(&found, &ResponseFacts::default());
    match (ruling.block, ruling.redact.first().and_then(|i| found.get(*i))) {
        (Some(block), _) => Err(block),
        (None, Some(found)) => Err(cannot_redact(found)),
        (None, None) => Ok(()),
    }
}

/// Bytes of an answer that cannot be inspected, if the policy lets such bytes pass.
pub fn uninspected(bytes: Bytes, gap: Gap, judge: &mut dyn Judge, report: &mut Report) -> Result<Released, Block> {
    report.gaps.insert(gap);
    let ours = matches!(gap, Gap::DetectorError | Gap::DetectorTimeout);
    match judge.gap(gap, if ours { Cause::Unavailable } else { Cause::BadAnswer }) {
        Some(block) => Err(block),
        None => Ok(Released::new(bytes)),
    }
}

/// Media that an endpoint answers with: no detector reads it, which is declared and not asked about, as where media stands
/// in a document.
pub fn media(bytes: Bytes, report: &mut Report) -> Released {
    report.gaps.insert(Gap::Media);
    Released::new(bytes)
}

/// A comment between two server-sent events: no client shows it.
pub fn comment() -> Released {
    Released::new(Bytes::from_static(b": clyra\n"))
}

/// Clyra's own words to the client: an error or a refusal in the provider's shape, and nothing else.
pub fn own(refusal: &Refusal<'_>, shape: Shape<'_>) -> Released {
    Released::new(match shape {
        Shape::Error(dialect) => dialect.error_body(refusal).into(),
        Shape::ErrorEvent(surface, shown) => (surface.ending.error)(refusal, shown),
        Shape::InOk(write, shown) => write(refusal, shown).unwrap_or_default(),
        Shape::Refusal(soft, shown) => (soft.document)(refusal, shown).to_string().into(),
        Shape::RefusalArray(soft, shown) => format!("[{}]", (soft.document)(refusal, shown)).into(),
        Shape::RefusalEvents(soft, shown) => (soft.events)(refusal, shown),
    })
}

/// How Clyra's own words are sent.
#[derive(Debug, Clone, Copy)]
pub enum Shape<'s> {
    /// As the whole body of an HTTP error.
    Error(Dialect),
    /// As the event that ends a stream with an error.
    ErrorEvent(&'s Surface, &'s Shown),
    /// As the body of an answer with status 200; empty where that cannot be.
    InOk(fn(&Refusal<'_>, &Shown) -> Option<Bytes>, &'s Shown),
    /// As an answer that the provider's filter would have given.
    Refusal(&'s Soft, &'s Shown),
    /// The same as the only element of an array.
    RefusalArray(&'s Soft, &'s Shown),
    /// As the events that end a stream like that.
    RefusalEvents(&'s Soft, &'s Shown),
}
