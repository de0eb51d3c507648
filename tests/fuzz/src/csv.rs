//! The lock on CSV: any chunking the same, and what has passed passes once more as it is.

use std::sync::{Arc, LazyLock};

use clyra_schemas::{CsvContract, CsvLock, End, Mode, Outcome, Release, RepairPolicy};
use serde_json::{Value, json};

use crate::cuts::Cuts;
use crate::text;

static CONTRACTS: LazyLock<Vec<Arc<CsvContract>>> = LazyLock::new(|| {
    let two = json!([{ "name": "a", "type": "string" }, { "name": "b", "type": "integer" }]);
    let typed = json!([{ "name": "n", "type": "number" }, { "name": "d", "type": "date" }, { "name": "t", "type": "date-time" }, { "name": "f", "type": "boolean" }]);
    let compile = |contract: Value| CsvContract::compile(&contract).expect("a good contract");
    vec![
        compile(json!({ "columns": two })),
        compile(json!({ "columns": two, "header": false, "formulas": "block" })),
        compile(
            json!({ "columns": two, "delimiter": ";", "line_ending": "lf", "rows_min": 1, "rows_max": 2, "formulas": "off" }),
        ),
        compile(json!({ "columns": typed, "line_ending": "crlf", "record_bytes_max": 64 })),
        compile(
            json!({ "columns": [{ "name": "c", "schema": { "type": "string", "pattern": "^[a-c]*$" } }], "header": false }),
        ),
    ]
});

#[derive(Debug, Clone, PartialEq)]
struct Run {
    outcome: Outcome,
    released: String,
    edits: usize,
}

fn run(contract: &Arc<CsvContract>, mode: Mode, repair: RepairPolicy, pieces: &[&str]) -> Run {
    let mut lock = CsvLock::new(Arc::clone(contract), mode, repair);
    let (mut release, mut released, mut edits, mut fed, mut settled) = (Release::default(), String::new(), 0, 0, 0);
    for piece in pieces {
        lock.feed(piece);
        fed += piece.len();
        release.push(piece);
        assert!(lock.settled() >= settled && (lock.settled() <= fed as u64 || mode == Mode::Observe));
        settled = lock.settled();
        let new = lock.take_edits();
        edits += new.len();
        released.push_str(&release.take(new, settled));
    }
    let outcome = lock.finish(End::Stop);
    let new = lock.take_edits();
    edits += new.len();
    released.push_str(&release.take(new, lock.settled()));
    Run { outcome, released, edits }
}

/// Contract, mode and repair, and chunking are the first three bytes. With 255 the contract is the first line.
pub fn csv_lock(input: &[u8]) {
    let [number, how, seed, rest @ ..] = input else { return };
    let (contract, document) = if *number == 255 {
        let Some((contract, document)) = text(rest).split_once('\n') else { return };
        let Ok(contract) = serde_json::from_str::<Value>(contract) else { return };
        let Ok(contract) = CsvContract::compile(&contract) else { return };
        (contract, document)
    } else {
        (Arc::clone(&CONTRACTS[usize::from(*number) % CONTRACTS.len()]), text(rest))
    };
    let mode = [Mode::Buffer, Mode::Verified, Mode::Cutoff, Mode::Observe][usize::from(how & 3)];
    let repair = if how & 4 == 0 { RepairPolicy::NONE } else { RepairPolicy::all() };
    let [whole, others @ ..] = Cuts::all(*seed);
    let whole = run(&contract, mode, repair, &whole.of_text(document));
    for cuts in others {
        assert_eq!(run(&contract, mode, repair, &cuts.of_text(document)), whole, "cut as {cuts:?}");
    }
    if mode == Mode::Observe {
        assert_eq!((whole.released.as_str(), whole.edits), (document, 0), "observing has changed something");
    } else if whole.outcome == Outcome::Pass {
        let again = run(&contract, mode, RepairPolicy::NONE, &[&whole.released]);
        assert_eq!(again, Run { edits: 0, ..whole.clone() }, "what has passed does not pass as it is");
    }
}
