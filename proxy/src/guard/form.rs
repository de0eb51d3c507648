//! Inspecting a form on its way out: its fields as one document, its files row by row.

use std::sync::Arc;

use bytes::Bytes;
use clyra_detectors::Engine;

use super::document::{Direction, Subject, check, stored};
use super::judge::{Block, Cause, Gap, Judge, Report};
use super::locks::Locks;
use super::witness::Inspected;
use crate::json::{Doc, Limits};
use crate::surface::{ResponseFacts, Surface, Table};
use crate::wire::form::Form;

/// Inspects a form; what leaves is written anew.
pub fn form(
    surface: &Surface,
    engine: &Arc<Engine>,
    form: &Form,
    judge: &mut dyn Judge,
    report: &mut Report,
) -> Result<Inspected, Block> {
    if form.has_media() {
        report.gaps.insert(Gap::Media);
    }
    let table = (surface.request)();
    let fields = one(table, engine, form.document(), judge, report)?;
    let mut rows = Vec::new();
    for (part, name, row) in form.rows() {
        let table = table.row(name);
        rows.push((part, one(table, engine, row, judge, report)?));
    }
    let body = form.write(&fields, &rows).ok_or_else(|| Block {
        cause: Cause::Policy,
        rule: None,
        reason: "something was to be redacted where a form cannot be rewritten".into(),
        detectors: Vec::new(),
    })?;
    Ok(Inspected::new(body))
}

fn one(
    table: &Table,
    engine: &Arc<Engine>,
    document: Bytes,
    judge: &mut dyn Judge,
    report: &mut Report,
) -> Result<Bytes, Block> {
    let doc = Doc::parse(&document, Limits::default()).map_err(|error| {
        report.gaps.insert(Gap::Unreadable);
        let reason = format!("a part of the form cannot be inspected: {error}");
        Block { cause: Cause::BadRequest, rule: None, reason, detectors: Vec::new() }
    })?;
    let facts = ResponseFacts::default();
    let subject =
        Subject { table, document: &document, doc: &doc, facts: &facts, choices: None, direction: Direction::Request };
    Ok(check(engine, subject, Locks::default(), judge, report)?.bytes)
}

/// What stands in the path of an endpoint for what a provider keeps.
pub fn kept(id: Option<String>, judge: &mut dyn Judge, report: &mut Report) -> Result<(), Block> {
    stored(id.into_iter(), judge, report)
}

/// What stands in the address of a request. It cannot be rewritten.
pub fn address(
    engine: &Arc<Engine>,
    (path, query): (&str, &str),
    judge: &mut dyn Judge,
    report: &mut Report,
) -> Result<(), Block> {
    let document = Bytes::from(serde_json::json!({ "path": path, "query": query }).to_string());
    let checked = one(Table::none(), engine, document.clone(), judge, report)?;
    if checked == document {
        return Ok(());
    }
    Err(Block {
        cause: Cause::Policy,
        rule: None,
        reason: "something was to be redacted in the address of the request, which cannot be rewritten".into(),
        detectors: Vec::new(),
    })
}

/// A handshake: rules may be about it as such, and its address may hold texts.
pub fn handshake(
    engine: &Arc<Engine>,
    address: (&str, &str),
    judge: &mut dyn Judge,
    report: &mut Report,
) -> Result<Inspected, Block> {
    self::address(engine, address, judge, report)?;
    Ok(Inspected::new(Bytes::new()))
}

/// A request without a body: there is nothing to inspect, but rules may be about the request as such.
pub fn bodiless(engine: &Arc<Engine>, judge: &mut dyn Judge, report: &mut Report) -> Result<Inspected, Block> {
    one(Table::none(), engine, Bytes::from_static(b"{}"), judge, report)?;
    Ok(Inspected::new(Bytes::new()))
}
