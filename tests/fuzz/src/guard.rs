//! The guard of streams, on every surface, with and without schemas: any chunking, the same bytes and the same verdict.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use clyra::guard::{
    Binding, HELD_BYTES_MAX, HoldLimit, JsonContract, Schema, Scope, StreamGuard, TableContract, Terms, ToolSchemas,
};
use clyra::surface::Surface;
use clyra::wire::Framing;
use clyra_schemas::{Coercion, Contract, ContractSource, CsvContract, Limits, Mode, RepairPolicy};
use serde_json::json;

use crate::cuts::Cuts;
use crate::judge::{FORBIDDEN, SETUP, holds, of_answer};
use crate::{choice, frames, surface};

/// A clock that stands still: time is no part of the input.
const NOW: Duration = Duration::ZERO;

/// Everything that a run comes to.
#[derive(Debug, PartialEq)]
struct Run {
    released: Vec<u8>,
    end: String,
    decided: String,
    report: String,
    /// Something was declared not to be inspected, media for instance.
    gaps: bool,
}

struct Schemas {
    object: Schema,
    table: Schema,
    tools: Arc<ToolSchemas>,
}

static SCHEMAS: LazyLock<Schemas> = LazyLock::new(|| {
    let contract = |schema: serde_json::Value, source| {
        let contract = Contract::compile(&schema, None, source, &Limits::default()).expect("a good schema");
        Schema { digest: "00".repeat(32), contract: Arc::new(JsonContract(contract)) }
    };
    let object = json!({
        "type": "object", "required": ["a"], "additionalProperties": false,
        "properties": { "a": { "type": "integer" }, "b": { "enum": ["x", "y"] }, "c": { "type": "array", "items": { "type": "string" } } },
    });
    let table = json!({ "columns": [{ "name": "a", "type": "string" }, { "name": "b", "type": "integer" }] });
    let table = CsvContract::compile(&table).expect("a good contract");
    let arguments = contract(
        json!({ "type": "object", "properties": { "a": { "type": "string" } } }),
        ContractSource::ToolParameters,
    );
    let by_name = [("f".to_owned(), vec![arguments]), ("free".to_owned(), Vec::new())].into();
    Schemas {
        object: contract(object, ContractSource::Policy),
        table: Schema { digest: "11".repeat(32), contract: Arc::new(TableContract(table)) },
        tools: Arc::new(ToolSchemas { digest: "22".repeat(32), by_name }),
    }
});

/// Which schemas bind the answer, and how.
fn bindings(choice: u8) -> Vec<Binding> {
    let mode = [Mode::Buffer, Mode::Verified, Mode::Cutoff, Mode::Observe][usize::from(choice >> 2 & 3)];
    let repair = if choice & 16 == 0 { RepairPolicy::NONE } else { RepairPolicy::all().coercing(Coercion::ALL) };
    let hold = HoldLimit { bytes: if choice & 32 == 0 { 1 << 20 } else { 64 }, time: Duration::from_secs(60) };
    let terms = Terms {
        mode,
        repair,
        hold,
        blocks: choice & 64 == 0,
        ask_again: None,
        choices: if choice & 128 == 0 { 1 } else { 2 },
    };
    let content = |schema: &Schema| Binding { id: "content".into(), scope: Scope::Content(schema.clone()), terms };
    let tools = Binding { id: "tools".into(), scope: Scope::Tools(Arc::clone(&SCHEMAS.tools)), terms };
    match choice & 3 {
        0 => Vec::new(),
        1 => vec![content(&SCHEMAS.object)],
        2 => vec![content(&SCHEMAS.table)],
        _ => vec![content(&SCHEMAS.object), tools],
    }
}

fn run(surface: &'static Surface, bindings: Vec<Binding>, pieces: &[&[u8]]) -> Run {
    let mut guard = StreamGuard::new(surface, Arc::clone(&SETUP.engine), of_answer(), bindings);
    let mut out = Vec::new();
    let mut end = pieces.iter().try_for_each(|piece| guard.feed(piece, NOW, &mut out));
    if end.is_ok() {
        end = guard.finish(NOW).map(|end| out.extend(end.tail));
    }
    assert!(guard.report.held_bytes_max <= HELD_BYTES_MAX as u64);
    // Time is not part of what is promised.
    guard.report.scan_us = 0;
    guard.report.schema.enforce_us = 0;
    Run {
        released: out.iter().flat_map(|part| part.bytes().to_vec()).collect(),
        end: format!("{end:?}"),
        decided: format!("{:?} {:?}", guard.judge.decided, guard.facts),
        report: format!("{:?}", guard.report),
        gaps: !guard.report.gaps.is_empty(),
    }
}

/// Surface, chunking and schemas are the first three bytes. Binary streams are made of the lines of the rest, so that
/// their checksums are right.
pub fn stream_guard(input: &[u8]) {
    let Some((number, rest)) = choice(input) else { return };
    let Some((seed, rest)) = choice(rest) else { return };
    let Some((terms, bytes)) = choice(rest) else { return };
    let surface = surface(number);
    let stream = match surface.framing {
        Framing::EventStream => frames::messages(bytes),
        _ => bytes.to_vec(),
    };
    let [whole, others @ ..] = Cuts::all(seed);
    let whole = run(surface, bindings(terms), &whole.of(&stream));
    assert!(whole.gaps || !holds(&whole.released, FORBIDDEN), "what must not pass has passed");
    for cuts in others {
        assert_eq!(run(surface, bindings(terms), &cuts.of(&stream)), whole, "cut as {cuts:?}");
    }
}
