//! `jiter` and `llguidance` on the documents that `schemas/benches/lock.rs` measures SchemaLock on.

use std::hint::black_box;

use clyra_schemas_peers::{SIZES, invoice};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use jiter::JsonValue;
use llguidance::api::TopLevelGrammar;
use llguidance::{Matcher, ParserFactory};
use toktrie::ApproximateTokEnv;

fn peers(criterion: &mut Criterion) {
    for items in SIZES {
        let (schema, text) = invoice(items);
        let mut group = criterion.benchmark_group(format!("{} bytes", text.len()));
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function("jiter, whole", |b| {
            b.iter(|| JsonValue::parse(black_box(text.as_bytes()), false).map(drop).is_ok());
        });
        let environment = ApproximateTokEnv::single_byte_env();
        let mut factory = ParserFactory::new(&environment, Default::default(), &[]).expect("a factory");
        factory.quiet();
        factory.limits_mut().verbose_errors = false;
        factory.limits_mut().precompute_large_lexemes = false;
        let parser = factory.create_parser(TopLevelGrammar::from_json_schema(schema));
        let matcher = Matcher::new(parser);
        let tokens: Vec<u32> = text.bytes().map(u32::from).collect();
        let taken = matcher.deep_clone().try_consume_tokens(&tokens);
        println!("llguidance takes {taken:?} of {} bytes in the document's own order", tokens.len());
        group.bench_function("llguidance, 4-byte pieces", |b| {
            b.iter(|| {
                let mut matcher = matcher.deep_clone();
                for piece in tokens.chunks(4) {
                    black_box(matcher.try_consume_tokens(black_box(piece)).unwrap_or(0));
                }
            });
        });
        group.finish();
    }
}

criterion_group!(benches, peers);
criterion_main!(benches);
