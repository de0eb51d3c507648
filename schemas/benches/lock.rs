//! What holding JSON to a schema costs: throughput whole and in pieces of four bytes, beside reading the same text with
//! `serde_json`; then the distribution of a single feed of four bytes, and the worst feed of schemas and documents made to be slow.
//! Peers are measured on the same documents in `peers/`.

#![allow(clippy::expect_used, reason = "a benchmark that cannot start should stop")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clyra_schemas::{Contract, ContractSource, End, Limits, Lock, Mode, Outcome, RepairPolicy};
use criterion::{Criterion, Throughput};
use serde_json::{Map, Value, json};

mod documents {
    #![allow(unreachable_pub, reason = "the file is shared with another crate")]
    include!("documents.rs");
}

fn contract(schema: &Value) -> Arc<Contract> {
    Contract::compile(schema, None, ContractSource::Policy, &Limits::default()).expect("the schema is usable")
}

fn hold<'a>(contract: &Arc<Contract>, repair: RepairPolicy, pieces: impl Iterator<Item = &'a str>) -> Outcome {
    let mut lock = Lock::new(Arc::clone(contract), Mode::Verified, repair);
    for piece in pieces {
        black_box(lock.feed(black_box(piece)));
    }
    lock.finish(End::Stop)
}

/// Pieces of `size` bytes; the documents are ASCII.
fn pieces(text: &str, size: usize) -> Vec<&str> {
    text.as_bytes().chunks(size).map(|piece| std::str::from_utf8(piece).expect("ASCII")).collect()
}

fn throughput(criterion: &mut Criterion) {
    for items in documents::SIZES {
        let (schema, text) = documents::invoice(items);
        let contract = contract(&schema);
        assert_eq!(hold(&contract, RepairPolicy::NONE, std::iter::once(&*text)), Outcome::Pass);
        let in_pieces = pieces(&text, 4);
        let mut group = criterion.benchmark_group(format!("{} bytes", text.len()));
        group.throughput(Throughput::Bytes(text.len() as u64));
        let none = RepairPolicy::NONE;
        // All that a lock does but the authority's word, which comes once, at the end of the document.
        let open = text.get(..text.len() - 1).unwrap_or_default();
        let open_pieces = pieces(open, 4);
        group.bench_function("falsifier, whole", |b| {
            b.iter(|| Lock::new(Arc::clone(&contract), Mode::Verified, none).feed(black_box(open)));
        });
        group.bench_function("falsifier, 4-byte pieces", |b| {
            b.iter(|| {
                let mut lock = Lock::new(Arc::clone(&contract), Mode::Verified, none);
                open_pieces.iter().for_each(|piece| drop(black_box(lock.feed(black_box(piece)))));
            });
        });
        group.bench_function("lock with authority, whole", |b| {
            b.iter(|| hold(&contract, none, std::iter::once(&*text)))
        });
        group.bench_function("lock with authority, 4-byte pieces", |b| {
            b.iter(|| hold(&contract, none, in_pieces.iter().copied()));
        });
        group.bench_function("lock that may repair all, 4-byte pieces", |b| {
            b.iter(|| hold(&contract, RepairPolicy::all(), in_pieces.iter().copied()));
        });
        group.bench_function("serde_json, whole", |b| {
            b.iter(|| serde_json::from_str::<Value>(black_box(&text)).map(drop));
        });
        group.bench_function("compile the schema", |b| b.iter(|| self::contract(black_box(&schema))));
        group.finish();
    }
}

/// Times each feed of a text and tells of the worst, over several runs of which the best counts: the worst of one run is the
/// machine's doing.
fn worst(contract: &Arc<Contract>, text: &str, size: usize) -> (Duration, Duration) {
    let pieces: Vec<&str> = pieces(text, size);
    let mut best: Vec<Duration> = vec![Duration::MAX; pieces.len()];
    for _ in 0..5 {
        let mut lock = Lock::new(Arc::clone(contract), Mode::Verified, RepairPolicy::NONE);
        for (best, piece) in best.iter_mut().zip(&pieces) {
            let clock = Instant::now();
            black_box(lock.feed(black_box(piece)));
            *best = clock.elapsed().min(*best);
        }
    }
    best.sort_unstable();
    let at = |share: f64| best.get((best.len() as f64 * share) as usize).or(best.last()).copied().unwrap_or_default();
    (at(0.99), at(1.0))
}

fn latency() {
    println!("\na feed, each the best of five (p99, worst):");
    let (schema, text) = documents::invoice(610);
    let show = |name: &str, schema: &Value, text: &str, size: usize| {
        let clock = Instant::now();
        let contract = contract(schema);
        let compile = clock.elapsed();
        let (p99, worst) = worst(&contract, text, size);
        println!("  {name}: {p99:?}, {worst:?} in pieces of {size} bytes; compiled in {compile:?}");
    };
    // Without its last byte, so that the authority's word on the whole is not in it.
    show("invoice", &schema, text.get(..text.len() - 1).unwrap_or_default(), 4);

    let tree = json!({ "anyOf": [{ "properties": { "a": { "$ref": "#" } } }, { "properties": { "a": { "$ref": "#" } }, "required": ["a"] }] });
    let nested = format!("{}1{}", "{\"a\":".repeat(100), "}".repeat(99));
    show("anyOf that doubles at each level", &tree, &nested, 64);

    let alternatives: Vec<Value> = (0..200)
        .map(|number| json!({ "properties": { "kind": { "const": format!("k{number}") }, "x": { "type": "integer" } }, "required": ["kind"] }))
        .collect();
    let one: String = (0..60).map(|number| format!("\"m{number}\": {number}, ")).collect();
    let many = format!("[{}", format!("{{{one}\"kind\": \"k199\"}}, ").repeat(40));
    show("anyOf of 200 told apart by their last member", &json!({ "items": { "anyOf": alternatives } }), &many, 64);

    let members: Map<String, Value> = (0..5_000).map(|number| (format!("key{number}"), json!(number))).collect();
    let text = Value::Object(members).to_string();
    show(
        "5,000 keys",
        &json!({ "additionalProperties": { "type": "integer" } }),
        text.get(..text.len() - 1).unwrap_or_default(),
        64,
    );

    let values: Vec<String> = (0..5_000).map(|number| format!("value number {number}")).collect();
    let text = format!("[{}", "\"value number 4999\", ".repeat(500));
    show("5,000 values of an enum", &json!({ "items": { "enum": values } }), &text, 64);

    let text = format!("[\"{}\"", "x".repeat(100_000));
    show("(x+x+)+y over 100 kB", &json!({ "items": { "pattern": "^(x+x+)+y$" } }), &text, 64);
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    throughput(&mut criterion);
    criterion.final_summary();
    // Not where the benches are only checked to run.
    if std::env::args().any(|arg| arg == "--bench") {
        latency();
    }
}
