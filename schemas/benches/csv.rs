//! What holding CSV to a contract costs: a table of typed columns and one of free text, whole and in pieces of four bytes as a
//! model sends them, beside the `csv` crate reading the same text.

#![allow(clippy::expect_used, reason = "a benchmark that cannot start should stop")]

use std::hint::black_box;
use std::sync::Arc;

use clyra_schemas::{CsvContract, CsvLock, End, Mode, Outcome, RepairPolicy};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};

/// Rows of each table: some 100 to 200 kB.
const ROWS: usize = 2_000;

/// Numbers, a date, a flag and short text, every column with something to check.
fn typed() -> (Value, String) {
    let contract = json!({"columns": [
        {"name": "id", "schema": {"type": "integer", "minimum": 1}, "unique": true},
        {"name": "price", "type": "number"},
        {"name": "paid", "type": "boolean"},
        {"name": "day", "type": "date"},
        {"name": "note", "schema": {"type": "string", "maxLength": 80}},
    ]});
    let rows = (1..=ROWS).map(|row| {
        format!(
            "{row},{}.{:02},{},2026-11-{:02},shipped to the depot in row {row}\r\n",
            row % 997,
            row % 100,
            row % 3 == 0,
            row % 28 + 1
        )
    });
    (contract, std::iter::once("id,price,paid,day,note\r\n".to_owned()).chain(rows).collect())
}

/// Text that the contract says nothing about, some of it quoted.
fn free() -> (Value, String) {
    let contract = json!({"columns": [{"name": "title", "type": "string"}, {"name": "text", "type": "string"}]});
    let rows = (0..ROWS).map(|row| {
        format!(
            "Chapter {row},\"He said \"\"yes\"\", and went on, as people do, to speak of row {row} and of others\"\r\n"
        )
    });
    (contract, std::iter::once("title,text\r\n".to_owned()).chain(rows).collect())
}

fn hold<'a>(contract: &Arc<CsvContract>, mode: Mode, pieces: impl Iterator<Item = &'a str>) -> u64 {
    let mut lock = CsvLock::new(Arc::clone(contract), mode, RepairPolicy::NONE);
    for piece in pieces {
        black_box(lock.feed(black_box(piece)));
    }
    let outcome = lock.finish(End::Stop);
    assert_eq!(outcome, Outcome::Pass, "the table of the benchmark keeps its contract");
    lock.settled()
}

/// Pieces of four bytes; the tables are ASCII.
fn pieces(text: &str) -> Vec<&str> {
    text.as_bytes().chunks(4).map(|piece| std::str::from_utf8(piece).expect("ASCII")).collect()
}

fn benches(criterion: &mut Criterion) {
    for (name, (contract, text)) in [("typed", typed()), ("free", free())] {
        let contract = CsvContract::compile(&contract).expect("the contract of the benchmark is valid");
        let mut group = criterion.benchmark_group(format!("csv/{name}"));
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function("whole", |b| b.iter(|| hold(&contract, Mode::Verified, std::iter::once(text.as_str()))));
        let pieces = pieces(&text);
        group.bench_function("by 4 bytes", |b| b.iter(|| hold(&contract, Mode::Verified, pieces.iter().copied())));
        group
            .bench_function("by 4 bytes, cutoff", |b| b.iter(|| hold(&contract, Mode::Cutoff, pieces.iter().copied())));
        group.bench_function("csv crate, reading only", |b| {
            b.iter(|| {
                let mut reader = csv::Reader::from_reader(text.as_bytes());
                let mut record = csv::StringRecord::new();
                let mut fields = 0;
                while reader.read_record(&mut record).expect("the table of the benchmark is CSV") {
                    fields += record.len();
                }
                fields
            });
        });
        group.finish();
    }
}

criterion_group!(csv_lock, benches);
criterion_main!(csv_lock);
