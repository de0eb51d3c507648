//! Recall and false positives of the built-in secret detectors on labelled rule examples and benign texts.
//! `cargo run --release -p clyra-detectors --example evaluate [--show] [DIR]`, where DIR is the folder with the corpora
//! (`<set>/data.jsonl`, lines of `{"text", "label", "source", "rule"}`); by default `$CLYRA_SHARED_DATA/corpora`.
//! With `--show` it also prints what it missed or found wrongly.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::string_slice)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::{env, fs};

use clyra_detectors::{Engine, EngineConfig, View};
use serde_json::Value;

/// The labelled examples of the five rule sets.
const EXAMPLES: &str = "secrets_rule_examples";

/// Which rules of other tools look for what our detectors look for.
const SAME: &[(&str, &[&str])] = &[
    ("secrets.anthropic_api_key", &["np.anthropic.1", "anthropic"]),
    ("secrets.aws_access_key_id", &["kingfisher.aws.1", "np.aws.1", "np.aws.6", "aws"]),
    ("secrets.aws_secret_access_key", &["kingfisher.aws.2", "np.aws.2", "np.aws.6"]),
    (
        "secrets.github_token",
        &[
            "kingfisher.github.1",
            "kingfisher.github.2",
            "kingfisher.github.3",
            "kingfisher.github.4",
            "np.github.1",
            "github",
        ],
    ),
    ("secrets.openai_api_key", &["kingfisher.openai.1", "np.openai.1"]),
    ("secrets.private_key", &["kingfisher.pem.1", "kingfisher.privkey.2", "np.pem.1", "privatekey"]),
];

/// Texts in which a key is an accident. The first group is ordinary, the second is kept for evaluation alone.
const BENIGN: &[&str] = &[
    "docs_benign",
    "gpteacher_codegen_responses",
    "gpteacher_toolformer_responses",
    "cse_instruct_code",
    "chat_benign_permissive",
    "bipia_context_benign",
    "taubench_benign",
    "notinject",
    "xstest_safe",
];

fn main() {
    let data = env::var_os("CLYRA_SHARED_DATA").map_or_else(|| PathBuf::from("../shared/data"), PathBuf::from);
    let folder = env::args().skip(1).find(|arg| arg != "--show").map_or_else(|| data.join("corpora"), PathBuf::from);
    let rows = |set: &str| -> Vec<Value> {
        let path = folder.join(set).join("data.jsonl");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| {
            eprintln!("{}: {error}; name the folder with the corpora as the first argument", path.display());
            std::process::exit(2)
        });
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let engine = Arc::new(Engine::compile(EngineConfig::default()).unwrap());
    let scan = |row: &Value| -> Vec<String> {
        let found = engine.scan(row["text"].as_str().unwrap(), View::Plain).unwrap();
        found.iter().map(|finding| finding.detector.to_string()).collect()
    };
    let verbose = env::args().any(|arg| arg == "--show");

    let examples = rows(EXAMPLES);
    println!("| detector | examples of the same kind | found |\n| --- | --- | --- |");
    for (detector, rules) in SAME {
        let same = examples.iter().filter(|row| row["label"] == 1 && rules.contains(&row["rule"].as_str().unwrap()));
        let (mut all, mut hits) = (0, 0);
        for row in same {
            all += 1;
            let hit = scan(row).iter().any(|found| found == detector);
            hits += usize::from(hit);
            if verbose && !hit {
                println!("missed by {detector}: {row}");
            }
        }
        println!("| `{detector}` | {all} | {hits} |");
    }

    println!("\n| texts without a secret | number | with a finding | which |\n| --- | --- | --- | --- |");
    let negatives = examples.into_iter().filter(|row| row["label"] == 0).collect();
    let sets = std::iter::once(("negative rule examples", negatives)).chain(BENIGN.iter().map(|&set| (set, rows(set))));
    for (name, rows) in sets {
        let mut which: BTreeMap<String, usize> = BTreeMap::new();
        let mut with = 0;
        for row in &rows {
            let found = scan(row);
            with += usize::from(!found.is_empty());
            if verbose && !found.is_empty() {
                println!("{found:?}: {row}");
            }
            for detector in found {
                *which.entry(detector).or_default() += 1;
            }
        }
        println!("| {name} | {} | {with} | {which:?} |", rows.len());
    }
}
