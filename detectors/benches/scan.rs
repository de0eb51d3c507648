//! Cost of reading clean text, whole and in fragments of the size that models stream.
//! `cargo bench -p clyra-detectors --bench scan`

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::string_slice)]

use std::hint::black_box;
use std::sync::Arc;

use clyra_detectors::{Engine, EngineConfig, Matcher, Rule, View};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const PROSE: &str = "The settlement report for the second quarter is attached. Please ask Sk. Ghosh for the AWS bill, and \
    send a summary of the risks to the whole group by Friday; the internal numbers are in the usual folder.\n";

fn engine() -> Arc<Engine> {
    let rule = |id: &str, matcher| Rule { id: id.into(), class: "restricted".into(), score_ppm: 1_000_000, matcher };
    let rules = vec![
        rule("codename", Matcher::Literal { text: "Project Nightjar".into(), case_insensitive: true }),
        rule("ticket", Matcher::Regex("INC-[0-9]{6}".into())),
    ];
    Arc::new(Engine::compile(EngineConfig { rules, ..EngineConfig::default() }).unwrap())
}

fn benches(c: &mut Criterion) {
    let engine = engine();
    let prose = PROSE.repeat(64 * 1024 / PROSE.len() + 1);
    let json = serde_json::json!({ "path": "report.md", "text": prose }).to_string();
    // A candidate that stays alive to the longest match, one byte at a time: the worst that a text can do.
    let hostile = "sk-ant-".repeat(64 * 1024 / 7);

    let mut group = c.benchmark_group("scan");
    for (name, text, view) in
        [("prose", &prose, View::Plain), ("json", &json, View::Json), ("hostile", &hostile, View::Plain)]
    {
        group.throughput(Throughput::Bytes(text.len() as u64));
        for size in [text.len(), 4] {
            let label = if size == 4 { format!("{name}/4-byte feeds") } else { format!("{name}/whole") };
            let pieces: Vec<&str> =
                text.as_bytes().chunks(size).map(|piece| std::str::from_utf8(piece).unwrap()).collect();
            group.bench_function(label, |b| {
                let mut found = Vec::new();
                b.iter(|| {
                    let mut stream = engine.stream(view);
                    for piece in &pieces {
                        stream.feed(black_box(piece), &mut found);
                    }
                    stream.finish(&mut found);
                    found.clear();
                    stream.settled()
                });
            });
        }
    }
    group.finish();
}

criterion_group!(scan, benches);
criterion_main!(scan);
