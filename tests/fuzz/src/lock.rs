//! SchemaLock: the falsifier never refuses what the authority accepts, nothing else is ever complete, any chunking the same.

use std::sync::{Arc, LazyLock};

use clyra_schemas::{
    Coercion, Contract, ContractSource, End, Limits, Lock, Mode, Outcome, Release, RepairPolicy, Step, ViolationKind,
};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::cuts::Cuts;
use crate::text;

static CONTRACTS: LazyLock<Vec<Arc<Contract>>> = LazyLock::new(|| {
    let compile = |schema: Value| {
        Contract::compile(&schema, None, ContractSource::Policy, &Limits::default()).expect("a good schema")
    };
    let text = json!({ "type": "string", "pattern": "^[a-c]*$", "maxLength": 4 });
    vec![
        compile(json!(true)),
        compile(json!({ "type": "object", "required": ["a"], "additionalProperties": false,
            "properties": { "a": { "type": "integer", "minimum": 0 }, "b": { "enum": ["x", "xy", null] }, "c": { "type": "array", "items": text, "maxItems": 3, "uniqueItems": true } } })),
        compile(
            json!({ "oneOf": [ { "type": "object", "properties": { "kind": { "const": "a" } }, "required": ["kind"] },
            { "type": "object", "properties": { "kind": { "const": "b" }, "n": { "type": "number", "multipleOf": 0.5 } }, "required": ["kind", "n"] } ] }),
        ),
        compile(json!({ "$ref": "#/$defs/tree", "$defs": { "tree": { "type": ["object", "null"],
            "properties": { "l": { "$ref": "#/$defs/tree" }, "r": { "$ref": "#/$defs/tree" } }, "additionalProperties": { "type": "boolean" } } } })),
        compile(
            json!({ "type": "array", "prefixItems": [{ "type": "number" }, { "type": "string", "format": "date" }], "items": { "type": "boolean" }, "minItems": 1 }),
        ),
        compile(json!({ "type": ["string", "number", "boolean", "null"] })),
        compile(
            json!({ "if": { "properties": { "a": { "const": 1 } } }, "then": { "required": ["b"] }, "else": { "not": { "required": ["b"] } },
            "patternProperties": { "^s": { "type": "string" } }, "propertyNames": { "maxLength": 3 }, "unevaluatedProperties": false, "properties": { "a": true, "b": true } }),
        ),
    ]
});

#[derive(Debug, PartialEq)]
struct Run {
    outcome: Outcome,
    released: String,
}

fn run(contract: &Arc<Contract>, mode: Mode, repair: RepairPolicy, pieces: &[&str]) -> Run {
    let mut lock = Lock::new(Arc::clone(contract), mode, repair);
    let (mut release, mut released, mut fed, mut settled) = (Release::default(), String::new(), 0, 0);
    let mut broken = None;
    for piece in pieces {
        let step = lock.feed(piece);
        fed += piece.len();
        release.push(piece);
        let now = lock.settled();
        assert!(now >= settled && (now <= fed as u64 || mode == Mode::Observe), "{now} of {fed} bytes settled");
        settled = now;
        released.push_str(&release.take(lock.take_edits(), now));
        assert!(release.held_bytes() <= fed);
        if mode != Mode::Observe {
            assert!(!complete(&released), "{released:?} has left before the verdict");
        }
        if let Step::Violation(found) = step {
            broken = Some(found);
            break;
        }
    }
    let outcome = lock.finish(End::Stop);
    released.push_str(&release.take(lock.take_edits(), lock.settled()));
    if let Some(found) = broken {
        assert_eq!(outcome, Outcome::Block(found));
    }
    Run { outcome, released }
}

fn complete(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

fn check(contract: &Arc<Contract>, how: u8, seed: u8, document: &str) {
    let mode = [Mode::Buffer, Mode::Verified, Mode::Cutoff, Mode::Observe][usize::from(how & 3)];
    let repair = match how >> 2 & 3 {
        0 | 1 => RepairPolicy::NONE,
        2 => RepairPolicy::all(),
        _ => RepairPolicy::all().coercing(Coercion::ALL),
    };
    let [whole, others @ ..] = Cuts::all(seed);
    let whole = run(contract, mode, repair, &whole.of_text(document));
    for cuts in others {
        let cut = run(contract, mode, repair, &cuts.of_text(document));
        assert_eq!(cut.outcome, whole.outcome, "cut as {cuts:?}");
        // After a refusal it depends on the cut how much of what was in order has left.
        if whole.outcome == Outcome::Pass {
            assert_eq!(cut.released, whole.released, "cut as {cuts:?}");
        }
    }
    match &whole.outcome {
        Outcome::Pass if mode == Mode::Observe => {}
        Outcome::Pass => assert!(contract.accepts(&whole.released), "{:?} passed and is not accepted", whole.released),
        Outcome::Block(found) => {
            if mode != Mode::Observe {
                assert!(!complete(&whole.released), "{:?} was refused and is complete", whole.released);
            }
            // A lock refuses more than the authority where there is a limit, and members of one name, be it for the value of
            // the first.
            let named_twice =
                || run(&CONTRACTS[0], Mode::Buffer, RepairPolicy::NONE, &[document]).outcome != Outcome::Pass;
            let stricter = matches!(
                found.kind,
                ViolationKind::DuplicateName
                    | ViolationKind::TooLarge
                    | ViolationKind::TooDeep
                    | ViolationKind::TooMuchWhitespace
                    | ViolationKind::Number
                    | ViolationKind::TooCostly
            );
            if repair == RepairPolicy::NONE && !stricter && !named_twice() {
                assert!(!contract.accepts(document), "{found:?} in what the authority accepts");
            }
        }
        _ => {}
    }
}

/// Contract, mode and repair, and chunking are the first three bytes.
pub fn json_lock(input: &[u8]) {
    let [number, how, seed, document @ ..] = input else { return };
    let contract = &CONTRACTS[usize::from(*number) % CONTRACTS.len()];
    check(contract, *how, *seed, text(document));
}

/// The first line is the schema, the rest the document.
pub fn contract(input: &[u8]) {
    let [how, seed, rest @ ..] = input else { return };
    let (schema, document) = text(rest).split_once('\n').unwrap_or((text(rest), "{\"a\":[1,\"a\"]}"));
    let Ok(schema) = serde_json::from_str::<Value>(schema) else { return };
    let source = if how & 16 == 0 { ContractSource::Policy } else { ContractSource::ToolParameters };
    let Ok(contract) = Contract::compile(&schema, None, source, &Limits::default()) else { return };
    check(&contract, *how, *seed, document);
}
