//! Runs SchemaLock over a corpus of schemas with documents that are known to be valid or not, and prints how many valid ones
//! were refused (none may be), how many invalid ones were refused before their end, and what compiling and feeding cost.
//!
//! ```sh
//! cargo run --release -p clyra-schemas --example corpus -- CORPUS.jsonl [EVERY]
//! ```
//! A line is `{"id", "schema", "tests": [{"data", "valid"}]}`; with EVERY, only each so many-th line is read. Documents are fed
//! in their own and in reversed order of members, in pieces of four bytes and whole. Where the corpus and the authority differ on
//! a document, the authority is right: the falsifier must never refuse what it accepts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

use std::collections::BTreeMap;
use std::env;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clyra_schemas::{Contract, ContractSource, End, Limits, Lock, Mode, Outcome, RepairPolicy, Step, Violation};
use serde_json::{Map, Value};

#[derive(Default)]
struct Tally {
    schemas: u64,
    unusable: BTreeMap<&'static str, u64>,
    accepted: u64,
    refused: u64,
    false_refusals: Vec<String>,
    /// By the falsifier or the reader, before the root's last byte; at that byte; only by the authority.
    before: u64,
    at_end: u64,
    by_authority: BTreeMap<&'static str, u64>,
    compile: Vec<Duration>,
    feeds: Vec<u32>,
}

fn main() {
    let mut args = env::args().skip(1);
    let path = args.next().expect("the path of a corpus");
    let every: usize = args.next().map_or(1, |n| n.parse().expect("a number"));
    let mut tally = Tally::default();
    let lines = BufReader::new(File::open(path).expect("the corpus")).lines();
    for line in lines.step_by(every) {
        let case: Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
        run(&case, &mut tally);
    }
    print(&mut tally);
}

fn run(case: &Value, tally: &mut Tally) {
    tally.schemas += 1;
    let clock = Instant::now();
    let contract = Contract::compile(&case["schema"], None, ContractSource::Policy, &Limits::default());
    let took = clock.elapsed();
    let contract = match contract {
        Ok(contract) => contract,
        Err(error) => {
            *tally.unusable.entry(error.code()).or_default() += 1;
            return;
        }
    };
    tally.compile.push(took);
    for test in case["tests"].as_array().into_iter().flatten() {
        let texts = [test["data"].to_string(), reversed(&test["data"]).to_string()];
        for text in &texts {
            let whole = feed(&contract, text, usize::MAX, &mut Vec::new());
            let pieces = feed(&contract, text, 4, &mut tally.feeds);
            assert_eq!(whole, pieces, "{}: the verdict depends on how {text} was cut", case["id"]);
            match whole {
                None => tally.accepted += 1,
                Some(violation) => {
                    tally.refused += 1;
                    let end = text.len() as u64 - 1;
                    if violation.early && contract.accepts(text) {
                        tally.false_refusals.push(format!("{}: {violation:?}: {text}", case["id"]));
                    }
                    match violation.early {
                        true if violation.found_at < end => tally.before += 1,
                        true => tally.at_end += 1,
                        false => {
                            let keyword = violation.keyword.unwrap_or(violation.kind.code());
                            if env::var_os("CORPUS_VERBOSE").is_some() {
                                println!("{} {}", case["id"], violation);
                            }
                            *tally.by_authority.entry(keyword).or_default() += 1;
                        }
                    }
                }
            }
        }
    }
}

fn feed(contract: &Arc<Contract>, text: &str, size: usize, feeds: &mut Vec<u32>) -> Option<Violation> {
    let mut lock = Lock::new(Arc::clone(contract), Mode::Verified, RepairPolicy::NONE);
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.ceil_char_boundary(size.min(rest.len())));
        rest = after;
        let clock = Instant::now();
        let step = lock.feed(piece);
        if feeds.len() < 4_000_000 {
            feeds.push(u32::try_from(clock.elapsed().as_nanos()).unwrap_or(u32::MAX));
        }
        if let Step::Violation(violation) = step {
            return Some(violation);
        }
    }
    match lock.finish(End::Stop) {
        Outcome::Block(violation) => Some(violation),
        _ => None,
    }
}

fn reversed(value: &Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members.iter().rev().map(|(name, value)| (name.clone(), reversed(value))).collect::<Map<_, _>>(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(reversed).collect()),
        other => other.clone(),
    }
}

fn print(tally: &mut Tally) {
    let share = |part: u64| 100.0 * part as f64 / tally.refused.max(1) as f64;
    println!("schemas {}, unusable {:?}", tally.schemas, tally.unusable);
    println!("documents in two orders: accepted {}, refused {}", tally.accepted, tally.refused);
    println!("false refusals {}", tally.false_refusals.len());
    tally.false_refusals.iter().take(10).for_each(|case| println!("  {case}"));
    println!(
        "refused before the last byte {} ({:.2} %), at it {} ({:.2} %)",
        tally.before,
        share(tally.before),
        tally.at_end,
        share(tally.at_end)
    );
    println!("refused by the authority alone {:?}", tally.by_authority);
    tally.compile.sort_unstable();
    tally.feeds.sort_unstable();
    let at = |share: f64, length: usize| ((length as f64 * share) as usize).min(length.saturating_sub(1));
    for share in [0.5, 0.95, 0.99, 1.0] {
        println!(
            "p{}: compile {:?}, feed of four bytes {} ns",
            share * 100.0,
            tally.compile[at(share, tally.compile.len())],
            tally.feeds[at(share, tally.feeds.len())]
        );
    }
}
